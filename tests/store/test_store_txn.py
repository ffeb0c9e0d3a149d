"""Txns do what etcd's do; most rows were observed on etcd 3.5.30."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconcile.runtime.store import (
    FROM_KEY,
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRange,
    DeleteResponse,
    DuplicateKeyError,
    FutureRevisionError,
    KeyEmptyError,
    KeyNotFoundError,
    LeaseNotFoundError,
    LeaseProvidedError,
    Operation,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    RequestError,
    RequestTooLargeError,
    Store,
    TooManyOpsError,
    Txn,
    TxnResponse,
    ValueProvidedError,
)

if TYPE_CHECKING:
    from tests.store.conftest import Opened

_VERSION, _CREATE, _MOD = CompareTarget.VERSION, CompareTarget.CREATE, CompareTarget.MOD
_VALUE, _LEASE = CompareTarget.VALUE, CompareTarget.LEASE
_IS, _GREATER, _LESS, _NOT = CompareOp.EQUAL, CompareOp.GREATER, CompareOp.LESS, CompareOp.NOT_EQUAL


def _puts(count: int, prefix: bytes = b"p") -> list[Operation]:
    return [Put(b"%s/%03d" % (prefix, i), b"v") for i in range(count)]


async def test_each_effective_write_is_one_revision_and_a_no_op_none(opened: Opened) -> None:
    """Revisions are dense: watches count on every number having happened once."""
    async with await opened() as store:
        first = await store.put(b"a", b"1", prev_kv=True)
        assert (first.revision, first.prev_kv) == (2, None)
        second = await store.put(b"a", b"2", prev_kv=True)
        assert second.prev_kv is not None
        assert (second.revision, second.prev_kv.value, second.prev_kv.mod_revision) == (3, b"1", 2)
        assert (second.kv.create_revision, second.kv.version) == (2, 2)
        assert await store.delete(b"missing") == DeleteResponse(3, 0)
        gone = await store.delete(b"a", prev_kv=True)
        assert (gone.revision, gone.deleted, gone.prev_kvs) == (4, 1, (second.kv,))
        again = await store.put(b"a", b"3")
        assert (again.kv.create_revision, again.kv.mod_revision, again.kv.version) == (5, 5, 1)
        assert await store.txn(Txn()) == TxnResponse(5, True)


_REFUSED: list[tuple[str, Txn, type[RequestError], str]] = [
    ("put without a key", Txn(success=[Put(b"", b"x")]), KeyEmptyError, "etcdserver: key is not provided"),
    ("delete without a key", Txn(success=[DeleteRange(b"")]), KeyEmptyError, "etcdserver: key is not provided"),
    ("compare without a key", Txn([Compare.missing(b"")]), KeyEmptyError, "etcdserver: key is not provided"),
    ("ignore_value of nothing", Txn(success=[Put(b"m", ignore_value=True)]), KeyNotFoundError, "etcdserver: key not found"),
    ("ignore_lease of nothing", Txn(success=[Put(b"m", ignore_lease=True)]), KeyNotFoundError, "etcdserver: key not found"),
    ("both values", Txn(success=[Put(b"a", b"x", ignore_value=True)]), ValueProvidedError, "etcdserver: value is provided"),
    ("both leases", Txn(success=[Put(b"a", lease=7, ignore_lease=True)]), LeaseProvidedError, "etcdserver: lease is provided"),
    ("unknown lease", Txn(success=[Put(b"b", lease=7)]), LeaseNotFoundError, "etcdserver: requested lease not found"),
    (
        "unknown lease after a good put",
        Txn(success=[Put(b"b", b"1"), Put(b"c", lease=7)]),
        LeaseNotFoundError,
        "etcdserver: requested lease not found",
    ),
    (
        "range of the future after a good put",
        Txn(success=[Put(b"b", b"1"), Range(b"b", revision=99)]),
        FutureRevisionError,
        "etcdserver: mvcc: required revision is a future revision",
    ),
    ("129 operations", Txn(success=_puts(129)), TooManyOpsError, "etcdserver: too many operations in txn request"),
    (
        "100 and 29 nested",
        Txn(success=[*_puts(99), Txn(success=_puts(29, b"q"))]),
        TooManyOpsError,
        "etcdserver: too many operations in txn request",
    ),
    ("two puts", Txn(success=[Put(b"x"), Put(b"x")]), DuplicateKeyError, "etcdserver: duplicate key given in txn request"),
    (
        "put in a deleted range",
        Txn(success=[DeleteRange(b"x", b"z"), Put(b"y")]),
        DuplicateKeyError,
        "etcdserver: duplicate key given in txn request",
    ),
    (
        "put before the delete of its range",
        Txn(success=[Put(b"y"), DeleteRange(b"x", b"z")]),
        DuplicateKeyError,
        "etcdserver: duplicate key given in txn request",
    ),
    (
        "put in a nested txn and around it",
        Txn(success=[Put(b"x"), Txn(failure=[Put(b"x")])]),
        DuplicateKeyError,
        "etcdserver: duplicate key given in txn request",
    ),
    (
        "delete and put in nested siblings",
        Txn(success=[Txn(success=[DeleteRange(b"x")]), Txn(success=[Put(b"x")])]),
        DuplicateKeyError,
        "etcdserver: duplicate key given in txn request",
    ),
    (
        "put around a nested delete",
        Txn(success=[Txn(success=[DeleteRange(b"x")]), Put(b"x")]),
        DuplicateKeyError,
        "etcdserver: duplicate key given in txn request",
    ),
    ("1.5 MiB", Txn(success=[Put(b"x", bytes(1_572_864))]), RequestTooLargeError, "etcdserver: request is too large"),
]


@pytest.mark.parametrize(("txn", "error", "text"), [row[1:] for row in _REFUSED], ids=[row[0] for row in _REFUSED])
async def test_a_refused_txn_says_etcds_words_and_writes_nothing(
    opened: Opened, txn: Txn, error: type[RequestError], text: str
) -> None:
    """Half a txn would be a lie to every watcher, and clients match on the texts."""
    async with await opened() as store:
        await store.put(b"a", b"1")
        with pytest.raises(error) as caught:
            await store.txn(txn)
        assert (caught.value.text, str(caught.value).startswith(text)) == (text, True)
        assert (store.revision, len(store)) == (2, 1)
        assert (await store.put(b"a", b"2")).kv.version == 2


_ALLOWED: list[tuple[str, Txn]] = [
    ("128 operations", Txn(success=_puts(128))),
    ("100 and 28 nested", Txn(success=[*_puts(99), Txn(success=_puts(28, b"q"))])),
    ("one key in then and else of one nested txn", Txn(success=[Txn(success=[Put(b"x")], failure=[Put(b"x")])])),
    ("put in then, delete in else", Txn(success=[Txn(success=[Put(b"x")], failure=[DeleteRange(b"x")])])),
    ("put and delete in nested siblings", Txn(success=[Txn(success=[Put(b"x")]), Txn(success=[DeleteRange(b"x")])])),
    ("put under a delete from key", Txn(success=[DeleteRange(b"a", FROM_KEY), Put(b"x")])),
    ("the same key in both branches", Txn(success=[Put(b"x")], failure=[Put(b"x")])),
    ("1.5 MiB less one KiB", Txn(success=[Put(b"x", bytes(1_572_864 - 1024))])),
]


@pytest.mark.parametrize("txn", [row[1] for row in _ALLOWED], ids=[row[0] for row in _ALLOWED])
async def test_a_txn_at_the_limit_is_one_revision(opened: Opened, txn: Txn) -> None:
    """The limits are etcd's: what it takes, we take."""
    async with await opened() as store:
        assert (await store.txn(txn)).revision == 2


