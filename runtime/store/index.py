"""The newest value of each key, in key order, in memory.

`Index` is the published state. Reads of staged or past states pass a `patch`: the keys of the range that differ from
the published state, with what they hold there (None: nothing). So one scan serves the present, a txn in flight and a
recent revision.

Cost: a key O(1); a scan O(rows given); a count O(log keys + patch).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping

from sortedcontainers import SortedDict

from .model import FROM_KEY, PUT, Event, KeyValue

Patch = Mapping[bytes, KeyValue | None]
_NOTHING: Patch = {}


def covers(key: bytes, range_end: bytes, candidate: bytes) -> bool:
    """Whether `candidate` lies in [key, range_end), read as etcd reads ranges."""
    if not range_end:
        return candidate == key
    return candidate >= key and (range_end == FROM_KEY or candidate < range_end)


class Index:
    """Sorted keys with their newest KeyValue."""

    def __init__(self, kvs: Iterable[KeyValue] = ()) -> None:
        self._kvs = SortedDict((kv.key, kv) for kv in kvs)

    def __len__(self) -> int:
        return len(self._kvs)

    def get(self, key: bytes) -> KeyValue | None:
        """The newest value of `key`, or None."""
        kv: KeyValue | None = self._kvs.get(key)
        return kv

    def apply(self, event: Event) -> None:
        """Take in one committed change."""
        if event.kind is PUT:
            self._kvs[event.kv.key] = event.kv
        else:
            del self._kvs[event.kv.key]

    def scan(self, key: bytes, range_end: bytes, patch: Patch = _NOTHING) -> Iterator[KeyValue]:
        """The range in key order, lazily: the index must not change before the last row is taken."""
        if not range_end:
            kv = patch[key] if key in patch else self._kvs.get(key)
            return iter(()) if kv is None else iter((kv,))
        if patch:
            return self._scan_patched(key, range_end, patch)
        return map(self._kvs.__getitem__, self._keys(key, range_end))

    def count(self, key: bytes, range_end: bytes, patch: Patch = _NOTHING) -> int:
        """How many keys the range holds."""
        if not range_end:
            return 0 if (patch[key] if key in patch else self._kvs.get(key)) is None else 1
        first: int = self._kvs.bisect_left(key)
        end: int = len(self._kvs) if range_end == FROM_KEY else self._kvs.bisect_left(range_end)
        published = max(0, end - first)
        return published + sum((kv is not None) - (changed in self._kvs) for changed, kv in patch.items())

    def _keys(self, key: bytes, range_end: bytes) -> Iterator[bytes]:
        if range_end != FROM_KEY and range_end <= key:
            return iter(())
        end = None if range_end == FROM_KEY else range_end
        keys: Iterator[bytes] = self._kvs.irange(key, end, inclusive=(True, False))
        return keys

    def _scan_patched(self, key: bytes, range_end: bytes, patch: Patch) -> Iterator[KeyValue]:
        added = sorted(changed for changed in patch if changed not in self._kvs)
        for candidate in heapq.merge(self._keys(key, range_end), added):
            kv = patch[candidate] if candidate in patch else self._kvs[candidate]
            if kv is not None:
                yield kv
