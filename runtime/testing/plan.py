"""A plan: the faults of one universe, as a text that runs them again.

    crash:webapp:9              webapp's process is killed right after its 9th write, and starts again a second later
    stale:webapp:12:41          at the 12th event that it hears it restarts, and sees the API as of revision 41 for 20 s
    drop:webapp:7               it never hears its 7th event: the watch breaks, and when it lists again, that state is past
    lag:webapp:7:2              from its 7th event on, for 5 s, everything it hears is 2 s late
    delay:webapp:7:10           its 7th event, and what comes behind it on that watch, is 10 s late
    dup:webapp:7                it hears its 7th event twice
    410:webapp:7                at its 7th event its watch expires, so that it lists again
    conflict:webapp:3           its 3rd write is refused, because somebody else wrote (a create fails with 500 instead)
    500:webapp:3                its 3rd write fails and is not done; 500:webapp:3:1: it is done, and the answer is lost
    slow:webapp:3:5             the answer to its 3rd write takes 5 s

Writes and events are counted over the life of a process, restarts included; Events and Leases are not counted.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from reconcile.errors import ReconcileError

AT_WRITE = ("crash", "conflict", "500", "slow")
AT_EVENT = ("stale", "drop", "lag", "delay", "dup", "410")
KINDS = (*AT_WRITE, *AT_EVENT)
_ARGUMENTS: Mapping[str, float] = {"lag": 2.0, "delay": 10.0, "slow": 5.0, "500": 0.0}
_BLINDING = ("stale", "lag", "delay", "drop", "slow")


class PlanError(ReconcileError):
    """A plan cannot be read; the message says which part, and how it is written."""


@attrs.frozen
class Fault:
    """One thing that goes wrong: what, in which process, at its how-manieth write or event, and a number where one is needed."""

    kind: str
    process: str
    nth: int
    argument: float = 0.0

    def __str__(self) -> str:
        default = _ARGUMENTS.get(self.kind, 0.0)
        end = f":{self.argument:g}" if self.argument != default else ""
        return f"{self.kind}:{self.process}:{self.nth}{end}"

    @property
    def at_write(self) -> bool:
        """Whether it counts writes, not events."""
        return self.kind in AT_WRITE

    @property
    def blinds(self) -> bool:
        """Whether a correct controller may, for a while, not know of what it made: then it may make it twice."""
        return self.kind in _BLINDING or (self.kind == "500" and self.argument > 0)


Plan = tuple[Fault, ...]


def read_plan(text: str) -> Plan:
    """Read faults, separated by blanks or commas.

    Raises:
        PlanError: a part of it is no fault.
    """
    return tuple(_fault(word) for word in text.replace(",", " ").split())


def plan_text(plan: Plan) -> str:
    """The text of a plan."""
    return " ".join(str(fault) for fault in plan) or "no faults"


def _fault(word: str) -> Fault:
    parts = word.split(":")
    if len(parts) not in (3, 4) or parts[0] not in KINDS:
        raise PlanError(f"{word!r} is no fault; write kind:process:number[:argument], kinds are: {', '.join(KINDS)}")
    try:
        nth = int(parts[2])
        argument = float(parts[3]) if len(parts) == 4 else _ARGUMENTS.get(parts[0], 0.0)
    except ValueError:
        raise PlanError(f"{word!r} is no fault: {parts[0]} needs numbers after the name of the process") from None
    if nth < 1:
        raise PlanError(f"{word!r} is no fault: writes and events are counted from 1")
    if parts[0] == "stale" and argument < 1:
        raise PlanError(f"{word!r} is no fault: stale needs the revision to go back to, such as {word}:1")
    return Fault(parts[0], parts[1], nth, argument)


@attrs.frozen
class Wrote:
    """A write of a process, as it happened in the run without faults. `made` is its revision, 0: it changed nothing."""

    process: str
    nth: int
    verb: str
    key: str
    made: int


@attrs.frozen
class Heard:
    """An event that reached a process."""

    process: str
    nth: int
    type: str
    key: str
    revision: int


@attrs.frozen
class Pattern:
    """A family of plans, made from the run without faults; of many, at most `limit` are taken, evenly spread."""

    name: str
    limit: int = 200

    def plans(self, writes: Iterable[Wrote], events: Iterable[Heard]) -> list[Plan]:
        """All plans of the pattern."""
        raise NotImplementedError

    def taken(self, writes: Iterable[Wrote], events: Iterable[Heard]) -> list[Plan]:
        """The plans to run."""
        found = self.plans(writes, events)
        if len(found) <= self.limit:
            return found
        step = len(found) / self.limit
        return [found[int(i * step)] for i in range(self.limit)]


class Intermediate(Pattern):
    """The process dies after each of its writes: is what it had begun taken up again?"""

    def plans(self, writes: Iterable[Wrote], events: Iterable[Heard]) -> list[Plan]:
        """One crash after each write that changed something."""
        return [(Fault("crash", w.process, w.nth),) for w in writes if w.made]


class Stale(Pattern):
    """The process restarts and sees the past: does it destroy, or make twice, what the present has?"""

    def plans(self, writes: Iterable[Wrote], events: Iterable[Heard]) -> list[Plan]:
        """Back from each state of each object to each earlier one of the same object."""
        found: list[Plan] = []
        earlier: dict[tuple[str, str], list[Heard]] = {}
        for event in events:
            before = earlier.setdefault((event.process, event.key), [])
            found.extend((Fault("stale", event.process, event.nth, float(past.revision)),) for past in before)
            before.append(event)
        return found


class Unobserved(Pattern):
    """The process misses a state: does it act on what is, or only on what it sees happen?"""

    def plans(self, writes: Iterable[Wrote], events: Iterable[Heard]) -> list[Plan]:
        """Each event that a later one of the same object makes up for."""
        kept = list(events)
        last = {(event.process, event.key): event.nth for event in kept}
        return [(Fault("drop", e.process, e.nth),) for e in kept if e.nth < last[e.process, e.key]]


def sieve(limit: int = 200) -> tuple[Pattern, ...]:
    """Sieve's three patterns, of each at most `limit` plans."""
    return Intermediate("intermediate", limit), Stale("stale", limit), Unobserved("unobserved", limit)


