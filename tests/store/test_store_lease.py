"""Leases live and end as etcd's do; the numbers were observed on etcd 3.5.30."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from reconcile.runtime.store import (
    LeaseExistsError,
    LeaseNotFoundError,
    LeaseStatus,
    LeaseTooLongError,
    Put,
    Range,
    Txn,
)

if TYPE_CHECKING:
    from tests.store.conftest import Opened, Until, VirtualClock


async def test_grants_follow_etcds_bounds(opened: Opened) -> None:
    """TTLs below two seconds are raised, absurd ones refused; id 0 is given a free positive one."""
    async with await opened() as store:
        picked = await store.lease_grant(0)
        assert picked.ttl_s == 2
        assert picked.id > 0
        assert await store.lease_grant(-5, 101) == LeaseStatus(101, 2, 2)
        with pytest.raises(LeaseExistsError, match=r"^etcdserver: lease already exists"):
            await store.lease_grant(10, 101)
        with pytest.raises(LeaseTooLongError, match=r"^etcdserver: too large lease TTL"):
            await store.lease_grant(9_000_000_001)
        assert (await store.lease_grant(9_000_000_000, 102)).ttl_s == 9_000_000_000
        assert store.lease_ids() == (picked.id, 101, 102)
        assert store.revision == 1


async def test_a_revoke_deletes_the_keys_in_order_in_one_revision(opened: Opened) -> None:
    """Watchers see the end of a lease as one event batch; a lease without keys moves no revision."""
    async with await opened() as store:
        await store.lease_grant(30, 200)
        await store.lease_grant(30, 201)
        for key in (b"le/b", b"le/a", b"le/c"):
            await store.put(key, b"x", lease=200)
        await store.put(b"le/c", b"detached")
        await store.put(b"le/b", b"moved", lease=201)
        await store.put(b"le/b", b"back", lease=200)
        assert store.lease_time_to_live(200, keys=True) == LeaseStatus(200, 30, 30, (b"le/a", b"le/b"))
        watch = store.watch(b"le/", b"le0")
        assert await store.lease_revoke(200) == 8
        assert [event.kv.key for event in (await anext(watch)).events] == [b"le/a", b"le/b"]
        assert store.lease_time_to_live(201, keys=True).keys == ()
        assert await store.lease_revoke(201) == 8
        assert [kv.key for kv in store.range(Range(b"le/", b"le0")).kvs] == [b"le/c"]
        with pytest.raises(LeaseNotFoundError):
            await store.lease_revoke(200)


async def test_unknown_leases_are_told_as_etcd_tells_them(opened: Opened) -> None:
    """TimeToLive answers -1 and KeepAlive 0 where Revoke is an error."""
    async with await opened() as store:
        assert store.lease_time_to_live(5) == LeaseStatus(5, -1)
        assert await store.lease_keep_alive(5) == 0
        with pytest.raises(LeaseNotFoundError, match=r"^etcdserver: requested lease not found"):
            await store.lease_revoke(5)


async def test_a_lease_expires_once_in_one_revision_and_not_early(opened: Opened, clock: VirtualClock) -> None:
    """Leader elections and heartbeats hang on it."""
    async with await opened() as store:
        await store.lease_grant(10, 1)
        await store.lease_grant(10, 2)
        await store.txn(Txn(success=[Put(b"x/%d" % i, b"v", lease=1 + i % 2) for i in range(4)]))
        watch = store.watch(b"x/", b"x0")
        await clock.advance(9.9)
        assert store.count(b"x/", b"x0") == 4
        assert await store.lease_keep_alive(2) == 10
        await clock.advance(1.0)
        assert [event.kv.key for event in (await anext(watch)).events] == [b"x/0", b"x/2"]
        assert store.lease_ids() == (2,)
        await clock.advance(10.0)
        assert (await anext(watch)).revision == store.revision == 4
        assert store.lease_ids() == ()


async def test_a_keep_alive_after_the_end_is_answered_with_zero(opened: Opened, clock: VirtualClock) -> None:
    """A lease that is over is revoked, not brought back: its holder must learn that it lost what hung on it."""
    async with await opened() as store:
        await store.lease_grant(2, 1)
        await store.put(b"x", b"v", lease=1)
        clock.time_s += 3  # the expiry task has not run yet
        assert await store.lease_keep_alive(1) == 0
        assert store.get(b"x") is None


async def test_a_lease_never_ends_early_after_a_restart(opened: Opened, clock: VirtualClock, until: Until) -> None:
    """The holder could not keep it alive while the store was down: it has its full time again."""
    async with await opened() as store:
        await store.lease_grant(10, 7)
        await store.put(b"x", b"v", lease=7)
        await clock.advance(8)
    clock.time_s += 100
    async with await opened() as store:
        assert store.lease_time_to_live(7, keys=True) == LeaseStatus(7, 10, 10, (b"x",))
        await clock.advance(9.5)
        assert store.get(b"x") is not None
        await clock.advance(1.0)
        await until(lambda: store.get(b"x") is None)
    async with await opened() as store:
        assert (store.lease_ids(), store.get(b"x"), store.revision) == ((), None, 3)


async def test_leases_granted_used_and_revoked_in_one_batch_agree(opened: Opened) -> None:
    """Writes see what was submitted before them, durable or not; the outcome is that of one after the other."""
    async with await opened() as store:
        granted, put, revoked, again, late = await asyncio.gather(
            store.lease_grant(10, 1),
            store.put(b"x", b"v", lease=1),
            store.lease_revoke(1),
            store.lease_grant(20, 1),
            store.put(b"x", b"w", lease=2),
            return_exceptions=True,
        )
        assert (granted, again, revoked) == (LeaseStatus(1, 10, 10), LeaseStatus(1, 20, 20), 3)
        assert isinstance(late, LeaseNotFoundError)
        assert not isinstance(put, BaseException)
        assert store.get(b"x") is None
        assert store.lease_time_to_live(1, keys=True) == LeaseStatus(1, 20, 20)


async def test_an_hour_of_many_short_leases_leaves_nothing_behind(opened: Opened, clock: VirtualClock, until: Until) -> None:
    """The deadlines' heap and the expiry task are bounded by the leases there are."""
    async with await opened() as store:
        for round_ in range(20):
            await store.lease_grant(2 + round_ % 5)
            await clock.advance(3)
        while store.lease_ids():
            await clock.advance(1)
        await clock.advance(3600)
        assert store._leases._deadlines == []
        assert store._lessor.expiry is not None
        await until(store._lessor.expiry.done)
