"""Shared by the tests of the simulation: experiments on the planted controllers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from reconcile.errors import Tree
from reconcile.runtime.testing.apps import apps_of
from reconcile.runtime.testing.convergence import Convergence, Experiment
from reconcile.testing import World, surroundings

PLANTED = Path(__file__).parent / "planted"


def shop(replicas: int, **meta: object) -> Tree:
    """A WebApp `shop`."""
    return {
        "apiVersion": "example.com/v1", "kind": "WebApp", "metadata": {"name": "shop", **meta}, "spec": {"replicas": replicas},
    }  # fmt: skip


async def grow_and_shrink(world: World) -> None:
    await world.apply(shop(2))
    await world.settled()
    await world.patch("webapps/shop", spec={"replicas": 5})
    await world.settled()
    await world.patch("webapps/shop", spec={"replicas": 3})
    await world.settled()


async def come_again(world: World) -> None:
    await world.apply(shop(1))
    await world.settled()
    await world.delete("webapps/shop")
    await world.settled()
    await world.apply(shop(1))
    await world.settled()


async def go_slowly(world: World) -> None:
    await world.apply(shop(1, finalizers=["example.com/backup"]))
    await world.settled()
    await world.delete("webapps/shop")
    await world.advance(3)
    await world.patch("webapps/shop", metadata={"finalizers": None})
    await world.settled()


@pytest.fixture
def experiment() -> Callable[[str, Callable[[World], Awaitable[None]]], Convergence]:
    """A function that sets up one of the planted controllers under a workload."""

    def make(app: str, workload: Callable[[World], Awaitable[None]]) -> Convergence:
        return Convergence(Experiment(apps_of(PLANTED / f"{app}.py"), workload, surroundings()))

    return make
