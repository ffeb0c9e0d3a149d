"""What is below our prefix, in memory: the newest value of each key, the recent past, and who watches.

The embedded store's parts, fed from a watch instead of a writer. All of it is on the loop's thread, and a revision becomes
visible in one step, whole.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Sequence

from reconcile.clock import Clock
from reconcile.runtime.store.errors import CompactedError
from reconcile.runtime.store.hub import Hub, ReadLog
from reconcile.runtime.store.index import Index
from reconcile.runtime.store.model import PUT, Event, EventKind, KeyValue
from reconcile.runtime.store.ring import Record, record
from reconcile.runtime.store.settings import Settings

from .journal import Entry
from .recent import Recent

Told = tuple[EventKind, KeyValue]
"""What etcd tells of a key."""


class Mirror:
    """A copy of the prefix at `revision`, and its watches."""

    def __init__(self, revision: int, kvs: Iterable[KeyValue], clock: Clock, settings: Settings, read_log: ReadLog) -> None:
        self.index = Index(kvs)
        self.recent = Recent(revision, settings.ring_bytes_max)
        self.hub = Hub(self.recent, clock, settings, -1, read_log)
        self._now = clock.now
        self.newest = 0
        """The newest revision that an event below the prefix was seen of, the journal's included."""
        self._at_ms = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = 0

    @property
    def revision(self) -> int:
        """Everything up to it is here."""
        return self.hub.revision

    def apply(self, revision: int, changes: Sequence[Told], entry: Entry | None) -> None:
        """Take in a revision, with its entry of the journal if it has one.

        One that is known already (a stream that was opened again may repeat it) is left out.
        """
        if revision <= self.revision:
            return
        self.newest = revision
        index, events = self.index, []
        for kind, kv in changes:
            prev = index.get(kv.key)
            if kind is not PUT and prev is None:
                continue  # it was made and deleted before we looked
            events.append(event := Event(kind, kv, prev))
            index.apply(event)
        if events:
            at_ms = entry.at_ms if entry is not None and entry.at_ms else int(self._now() * 1000)  # when we learned of it
            # Clocks of several writers differ, and times are searched: they never fall.
            self._at_ms = max(self._at_ms, at_ms)
            made = record(revision, tuple(events), self._at_ms, entry.cause if entry is not None else None)
            self.recent.append(made)
            self.hub.publish(made)
            self._wake()
        else:
            self.advance(revision)

    def advance(self, revision: int) -> None:
        """Nothing of ours happened up to `revision`."""
        if revision > self.revision:
            self.recent.advance(revision)
            self.hub.publish(Record(revision, (), 0, None, 0))
            self._wake()

    def replace(self, revision: int, kvs: Iterable[KeyValue]) -> None:
        """Begin anew where what happened in between is compacted: watches are told so, for they would miss it."""
        self.index = Index(kvs)
        self.recent.advance(revision)
        self.recent.drop_below(revision + 1)
        self.compact(revision)
        for watch in list(self.hub):
            if watch.next_revision <= revision:
                watch.fail(CompactedError(watch.next_revision, revision))
                self.hub.forget(watch)
        self.hub.publish(Record(revision, (), 0, None, 0))
        self._wake()

    def compact(self, revision: int) -> None:
        """History below `revision` is gone."""
        if revision > self.hub.compacted:
            self.recent.drop_below(revision)
            self.hub.compact(revision)

    def reached(self, revision: int) -> asyncio.Future[None]:
        """Done once everything up to `revision` is here."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if revision <= self.revision:
            future.set_result(None)
        else:
            self._order += 1
            heapq.heappush(self._waiting, (revision, self._order, future))
        return future

    def _wake(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= self.revision:
            future = heapq.heappop(waiting)[2]
            if not future.done():
                future.set_result(None)