async def _compared(store: Store, *compares: Compare) -> bool:
    return (await store.txn(Txn(compares))).succeeded


async def test_compares_read_a_missing_key_as_zeros_except_its_value(opened: Opened) -> None:
    """`create if absent` is a compare with zero; a missing value equals nothing and differs from nothing (observed)."""
    async with await opened() as store:
        lease = await store.lease_grant(100)
        await store.put(b"a/1", b"m")
        await store.put(b"a/2", b"m", lease=lease.id)
        await store.put(b"a/2", b"n", lease=lease.id)
        table: list[tuple[Compare, bool]] = [
            (Compare(b"no", _VALUE, _IS, b""), False),
            (Compare(b"no", _VALUE, _NOT, b"x"), False),
            (Compare(b"no", _VERSION, _IS, 0), True),
            (Compare(b"no", _LEASE, _IS, 0), True),
            (Compare.missing(b"no"), True),
            (Compare.missing(b"a/1"), False),
            (Compare.mod_is(b"a/2", 4), True),
            (Compare(b"a/2", _CREATE, _IS, 3), True),
            (Compare(b"a/2", _VERSION, _GREATER, 1), True),
            (Compare(b"a/2", _VERSION, _LESS, 2), False),
            (Compare(b"a/2", _LEASE, _IS, lease.id), True),
            (Compare(b"a/1", _VALUE, _IS, b"m"), True),
            (Compare(b"a/1", _VALUE, _GREATER, b"l"), True),
            (Compare(b"a/1", _VALUE, _LESS, b"l"), False),
            (Compare(b"a/1", _MOD, _NOT, 2), False),
            (Compare(b"a/", _VERSION, _GREATER, 0, b"a0"), True),
            (Compare(b"a/", _VERSION, _GREATER, 1, b"a0"), False),
            (Compare(b"b/", _VERSION, _GREATER, 0, b"b0"), False),
            (Compare(b"b/", _VERSION, _IS, 0, b"b0"), True),
        ]
        for compare, holds in table:
            assert await _compared(store, compare) is holds, compare
        assert not await _compared(store, table[2][0], table[0][0])
        assert store.revision == 4


