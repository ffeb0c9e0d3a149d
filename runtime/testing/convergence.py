"""Does an app converge, whatever happens to it? Runs a workload without faults, then under each plan, and compares.

The run without faults is the oracle, made twice: if the two differ, nothing can be said, and the first difference is named.
A universe fails when it comes to rest in another state, when it bore more objects than the reference, when it never comes to
rest, when a law breaks, or when the workload itself fails. What fails is shrunk to the fewest faults that still fail so.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import attrs

from reconcile.errors import ReconcileError, Tree

from .plan import Fault, Heard, Pattern, Plan, Wrote
from .process import App
from .state import Difference, Ignore, difference
from .universe import WRITES_MAX, Ground, Law, LawBrokenError, LivelockError, UnsettledError, World
from .virtual import StuckError, VirtualClock, run_virtual
from .witness import evidence_of

Workload = Callable[[World], Awaitable[None]]
T = TypeVar("T")
_WRITES_LEAST = 400
_WRITES_FACTOR = 12
_LIMIT_S = 10 * 86_400.0
_RUNS_A_COLLECTION = 20


class NotDeterministicError(ReconcileError, AssertionError):
    """The same run came out differently the second time: something takes time or chance from elsewhere than the clock."""


class ReferenceRunError(ReconcileError, AssertionError):
    """The workload does not even come to rest without faults."""


@attrs.frozen
class Experiment:
    """Apps, a workload, and what counts."""

    apps: Sequence[App]
    workload: Workload
    ground: Ground
    laws: Sequence[Law] = ()
    ignore: Ignore = attrs.field(factory=dict)
    base: Path | None = None
    births_factor: float = 2.0
    """How many times as many objects a controller that was blinded may make; of one that was not, none more is taken."""


@attrs.frozen
class Outcome:
    """What one universe came to. `evidence` is what a report quotes."""

    plan: Plan
    rests: Sequence[Mapping[str, Tree]]
    """The state each time that it had settled, the last one at its end."""
    births: Counter[str]
    error: str
    sort: str
    """The sort of error: shrinking keeps to it."""
    writes: Sequence[Wrote]
    events: Sequence[Heard]
    trace: Sequence[str]
    unreached: tuple[Fault, ...]
    history: int = 0
    evidence: Sequence[str] = ()


@attrs.frozen
class Failure:
    """A plan under which the app does not converge, and how that shows."""

    plan: Plan
    sort: str
    """state, births, or the sort of error."""
    difference: Difference | None
    rest: int
    """At which rest that showed, from 1."""
    births: Mapping[str, tuple[int, int]]
    """Of kinds of which too many were made: how many the reference made, and how many were made."""
    error: str
    evidence: Sequence[str]


@attrs.frozen
class Explored:
    """What came of running the plans of one pattern. `skipped`: how many more there would have been."""

    pattern: str
    plans: int
    unreached: int
    skipped: int
    failure: Failure | None = None


def _silent(_done: int, _of: int) -> None:
    """Tells nobody."""


class Convergence:
    """An experiment under way."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.unreached: tuple[Fault, ...] = ()
        """The faults of the last plan that never were due."""
        self._reference: Outcome | None = None
        self._runs = 0

    @property
    def reference(self) -> Outcome:
        """The run without faults; made (twice) when first asked for.

        Raises:
            NotDeterministicError: the two runs differ.
            ReferenceRunError: it does not come to rest, or breaks a law.
        """
        if self._reference is None:
            first = self._run((), strict=True)
            second = self._run((), strict=True)
            _check_same(first.trace, second.trace)
            self._reference = first
        return self._reference

    def check(self, plan: Plan) -> Failure | None:
        """Run one plan; None: it converges."""
        reference = self.reference
        outcome = self._run(plan)
        if outcome.error:
            return Failure(plan, outcome.sort, None, 0, {}, outcome.error, outcome.evidence)
        for rest, (wanted, got) in enumerate(zip(reference.rests, outcome.rests, strict=True), 1):
            differs = difference(wanted, got)
            if differs:
                return Failure(plan, "state", differs, rest, {}, "", outcome.evidence)
        factor = self.experiment.births_factor if any(fault.blinds for fault in plan) else 1.0
        births = {
            kind: (reference.births[kind], count)
            for kind, count in sorted(outcome.births.items())
            if count > reference.births[kind] * factor
        }
        if births:
            return Failure(plan, "births", None, 0, births, "", outcome.evidence)
        return None

    def explore(self, pattern: Pattern, progress: Callable[[int, int], None] = _silent) -> Explored:
        """Run the plans of a pattern up to the first that fails; that one is shrunk."""
        reference = self.reference
        possible = len(pattern.plans(reference.writes, reference.events))
        plans = pattern.taken(reference.writes, reference.events)
        unreached = 0
        for number, plan in enumerate(plans, 1):
            failure = self.check(plan)
            unreached += len(self.unreached)
            progress(number, len(plans))
            if failure is not None:
                return Explored(pattern.name, number, unreached, possible - len(plans), self.shrink(failure))
        return Explored(pattern.name, len(plans), unreached, possible - len(plans))

    def trace(self, plan: Plan) -> Sequence[str]:
        """What happens under a plan, step by step."""
        return self._run(plan).trace

    def shrink(self, failure: Failure) -> Failure:
        """The same failure with as few faults as will do."""
        smallest, index = failure, 0
        while index < len(smallest.plan) and len(smallest.plan) > 1:
            shorter = smallest.plan[:index] + smallest.plan[index + 1 :]
            again = self.check(shorter)
            if again is not None and again.sort == failure.sort:
                smallest = again
            else:
                index += 1
        return smallest

    def _run(self, plan: Plan, *, strict: bool = False) -> Outcome:
        """One universe from its beginning to its rest. `strict`: without faults nothing may go wrong."""
        experiment = self.experiment
        known = self._reference
        writes_max = max(_WRITES_LEAST, known.history * _WRITES_FACTOR) if known is not None else WRITES_MAX

        async def scenario(clock: VirtualClock) -> Outcome:
            world = World(
                clock, experiment.apps, experiment.ground, plan=plan, laws=experiment.laws, ignore=experiment.ignore,
                base=experiment.base, writes_max=writes_max,
            )  # fmt: skip
            async with world:
                error: BaseException | None = None
                try:
                    await experiment.workload(world)
                    await world.settled()
                except (LivelockError, UnsettledError, LawBrokenError) as raised:
                    if strict:
                        raise ReferenceRunError(f"it goes wrong without any fault: {raised}") from raised
                    error = raised
                except Exception as raised:
                    if strict:
                        raise
                    error = raised
                return await _outcome(world, plan, error)

        self._runs += 1
        if self._runs % _RUNS_A_COLLECTION == 0:
            gc.collect()
        with _quiet(bool(plan)), _uncollected():
            try:
                outcome = run_virtual(scenario, limit_s=_LIMIT_S)
            except StuckError as stuck:
                if strict:
                    raise
                outcome = Outcome(plan, (), Counter(), str(stuck), "StuckError", (), (), (), ())
        self.unreached = outcome.unreached
        return outcome


