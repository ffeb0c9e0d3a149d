"""What roles permit: ranges of keys to read, to write, or both; and sets of keys made of them.

A range is etcd's: `[key, range_end)`; no end is one key, an end of one zero byte is everything from the key on.

Source: etcd server/auth/range_perm_cache.go
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import attrs

from reconcile.runtime.store.model import FROM_KEY

READ, WRITE, READWRITE = range(3)
"""What a permission is for, by its number on the wire."""

_Stop = tuple[bool, bytes]
"""Where a range stops: before these bytes, or never."""
_NEVER: _Stop = (True, b"")


@attrs.frozen
class Permission:
    """A range of keys that a role may read, write, or both."""

    kind: int
    key: bytes
    range_end: bytes = b""

    @property
    def sound(self) -> bool:
        """Whether it permits anything: a range that holds no key is somebody's mistake."""
        return bool(self.key) and (self.range_end in (b"", FROM_KEY) or self.key < self.range_end)

    @property
    def reads(self) -> bool:
        """Whether it permits reading."""
        return self.kind in (READ, READWRITE)

    @property
    def writes(self) -> bool:
        """Whether it permits writing and deleting."""
        return self.kind in (WRITE, READWRITE)


class Keys:
    """A set of keys: the union of ranges, which may overlap or touch."""

    def __init__(self, ranges: Iterable[tuple[bytes, bytes]]) -> None:
        self._starts: list[bytes] = []
        self._stops: list[_Stop] = []
        for start, stop in sorted((key, _stop(key, range_end)) for key, range_end in ranges):
            if self._stops and (False, start) <= self._stops[-1]:
                self._stops[-1] = max(self._stops[-1], stop)
            else:
                self._starts.append(start)
                self._stops.append(stop)

    def hold(self, key: bytes, range_end: bytes = b"") -> bool:
        """Whether every key of the range is in the set; of a range that can hold none, its first key counts."""
        position = bisect_right(self._starts, key) - 1
        return position >= 0 and max(_stop(key, range_end), _stop(key, b"")) <= self._stops[position]


def _stop(key: bytes, range_end: bytes) -> _Stop:
    if range_end == FROM_KEY:
        return _NEVER
    return False, range_end or key + b"\0"
