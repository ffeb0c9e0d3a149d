"""One control plane runs on a prefix: the claim is held, kept up, taken over by its owner, and refused to others."""

from __future__ import annotations

import asyncio

import pytest

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store.remote import EtcdStore
from reconcile.runtime.store.remote.claim import KEY, TTL_S, Claim, ClaimedError, Holder
from tests.contract.conftest import REMOTE, Cluster

ONE, TWO = Holder("1", "host-1", 11, "/folder/1"), Holder("2", "host-2", 22, "/folder/2")


class ImpatientClock(SystemClock):
    """Every pause of the claim is short: what it does after a long one is done at once."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(0.02 if seconds == TTL_S / 3 else seconds)


async def test_a_claim_is_refused_to_others_and_says_who_has_it(cluster: Cluster) -> None:
    """Two controllers of one kind would both create what is missing."""
    async with cluster() as address:
        clock = SystemClock()
        async with (
            await EtcdStore.open(address, clock, settings=REMOTE) as first,
            await EtcdStore.open(address, clock, settings=REMOTE) as second,
        ):
            claim = await Claim.take(first, "etcd://x/p", clock, ONE)
            with pytest.raises(ClaimedError, match=r"etcd://x/p is run by .*/folder/1 on host-1, pid 11.*another prefix"):
                await Claim.take(second, "etcd://x/p", clock, TWO)
            await claim.release()
            await Claim.take(second, "etcd://x/p", clock, TWO)
            await first.catch_up()
            found = first.get(KEY)
            assert found is not None
            assert Holder.decoded(found.value) == TWO


async def test_a_control_plane_that_was_killed_takes_its_own_claim_over(cluster: Cluster) -> None:
    """Starting again after kill -9 must not take as long as the claim lives."""
    async with cluster() as address:
        clock = SystemClock()
        async with await EtcdStore.open(address, clock, settings=REMOTE) as store:
            before = await Claim.take(store, "p", clock, ONE)
            again = await Claim.take(store, "p", clock, ONE)
            await before.release()  # its lease is over, and the claim hangs on the new one
            assert store.get(KEY) is not None
            await again.release()
            assert store.get(KEY) is None


async def test_a_claim_that_ran_out_is_taken_again_or_lost(cluster: Cluster) -> None:
    """A process that was stopped for a minute goes on, unless somebody else has taken its place: then it ends."""
    async with cluster() as address:
        clock = ImpatientClock()
        async with await EtcdStore.open(address, clock, settings=REMOTE) as store:
            claim = await Claim.take(store, "p", clock, ONE)
            keeping = asyncio.create_task(claim.keep())
            watch = store.watch(KEY)
            await store.lease_revoke(claim._lease)
            gone, back = await anext(watch), await anext(watch)
            assert [batch.events[0].kind.value for batch in (gone, back)] == ["DELETE", "PUT"]
            watch.cancel()

            found = store.get(KEY)
            assert found is not None
            await store.put(KEY, TWO.encoded())
            await store.lease_revoke(claim._lease)
            with pytest.raises(ClaimedError, match="host-2"):
                await keeping


async def test_a_claim_ends_with_its_store(cluster: Cluster) -> None:
    """Keeping it up is a task of the control plane, and must not outlive it."""
    async with cluster() as address:
        clock = ImpatientClock()
        async with await EtcdStore.open(address, clock, settings=REMOTE) as store:
            claim = await Claim.take(store, "p", clock, ONE)
            keeping = asyncio.create_task(claim.keep())
        await keeping


def test_a_claim_that_cannot_be_read_is_anothers() -> None:
    """Who wrote it is not known; taking it over would be a guess."""
    for value in (b"", b"{", b"[]", b'{"id": "1"}', b'{"id": "1", "host": "h", "pid": "x", "folder": "f"}'):
        assert Holder.decoded(value).id == ""
    assert Holder.decoded(ONE.encoded()) == ONE
