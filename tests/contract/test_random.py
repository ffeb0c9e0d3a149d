"""Random histories: the store behind gRPC does what the embedded one does, answer for answer."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import (
    FROM_KEY,
    MEMORY,
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRange,
    InlineDatabase,
    Operation,
    Put,
    Range,
    SortOrder,
    SortTarget,
    Store,
    StoreError,
    Txn,
    WatchStore,
)
from reconcile.runtime.store.remote import EtcdStore
from tests.contract.conftest import REMOTE, Cluster

KEYS = [b"a", b"a/1", b"a/2", b"b", b"b\xff", b"c"]
ENDS = [b"", b"", b"", FROM_KEY, b"b", b"a0", b"a"]
_OPERATIONS = 250


class Script:
    """Makes the same requests for two stores whose revisions differ: revisions are named by their number."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.count = 0

    def txn(self, known: list[tuple[int, int]]) -> tuple[Txn, Txn]:
        """A txn for each store; `known` are revisions of both."""
        chance = self.chance
        shape = [self._operation(depth=0, known=known) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
        failure = [self._operation(depth=0, known=known) for _ in range(chance.choice((0, 0, 1)))]
        compares = [self._compare(known) for _ in range(chance.choice((0, 0, 1, 1, 2)))]
        return tuple(
            Txn([each[at] for each in compares], [each[at] for each in shape], [each[at] for each in failure]) for at in (0, 1)
        )  # type: ignore[return-value]  # there are two

    def _compare(self, known: list[tuple[int, int]]) -> tuple[Compare, Compare]:
        chance = self.chance
        key, op, target = chance.choice(KEYS), chance.choice(list(CompareOp)), chance.choice(list(CompareTarget))
        end = chance.choice((b"", b"", b"", FROM_KEY))
        if target in (CompareTarget.MOD, CompareTarget.CREATE):
            pair = chance.choice([(0, 0), *known])
            return Compare(key, target, op, pair[0], end), Compare(key, target, op, pair[1], end)
        value: int | bytes = b"%d" % chance.randrange(self.count + 1) if target is CompareTarget.VALUE else chance.randrange(3)
        made = Compare(key, target, op, value, end)
        return made, made

    def _operation(self, depth: int, known: list[tuple[int, int]]) -> tuple[Operation, Operation]:
        chance = self.chance
        kind = chance.random()
        if kind < 0.5:
            self.count += 1
            ignore = chance.random() < 0.1
            put = Put(chance.choice(KEYS), b"" if ignore else b"%d" % self.count, 0, chance.random() < 0.5, ignore)
            return put, put
        if kind < 0.7:
            # Without FROM_KEY: etcd overlooks that such a range holds a key that the txn puts, and below a prefix it has an end.
            delete = DeleteRange(
                chance.choice(KEYS), chance.choice([end for end in ENDS if end != FROM_KEY]), chance.random() < 0.5
            )
            return delete, delete
        if kind < 0.95 or depth:
            pair = chance.choice([(0, 0), (0, 0), *known])
            made = Range(
                chance.choice(KEYS), chance.choice(ENDS), 0, chance.choice((0, 0, 1, 2)), chance.random() < 0.1,
                chance.random() < 0.1, chance.choice(list(SortTarget)), chance.choice(list(SortOrder)),
            )  # fmt: skip
            return attrs.evolve(made, revision=pair[0]), attrs.evolve(made, revision=pair[1])
        shape = [self._operation(depth + 1, known) for _ in range(chance.randrange(1, 3))]
        compare = self._compare(known)
        return Txn((compare[0],), [each[0] for each in shape]), Txn((compare[1],), [each[1] for each in shape])


def plain(value: Any, names: dict[int, int]) -> Any:
    """An answer with the number of each revision instead of the revision itself."""
    if attrs.has(type(value)):
        tree = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
        for name in ("attachment", "sub"):
            tree.pop(name, None)
        return {
            name: names.get(each, -1) if name.endswith("revision") and each else plain(each, names)
            for name, each in tree.items()
            if name != "revision" or not isinstance(each, int)
        }
    if isinstance(value, tuple | list):
        return [plain(each, names) for each in value]
    return value


async def outcome(store: WatchStore, request: Txn) -> Any:
    try:
        return await store.txn(request)
    except StoreError as error:
        return type(error).__name__


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_txns_do_the_same_everywhere(cluster: Cluster, seed: int) -> None:
    """Answers, refusals, the state in the end, the watch of it all, and every old revision."""
    async with cluster() as address:
        clock = SystemClock()
        async with (
            await Store.open(MEMORY, clock, database=InlineDatabase) as model,
            await EtcdStore.open(address, clock, settings=REMOTE) as remote,
        ):
            script, known = Script(seed), [(model.revision, remote.revision)]
            names: tuple[dict[int, int], dict[int, int]] = ({}, {})
            watches = [store.watch(b"\0", FROM_KEY, prev_kv=True) for store in (model, remote)]
            for number in range(1, _OPERATIONS):
                requests = script.txn(known[-20:])
                answers = [await outcome(model, requests[0]), await outcome(remote, requests[1])]
                if (model.revision, remote.revision) != known[-1] and model.revision != known[-1][0]:
                    known.append((model.revision, remote.revision))
                    for each, revision in zip(names, known[-1], strict=True):
                        each[revision] = number
                told = [plain(answer, each) for answer, each in zip(answers, names, strict=True)]
                assert told[0] == told[1], requests

            assert len(known) > _OPERATIONS // 4, "most of it did nothing: this shows little"
            for pair in known:
                one = await model.range_at(Range(b"\0", FROM_KEY, pair[0]))
                other = await remote.range_at(Range(b"\0", FROM_KEY, pair[1]))
                assert plain(one, names[0]) == plain(other, names[1])
            for _ in known[1:]:
                batches = [await anext(watch) for watch in watches]
                assert plain(batches[0].events, names[0]) == plain(batches[1].events, names[1])
            for watch in watches:
                watch.cancel()
