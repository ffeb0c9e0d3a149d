"""What etcd promises of watches, one function each: it raises `Broken` when what a watch told does not keep the promise.

`history` is every event of the store by revision, `told` what one client was told since it last listed at `told.start - 1`,
over all the watches that it opened one after the other.

Source: https://etcd.io/docs/v3.6/learning/api_guarantees/; etcd tests/robustness/validate/watch.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs

from reconcile.runtime.store import PUT, Event, EventKind, KeyValue, WatchBatch

History = Mapping[int, tuple[Event, ...]]


class Broken(AssertionError):
    """A promise was not kept."""


@attrs.define
class Told:
    """What one client asked for, and all that it was told."""

    key: bytes
    end: bytes
    start: int
    prev_kv: bool = True
    dropped: frozenset[EventKind] = frozenset()
    batches: list[WatchBatch] = attrs.field(factory=list)

    def covers(self, event: Event) -> bool:
        """Whether the client asked for it."""
        return self.key <= event.kv.key < self.end and event.kind not in self.dropped

    def with_events(self) -> Iterator[WatchBatch]:
        return (batch for batch in self.batches if batch.events)


def ordered(told: Told, _history: History, _last: int) -> None:
    """Events come in the order of their revisions."""
    previous = 0
    for batch in told.with_events():
        for event in batch.events:
            if event.kv.mod_revision != batch.revision or batch.revision < previous:
                raise Broken(f"revision {event.kv.mod_revision} in a batch of {batch.revision}, after {previous}")
        previous = batch.revision


def unique(told: Told, _history: History, _last: int) -> None:
    """No event comes twice."""
    seen: set[tuple[bytes, int, int]] = set()
    for batch in told.with_events():
        for event in batch.events:
            name = (event.kv.key, event.kv.mod_revision, event.kv.version)
            if name in seen:
                raise Broken(f"{name} was told twice")
            seen.add(name)


def atomic(told: Told, _history: History, _last: int) -> None:
    """What one revision changed comes in one batch."""
    previous = 0
    for batch in told.with_events():
        if batch.revision == previous:
            raise Broken(f"revision {batch.revision} comes in two batches")
        previous = batch.revision


def reliable(told: Told, history: History, last: int) -> None:
    """Nothing is missing between the first and the last event: a client that was told of R knows all before R."""
    newest = max((batch.revision for batch in told.with_events()), default=0)
    for revision in range(told.start, min(newest, last) + 1):
        wanted = [_brief(event) for event in history.get(revision, ()) if told.covers(event)]
        found = [_brief(event) for batch in told.batches if batch.revision == revision for event in batch.events]
        if wanted != found:
            raise Broken(f"revision {revision}: told {found}, but {wanted} happened")


def resumable(told: Told, history: History, last: int) -> None:
    """A watch that was opened again where another one ended goes on there, to the present."""
    wanted = [revision for revision in range(told.start, last + 1) if any(map(told.covers, history.get(revision, ())))]
    newest = max((batch.revision for batch in told.with_events()), default=0)
    if wanted and newest < wanted[-1]:
        raise Broken(f"told up to revision {newest}, but revision {wanted[-1]} happened")


def bookmarkable(told: Told, _history: History, _last: int) -> None:
    """After progress at R nothing at or below R follows."""
    bookmark = 0
    for batch in told.batches:
        if batch.events and batch.revision <= bookmark:
            raise Broken(f"revision {batch.revision} follows progress at {bookmark}")
        bookmark = max(bookmark, batch.revision)


def filtered(told: Told, _history: History, _last: int) -> None:
    """Nothing comes that was not asked for."""
    for batch in told.with_events():
        for event in batch.events:
            if not told.covers(event) or batch.revision < told.start:
                raise Broken(f"{event.kind} of {event.kv.key!r} at {batch.revision} was not asked for")


def is_create(told: Told, history: History, _last: int) -> None:
    """An event says that it creates a key exactly when the key was not there before."""
    before = _states(history)
    for batch in told.with_events():
        for event in batch.events:
            says = event.kind is PUT and event.kv.create_revision == event.kv.mod_revision
            is_new = event.kind is PUT and event.kv.key not in before[batch.revision]
            if says != is_new or (event.kind is PUT and (event.kv.version == 1) != is_new):
                raise Broken(f"{event.kv.key!r} at {batch.revision} says created: {says}, and was: {is_new}")


def prev_kv(told: Told, history: History, _last: int) -> None:
    """What was there before is told as it was, if it was asked for; only compaction may leave it out."""
    before = _states(history)
    for batch in told.with_events():
        for event in batch.events:
            was = before[batch.revision].get(event.kv.key)
            if event.prev_kv is not None and (not told.prev_kv or event.prev_kv != was):
                raise Broken(f"{event.kv.key!r} at {batch.revision}: prev_kv is {event.prev_kv}, and was {was}")


VALIDATORS: tuple[Callable[[Told, History, int], None], ...] = (
    ordered, unique, atomic, reliable, resumable, bookmarkable, filtered, is_create, prev_kv,
)  # fmt: skip


def _brief(event: Event) -> tuple[EventKind, bytes, bytes, int]:
    return event.kind, event.kv.key, event.kv.value, event.kv.version


def _states(history: History) -> Mapping[int, Mapping[bytes, KeyValue]]:
    """What was there before each revision."""
    state: dict[bytes, KeyValue] = {}
    states: dict[int, dict[bytes, KeyValue]] = {}
    for revision in sorted(history):
        states[revision] = dict(state)
        for event in history[revision]:
            if event.kind is PUT:
                state[event.kv.key] = event.kv
            else:
                state.pop(event.kv.key, None)
    return states
