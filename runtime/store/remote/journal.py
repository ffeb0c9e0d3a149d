"""What each write of ours says of itself: a number that no other write has, when it was made, and why.

It is the value of the key `<prefix>/`, put in the same revision. The key's history is the journal, which etcd compacts with
everything else.
"""

from __future__ import annotations

from typing import Self

import attrs

NONCE_BYTES = 8
_TIME_BYTES = 8
_HEAD_BYTES = NONCE_BYTES + _TIME_BYTES


@attrs.frozen
class Entry:
    """One entry of the journal; `at_ms` is since the epoch, by the clock of who wrote it."""

    nonce: bytes
    at_ms: int
    cause: str | None

    def encoded(self) -> bytes:
        """As the key's value."""
        return self.nonce + self.at_ms.to_bytes(_TIME_BYTES) + (self.cause or "").encode()

    @classmethod
    def decoded(cls, value: bytes) -> Self:
        """From the key's value; what is too short says nothing."""
        if len(value) < _HEAD_BYTES:
            return cls(b"", 0, None)
        cause = value[_HEAD_BYTES:].decode(errors="replace")
        return cls(value[:NONCE_BYTES], int.from_bytes(value[NONCE_BYTES:_HEAD_BYTES]), cause or None)
