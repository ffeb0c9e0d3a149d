"""One watch: an async iterator over the events of a range, one batch per revision.

It promises what etcd promises: events are ordered, unique, atomic per revision, none is missing, and a progress batch
means that nothing at or below its revision follows. Everything a watch says goes through its one queue.

A watch is synced while the hub puts events into its queue. When the queue is full, or when it starts in the past, it
is unsynced: whoever iterates pulls what is missing from the ring, or from the disk, and is synced again when it has
come to the present. So a slow watch costs no memory and loses nothing; only compaction can overtake it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .errors import CompactedError, StoreError
from .index import covers
from .model import DELETE, PUT, Event, KeyValue, WatchBatch, WatchFilter
from .ring import Record

if TYPE_CHECKING:
    from .hub import Hub
    from .narrow import Narrow

_BATCH_OVERHEAD_BYTES = 200
_DROPPED = {WatchFilter.NOPUT: PUT, WatchFilter.NODELETE: DELETE}


class Watch:
    """Iterate over it for batches; `cancel` it when done. One task iterates at a time."""

    def __init__(
        self,
        hub: Hub,
        key: bytes,
        range_end: bytes,
        start_revision: int,
        prev_kv: bool,
        filters: Iterable[WatchFilter],
        on_ready: Callable[[Watch], None] | None = None,
        narrow: Narrow | None = None,
    ) -> None:
        self.key = key
        self.range_end = range_end
        self.prev_kv = prev_kv
        self.narrow = narrow
        self.next_revision = start_revision
        """Everything below it that this watch asked for is delivered or queued."""
        self._hub = hub
        self._on_ready = on_ready
        self._dropped = frozenset(_DROPPED[kind] for kind in filters)
        self._queue: deque[tuple[WatchBatch, int]] = deque()
        self._queued_bytes = 0
        self._synced = start_revision > hub.revision
        self._waiter: asyncio.Future[None] | None = None
        self._cancelled = False
        self.error: StoreError | None = None
        """Why the watch ended, if it did by itself; what is queued still counts."""
        self.delivered = 0
        """Batches with events put into the queue so far."""

    @property
    def synced(self) -> bool:
        """True when everything up to the present is delivered or queued, and the watch has started."""
        return self._synced and self.next_revision <= self._hub.revision + 1

    @property
    def lagging(self) -> bool:
        """True when there is a past to `pull`, once the queue is taken."""
        return not self._synced and not self._cancelled and self.error is None

    @property
    def present(self) -> int | None:
        """The newest revision, where everything up to it is taken; None where something is still to come, or it ended."""
        done = not self._queue and self.synced and self.error is None and not self._cancelled
        return self._hub.revision if done else None

    def take(self) -> tuple[WatchBatch, ...]:
        """All that is queued, without waiting: beside an iteration, or for who follows many watches by `on_ready`."""
        batches = tuple(batch for batch, _ in self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        return batches

    def progress(self) -> bool:
        """Ask for a progress batch behind what is queued. False, and silence, when the watch is not synced."""
        if self.synced and not self._cancelled:
            self._push(WatchBatch(self._hub.revision), 0)
            return True
        return False

    def cancel(self) -> None:
        """Stop: the iteration ends at once, what is queued is dropped."""
        if not self._cancelled:
            self._cancelled = True
            self._queue.clear()
            self._hub.forget(self)
            self._wake()

    async def aclose(self) -> None:
        """The same as `cancel`."""
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cancel()

    async def __anext__(self) -> WatchBatch:
        """The next batch.

        Raises:
            CompactedError: compaction has overtaken the watch: list again and watch from there.
            StoreClosedError, StoreFailedError: the store serves no more.
            StopAsyncIteration: the watch was cancelled.
        """
        while True:
            if self._queue:
                batch, size_bytes = self._queue.popleft()
                self._queued_bytes -= size_bytes
                return batch
            if self._cancelled:
                raise StopAsyncIteration
            if self.error is not None:
                raise self.error.with_traceback(None)
            if not self._synced:
                await self.arrive()
                continue
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def arrive(self) -> None:
        """Go through the past until something of it is queued, or the present is reached, or the watch ended."""
        while self.lagging and not self._queue:
            for batch, size_bytes in await self.pull():
                self._push(batch, size_bytes)

    def offer(self, record: Record, events: tuple[Event, ...]) -> None:
        """Take the events of a new revision that match this watch's range; called by the hub, right after the commit."""
        if not self._synced or record.revision < self.next_revision:
            return
        if self._queued_bytes > self._hub.queue_bytes_max:
            # What is queued stays; the rest is pulled, from this revision on, once the queue is read.
            self._synced = False
            self.next_revision = record.revision
            return
        self.next_revision = record.revision + 1
        wanted = self._wanted(record.revision, events)
        if wanted:
            self.delivered += 1
            self._push(WatchBatch(record.revision, wanted), record.size_bytes)

    def fail(self, error: StoreError) -> None:
        """End the iteration with `error`, after what is queued."""
        if self.error is None:
            self.error = error
            self._wake()

    async def pull(self) -> list[tuple[WatchBatch, int]]:
        """One chunk of the past, for a watch that is `lagging` and whose queue is empty: batches with their sizes.

        When it returns, in the same step, the watch may be synced: what comes next is in the queue, behind this.
        """
        hub = self._hub
        first = self.next_revision
        records = hub.recent(first)
        if records is None and first >= max(0, hub.compacted):
            records = await hub.replay(self.key, self.range_end, first)
        if self._cancelled or self.error is not None:
            return []
        # Looked at after the read: compaction may have overtaken it, and then the rows were incomplete.
        if records is None or first < hub.compacted:
            self.fail(CompactedError(first, hub.compacted))
            hub.forget(self)
            return []
        chunk: list[tuple[WatchBatch, int]] = []
        for revision, events, size_bytes in records.revisions:
            matching = tuple(event for event in events if covers(self.key, self.range_end, event.kv.key))
            wanted = self._wanted(revision, matching)
            if wanted:
                self.delivered += 1
                chunk.append((WatchBatch(revision, wanted), size_bytes))
        self.next_revision = records.upto + 1
        # No await between this test and the switch: no event can fall between the past and the present.
        self._synced = self.next_revision > hub.revision
        return chunk

    def _wanted(self, revision: int, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """The events as this watch asked for them."""
        if self.prev_kv and len(events) > 1:
            events = _before_revision(revision, events)
        if self._dropped:
            events = tuple(event for event in events if event.kind not in self._dropped)
        if not events:
            return ()
        # What was there before the compacted revision is not known after a restart either: etcd gives none.
        if not self.prev_kv or revision - 1 < self._hub.compacted:
            return tuple(Event(event.kind, event.kv) for event in events)
        return events

    def _push(self, batch: WatchBatch, size_bytes: int) -> None:
        size_bytes += _BATCH_OVERHEAD_BYTES
        self._queue.append((batch, size_bytes))
        self._queued_bytes += size_bytes
        self._wake()

    def _wake(self) -> None:
        if self._on_ready is not None:
            self._on_ready(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _before_revision(revision: int, events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Where a revision changes a key twice, prev_kv is what was there before the revision, as etcd has it."""
    if not any(event.prev_kv is not None and event.prev_kv.mod_revision == revision for event in events):
        return events
    before: dict[bytes, KeyValue | None] = {}
    told = []
    for event in events:
        key = event.kv.key
        first = key not in before
        prev = before.setdefault(key, event.prev_kv)
        created = event.kind is PUT and event.kv.create_revision == event.kv.mod_revision
        told.append(event if first else Event(event.kind, event.kv, None if created else prev))
    return tuple(told)
