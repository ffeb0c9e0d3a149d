"""Random operations against a plain model: whatever is done in whatever order, the store answers as the model does.

The model keeps every revision's whole state in a dict. It is slow and obvious; the store is neither.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from reconcile.runtime.store import (
    AioDatabase,
    CompactedError,
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRange,
    DuplicateKeyError,
    FutureRevisionError,
    InlineDatabase,
    KeyValue,
    Put,
    Range,
    RequestError,
    Settings,
    Store,
    Txn,
)
from reconcile.runtime.store.database import DatabaseFactory
from reconcile.runtime.store.hashkv import crc32c, encode_key_value

if TYPE_CHECKING:
    from tests.store.conftest import Opened, VirtualClock

State = dict[bytes, KeyValue]


class Model:
    """Every state there ever was, and every row of the log."""

    def __init__(self) -> None:
        self.states: dict[int, State] = {1: {}}
        self.rows: list[tuple[int, int, bool, KeyValue]] = []
        self.revision = 1
        self.compacted = -1
        self.leases: set[int] = set()

    @property
    def now(self) -> State:
        return self.states[self.revision]

    def txn(self, txn: Txn) -> bool:
        state, revision = dict(self.now), self.revision + 1
        rows: list[tuple[int, int, bool, KeyValue]] = []
        succeeded = self._run(txn, self._path(txn), state, revision, rows)
        if rows:
            self.rows += rows
            self.revision = revision
            self.states[revision] = state
        return succeeded

    def revoke(self, lease: int) -> None:
        self.leases.discard(lease)
        keys = sorted(key for key, kv in self.now.items() if kv.lease == lease)
        self.txn(Txn(success=[DeleteRange(key) for key in keys]))

    def hash_kv(self) -> int:
        latest = {kv.key: (rev, sub, tomb) for rev, sub, tomb, kv in self.rows}
        keep = {(rev, sub) for rev, sub, tomb in latest.values() if not tomb}
        held = {kv.key: (rev, sub) for rev, sub, _, kv in self.rows if rev <= self.compacted}
        crc = crc32c(b"key")
        for rev, sub, tomb, kv in self.rows:
            if rev <= self.compacted and (rev, sub) != held[kv.key]:
                continue  # compaction has taken it off the disk by the time of a hash
            if (rev <= self.compacted and keep and (rev, sub) not in keep) or (rev == self.compacted and tomb):
                continue
            if tomb and rev < self.compacted:
                continue
            encoded = encode_key_value(kv.key, kv.value, kv.create_revision, rev, kv.version, kv.lease)
            if tomb:
                encoded = encode_key_value(kv.key, b"", 0, 0, 0, 0)
            crc = crc32c(rev.to_bytes(8, "big") + b"_" + sub.to_bytes(8, "big") + (b"t" if tomb else b"") + encoded, crc)
        return crc

    def _path(self, txn: Txn) -> list[Any]:  # Any: [succeeded, nested paths], nested without end
        succeeded = all(self._holds(compare) for compare in txn.compare)
        branch = txn.success if succeeded else txn.failure
        return [succeeded, [self._path(op) if isinstance(op, Txn) else None for op in branch]]

    def _holds(self, compare: Compare) -> bool:
        kv = self.now.get(compare.key)
        if compare.target is CompareTarget.VALUE:
            if kv is None:
                return False
            found: int | bytes = kv.value
        else:
            found = {
                CompareTarget.VERSION: kv.version if kv else 0,
                CompareTarget.CREATE: kv.create_revision if kv else 0,
                CompareTarget.MOD: kv.mod_revision if kv else 0,
                CompareTarget.LEASE: kv.lease if kv else 0,
            }[compare.target]
        return found == compare.value if compare.op is CompareOp.EQUAL else found != compare.value

    def _run(self, txn: Txn, path: list[Any], state: State, revision: int, rows: list[Any]) -> bool:
        for op, nested in zip(txn.success if path[0] else txn.failure, path[1], strict=True):
            if isinstance(op, Txn):
                self._run(op, nested, state, revision, rows)
            elif isinstance(op, Put):
                old = state.get(op.key)
                create, version = (old.create_revision, old.version + 1) if old else (revision, 1)
                state[op.key] = kv = KeyValue(op.key, op.value, create, revision, version, op.lease)
                rows.append((revision, len(rows), False, kv))
            elif isinstance(op, DeleteRange):
                for key in sorted(state):
                    if (op.key <= key < op.range_end) if op.range_end else key == op.key:
                        del state[key]
                        rows.append((revision, len(rows), True, KeyValue(key, mod_revision=revision)))
        return bool(path[0])


_KEYS = st.sampled_from([b"a", b"b", b"ba", b"c", b"d"])
_COMPARES = st.builds(
    Compare,
    _KEYS,
    st.sampled_from([CompareTarget.VERSION, CompareTarget.CREATE, CompareTarget.MOD, CompareTarget.LEASE]),
    st.sampled_from([CompareOp.EQUAL, CompareOp.NOT_EQUAL]),
    st.integers(0, 3),
)
_PUTS = st.builds(Put, _KEYS, st.binary(max_size=3))
_DELETES = st.builds(DeleteRange, _KEYS, st.sampled_from([b"", b"", b"c", b"e"]))
_TXNS = st.recursive(
    st.one_of(_PUTS, _DELETES),
    lambda inner: st.builds(Txn, st.lists(_COMPARES, max_size=2), st.lists(inner, max_size=3), st.lists(inner, max_size=2)),
    max_leaves=6,
).map(lambda op: op if isinstance(op, Txn) else Txn(success=[op]))


class StoreMachine(RuleBasedStateMachine):
    """The rules; `database` is set by the test."""

    database: DatabaseFactory = InlineDatabase

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = _clock()
        self.model = Model()
        self.loop = asyncio.new_event_loop()
        self.store = self.loop.run_until_complete(self._open())

    async def _open(self) -> Store:
        options = Settings(ring_bytes_max=1_500, compaction_rows_max=3, unsafe_no_fsync=True)
        return await Store.open(self.folder / "data", self.clock, database=type(self).database, settings=options)

    def teardown(self) -> None:
        self.loop.run_until_complete(self._check_watch())
        self.loop.run_until_complete(self.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    @rule(txn=_TXNS)
    def txn(self, txn: Txn) -> None:
        try:
            response = self.loop.run_until_complete(self.store.txn(txn))
        except RequestError as error:
            assert isinstance(error, DuplicateKeyError)  # noqa: PT017 (a txn may be refused, or not)
            return
        assert response.succeeded == self.model.txn(txn)
        assert response.revision == self.model.revision

    @rule(txns=st.lists(_TXNS, min_size=2, max_size=5))
    def batch(self, txns: list[Txn]) -> None:
        async def all_at_once() -> list[Any]:  # Any: responses and errors
            return await asyncio.gather(*(self.store.txn(txn) for txn in txns), return_exceptions=True)

        for txn, response in zip(txns, self.loop.run_until_complete(all_at_once()), strict=True):
            if not isinstance(response, RequestError):
                assert response.succeeded == self.model.txn(txn)
                assert response.revision == self.model.revision

    @rule(lease=st.integers(1, 2), key=_KEYS)
    def put_with_lease(self, lease: int, key: bytes) -> None:
        if lease not in self.model.leases:
            self.loop.run_until_complete(self.store.lease_grant(10 * lease, lease))
            self.model.leases.add(lease)
        self.loop.run_until_complete(self.store.put(key, b"leased", lease=lease))
        self.model.txn(Txn(success=[Put(key, b"leased", lease)]))

    @precondition(lambda self: self.model.leases)
    @rule(expire=st.booleans())
    def end_a_lease(self, expire: bool) -> None:
        lease = min(self.model.leases)
        if expire:

            async def pass_time() -> None:
                while lease in self.store.lease_ids():
                    for other in self.model.leases - {lease}:
                        await self.store.lease_keep_alive(other)
                    await self.clock.advance(1)

            self.loop.run_until_complete(pass_time())
        else:
            self.loop.run_until_complete(self.store.lease_revoke(lease))
        self.model.revoke(lease)

    @rule(back=st.integers(-1, 12))
    def compact(self, back: int) -> None:
        revision = self.model.revision - back
        try:
            self.loop.run_until_complete(self.store.compact(revision, physical=True))
            self.model.compacted = revision
        except CompactedError:
            assert revision <= self.model.compacted
        except FutureRevisionError:
            assert revision > self.model.revision

    @rule(back=st.integers(0, 12), key=_KEYS, end=st.sampled_from([b"", b"c", b"z"]), limit=st.integers(0, 2))
    def range_at(self, back: int, key: bytes, end: bytes, limit: int) -> None:
        revision = max(1, self.model.revision - back)
        try:
            found = self.loop.run_until_complete(self.store.range_at(Range(key, end, revision=revision, limit=limit)))
        except CompactedError:
            assert revision < self.model.compacted
            return
        assert revision >= self.model.compacted
        state = self.model.states[revision]
        kvs = [state[name] for name in sorted(state) if ((key <= name < end) if end else name == key)]
        assert found.count == len(kvs)
        assert list(found.kvs) == (kvs[:limit] if limit else kvs)
        assert found.more == (0 < limit < len(kvs))

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.store = self.loop.run_until_complete(self._open())
        assert set(self.store.lease_ids()) == self.model.leases

    @rule()
    def hash_kv(self) -> None:
        async def settled() -> int:
            await self.store._compactor.finish()
            return await self.store.hash_kv()

        assert self.loop.run_until_complete(settled()) == self.model.hash_kv()

    @invariant()
    def the_present_is_the_models(self) -> None:
        assert self.store.revision == self.model.revision
        assert self.store.compacted == self.model.compacted
        found = self.store.range(Range(b"\0", b"\0")).kvs
        assert {kv.key: kv for kv in found} == self.model.now
        for lease in self.model.leases:
            keys = sorted(key for key, kv in self.model.now.items() if kv.lease == lease)
            assert list(self.store.lease_time_to_live(lease, keys=True).keys) == keys

    async def _check_watch(self) -> None:
        """All that is not compacted is told again, in order, whole, with what was there before."""
        start = max(2, self.model.compacted)
        watch = self.store.watch(b"\0", b"\0", start, prev_kv=True)
        rows = [row for row in self.model.rows if row[0] >= start]
        for revision in sorted({row[0] for row in rows}):
            batch = await anext(watch)
            assert batch.revision == revision
            wanted = [(tomb, kv.key, kv.value) for rev, _, tomb, kv in rows if rev == revision]
            assert [(e.kind.value == "DELETE", e.kv.key, e.kv.value) for e in batch.events] == wanted
            for event in batch.events:
                before = self.model.states[revision - 1].get(event.kv.key)
                assert event.prev_kv == (before if revision - 1 >= self.model.compacted else None)


def _clock() -> VirtualClock:
    raise NotImplementedError("set by the test: conftest's VirtualClock")


@pytest.mark.parametrize(("factory", "examples"), [(InlineDatabase, 60), (AioDatabase, 15)], ids=["inline", "aio"])
def test_the_store_answers_as_the_model_does(
    factory: DatabaseFactory, examples: int, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine covers the orders of operations that nobody thought of."""
    monkeypatch.setitem(globals(), "_clock", lambda: type(clock)())
    machine = type("Machine", (StoreMachine,), {"database": factory})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_the_hash_of_a_store_whose_keys_are_all_gone_is_that_of_no_rows(opened: Opened) -> None:
    """The model once kept puts in its hash that compaction had taken, where no key was left: found by a random run."""
    async with await opened() as store:
        await store.put(b"k", b"v")
        await store.delete(b"k")
        await store.compact(3, physical=True)
        assert await store.hash_kv() == crc32c(b"key")