async def test_operations_run_in_order_and_see_those_before_them(opened: Opened) -> None:
    """A range before the first change of its txn reports the revision before it (observed: 12 then 13)."""
    async with await opened() as store:
        await store.put(b"k", b"old")
        response = await store.txn(Txn(success=[Range(b"k"), DeleteRange(b"z"), Put(b"k", b"new"), Range(b"k", FROM_KEY)]))
        before, nothing, put, after = response.responses
        assert isinstance(before, RangeResponse)
        assert isinstance(after, RangeResponse)
        assert isinstance(put, PutResponse)
        assert (before.revision, before.kvs[0].value) == (2, b"old")
        assert nothing == DeleteResponse(2, 0)
        assert (after.revision, after.kvs, after.count) == (3, (put.kv,), 1)
        twice = await store.txn(Txn(success=[DeleteRange(b"k"), DeleteRange(b"a", b"z"), Range(b"k")]))
        assert twice.responses == (DeleteResponse(4, 1), DeleteResponse(4, 0), RangeResponse(4))


async def test_nested_compares_see_the_state_before_the_whole_txn(opened: Opened) -> None:
    """etcd chooses the whole path first, then runs it."""
    async with await opened() as store:
        nested = Txn([Compare.missing(b"k")], [Put(b"then", b"1")], [Put(b"else", b"1")])
        response = await store.txn(Txn(success=[Put(b"k", b"1"), nested]))
        inner = response.responses[1]
        assert isinstance(inner, TxnResponse)
        assert inner.succeeded
        assert store.get(b"then") is not None
        assert store.get(b"else") is None
        assert (await store.txn(Txn(success=[nested]))).responses[0].succeeded is False  # type: ignore[union-attr]  # nested


async def test_the_failure_branch_answers_the_present(opened: Opened) -> None:
    """Optimistic writers read what beat them in the same round trip; nothing is written for it."""
    async with await opened() as store:
        await store.put(b"k", b"1")
        response = await store.txn(Txn([Compare.mod_is(b"k", 9)], [Put(b"k", b"2")], [Range(b"k")]))
        assert not response.succeeded
        found = response.responses[0]
        assert isinstance(found, RangeResponse)
        assert (found.kvs[0].value, response.revision) == (b"1", 2)


async def test_a_txn_reads_the_past_and_an_unreached_range_refuses_nothing(opened: Opened) -> None:
    """Ranges at old revisions work inside a txn; one in the branch not taken may ask for anything."""
    async with await opened() as store:
        await store.put(b"k", b"1")
        await store.put(b"k", b"2")
        response = await store.txn(Txn(success=[Put(b"j"), Range(b"k", revision=2)], failure=[Range(b"k", revision=99)]))
        found = response.responses[1]
        assert isinstance(found, RangeResponse)
        assert (found.revision, found.kvs[0].value) == (4, b"1")


async def test_ignore_value_and_ignore_lease_keep_what_is_there(opened: Opened) -> None:
    """A lease can be changed without knowing the value, and the other way round; each is a revision."""
    async with await opened() as store:
        lease = await store.lease_grant(60)
        await store.put(b"k", b"v")
        await store.txn(Txn(success=[Put(b"k", lease=lease.id, ignore_value=True)]))
        await store.txn(Txn(success=[Put(b"k", b"w", ignore_lease=True)]))
        kv = store.get(b"k")
        assert kv is not None
        assert (kv.value, kv.lease, kv.version, kv.mod_revision) == (b"w", lease.id, 3, 4)


async def test_an_attachment_rides_with_its_version_and_is_gone_after_a_restart(opened: Opened) -> None:
    """The API server decodes an object once per revision: what it attached must be the very same object everywhere."""
    mark, later = object(), object()
    async with await opened() as store:
        watch = store.watch(b"k", prev_kv=True)
        put = await store.put(b"k", b"1", attachment=mark)
        assert put.kv is store.get(b"k")
        assert (await anext(watch)).events[0].kv.attachment is mark
        put.kv.attachment = later
        await store.put(b"k", b"2")
        event = (await anext(watch)).events[0]
        assert event.prev_kv is not None
        assert (event.prev_kv.attachment, event.kv.attachment) == (later, None)
        assert (await store.range_at(Range(b"k", revision=2))).kvs[0].attachment is later
        with pytest.raises(AttributeError):
            put.kv.value = b"3"
    async with await opened() as store:
        found = (await store.range_at(Range(b"k", revision=2))).kvs[0]
        assert (found, found.attachment) == (put.kv, None)


async def test_a_cause_is_kept_beside_its_revision(opened: Opened) -> None:
    """`why` tells what made a revision, also after a restart."""
    async with await opened() as store:
        await store.txn(Txn(success=[Put(b"a"), Put(b"b")]), cause='{"handler":"scale"}')
        await store.put(b"a", b"1")
        assert (await store.cause(2), await store.cause(3), await store.cause(9)) == ('{"handler":"scale"}', None, None)
    async with await opened() as store:
        assert (await store.cause(2), await store.cause(3)) == ('{"handler":"scale"}', None)
