"""What handlers did lately, one record an attempt: those that wrote nothing, too, which is what answers "why not".

Bounded: the newest `ATTEMPTS_MAX` are kept, in memory. What was written stays known longer: the store keeps handler, reason
and cause beside each revision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

import attrs

from reconcile.causality import Span, Trigger, spans
from reconcile.clock import Clock
from reconcile.kinds import Kind
from reconcile.registry import Handler

from .queue import Item, ObjectKey

ATTEMPTS_MAX = 10_000
Outcome = Literal["running", "done", "waits", "again", "failed", "gave up", "cancelled"]


@attrs.define(eq=False)
class Attempted:
    """One run of a handler on one object."""

    number: int
    handler: Handler
    kind: Kind
    key: ObjectKey
    trigger: Trigger
    started_s: float
    ended_s: float = 0.0
    outcome: Outcome = "running"
    message: str = ""
    retry_s: float | None = None
    """After how many seconds it is tried again; None: when something changes."""

    @property
    def wrote(self) -> tuple[int, ...]:
        """The revisions it made (known where the API is in the same process)."""
        return tuple(self.trigger.wrote)


class Journal:
    """The attempts of one engine."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._attempts: deque[Attempted] = deque(maxlen=ATTEMPTS_MAX)
        self._number = 0
        self.on_begin: Callable[[Attempted], None] | None = None

    def __iter__(self) -> Iterator[Attempted]:
        return iter(tuple(self._attempts))

    def begin(self, handler: Handler, named: str, kind: Kind, item: Item) -> Attempted:
        """A handler is about to run; its trigger says so to whatever is written."""
        self._number += 1
        trigger = Trigger(named, item.revision, item.reason, self._number, item.merged)
        made = Attempted(self._number, handler, kind, item.key, trigger, self._clock.now())
        self._attempts.append(made)
        if self.on_begin is not None:
            self.on_begin(made)
        return made

    def end(self, attempt: Attempted, outcome: Outcome, message: str = "", retry_s: float | None = None) -> None:
        """It ran to its end, or failed."""
        attempt.ended_s, attempt.outcome, attempt.message, attempt.retry_s = self._clock.now(), outcome, message, retry_s

    def failed(self, attempt: Attempted, error: Exception, retry_s: float | None) -> None:
        """It raised; `retry_s` None: it is not tried again until something changes."""
        message = f"{type(error).__name__}: {error}"
        self.end(attempt, "gave up" if retry_s is None else "failed", message, retry_s)

    def of(self, kind: Kind, key: ObjectKey) -> list[Attempted]:
        """The attempts on one object, the oldest first; O(attempts kept)."""
        home = (kind.group, kind.plural)
        return [a for a in self._attempts if a.key == key and (a.kind.group, a.kind.plural) == home]

    def numbered(self, handler: str, number: int) -> Attempted | None:
        """One attempt, if it is kept; O(1)."""
        if not self._attempts:
            return None
        index = number - self._attempts[0].number
        if not 0 <= index < len(self._attempts):
            return None
        found = self._attempts[index]
        return found if found.trigger.handler == handler else None


def span_of(noted: Attempted, clock: Clock) -> Span | None:
    """A span for one attempt, linked to the write that woke it; None where nobody wants traces.

    It is named in the attempt's trigger, so that what is written meanwhile is known to be part of it.
    """
    told, trigger = spans(), noted.trigger
    if told is None:
        return None
    attributes = {
        "reconcile.handler": trigger.handler, "reconcile.attempt": noted.number, "reconcile.revision": trigger.revision,
        "reconcile.reason": trigger.reason, "reconcile.merged": trigger.merged, "k8s.resource": noted.kind.resource,
        "k8s.namespace.name": noted.key[0], "k8s.name": noted.key[1],
    }  # fmt: skip
    span = told.begin(trigger.handler, "internal", attributes, clock=clock, revisions=(trigger.revision,))
    noted.trigger = attrs.evolve(trigger, trace=span.traceparent)
    return span


def end_span(span: Span, noted: Attempted) -> None:
    """The attempt is over, and is known to be well or not."""
    failed = noted.message or noted.outcome if noted.outcome in ("failed", "gave up", "cancelled") else ""
    span.end({"reconcile.outcome": noted.outcome, "reconcile.wrote": noted.wrote}, failed)
