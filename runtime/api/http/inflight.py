"""How many requests are answered at once: more are told to come back, so that a flood slows clients down, not the server.

Reads and writes are counted apart. Watches, logs and other streams are not counted: they wait most of the time. Members of
system:masters are always let in, so that whoever has to stop a flood can.

Source: k8s.io/apiserver/pkg/server/filters/maxinflight.go
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from reconcile.errors import TooManyRequestsError
from reconcile.identity import Access, Caller

_READS = frozenset({"get", "list"})
_RETRY_S = 1


@attrs.define
class InFlight:
    """The requests that are being answered now; a bound of 0 stands for none."""

    reads_max: int
    writes_max: int
    reads: int = 0
    writes: int = 0

    @contextmanager
    def admitted(self, caller: Caller, access: Access, *, waits: bool = False) -> Iterator[None]:
        """Count a request for as long as it is answered, unless it `waits` for somebody else's answer.

        Raises:
            TooManyRequestsError: as many as may be are being answered.
        """
        if waits or access.verb == "watch":
            yield
            return
        reading = access.verb in _READS
        count, most = (self.reads, self.reads_max) if reading else (self.writes, self.writes_max)
        if most and count >= most and not caller.all_powerful:
            raise TooManyRequestsError(
                "Too many requests, please try again later.", details={"retryAfterSeconds": _RETRY_S}
            )  # fmt: skip
        self._count(reading, 1)
        try:
            yield
        finally:
            self._count(reading, -1)

    def _count(self, reading: bool, change: int) -> None:
        if reading:
            self.reads += change
        else:
            self.writes += change