SIEVE = sieve()
"""The three patterns of Sieve (OSDI 2022): crash after every write, stale reads, unobserved events."""


@attrs.frozen
class Chaos(Pattern):
    """Random faults of all kinds, several a universe, from seeds."""

    faults: int = 6
    kinds: tuple[str, ...] = KINDS

    def plans(self, writes: Iterable[Wrote], events: Iterable[Heard]) -> list[Plan]:
        """One plan a seed."""
        wrote, heard = list(writes), list(events)
        return [self._plan(random.Random(seed), wrote, heard) for seed in range(self.limit)]

    def _plan(self, chance: random.Random, writes: list[Wrote], events: list[Heard]) -> Plan:
        found: dict[tuple[str, str, int], Fault] = {}
        for _ in range(self.faults):
            kind = chance.choice(self.kinds)
            among: list[Any] = list(writes if kind in AT_WRITE else events)
            if among:
                at = chance.choice(among)
                found.setdefault((kind, at.process, at.nth), Fault(kind, at.process, at.nth, self._argument(kind, at, chance)))
        return tuple(found.values())

    def _argument(self, kind: str, at: Any, chance: random.Random) -> float:
        if kind == "stale":
            return float(chance.randint(max(1, at.revision - 20), at.revision))
        if kind == "500":
            return float(chance.choice((0, 1)))
        if kind in ("lag", "delay", "slow"):
            return round(chance.choice((0.05, 0.5, 2.0, 10.0)), 2)
        return 0.0


def chaos(seeds: int = 50, faults: int = 6, kinds: tuple[str, ...] = KINDS) -> tuple[Pattern, ...]:
    """Random plans: `seeds` of them, each of up to `faults` faults.

    Raises:
        PlanError: one of `kinds` is no kind of fault.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise PlanError(f"{kind!r} is no kind of fault; kinds are: {', '.join(KINDS)}")
    return (Chaos("chaos", seeds, faults, kinds),)
