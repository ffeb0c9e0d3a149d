"""Four folders at the root are one import package: see [tool.setuptools.package-dir] in pyproject.toml."""

from setuptools import find_packages, setup

ROOMS = ("resources", "runtime", "cli")


def packages() -> list[str]:
    """Name every package as it is imported; the links that `make dev` lays are not followed."""
    own = [p for p in find_packages(include=["reconcile", "reconcile.*"]) if p.split(".")[1:2] not in [[r] for r in ROOMS]]
    return own + [f"reconcile.{p}" for room in ROOMS for p in find_packages(include=[room, f"{room}.*"])]


setup(packages=packages())
