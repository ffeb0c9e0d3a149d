"""Events of watches as lines, made once for all watches of a server that send them in the same form.

Tried and dropped: letting each of many watches rest a few milliseconds after it spoke, so that it says more in one go. 1,000
watches then bore 10,000 events/s instead of 29,000 (bench_clients.py with 30 writes/s, one run each, loaded machine).
"""

from __future__ import annotations

from reconcile.runtime.api.stored import Stored

LINES_MAX = 512


class Lines:
    """The newest lines. Bounded: a watch that is far behind makes its own."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Stored, str], bytes] = {}

    def of(self, type_: str, stored: Stored) -> bytes:
        """The event of an object."""
        key = (stored, type_)
        found = self._lines.get(key)
        if found is None:
            if len(self._lines) >= LINES_MAX:
                del self._lines[next(iter(self._lines))]
            found = self._lines[key] = event_line(type_, stored.encoded)
        return found


def event_line(type_: str, encoded: bytes) -> bytes:
    """An event as it is sent."""
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), encoded)
