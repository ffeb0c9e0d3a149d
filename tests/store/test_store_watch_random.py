"""Seeded random runs with fast, slow, cancelled and overtaken watches, judged by etcd's watch guarantees.

Source: etcd tests/robustness/validate
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import attrs
import pytest

from reconcile.runtime.store import (
    FROM_KEY,
    CompactedError,
    DeleteRange,
    Put,
    Settings,
    Store,
    StoreClosedError,
    Txn,
    Watch,
    WatchBatch,
)

if TYPE_CHECKING:
    from tests.store.conftest import Opened

_KEYS = [b"a/%d" % number for number in range(4)] + [b"b/%d" % number for number in range(4)]
Told = tuple[str, bytes, bytes, int, int]


@attrs.define
class Client:
    """One consumer, with everything it was told since it last listed."""

    key: bytes
    end: bytes
    patience: int
    start: int
    batches: list[WatchBatch] = attrs.field(factory=list)
    resumed: int = 0
    overtaken: int = 0


def _told(batch: WatchBatch) -> list[Told]:
    return [(e.kind.value, e.kv.key, e.kv.value, e.kv.mod_revision, e.kv.version) for e in batch.events]


async def _write(store: Store, chance: random.Random, history: dict[int, list[Told]]) -> None:
    """Write in bursts, compact now and then; note what happened by revision."""
    witness = store.watch(b"\0", FROM_KEY)
    for step in range(80):
        operations = [
            Put(key, b"%d" % step) if chance.random() < 0.7 else DeleteRange(key)
            for key in chance.sample(_KEYS, chance.randrange(1, 4))
        ]
        await asyncio.gather(store.txn(Txn(success=operations)), store.put(chance.choice(_KEYS), b"x%d" % step))
        while len(history) < store.revision - 1:
            batch = await anext(witness)
            history[batch.revision] = _told(batch)
        if step % 30 == 20:
            await store.compact(store.revision - chance.randrange(0, 20))
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
    witness.cancel()


async def _consume(store: Store, client: Client, chance: random.Random) -> None:
    """Read slowly or fast, ask for progress, cancel and resume where it was, list again when compacted."""
    watch: Watch = store.watch(client.key, client.end, client.start, prev_kv=True)
    try:
        while True:
            batch = await anext(watch)
            client.batches.append(batch)
            if chance.random() < 0.05:
                watch.cancel()
                client.resumed += 1
                watch = store.watch(client.key, client.end, batch.revision + 1, prev_kv=True)
            if chance.random() < 0.1:
                watch.progress()
            for _ in range(chance.randrange(client.patience)):
                await asyncio.sleep(0)
    except CompactedError:
        client.overtaken += 1
        client.batches.clear()
        client.start = store.revision + 1
        await _consume(store, client, chance)
    except StoreClosedError:
        pass


def _validate(client: Client, history: dict[int, list[Told]], last: int) -> None:
    events = [batch for batch in client.batches if batch.events]
    revisions = [batch.revision for batch in events]
    assert revisions == sorted(set(revisions)), "ordered, unique, and atomic: a revision comes once, whole"
    bookmark = 0
    for batch in client.batches:
        assert not batch.events or batch.revision > bookmark, "bookmarkable: nothing at or below a progress revision follows"
        bookmark = max(bookmark, batch.revision)
    wanted = {}
    for revision in range(client.start, last + 1):
        matching = [told for told in history.get(revision, []) if client.key <= told[1] < client.end]
        if matching:
            wanted[revision] = matching
    assert {batch.revision: _told(batch) for batch in events} == wanted, "reliable, resumable and filtered"
    for batch in events:
        for event in batch.events:
            created = event.kind.value == "PUT" and event.kv.create_revision == event.kv.mod_revision
            if event.prev_kv is not None:
                assert event.prev_kv.mod_revision < batch.revision
                assert not created


@pytest.mark.parametrize("seed", range(4))
async def test_every_watch_keeps_etcds_guarantees(opened: Opened, seed: int) -> None:
    """Informers build their caches on these guarantees; one lost or doubled event is a wrong cache for ever."""
    chance = random.Random(seed)
    settings = Settings(
        unsafe_no_fsync=True,
        ring_bytes_max=chance.choice([0, 4_000, 1 << 20]),
        watch_queue_bytes_max=chance.choice([0, 1_500, 1 << 20]),
        replay_revisions_max=chance.choice([3, 10, 1000]),
    )
    history: dict[int, list[Told]] = {}
    store = await opened(settings)
    ranges = [(b"a/", b"a0"), (b"b/", b"b0"), (b"a/2", b"b/2"), (b"a", b"c")]
    clients = [Client(*chance.choice(ranges), patience, store.revision + 1) for patience in (1, 1, 4, 30, 100)]
    consumers = [asyncio.ensure_future(_consume(store, client, chance)) for client in clients]
    await _write(store, chance, history)
    last = store.revision
    fence = asyncio.gather(*(asyncio.shield(consumer) for consumer in consumers))
    while not all(_arrived(client, history, last) for client in clients):
        for _ in range(100):
            await asyncio.sleep(0)
    await store.close()
    await fence
    for client in clients:
        _validate(client, history, last)


def _arrived(client: Client, history: dict[int, list[Told]], last: int) -> bool:
    wanted = [
        revision
        for revision in range(client.start, last + 1)
        if any(client.key <= told[1] < client.end for told in history.get(revision, []))
    ]
    return not wanted or any(batch.revision >= wanted[-1] for batch in client.batches[-3:])
