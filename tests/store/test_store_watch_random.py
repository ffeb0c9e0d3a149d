"""Seeded random runs with fast, slow, cancelled and overtaken watches, judged by etcd's watch guarantees.

Source: etcd tests/robustness/validate
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import pytest

from reconcile.runtime.store import (
    DELETE,
    FROM_KEY,
    PUT,
    CompactedError,
    DeleteRange,
    Event,
    KeyValue,
    Put,
    Settings,
    Store,
    StoreClosedError,
    Txn,
    Watch,
    WatchBatch,
    WatchFilter,
)  # fmt: skip
from tests.store.guarantees import (
    VALIDATORS,
    Broken,
    History,
    Told,
    atomic,
    bookmarkable,
    filtered,
    is_create,
    ordered,
    prev_kv,
    reliable,
    resumable,
    unique,
)  # fmt: skip

if TYPE_CHECKING:
    from tests.store.conftest import Opened

_KEYS = [b"a/%d" % number for number in range(4)] + [b"b/%d" % number for number in range(4)]


@attrs.define
class Client:
    """One consumer: how slow it is, what it asked for and was told since it last listed."""

    patience: int
    told: Told
    filters: tuple[WatchFilter, ...] = ()
    resumed: int = 0
    overtaken: int = 0

    def watch(self, store: Store, start: int) -> Watch:
        return store.watch(self.told.key, self.told.end, start, prev_kv=self.told.prev_kv, filters=self.filters)


async def _write(store: Store, chance: random.Random, history: dict[int, tuple[Event, ...]]) -> None:
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
            history[batch.revision] = batch.events
        if step % 30 == 20:
            await store.compact(store.revision - chance.randrange(0, 20))
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
    witness.cancel()


async def _consume(store: Store, client: Client, chance: random.Random) -> None:
    """Read slowly or fast, ask for progress, cancel and resume where it was, list again when compacted."""
    watch = client.watch(store, client.told.start)
    try:
        while True:
            batch = await anext(watch)
            client.told.batches.append(batch)
            if chance.random() < 0.05:
                watch.cancel()
                client.resumed += 1
                watch = client.watch(store, batch.revision + 1)
            if chance.random() < 0.1:
                watch.progress()
            for _ in range(chance.randrange(client.patience)):
                await asyncio.sleep(0)
    except CompactedError:
        client.overtaken += 1
        client.told.batches.clear()
        client.told.start = store.revision + 1
        await _consume(store, client, chance)
    except StoreClosedError:
        pass


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
    history: dict[int, tuple[Event, ...]] = {}
    store = await opened(settings)
    ranges = [(b"a/", b"a0"), (b"b/", b"b0"), (b"a/2", b"b/2"), (b"a", b"c")]
    clients = [_client(chance.choice(ranges), patience, chance) for patience in (1, 1, 4, 30, 100)]
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
        for validator in VALIDATORS:
            validator(client.told, history, last)


def _client(asked: tuple[bytes, bytes], patience: int, chance: random.Random) -> Client:
    filters = chance.choice([(), (), (WatchFilter.NODELETE,), (WatchFilter.NOPUT,)])
    dropped = frozenset({WatchFilter.NODELETE: DELETE, WatchFilter.NOPUT: PUT}[name] for name in filters)
    return Client(patience, Told(*asked, 2, chance.random() < 0.7, dropped), filters)


def _arrived(client: Client, history: dict[int, tuple[Event, ...]], last: int) -> bool:
    try:
        resumable(client.told, history, last)
    except Broken:
        return False
    return True


def _kv(key: bytes, revision: int, version: int = 1) -> KeyValue:
    return KeyValue(key, b"%d" % revision, revision - version + 1, revision, version)


_A2, _A3, _B3, _A4 = _kv(b"a", 2), _kv(b"a", 3, 2), _kv(b"b", 3), _kv(b"a", 4)
_HISTORY = {
    2: (Event(PUT, _A2),), 3: (Event(PUT, _A3, _A2), Event(PUT, _B3)),
    4: (Event(DELETE, KeyValue(b"a", b"", 0, 4), _A3),), 5: (Event(PUT, _kv(b"a", 5)),),
}  # fmt: skip
_GOOD = [WatchBatch(revision, events) for revision, events in _HISTORY.items()]


@pytest.mark.parametrize(
    ("validator", "batches"),
    [
        (ordered, [_GOOD[0], _GOOD[2], _GOOD[1], _GOOD[3]]),
        (unique, [_GOOD[0], _GOOD[1], _GOOD[1], _GOOD[2], _GOOD[3]]),
        (atomic, [_GOOD[0], WatchBatch(3, _HISTORY[3][:1]), WatchBatch(3, _HISTORY[3][1:]), *_GOOD[2:]]),
        (reliable, [_GOOD[0], _GOOD[2], _GOOD[3]]),
        (resumable, _GOOD[:3]),
        (bookmarkable, [_GOOD[0], WatchBatch(4), *_GOOD[1:]]),
        (filtered, [*_GOOD, WatchBatch(6, (Event(PUT, _kv(b"z", 6)),))]),
        (is_create, [_GOOD[0], WatchBatch(3, (Event(PUT, _kv(b"a", 3)), _HISTORY[3][1])), *_GOOD[2:]]),
        (prev_kv, [_GOOD[0], WatchBatch(3, (Event(PUT, _A3, _B3), _HISTORY[3][1])), *_GOOD[2:]]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_promise_is_found_broken_where_it_is(
    validator: Callable[[Told, History, int], None], batches: list[WatchBatch]
) -> None:
    """A validator that finds nothing wrong with anything shows nothing."""
    for each in VALIDATORS:
        each(Told(b"a", b"c", 2, batches=_GOOD), _HISTORY, 5)
    with pytest.raises(Broken):
        validator(Told(b"a", b"c", 2, batches=batches), _HISTORY, 5)
