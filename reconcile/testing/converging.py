"""`@converges`: a test that is run under every fault of a pattern, and `@law`: what must hold at every revision."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import attrs

from reconcile.errors import DeclarationError
from reconcile.runtime.testing.apps import AppLike, apps_of
from reconcile.runtime.testing.convergence import Convergence, Experiment, Explored
from reconcile.runtime.testing.incident import plan_given
from reconcile.runtime.testing.plan import SIEVE, Chaos, Pattern, read_plan
from reconcile.runtime.testing.report import report
from reconcile.runtime.testing.state import Ignore

from .ground import ignored, surroundings

if TYPE_CHECKING:
    import pytest

    from reconcile.runtime.testing.universe import Law, World

F = TypeVar("F", bound=Callable[..., Any])
Test = Callable[..., Coroutine[Any, Any, None]]
APPS = "__reconcile_apps__"
_LAW = "__reconcile_law__"


@attrs.define
class Tally:
    """How many universes a test run has seen."""

    tests: int = 0
    universes: int = 0
    unreached: int = 0


TALLY = Tally()


def law(check: F) -> F:
    """Declare what must hold at every revision of every universe of this module's tests: a function of the world that raises."""
    if inspect.iscoroutinefunction(check):
        raise DeclarationError(f"law {check.__name__} is a coroutine; a law looks at one moment, so it cannot wait: use def")
    setattr(check, _LAW, True)
    return check


def laws_of(module: Mapping[str, Any]) -> list[Law]:
    """The laws of a module."""
    return [value for value in module.values() if getattr(value, _LAW, False)]


def converges(
    app: AppLike | Sequence[AppLike],
    *,
    patterns: Sequence[Pattern] = SIEVE,
    plan: str = "",
    cluster: bool = False,
    ignore: Ignore | None = None,
    births_factor: float = 2.0,
) -> Callable[[Test], Callable[..., None]]:
    """Run a workload without faults, then under every plan of each pattern: it must come to the same end.

    `app` is what is under test (see docs/testing.md; a list of several are processes of their own). `plan` runs one plan
    only: a bug once found, kept as a test. With `cluster` the built-in controllers, a scheduler and simulated nodes are
    there, too. `ignore` names fields that may differ. `births_factor`: how many times as many objects an app that was
    blinded for a while may make.

    Raises:
        PlanError: `plan` cannot be read.
    """
    read_plan(plan)
    return lambda test: _Converging(test, app, cluster, ignore, births_factor, plan).item(patterns)


class _Converging:
    """A decorated workload."""

    def __init__(self, test: Test, app: AppLike, cluster: bool, ignore: Ignore | None, births_factor: float, plan: str) -> None:
        self._signature = inspect.signature(test)
        if not inspect.iscoroutinefunction(test) or "world" not in self._signature.parameters:
            raise DeclarationError(f"{test.__qualname__}: @converges decorates `async def test(world)`")
        self._test, self._app, self._cluster, self._ignore, self._factor = test, app, cluster, ignore, births_factor
        self._plan = plan
        self._shared: Convergence | None = None
        self._seen: list[Explored] = []

    def item(self, patterns: Sequence[Pattern]) -> Callable[..., None]:
        """The function that pytest collects: once for each pattern, or once where a plan is given."""
        import pytest

        @functools.wraps(self._test)
        def run(request: pytest.FixtureRequest, pattern: Pattern | None = None, **fixtures: Any) -> None:
            __tracebackhide__ = True
            self._run(request, pattern, fixtures)

        kept = [p for p in self._signature.parameters.values() if p.name not in ("world", "request", "pattern")]
        own = ["request"] if self._plan else ["request", "pattern"]
        first = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in own]
        run.__signature__ = self._signature.replace(parameters=[*first, *kept])  # type: ignore[attr-defined]  # pytest reads it
        setattr(run, APPS, (self._app, self._cluster, self._ignore))
        # What functools.wraps leaves would make pytest look at the coroutine function.
        del run.__wrapped__
        if self._plan:
            return run
        parametrized: Callable[..., None] = pytest.mark.parametrize("pattern", patterns, ids=[p.name for p in patterns])(run)
        return parametrized

    def _run(self, request: pytest.FixtureRequest, pattern: Pattern | None, fixtures: Mapping[str, Any]) -> None:
        __tracebackhide__ = True
        convergence = self._prepared(fixtures)
        wanted = plan_given(request.config.getoption("--plan")) or self._plan
        if wanted or pattern is None:
            explored = _one(convergence, wanted)
        else:
            explored = convergence.explore(_scaled(pattern, request.config))
            self._seen.append(explored)
        TALLY.tests += 1
        TALLY.universes += explored.plans
        TALLY.unreached += explored.unreached
        if explored.failure is not None:
            _fail(request, explored, self._seen)

    def _prepared(self, fixtures: Mapping[str, Any]) -> Convergence:
        """All patterns share one run without faults, unless each has fixtures of its own."""
        if self._shared is None or fixtures:
            self._shared = _prepared(self._test, self._app, self._cluster, self._ignore, self._factor, fixtures)
        return self._shared


def _prepared(
    test: Test, app: AppLike, cluster: bool, ignore: Ignore | None, births_factor: float, fixtures: Mapping[str, Any]
) -> Convergence:
    async def workload(world: World) -> None:
        await test(world=world, **fixtures)

    module = sys.modules[test.__module__]
    base = Path(inspect.getfile(test)).parent
    return Convergence(
        Experiment(
            apps_of(app),
            workload,
            surroundings(cluster=cluster),
            laws_of(vars(module)),
            ignored(cluster, ignore),
            base,
            births_factor,
        )
    )


def _one(convergence: Convergence, plan: str) -> Explored:
    faults = read_plan(plan)
    failure = convergence.check(faults)
    unreached = convergence.unreached
    if failure is None and unreached:
        import warnings

        warnings.warn(f"these faults were never due: {' '.join(map(str, unreached))}", stacklevel=2)
    return Explored("given", 1, len(unreached), 0, failure)


def _scaled(pattern: Pattern, config: pytest.Config) -> Pattern:
    """With `--sim-seeds`: so many seeds of chaos, and all plans of the other patterns."""
    seeds = config.getoption("--sim-seeds")
    if not seeds:
        return pattern
    return attrs.evolve(pattern, limit=seeds if isinstance(pattern, Chaos) else sys.maxsize)


def _fail(request: pytest.FixtureRequest, explored: Explored, seen: Sequence[Explored]) -> NoReturn:
    import pytest

    from reconcile.runtime.testing.plan import plan_text

    __tracebackhide__ = True
    assert explored.failure is not None, "there is something to tell"
    again = f"pytest '{request.node.nodeid}' --plan '{plan_text(explored.failure.plan)}'"
    pytest.fail(report(explored.failure, again, [one for one in seen if one.pattern != "given"]), pytrace=False)