async def _outcome(world: World, plan: Plan, error: BaseException | None) -> Outcome:
    mirror = world.mirror
    return Outcome(
        plan, tuple(world.rests), Counter(mirror.births), "" if error is None else _told(error),
        "" if error is None else type(error).__name__, tuple(world.writes), tuple(world.events), _trace(world),
        tuple(fault for process in world.processes for fault in process.unreached()), len(mirror.history),
        await evidence_of(world, error) if plan else (),
    )  # fmt: skip


def _told(error: BaseException) -> str:
    if isinstance(error, ReconcileError) and isinstance(error, AssertionError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _trace(world: World) -> tuple[str, ...]:
    """What happened, in words that the same run repeats letter by letter."""
    happened = [f"{h.at_s:.6f} rev {h.revision} {h.type} {h.key}" for h in world.mirror.history]
    wrote = [f"{w.process} write {w.nth} {w.verb} {w.key} {w.made}" for w in world.writes]
    heard = [f"{e.process} event {e.nth} {e.type} {e.key} {e.revision}" for e in world.events]
    return (*happened, *wrote, *heard)


def _check_same(first: Sequence[str], second: Sequence[str]) -> None:
    if first == second:
        return
    length = min(len(first), len(second))
    at = next((i for i in range(length) if first[i] != second[i]), length)
    one = first[at] if at < len(first) else "the end"
    other = second[at] if at < len(second) else "the end"
    raise NotDeterministicError(
        f"the run without faults is not the same twice: step {at + 1} was {one!r}, then {other!r}; take time, chance and uids "
        f"from the `clock` that handlers are given, and keep nothing in module globals"
    )


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """Under faults, handlers fail by design: nobody wants to read each failure of hundreds of universes."""
    logger = logging.getLogger("reconcile")
    before = logger.level
    if quiet:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _uncollected() -> Iterator[None]:
    """A universe is full of cycles and dies as a whole: looking for garbage while it lives takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
