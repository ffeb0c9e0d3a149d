"""The recent past in memory: the records of the last revisions, bounded by bytes.

Revisions are dense, so a record is found by its number. A lagging watch is caught up from here, and a read of a recent
revision is answered by undoing what happened since; only what is older goes to the disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from .index import covers
from .model import Event, KeyValue
from .values import value

_EVENT_OVERHEAD_BYTES = 400


@value
class Record:
    """One revision: its changes in order, when it was made (since the epoch), the cause given, the memory it takes."""

    revision: int
    events: tuple[Event, ...]
    at_ms: int
    cause: str | None
    size_bytes: int


def record(revision: int, events: tuple[Event, ...], at_ms: int, cause: str | None) -> Record:
    """A Record with its size."""
    size_bytes = 0
    for event in events:
        size_bytes += len(event.kv.value) + _EVENT_OVERHEAD_BYTES
    return Record(revision, events, at_ms, cause, size_bytes)


class Ring:
    """The records of revisions `first`..`last`; empty when first > last."""

    def __init__(self, revision: int, bytes_max: int) -> None:
        self.first = revision + 1
        self.last = revision
        self._bytes_max = bytes_max
        self._records: dict[int, Record] = {}
        self._bytes = 0

    def append(self, record: Record) -> None:
        """Take in the next revision; the oldest leave when there is no room. The newest always stays."""
        assert record.revision == self.last + 1, "revisions are dense"
        self.last = record.revision
        self._records[record.revision] = record
        self._bytes += record.size_bytes
        while self._bytes > self._bytes_max and self.first < self.last:
            self.drop_below(self.first + 1)

    def drop_below(self, revision: int) -> None:
        """Forget all records below `revision`."""
        while self.first < revision and self.first <= self.last:
            self._bytes -= self._records.pop(self.first).size_bytes
            self.first += 1

    def records(self, first: int, count_max: int) -> Iterator[Record]:
        """Records from `first` on, which the ring must hold."""
        for revision in range(first, min(self.last, first + count_max - 1) + 1):
            yield self._records[revision]

    def get(self, revision: int) -> Record | None:
        """The record of `revision`, if it is here."""
        return self._records.get(revision)

    def revision_before(self, at_ms: int) -> int | None:
        """The newest revision made at `at_ms` or before; None if that is longer ago than the oldest one here."""
        records, low, high = self._records, self.first, self.last
        if low > high or records[low].at_ms > at_ms:
            return None
        while low < high:
            middle = (low + high + 1) // 2
            if records[middle].at_ms <= at_ms:
                low = middle
            else:
                high = middle - 1
        return low

    def undo(self, revision: int, key: bytes, range_end: bytes) -> dict[bytes, KeyValue | None] | None:
        """What the keys of the range held at `revision`, as far as it differs from now; None if that is too long ago."""
        if revision + 1 < self.first:
            return None
        patch: dict[bytes, KeyValue | None] = {}
        for past in range(revision + 1, self.last + 1):
            for event in self._records[past].events:
                # The oldest change after `revision` knows what was there at it.
                if event.kv.key not in patch and covers(key, range_end, event.kv.key):
                    patch[event.kv.key] = event.prev_kv
        return patch
