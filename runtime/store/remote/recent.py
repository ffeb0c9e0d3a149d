"""The recent past of a mirror, in memory: like the embedded store's ring, with holes.

Revisions of a cluster are shared with what is beside our prefix, so ours are not dense: a record is found by bisection, and
a hole says that nothing of ours happened.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from reconcile.runtime.store.index import covers
from reconcile.runtime.store.model import KeyValue
from reconcile.runtime.store.ring import Record, Ring

_KEPT = 7 / 8
"""What is left when the oldest have to go: they go by the thousand, for each time costs a look at all."""


class Recent(Ring):
    """All records of revisions `first`..`last` of which there are some."""

    def __init__(self, revision: int, bytes_max: int) -> None:
        super().__init__(revision, bytes_max)
        self.first, self.last = revision + 1, revision
        self._max = bytes_max
        self._order: list[int] = []
        self._by_revision: dict[int, Record] = {}
        self._size = 0

    def append(self, record: Record) -> None:
        """Take in a later revision; the oldest leave when there is no room. The newest always stays."""
        assert record.revision > self.last, "revisions grow"
        self.last = record.revision
        self._order.append(record.revision)
        self._by_revision[record.revision] = record
        self._size += record.size_bytes
        if self._size > self._max and len(self._order) > 1:
            self._shrink()

    def advance(self, revision: int) -> None:
        """Nothing of ours happened up to `revision`."""
        self.last = max(self.last, revision)

    def drop_below(self, revision: int) -> None:
        """Forget all records below `revision`."""
        at = bisect_left(self._order, revision)
        for past in self._order[:at]:
            self._size -= self._by_revision.pop(past).size_bytes
        del self._order[:at]
        self.first = max(self.first, min(revision, self.last + 1))

    def records(self, first: int, count_max: int) -> Iterator[Record]:
        """Records of the revisions first..first + count_max - 1."""
        for at in range(bisect_left(self._order, first), bisect_left(self._order, first + count_max)):
            yield self._by_revision[self._order[at]]

    def get(self, revision: int) -> Record | None:
        """The record of `revision`, if it is here."""
        return self._by_revision.get(revision)

    def revision_before(self, at_ms: int) -> int | None:
        """The newest revision made at `at_ms` or before; None if that is longer ago than the oldest one here."""
        at = bisect_right(self._order, at_ms, key=lambda revision: self._by_revision[revision].at_ms)
        if not at:
            return None
        # What follows a record, up to the next one, is not ours, and was no later than that.
        return self._order[at] - 1 if at < len(self._order) else self.last

    def undo(self, revision: int, key: bytes, range_end: bytes) -> dict[bytes, KeyValue | None] | None:
        """What the keys of the range held at `revision`, as far as it differs from now; None if that is too long ago."""
        if revision + 1 < self.first:
            return None
        patch: dict[bytes, KeyValue | None] = {}
        for past in self._order[bisect_left(self._order, revision + 1) :]:
            for event in self._by_revision[past].events:
                if event.kv.key not in patch and covers(key, range_end, event.kv.key):
                    patch[event.kv.key] = event.prev_kv
        return patch

    def _shrink(self) -> None:
        size, count = self._size, 0
        while size > self._max * _KEPT and count < len(self._order) - 1:
            size -= self._by_revision[self._order[count]].size_bytes
            count += 1
        self.drop_below(self._order[count])
