"""aetcd, an asyncio client of etcd, works on ours unmodified."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aetcd
import pytest

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store
from reconcile.runtime.store.etcd import EtcdServer


async def test_aetcd_puts_reads_watches_leases_and_locks(tmp_path: Path) -> None:
    """A client that was written against real etcds finds what it knows."""
    clock = SystemClock()
    async with await Store.open(tmp_path, clock) as store:
        server = await EtcdServer.serve(store, clock, "127.0.0.1:0")
        host, _, port = server.address.partition(":")
        async with aetcd.Client(host=host, port=int(port)) as client:
            await client.put(b"a/1", b"one")
            await client.put(b"a/2", b"two")
            assert (await client.get(b"a/1")).value == b"one"
            assert [each.value for each in await client.get_prefix(b"a/")] == [b"one", b"two"]
            assert await client.replace(b"a/1", b"one", b"uno")
            assert not await client.replace(b"a/1", b"one", b"eins")
            swapped, _ = await client.transaction(
                compare=[client.transactions.value(b"a/1") == b"uno"],
                success=[client.transactions.put(b"a/3", b"three"), client.transactions.delete(b"a/2")],
                failure=[],
            )
            assert swapped
            lease = await client.lease(60)
            await client.put(b"leased", b"x", lease=lease)
            assert await lease.remaining_ttl() in (59, 60)
            await lease.revoke()
            assert await client.get(b"leased") is None

            watch = await client.watch(b"w")
            await client.put(b"w", b"seen")
            event = await anext(aiter(watch))
            assert (event.kv.key, event.kv.value) == (b"w", b"seen")
            await watch.cancel()

            async with client.lock(b"mutex", ttl=10):
                rival = client.lock(b"mutex", ttl=10)
                with pytest.raises((TimeoutError, asyncio.TimeoutError, aetcd.ClientError)):
                    async with asyncio.timeout(0.3):
                        await rival.acquire()
            status = await client.status()
            assert (status.version, status.leader.name) == ("3.5.30", "default")
            await client.compact(3, physical=True)
        await server.close()
