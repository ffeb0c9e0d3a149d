"""Probes: when a container is asked how it does, and what its answers add up to. The asking itself is in `asking`.

A readiness or startup probe is made the moment its container starts, and again after short, growing pauses, until the
container succeeded once: an application that is up in 30 ms is ready in 40 ms, not at the next full period. Such an early
probe can only bring the good news sooner: its failure is not counted.

Source: pkg/kubelet/prober/worker.go
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import attrs

from reconcile.clock import Clock
from reconcile.errors import Tree

ProbeType = Literal["readiness", "liveness", "startup"]
_EARLY_GROWTH = 1.5


@attrs.frozen
class Answer:
    """What one probe found."""

    ok: bool
    message: str = ""


@attrs.frozen
class ProbeSpec:
    """When to ask, how often, and how many answers in a row decide."""

    action: Tree
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    successes: int = 1
    failures: int = 3
    grace_s: int | None = None

    @classmethod
    def of(cls, probe: Tree) -> ProbeSpec:
        """Read a probe; what it does not say has Kubernetes' default."""
        return cls(
            action=probe, initial_delay_s=float(probe.get("initialDelaySeconds") or 0),
            period_s=float(probe.get("periodSeconds") or 10), timeout_s=float(probe.get("timeoutSeconds") or 1),
            successes=int(probe.get("successThreshold") or 1), failures=int(probe.get("failureThreshold") or 3),
            grace_s=probe.get("terminationGracePeriodSeconds"),
        )  # fmt: skip  # one field a word reads better packed


@attrs.define
class Threshold:
    """Counts answers in a row; `result` changes only once enough of them agree. Pure."""

    successes: int
    failures: int
    result: bool | None = None
    last: bool | None = None
    run: int = 0

    def note(self, ok: bool) -> bool:
        """Count one answer; returns whether `result` changed."""
        self.run = self.run + 1 if self.last is ok else 1
        self.last = ok
        if self.run < (self.successes if ok else self.failures) or self.result is ok:
            return False
        self.result = ok
        return True


@attrs.define
class EarlyPauses:
    """The growing pauses before a container's first success; none where `first_s` is 0. Pure."""

    first_s: float
    period_s: float
    _next_s: float = attrs.field(init=False, default=0.0)

    def pause(self, left_s: float) -> float:
        """How long to wait now, at most `left_s` (the time until the next counted probe)."""
        if self.first_s <= 0:
            return left_s
        self._next_s = min(self.period_s, self._next_s * _EARLY_GROWTH or self.first_s)
        return min(left_s, self._next_s)


async def probe_forever(
    type_: ProbeType, spec: ProbeSpec, ask: Callable[[], Awaitable[Answer]], report: Callable[[bool, str], bool],
    fell: Callable[[str], None], *, clock: Clock, early_s: float, first_delay_s: float = 0.0, result: bool | None = None,
) -> None:  # fmt: skip
    """Ask for as long as `report` wants to know more.

    `report(result, message)` hears of each change of the result and returns whether to go on; `fell(message)` of each
    counted failure (an Event). `result` is what is believed now: a liveness probe begins with success.
    """
    counted = Threshold(spec.successes, spec.failures, result)
    early = EarlyPauses(early_s if type_ != "liveness" else 0.0, spec.period_s)
    wait_s = max(spec.initial_delay_s, first_delay_s)
    if wait_s:
        await clock.sleep(wait_s)
    succeeded = result is True
    # With early questions the first one that counts is due after a whole period: nobody is up in the first millisecond.
    next_counted = clock.monotonic() + (spec.period_s if early.first_s > 0 and not succeeded else 0.0)
    while True:
        answer = await ask()
        now = clock.monotonic()
        counts = answer.ok or succeeded or now >= next_counted
        if not answer.ok and counts:
            fell(answer.message)
        if counts and counted.note(answer.ok):
            succeeded = succeeded or answer.ok
            if not report(answer.ok, answer.message):
                return
        if now >= next_counted or succeeded:
            next_counted = now + spec.period_s
        left_s = next_counted - now
        await clock.sleep(left_s if succeeded or answer.ok else early.pause(left_s))
