"""The pytest plugin: the fixture `world`, the options `--plan` and `--sim-seeds`, and how many universes a run has seen.

Found through its entry point. It loads nothing of this project until a test asks for a world.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from reconcile.runtime.testing.virtual import VirtualClock


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our options."""
    group = parser.getgroup("reconcile", "controllers under faults")
    group.addoption("--plan", default="", help="run @converges tests under this plan only, such as crash:webapp:9, or of a file")
    group.addoption(
        "--sim-seeds", type=int, default=0, metavar="N",
        help="run @converges tests under N random plans where they ask for chaos, and under all plans of other patterns",
    )  # fmt: skip
    group.addoption("--observe", default="", metavar="FILE", help="add the rights that the apps of worlds use to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Our marker, and where rights are noted."""
    if config.getoption("--observe", default=""):
        from reconcile.permissions import Permissions
        from reconcile.runtime.testing.process import Process

        Process.rights = Permissions()
    config.addinivalue_line("markers", "apps(*apps, cluster=False): the apps that run in the fixture `world`")


class Recipe:
    """A world that is to be made once the test runs in virtual time."""

    def __init__(self, apps: list[Any], cluster: bool, ignore: Any, base: Path, module: ModuleType | None) -> None:
        self._apps, self._cluster, self._ignore, self._base, self._module = apps, cluster, ignore, base, module

    def run(self, test: Callable[..., Any], fixtures: dict[str, Any]) -> None:
        """Run a coroutine test in the world."""
        from reconcile.runtime.testing.apps import apps_of
        from reconcile.runtime.testing.universe import World
        from reconcile.runtime.testing.virtual import run_virtual

        from .converging import laws_of
        from .ground import ignored, surroundings

        laws = laws_of(vars(self._module)) if self._module is not None else []

        async def scenario(clock: VirtualClock) -> None:
            world = World(
                clock,
                apps_of(self._apps),
                surroundings(cluster=self._cluster),
                laws=laws,
                ignore=ignored(self._cluster, self._ignore),
                base=self._base,
            )
            async with world:
                await test(world=world, **fixtures)
                world.check()

        run_virtual(scenario)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Recipe:
    """A control plane in virtual time, for `async def` tests, with the apps of the marker `apps`.

    Without the marker they are those of the module's `@converges` tests, if those agree.
    """
    marker = request.node.get_closest_marker("apps")
    module = sys.modules.get(request.node.module.__name__, request.node.module)
    if marker is not None:
        return Recipe(list(marker.args), marker.kwargs.get("cluster", False), None, request.path.parent, module)
    tests = [vars(test) for test in vars(module).values() if hasattr(test, "__dict__")]
    found = [attributes["__reconcile_apps__"] for attributes in tests if "__reconcile_apps__" in attributes]
    if any(one != found[0] for one in found):
        raise pytest.UsageError("the @converges tests of this module are of several apps; mark this one @pytest.mark.apps(...)")
    app, cluster, ignore = found[0] if found else ([], False, None)
    many = list(app) if isinstance(app, list | tuple) else [app]
    return Recipe(many, cluster, ignore, request.path.parent, module)


def pytest_itemcollected(item: pytest.Item) -> None:
    """A coroutine test that takes a world runs in virtual time, whatever other plugins do with coroutines."""
    test = getattr(item, "obj", None)
    if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(test) or "world" not in item.fixturenames:
        return

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        recipe = fixtures.pop("world")
        if not isinstance(recipe, Recipe):
            raise pytest.UsageError("another fixture is called `world`; coroutine tests get it from reconcile's plugin")
        recipe.run(test, fixtures)

    del run.__wrapped__  # others would take it for a coroutine function
    item.obj = run


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down which rights were used; every worker adds its own."""
    file = session.config.getoption("--observe", default="")
    if not file:
        return
    from reconcile.runtime.engine.recording import add_to
    from reconcile.runtime.testing.process import Process

    if Process.rights is not None:
        try:
            add_to(Path(file), Process.rights)
        except (OSError, ValueError) as error:
            raise pytest.UsageError(f"--observe {file}: {error}") from error


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How much was tried."""
    converging = sys.modules.get("reconcile.testing.converging")
    tally = converging.TALLY if converging is not None else None
    if tally is not None and tally.universes:
        terminalreporter.write_line(
            f"reconcile: {tally.tests} tests of convergence, {tally.universes} universes, {tally.unreached} faults never due"
        )
