"""Leases: keys that go when nobody keeps them alive.

The table holds what is published. Deadlines are on the monotonic clock and set when a grant is published or kept
alive; after a restart each lease has its full time again, so it is never early, and may be late.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import attrs

from reconcile.clock import Clock

from .model import PUT, Event


@attrs.define(eq=False)
class Lease:
    """A granted lease; `deadline_s` is on the monotonic clock."""

    id: int
    ttl_s: int
    deadline_s: float = 0.0
    keys: set[bytes] = attrs.field(factory=set)


@attrs.define(eq=False)
class LeaseChange:
    """A grant (`lease` is given) or a revoke (None), on its way to the disk."""

    id: int
    lease: Lease | None


class LeaseTable:
    """The published leases, and which of them are over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._leases: dict[int, Lease] = {}
        self._deadlines: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, lease_id: int) -> Lease | None:
        """The lease, or None."""
        return self._leases.get(lease_id)

    def ids(self) -> tuple[int, ...]:
        """All leases, that which ends first first."""
        return tuple(lease.id for lease in sorted(self._leases.values(), key=lambda lease: lease.deadline_s))

    def apply(self, change: LeaseChange) -> None:
        """Publish a grant or a revoke."""
        if change.lease is None:
            self._leases.pop(change.id, None)
        else:
            self._leases[change.id] = change.lease
            self.renew(change.lease)

    def attach(self, events: Iterable[Event]) -> None:
        """Follow which keys hang on which lease."""
        for event in events:
            kv, prev = event.kv, event.prev_kv
            if prev is not None and prev.lease and (old := self._leases.get(prev.lease)):
                old.keys.discard(kv.key)
            if kv.lease and event.kind is PUT and (new := self._leases.get(kv.lease)):
                new.keys.add(kv.key)

    def renew(self, lease: Lease) -> None:
        """Give the lease its full time again."""
        lease.deadline_s = self._clock.monotonic() + lease.ttl_s
        heapq.heappush(self._deadlines, (lease.deadline_s, lease.id))

    def remaining_s(self, lease: Lease) -> float:
        """How long the lease has to live; zero or less when it is over."""
        return lease.deadline_s - self._clock.monotonic()

    def expired(self, count_max: int) -> list[int]:
        """The leases that are over, oldest deadline first; each is named once per deadline."""
        now_s = self._clock.monotonic()
        over: list[int] = []
        while self._deadlines and self._deadlines[0][0] <= now_s and len(over) < count_max:
            deadline_s, lease_id = heapq.heappop(self._deadlines)
            lease = self._leases.get(lease_id)
            # An entry of a lease that was renewed since, or that is gone, says nothing.
            if lease is not None and lease.deadline_s == deadline_s:
                over.append(lease_id)
        return over

    def postpone(self, lease_id: int, delay_s: float) -> None:
        """Have `expired` name a lease again after `delay_s`: its revoke could not be written."""
        if (lease := self._leases.get(lease_id)) is not None:
            lease.deadline_s = self._clock.monotonic() + delay_s
            heapq.heappush(self._deadlines, (lease.deadline_s, lease_id))

    def next_deadline_s(self) -> float | None:
        """Seconds until the next deadline that is noted, None without leases."""
        return self._deadlines[0][0] - self._clock.monotonic() if self._deadlines and self._leases else None
