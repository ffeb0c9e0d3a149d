"""What can be done with leases, and the task that ends them when nobody else does.

Grants and revokes are writes like any other: durable before they count. Keeping a lease alive is not written; a restart
gives every lease its full time anyway.

Source: etcd server/lease/lessor.go
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from reconcile.clock import Clock

from .errors import BusyError, LeaseExistsError, LeaseNotFoundError, LeaseTooLongError, UnavailableError
from .evaluate import evaluate
from .lease import Lease, LeaseChange, LeaseTable
from .model import DeleteRange, LeaseStatus, Txn
from .settings import Settings
from .stage import Stage
from .writer import Writer

log = logging.getLogger(__name__)

_EXPIRED_MAX = 500
"""Leases revoked in one go; the rest follow after the next check."""


class Lessor:
    """Grants, revokes, renews and expires the leases of a store."""

    def __init__(self, writer: Writer, leases: LeaseTable, clock: Clock, settings: Settings) -> None:
        self._writer = writer
        self._leases = leases
        self._clock = clock
        self._settings = settings
        self._closing = False
        self.expiry: asyncio.Task[None] | None = None
        """The task that revokes leases that are over: there while there are leases."""

    async def grant(self, ttl_s: int, lease_id: int) -> LeaseStatus:
        """Grant a lease; id 0 is given a free one."""
        if ttl_s > self._settings.lease_ttl_s_max:
            raise LeaseTooLongError(ttl_s, self._settings.lease_ttl_s_max)
        ttl_s = max(ttl_s, self._settings.lease_ttl_s_min)
        pick = partial(self._clock.random.randrange, 1, 1 << 63)
        return await self._writer.submit(partial(_grant, lease_id=lease_id, ttl_s=ttl_s, pick=pick))

    async def revoke(self, lease_id: int) -> int:
        """Revoke a lease with its keys; returns the revision after it."""
        return await self._writer.submit(partial(_revoke, lease_id=lease_id))

    async def keep_alive(self, lease_id: int) -> int:
        """Renew a lease; returns its time in seconds, 0 when it is over."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return 0
        if self._leases.remaining_s(lease) <= 0:
            # It is over already: it is revoked, not renewed, and the answer comes after that.
            await self._expire(lease_id)
            return 0
        self._leases.renew(lease)
        return lease.ttl_s

    def time_to_live(self, lease_id: int, keys: bool) -> LeaseStatus:
        """What is left of a lease, in whole seconds."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return LeaseStatus(lease_id, -1)
        attached = tuple(sorted(lease.keys)) if keys else ()
        return LeaseStatus(lease_id, max(0, int(self._leases.remaining_s(lease))), lease.ttl_s, attached)

    def start(self) -> None:
        """Watch over the leases, if there are any and nobody does."""
        if len(self._leases) and not self._closing and (self.expiry is None or self.expiry.done()):
            self.expiry = asyncio.get_running_loop().create_task(self._expire_leases())

    async def close(self) -> None:
        """Let no more leases end."""
        self._closing = True
        if self.expiry is not None:
            self.expiry.cancel()
            await asyncio.gather(self.expiry, return_exceptions=True)

    async def _expire_leases(self) -> None:
        check_s, ttl_s_min = self._settings.lease_check_s, self._settings.lease_ttl_s_min
        while (next_s := self._leases.next_deadline_s()) is not None:
            # Never longer than the shortest lease: one that is granted meanwhile is noticed in time.
            await self._clock.sleep(min(max(next_s, check_s), ttl_s_min))
            # Submitted together, so they share a batch; each is a revision of its own.
            await asyncio.gather(*(self._expire(lease_id) for lease_id in self._leases.expired(_EXPIRED_MAX)))

    async def _expire(self, lease_id: int) -> None:
        try:
            await self.revoke(lease_id)
        except LeaseNotFoundError:
            pass  # revoked by its owner meanwhile
        except BusyError as error:
            self._leases.postpone(lease_id, self._settings.lease_check_s)
            log.warning("lease not revoked, will be tried again", extra={"lease": lease_id, "reason": str(error)})
        except UnavailableError:
            pass  # the store serves no more: whoever opens it next ends the lease, later


def _grant(stage: Stage, lease_id: int, ttl_s: int, pick: Callable[[], int]) -> LeaseStatus:
    if lease_id and stage.lease(lease_id) is not None:
        raise LeaseExistsError(lease_id)
    while not lease_id or stage.lease(lease_id) is not None:
        lease_id = pick()
    stage.change_lease(LeaseChange(lease_id, Lease(lease_id, ttl_s)))
    return LeaseStatus(lease_id, ttl_s, ttl_s)


def _revoke(stage: Stage, lease_id: int) -> int:
    if stage.lease(lease_id) is None:
        raise LeaseNotFoundError(lease_id)
    keys = stage.leased_keys(lease_id)
    if keys:
        evaluate(stage, Txn(success=[DeleteRange(key) for key in keys]))
    stage.change_lease(LeaseChange(lease_id, None))
    return stage.revision
