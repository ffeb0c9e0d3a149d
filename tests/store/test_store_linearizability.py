"""Concurrent clients, recorded and judged: and the judge is shown bugs that it must find."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING

import pytest

from reconcile.runtime.store import (
    FROM_KEY,
    Compare,
    KeyValue,
    Put,
    Range,
    RangeResponse,
    Settings,
    Store,
    Txn,
    TxnResponse,
    evaluate,
)
from reconcile.runtime.store.stage import Stage
from tests.store.linearizability import NotLinearizable, Operation, check

if TYPE_CHECKING:
    from tests.store.conftest import Opened

_KEYS = (b"a", b"b", b"c")


class Recorder:
    """Runs clients against a store and notes every call and return, on one clock that ticks with each."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.operations: list[Operation] = []
        self._chance = random.Random(seed)
        self._ticks = itertools.count(1)
        self._values = itertools.count(1)

    async def run(self, clients: int, each: int) -> None:
        await asyncio.gather(*(self._client(number, each) for number in range(clients)))

    async def _client(self, number: int, each: int) -> None:
        chance, seen = self._chance, dict[bytes, int]()
        for _ in range(each):
            key = chance.choice(_KEYS)
            operation = Operation(number, key, next(self._ticks))
            self.operations.append(operation)
            kind = chance.random()
            if kind < 0.35:
                await self._read(operation, serialised=chance.random() < 0.5)
                seen[key] = operation.found[1] if operation.found else 0
            else:
                operation.write = b"%d" % next(self._values)
                if kind < 0.75:
                    operation.expected = seen.get(key, 0)
                await self._write(operation, given_up=chance.random() < 0.03)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)

    async def _read(self, operation: Operation, *, serialised: bool) -> None:
        if serialised:  # through the queue of writes, as a txn
            answer = (await self.store.txn(Txn(success=[Range(operation.key)]))).responses[0]
            assert isinstance(answer, RangeResponse)
        else:
            answer = self.store.range(Range(operation.key))
        operation.revision, operation.returned = answer.revision, next(self._ticks)
        operation.found = (answer.kvs[0].value, answer.kvs[0].mod_revision) if answer.kvs else None

    async def _write(self, operation: Operation, *, given_up: bool) -> None:
        assert operation.write is not None
        compare = [Compare.mod_is(operation.key, operation.expected)] if operation.expected is not None else []
        call = asyncio.ensure_future(self.store.txn(Txn(compare, [Put(operation.key, operation.write)])))
        if given_up:
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            return
        answer: TxnResponse = await call
        operation.succeeded, operation.revision, operation.returned = answer.succeeded, answer.revision, next(self._ticks)

    async def log(self) -> dict[int, tuple[bytes, bytes]]:
        """What the store says that happened."""
        watch, found = self.store.watch(b"\0", FROM_KEY, 1), dict[int, tuple[bytes, bytes]]()
        while self.store.revision > 1 and max(found, default=0) < self.store.revision:
            batch = await anext(watch)
            found[batch.revision] = (batch.events[0].kv.key, batch.events[0].kv.value)
        watch.cancel()
        return found


async def _recorded(store: Store, seed: int = 1) -> Recorder:
    recorder = Recorder(store, seed)
    await recorder.run(clients=8, each=40)
    return recorder


@pytest.mark.parametrize("seed", range(4))
async def test_concurrent_clients_see_one_order_of_all_operations(opened: Opened, seed: int) -> None:
    """Reads, compare-and-swaps and writes of which nobody knows the outcome: as if done one after the other."""
    async with await opened(Settings(unsafe_no_fsync=True)) as store:
        recorder = await _recorded(store, seed)
        log = await recorder.log()
        check(recorder.operations, log)
        assert sum(operation.wrote for operation in recorder.operations) > 50
        assert any(not operation.succeeded for operation in recorder.operations)
        assert any(operation.returned is None for operation in recorder.operations)


async def test_a_read_of_what_is_not_durable_is_found(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """etcd #14370: a value that a crash may still take back."""

    def dirty(self: Store, request: Range) -> RangeResponse:
        kv = self._stage.get(request.key)
        return RangeResponse(self._revision, (kv,) if kv else (), 1)

    monkeypatch.setattr(Store, "range", dirty)
    async with await opened(Settings(unsafe_no_fsync=True)) as store:
        recorder = await _recorded(store)
        with pytest.raises(NotLinearizable, match="found what was not there"):
            check(recorder.operations, await recorder.log())


async def test_a_stale_read_is_found(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that lags answers with a whole and consistent state, of a moment ago."""
    remembered: dict[bytes, tuple[int, KeyValue | None]] = {}
    fresh = Store.range

    def stale(self: Store, request: Range) -> RangeResponse:
        now = fresh(self, request)
        revision, kv = remembered.get(request.key, (now.revision, now.kvs[0] if now.kvs else None))
        remembered[request.key] = (now.revision, now.kvs[0] if now.kvs else None)
        return RangeResponse(revision, (kv,) if kv else (), 1)

    monkeypatch.setattr(Store, "range", stale)
    async with await opened(Settings(unsafe_no_fsync=True)) as store:
        recorder = await _recorded(store)
        with pytest.raises(NotLinearizable, match="had been told, and is before it"):
            check(recorder.operations, await recorder.log())


async def test_a_lost_update_is_found(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """kine #504: two creates of one key, both successful, because a compare looked at published state only."""

    def published(stage: Stage, compare: Compare) -> bool:
        return evaluate._one_holds(compare, stage._index.get(compare.key))

    monkeypatch.setattr(evaluate, "_compare_holds", published)
    async with await opened(Settings(unsafe_no_fsync=True)) as store:
        recorder = await _recorded(store)
        with pytest.raises(NotLinearizable, match="succeeded, and there was"):
            check(recorder.operations, await recorder.log())


def test_what_is_acknowledged_and_not_in_the_log_is_found() -> None:
    """The worst bug of all, and the two that look like it: another's revision, and a write out of nowhere."""
    wrote = Operation(1, b"a", 1, b"x", returned=2, revision=2)
    check([wrote], {2: (b"a", b"x")})
    with pytest.raises(NotLinearizable, match="was acknowledged, and the log has None"):
        check([wrote], {})
    with pytest.raises(NotLinearizable, match="which nobody wrote"):
        check([wrote], {2: (b"a", b"x"), 3: (b"b", b"?")})
    with pytest.raises(NotLinearizable, match="two writes were given one revision"):
        check([wrote, Operation(2, b"a", 1, b"y", returned=3, revision=2)], {2: (b"a", b"x")})
    check([wrote, Operation(2, b"b", 1, b"?")], {2: (b"a", b"x"), 3: (b"b", b"?")})
    check([wrote, Operation(2, b"b", 1, b"?")], {2: (b"a", b"x")})
