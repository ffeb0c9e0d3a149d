"""The staged state: what is published, and on top of it what is on its way to the disk.

A write is evaluated here, in order, the moment it is submitted; nobody outside sees the result before its batch is
committed. `batch` is the batch that collects; its predecessor may be in flight at the same time, and both show in
`overlay` until they are published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from reconcile.clock import Clock

from .answer import answer
from .errors import TooManyOpsError
from .index import Index, covers
from .lease import Lease, LeaseChange, LeaseTable
from .log import NOTE, Note, Statement, Value
from .model import DELETE, PUT, Event, KeyValue, Range, RangeResponse
from .ring import Record, record
from .schema import SUB_BITS, SUB_MAX


@attrs.define(eq=False)
class Write:
    """A submitted write: how to evaluate it (again, should the batch before it be rolled back) and who waits for it."""

    evaluate: Callable[[Stage], Any]  # Any: each write has its own kind of response
    future: asyncio.Future[Any]
    response: Any = None
    error: Exception | None = None


@attrs.define(eq=False)
class Batch:
    """What goes to the disk in one transaction, and what is published after it."""

    writes: list[Write] = attrs.field(factory=list)
    parameters: list[Value] = attrs.field(factory=list)
    statements: list[Statement] = attrs.field(factory=list)
    records: list[Record] = attrs.field(factory=list)
    leases: list[LeaseChange] = attrs.field(factory=list)
    notes: dict[str, Note | None] = attrs.field(factory=dict)
    compacted: int | None = None

    @property
    def only_deletes(self) -> bool:
        """Whether it deletes keys and changes nothing else."""
        return bool(self.records) and all(event.kind is DELETE for record in self.records for event in record.events)

    def keep_notes(self, notes: dict[str, Note]) -> None:
        """Change `notes` as the batch does."""
        for name, value in self.notes.items():
            if value is None:
                notes.pop(name, None)
            else:
                notes[name] = value


class Stage:
    """Evaluates writes against the published state plus everything submitted before them."""

    def __init__(self, index: Index, leases: LeaseTable, revision: int, compacted: int, clock: Clock, at_ms: int) -> None:
        self._index = index
        self._leases = leases
        self._now = clock.now
        self._at_ms = at_ms
        self._overlay: dict[bytes, Event] = {}
        self._lease_overlay: dict[int, LeaseChange] = {}
        self.revision = revision
        self.compacted = compacted
        self.batch = Batch()

    def get(self, key: bytes) -> KeyValue | None:
        """What `key` holds."""
        event = self._overlay.get(key)
        if event is None:
            return self._index.get(key)
        return event.kv if event.kind is PUT else None

    def scan(self, key: bytes, range_end: bytes) -> Iterator[KeyValue]:
        """The range in key order."""
        if not range_end:
            kv = self.get(key)
            return iter(()) if kv is None else iter((kv,))
        return self._index.scan(key, range_end, self._patch(key, range_end))

    def range(self, request: Range, revision: int) -> RangeResponse:
        """Answer a range on the staged state."""
        key, range_end = request.key, request.range_end
        patch = self._patch(key, range_end)
        count = self._index.count(key, range_end, patch)
        return answer(request, revision, self._index.scan(key, range_end, patch), count)

    def lease(self, lease_id: int) -> Lease | None:
        """The lease, granted or on its way to be."""
        change = self._lease_overlay.get(lease_id)
        return self._leases.get(lease_id) if change is None else change.lease

    def leased_keys(self, lease_id: int) -> list[bytes]:
        """The keys that hang on a lease, in key order."""
        lease = self.lease(lease_id)
        keys = {key for key in (lease.keys if lease else ()) if key not in self._overlay}
        keys.update(key for key, event in self._overlay.items() if event.kind is PUT and event.kv.lease == lease_id)
        return sorted(keys)

    def _patch(self, key: bytes, range_end: bytes) -> dict[bytes, KeyValue | None]:
        if not self._overlay:
            return {}
        if not range_end:
            return {key: self.get(key)} if key in self._overlay else {}
        return {
            changed: event.kv if event.kind is PUT else None
            for changed, event in self._overlay.items()
            if covers(key, range_end, changed)
        }

    def put_event(self, event: Event) -> Event | None:
        """Show a change to what is evaluated next; returns what it hides, for `take_back`."""
        if event.kv.sub > SUB_MAX:
            raise TooManyOpsError(event.kv.sub + 1, SUB_MAX + 1)
        hidden = self._overlay.get(event.kv.key)
        self._overlay[event.kv.key] = event
        return hidden

    def take_back(self, event: Event, hidden: Event | None) -> None:
        """Undo `put_event`."""
        if hidden is None:
            del self._overlay[event.kv.key]
        else:
            self._overlay[event.kv.key] = hidden

    def write(self, events: list[Event], cause: str | None) -> None:
        """Make `events`, already put, the next revision of the batch."""
        self.revision += 1
        # The wall clock may be set back; the times of revisions never fall, so that they can be searched.
        at_ms = self._at_ms = max(self._at_ms, int(self._now() * 1000))
        parameters = self.batch.parameters
        for event in events:
            kv, prev = event.kv, event.prev_kv
            parameters += (
                kv.mod_revision << SUB_BITS | kv.sub,
                kv.key,
                kv.create_revision,
                kv.version,
                kv.lease,
                prev.mod_revision << SUB_BITS | prev.sub if prev is not None else 0,
                at_ms,
                cause,
                kv.value,
            )
        self.batch.records.append(record(self.revision, tuple(events), at_ms, cause))

    def change_lease(self, change: LeaseChange) -> None:
        """Grant or revoke a lease with the batch."""
        self._lease_overlay[change.id] = change
        self.batch.leases.append(change)
        if change.lease is None:
            self.batch.statements.append(("DELETE FROM lease WHERE id = ?", (change.id,)))
        else:
            self.batch.statements.append(("INSERT INTO lease VALUES (?, ?)", (change.id, change.lease.ttl_s)))

    def compact(self, revision: int) -> None:
        """Forget history below `revision` with the batch."""
        self.compacted = revision
        self.batch.compacted = revision
        self.batch.statements.append(("UPDATE meta SET value = ? WHERE name = 'compacted'", (revision,)))

    def note(self, changes: Mapping[str, Note | None]) -> None:
        """Keep what others want to keep beside the keys, with the batch; None takes a note away."""
        for name, value in changes.items():
            self.batch.notes[name] = value
            if value is None:
                self.batch.statements.append(("DELETE FROM meta WHERE name = ?", (NOTE + name,)))
            else:
                self.batch.statements.append(("INSERT OR REPLACE INTO meta VALUES (?, ?)", (NOTE + name, value)))

    def settle(self, batch: Batch) -> None:
        """Drop what the published state now shows by itself."""
        overlay, lease_overlay = self._overlay, self._lease_overlay
        for done in batch.records:
            for event in done.events:
                if overlay.get(event.kv.key) is event:
                    del overlay[event.kv.key]
        for change in batch.leases:
            if lease_overlay.get(change.id) is change:
                del lease_overlay[change.id]

    def reset(self, revision: int, compacted: int) -> list[Write]:
        """Back to the published state, after a batch was rolled back; returns the writes that were evaluated on top."""
        writes = self.batch.writes
        self._overlay.clear()
        self._lease_overlay.clear()
        self.revision, self.compacted = revision, compacted
        self.batch = Batch()
        return writes
