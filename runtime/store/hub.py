"""The watch hub: hands each committed revision to the watches that asked for it.

Matching goes by structure: a dict of exact keys, a dict of prefixes (probed for the few prefix lengths in use), and a
list of other ranges; watches of a prefix may narrow it further (see `narrow`). So an event costs O(watches it goes to),
however many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

import attrs

from reconcile.clock import Clock

from .errors import EmptyRangeError, KeyEmptyError, StoreError
from .index import covers
from .log import Replay
from .model import FROM_KEY, Event, WatchFilter, prefix_end
from .narrow import Group, Narrow
from .ring import Record, Ring
from .settings import Settings
from .watch import Watch

ReadLog = Callable[[bytes, bytes, int, int], Awaitable[Replay]]
"""Reads the events of (key, range_end) in revisions first..last from the disk."""


@attrs.frozen
class Past:
    """A chunk of history: whole revisions with their sizes, and the last revision looked at."""

    revisions: tuple[tuple[int, tuple[Event, ...], int], ...]
    upto: int


class Hub:
    """All watches of a store."""

    def __init__(self, ring: Ring, clock: Clock, settings: Settings, compacted: int, read_log: ReadLog) -> None:
        self.revision = ring.last
        self.compacted = compacted
        self.queue_bytes_max = settings.watch_queue_bytes_max
        self._ring = ring
        self._clock = clock
        self._replay_revisions_max = settings.replay_revisions_max
        self._read_log = read_log
        self._exact: dict[bytes, dict[Watch, None]] = {}
        self._prefixes: dict[bytes, Group] = {}
        self._prefix_lengths: dict[int, int] = {}
        self._others: dict[Watch, None] = {}
        self._tickers: dict[Watch, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[Watch]:
        for watches in (*self._exact.values(), self._others):
            yield from watches
        for group in self._prefixes.values():
            yield from group

    def watch(
        self,
        key: bytes,
        range_end: bytes,
        start_revision: int,
        prev_kv: bool,
        filters: Iterable[WatchFilter],
        progress_interval_s: float | None,
        on_ready: Callable[[Watch], None] | None = None,
        narrow: Narrow | None = None,
    ) -> Watch:
        """Add a watch; `start_revision` 0 is the next revision. Only watches of prefixes are narrowed.

        Raises:
            KeyEmptyError, EmptyRangeError.
        """
        if not key:
            raise KeyEmptyError("in a watch")
        if range_end and range_end != FROM_KEY and key >= range_end:
            raise EmptyRangeError(f"[{key!r}, {range_end!r})")
        watch = Watch(self, key, range_end, start_revision or self.revision + 1, prev_kv, filters, on_ready, narrow)
        self._add(watch)
        if progress_interval_s is not None:
            self._tickers[watch] = asyncio.get_running_loop().create_task(self._tick(watch, progress_interval_s))
        return watch

    def forget(self, watch: Watch) -> None:
        """Remove a watch."""
        self._remove(watch)
        ticker = self._tickers.pop(watch, None)
        if ticker is not None:
            ticker.cancel()

    def publish(self, record: Record) -> None:
        """Hand a committed revision to its watches; no await, so that it is seen whole or not at all."""
        self.revision = record.revision
        if len(record.events) == 1:
            for watch in self._matching(record.events[0]):
                watch.offer(record, record.events)
            return
        wanted: dict[Watch, list[Event]] = {}
        for event in record.events:
            for watch in self._matching(event):
                wanted.setdefault(watch, []).append(event)
        for watch, events in wanted.items():
            watch.offer(record, tuple(events))

    def compact(self, revision: int) -> None:
        """History below `revision` is gone: a watch that still needs it learns so when it comes to it."""
        self.compacted = revision

    def fail(self, error: Callable[[], StoreError]) -> None:
        """End all watches."""
        for watch in list(self):
            watch.fail(error())
            self.forget(watch)

    def recent(self, first: int) -> Past | None:
        """The past from `first` on, if the ring still holds it."""
        if first < self._ring.first or first < self.compacted:
            return None
        records = tuple(
            (record.revision, record.events, record.size_bytes)
            for record in self._ring.records(first, self._replay_revisions_max)
        )
        return Past(records, min(self._ring.last, first + self._replay_revisions_max - 1))

    async def replay(self, key: bytes, range_end: bytes, first: int) -> Past:
        """The past from `first` on, from the disk."""
        last = min(self.revision, first + self._replay_revisions_max - 1)
        found = await self._read_log(key, range_end, first, last)
        revisions = tuple(
            (revision, events, sum(len(event.kv.value) for event in events)) for revision, events in found.revisions
        )
        return Past(revisions, found.upto)

    def _add(self, watch: Watch) -> None:
        if not watch.range_end:
            self._exact.setdefault(watch.key, {})[watch] = None
        elif watch.range_end != prefix_end(watch.key):
            self._others[watch] = None
        else:
            group = self._prefixes.get(watch.key)
            if group is None:
                group = self._prefixes[watch.key] = Group()
                length = len(watch.key)
                self._prefix_lengths[length] = self._prefix_lengths.get(length, 0) + 1
            group.add(watch)

    def _remove(self, watch: Watch) -> None:
        if not watch.range_end:
            watches = self._exact.get(watch.key, {})
            watches.pop(watch, None)
            if not watches:
                self._exact.pop(watch.key, None)
        elif watch.range_end != prefix_end(watch.key):
            self._others.pop(watch, None)
        elif (group := self._prefixes.get(watch.key)) is not None:
            group.remove(watch)
            if not group:
                del self._prefixes[watch.key]
                length = len(watch.key)
                self._prefix_lengths[length] -= 1
                if not self._prefix_lengths[length]:
                    del self._prefix_lengths[length]

    def _matching(self, event: Event) -> Iterator[Watch]:
        key = event.kv.key
        if self._exact and (watches := self._exact.get(key)):
            yield from watches
        prefixes = self._prefixes
        for length in self._prefix_lengths:
            # A key shorter than the prefix is its own slice, and must not be found once more under its own length.
            if length <= len(key) and (group := prefixes.get(key[:length])):
                yield from group.concerned(event)
        for watch in self._others:
            if covers(watch.key, watch.range_end, key):
                yield watch

    async def _tick(self, watch: Watch, interval_s: float) -> None:
        """Say every `interval_s` how far a quiet watch has come."""
        delivered = watch.delivered
        while True:
            await self._clock.sleep(interval_s)
            if watch.delivered == delivered:
                watch.progress()
            delivered = watch.delivered
