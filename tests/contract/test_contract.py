"""What the rest of the runtime relies on, of every store: revisions are compared, never counted, for a cluster is shared."""

from __future__ import annotations

import pytest

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import (
    DELETE,
    FROM_KEY,
    PUT,
    CompactedError,
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRange,
    DeleteResponse,
    DuplicateKeyError,
    EmptyRangeError,
    FutureRevisionError,
    KeyEmptyError,
    KeyNotFoundError,
    KeyValue,
    LeaseExistsError,
    LeaseNotFoundError,
    Narrow,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    SortOrder,
    SortTarget,
    StoreClosedError,
    TooManyOpsError,
    Txn,
    TxnResponse,
    Watch,
    WatchBatch,
    WatchStore,
    prefix_end,
)
from tests.contract.conftest import Opened

ALL = (b"\0", FROM_KEY)


async def next_events(watch: Watch) -> WatchBatch:
    """The next batch that is more than a sign of life."""
    async for batch in watch:
        if not batch.progress:
            return batch
    raise AssertionError("the watch ended")


async def filled(store: WatchStore, *keys: bytes) -> list[int]:
    return [(await store.put(key, b"value of " + key)).revision for key in keys]


# Writing


async def test_a_put_is_seen_by_the_next_read(opened: Opened) -> None:
    """The API server answers a write with what it reads, without waiting for anything else."""
    async with opened() as store:
        before = store.revision
        made = await store.put(b"a", b"1")
        changed = await store.put(b"a", b"2", prev_kv=True)
        found = store.get(b"a")

        assert before < made.revision < changed.revision == store.revision
        assert found is not None
        assert (found.key, found.value) == (b"a", b"2")
        assert (found.create_revision, found.mod_revision, found.version) == (made.revision, changed.revision, 2)
        assert made.kv.version == 1
        assert changed.kv == found
        assert changed.prev_kv == made.kv
        assert store.get(b"b") is None


async def test_a_delete_says_what_it_deleted(opened: Opened) -> None:
    """Garbage collection counts on it."""
    async with opened() as store:
        await filled(store, b"a/1", b"a/2", b"b")
        answer = await store.delete(b"a/", prefix_end(b"a/"), prev_kv=True)

        assert answer.deleted == 2
        assert [kv.key for kv in answer.prev_kvs] == [b"a/1", b"a/2"]
        assert [kv.key for kv in store.range(Range(*ALL)).kvs] == [b"b"]
        revision = store.revision
        assert (await store.delete(b"nothing")).deleted == 0
        assert store.revision == revision, "what deletes nothing makes no revision"


async def test_a_txn_compares_and_swaps(opened: Opened) -> None:
    """Every write of an object is one: a stale one must change nothing and say so."""
    async with opened() as store:
        made = await store.txn(Txn((Compare.missing(b"a"),), (Put(b"a", b"1"),)))
        again = await store.txn(Txn((Compare.missing(b"a"),), (Put(b"a", b"x"),), (Range(b"a"),)))
        moved = await store.txn(Txn((Compare.mod_is(b"a", made.revision),), (Put(b"a", b"2"),)))
        stale = await store.txn(Txn((Compare.mod_is(b"a", made.revision),), (DeleteRange(b"a"),)))

        assert (made.succeeded, again.succeeded, moved.succeeded, stale.succeeded) == (True, False, True, False)
        found = again.responses[0]
        assert isinstance(found, RangeResponse)
        assert [kv.value for kv in found.kvs] == [b"1"]
        assert again.revision == made.revision
        kv = store.get(b"a")
        assert kv is not None
        assert (kv.value, kv.mod_revision) == (b"2", moved.revision)


async def test_a_txn_over_many_keys_is_one_revision(opened: Opened) -> None:
    """The scheduler binds, and preempts, in one step or not at all."""
    async with opened() as store:
        await filled(store, b"old")
        done = await store.txn(
            Txn(
                (Compare(b"", CompareTarget.VERSION, CompareOp.GREATER, 0, FROM_KEY),)[:0],
                (Put(b"a", b"1"), Put(b"b", b"2"), DeleteRange(b"old"), Range(*ALL)),
            )
        )

        a, b, old, everything = done.responses
        assert isinstance(a, PutResponse)
        assert isinstance(b, PutResponse)
        assert isinstance(old, DeleteResponse)
        assert isinstance(everything, RangeResponse)
        assert a.kv.mod_revision == b.kv.mod_revision == done.revision
        assert old.deleted == 1
        assert [kv.key for kv in everything.kvs] == [b"a", b"b"]
        assert everything.count == 2


async def test_a_nested_txn_chooses_for_itself(opened: Opened) -> None:
    """etcd has them, and whoever wrote for etcd may use them."""
    async with opened() as store:
        await filled(store, b"a")
        inner = Txn((Compare(b"a", CompareTarget.VERSION, CompareOp.EQUAL, 7),), (Put(b"b", b"yes"),), (Put(b"b", b"no"),))
        done = await store.txn(Txn((), (inner, Range(b"a"))))

        nested = done.responses[0]
        assert isinstance(nested, TxnResponse)
        assert not nested.succeeded
        kv = store.get(b"b")
        assert kv is not None
        assert kv.value == b"no"


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare(b"a", CompareTarget.VALUE, CompareOp.EQUAL, b"value of a"), True),
        (Compare(b"a", CompareTarget.VALUE, CompareOp.GREATER, b"zzz"), False),
        (Compare(b"a", CompareTarget.LEASE, CompareOp.EQUAL, 0), True),
        (Compare(b"a", CompareTarget.VERSION, CompareOp.NOT_EQUAL, 1), False),
        (Compare(b"", CompareTarget.CREATE, CompareOp.GREATER, 0, FROM_KEY), True),
        (Compare(b"none", CompareTarget.VALUE, CompareOp.NOT_EQUAL, b""), False),
    ],
)
async def test_compares_look_at_every_field(opened: Opened, compare: Compare, holds: bool) -> None:
    """A compare that is read wrongly lets a stale write through."""
    async with opened() as store:
        await filled(store, b"a", b"b")
        if not compare.key:
            compare = Compare(b"a", compare.target, compare.op, compare.value, FROM_KEY)
        assert (await store.txn(Txn((compare,)))).succeeded is holds


async def test_impossible_requests_are_refused_by_name(opened: Opened) -> None:
    """A caller handles what it can tell apart."""
    async with opened() as store:
        await filled(store, b"a")
        revision = store.revision
        with pytest.raises(KeyEmptyError):
            await store.put(b"", b"1")
        with pytest.raises(DuplicateKeyError):
            await store.txn(Txn((), (Put(b"a", b"1"), Put(b"a", b"2"))))
        with pytest.raises(TooManyOpsError):
            await store.txn(Txn((), [Put(b"%d" % number, b"") for number in range(129)]))
        with pytest.raises(KeyNotFoundError):
            await store.txn(Txn((), (Put(b"none", ignore_value=True),)))
        with pytest.raises(LeaseNotFoundError):
            await store.put(b"a", b"1", lease=77)
        with pytest.raises(EmptyRangeError):
            store.watch(b"b", b"a")
        assert store.revision == revision


async def test_as_many_operations_as_etcd_takes_are_taken(opened: Opened) -> None:
    """What is kept beside a txn must not take room from it."""
    async with opened() as store:
        done = await store.txn(Txn((), [Put(b"%03d" % number, b"") for number in range(128)]), "many")
        assert len(done.responses) == 128
        assert store.range(Range(*ALL, count_only=True)).count == 128


# Reading


async def test_ranges_are_half_open_and_in_order(opened: Opened) -> None:
    """Kinds, namespaces and pages are ranges."""
    async with opened() as store:
        await filled(store, b"b", b"a", b"c", b"a/x", b"\xff")

        def keys(key: bytes, end: bytes = b"") -> list[bytes]:
            return [kv.key for kv in store.range(Range(key, end)).kvs]

        assert keys(b"a") == [b"a"]
        assert keys(b"a", b"b") == [b"a", b"a/x"]
        assert keys(b"b", FROM_KEY) == [b"b", b"c", b"\xff"]
        assert keys(*ALL) == [b"a", b"a/x", b"b", b"c", b"\xff"]
        assert keys(b"c", b"a") == []
        with pytest.raises(KeyEmptyError):
            keys(b"")


async def test_ranges_have_etcds_options(opened: Opened) -> None:
    """Lists in pages, counts, and elections live on them; the past must answer as the present does."""
    async with opened() as store:
        first, second, third = await filled(store, b"a", b"b", b"c")
        revision = store.revision
        for at in (0, revision):
            page = await store.range_at(Range(*ALL, revision=at, limit=2))
            assert ([kv.key for kv in page.kvs], page.count, page.more) == ([b"a", b"b"], 3, True)
            counted = await store.range_at(Range(*ALL, revision=at, count_only=True))
            assert (counted.kvs, counted.count, counted.more) == ((), 3, False)
            names = await store.range_at(Range(*ALL, revision=at, keys_only=True))
            assert [(kv.value, kv.mod_revision) for kv in names.kvs] == [(b"", first), (b"", second), (b"", third)]
            newest = Range(*ALL, revision=at, limit=1, sort_target=SortTarget.MOD, sort_order=SortOrder.DESCEND)
            assert [kv.key for kv in (await store.range_at(newest)).kvs] == [b"c"]
            middle = Range(*ALL, revision=at, min_mod_revision=second, max_create_revision=second)
            assert [kv.key for kv in (await store.range_at(middle)).kvs] == [b"b"]
            if not at:
                await filled(store, b"d")  # from here on, `revision` is the past


async def test_the_past_is_read_as_it_was(opened: Opened) -> None:
    """A list in pages is of one revision, whatever is written meanwhile, and over a restart."""
    async with opened() as store:
        await filled(store, b"a", b"b")
        revision = store.revision
        await store.put(b"a", b"changed")
        await store.delete(b"b")
        await filled(store, b"c")

        recent = await store.range_at(Range(*ALL, revision=revision))
    async with opened() as store:
        old = await store.range_at(Range(*ALL, revision=revision))
        assert [(kv.key, kv.value) for kv in recent.kvs] == [(b"a", b"value of a"), (b"b", b"value of b")]
        assert old.kvs == recent.kvs
        assert (old.count, old.revision >= revision) == (2, True)
        with pytest.raises(FutureRevisionError):
            await store.range_at(Range(b"a", revision=store.revision + 1_000))


async def test_what_is_compacted_is_refused(opened: Opened) -> None:
    """A client must list again; an answer out of a hole would be wrong."""
    async with opened() as store:
        revisions = await filled(store, b"a", b"b", b"c", b"d")
        await store.compact(revisions[2])

        assert [kv.key for kv in (await store.range_at(Range(*ALL, revision=revisions[2]))).kvs] == [b"a", b"b", b"c"]
        assert store.compacted == revisions[2]
        with pytest.raises(CompactedError) as refused:
            await store.range_at(Range(*ALL, revision=revisions[1]))
        assert (refused.value.revision, refused.value.compacted) == (revisions[1], revisions[2])
        with pytest.raises(CompactedError):
            await store.compact(revisions[0])
        with pytest.raises(FutureRevisionError):
            await store.compact(store.revision + 1_000)
    async with opened() as store:
        with pytest.raises(CompactedError):
            await store.range_at(Range(*ALL, revision=revisions[0]))
        assert [kv.key for kv in store.range(Range(*ALL)).kvs] == [b"a", b"b", b"c", b"d"]


async def test_to_catch_up_is_to_know_of_every_write(opened: Opened) -> None:
    """A read that must be of now says so with this."""
    async with opened() as store:
        (revision,) = await filled(store, b"a")
        assert await store.catch_up() >= revision
        assert await store.catch_up() == store.revision


# Following


async def test_a_watch_tells_every_change_in_order(opened: Opened) -> None:
    """Controllers know the world by nothing else."""
    async with opened() as store:
        watch = store.watch(b"a", prefix_end(b"a"), prev_kv=True)
        await filled(store, b"a", b"other", b"a/x")
        await store.put(b"a", b"2")
        await store.delete(b"a")

        told = [(await next_events(watch)).events[0] for _ in range(4)]
        assert [(event.kind, event.kv.key) for event in told] == [(PUT, b"a"), (PUT, b"a/x"), (PUT, b"a"), (DELETE, b"a")]
        assert [event.prev_kv.value if event.prev_kv else None for event in told] == [None, None, b"value of a", b"2"]
        assert told[3].kv.mod_revision == store.revision
        assert told[3].kv.value == b""
        watch.cancel()


async def test_a_narrowed_watch_is_told_of_what_has_or_had_its_value(opened: Opened) -> None:
    """Who follows one object of ten thousand is not woken for the others."""

    def of(kv: KeyValue) -> bytes:
        return kv.value

    async with opened() as store:
        watch = store.watch(b"a/", prefix_end(b"a/"), prev_kv=True, narrow=Narrow(of, b"mine"))
        for key, value in ((b"a/1", b"mine"), (b"a/2", b"yours"), (b"a/1", b"yours"), (b"a/2", b"mine"), (b"b", b"mine")):
            await store.put(key, value)
        await store.delete(b"a/1")
        await store.delete(b"a/2")
        told = [(await next_events(watch)).events[0] for _ in range(4)]
        assert [(event.kind, event.kv.key, event.kv.value) for event in told] == [
            (PUT, b"a/1", b"mine"), (PUT, b"a/1", b"yours"), (PUT, b"a/2", b"mine"), (DELETE, b"a/2", b""),
        ]  # fmt: skip
        watch.cancel()


async def test_a_revision_is_told_whole(opened: Opened) -> None:
    """Half of a txn is a state that never was."""
    async with opened() as store:
        watch = store.watch(*ALL)
        done = await store.txn(Txn((), (Put(b"b", b"1"), Put(b"a", b"2"))))
        batch = await next_events(watch)
        assert (batch.revision, [event.kv.key for event in batch.events]) == (done.revision, [b"b", b"a"])
        watch.cancel()


async def test_a_watch_begins_where_it_is_told_to(opened: Opened) -> None:
    """Who lists, then watches from the list's revision, misses nothing; also over a restart, out of the stored history."""
    async with opened() as store:
        revisions = await filled(store, b"a", b"b", b"c")
        await store.delete(b"b")
        watch = store.watch(*ALL, start_revision=revisions[1])
        assert [(await next_events(watch)).revision for _ in range(3)] == [*revisions[1:], store.revision]
        watch.cancel()
    async with opened() as store:
        watch = store.watch(b"b", start_revision=revisions[0], prev_kv=True)
        made, gone = await next_events(watch), await next_events(watch)
        await filled(store, b"b")
        new = await next_events(watch)

        assert [batch.events[0].kind for batch in (made, gone, new)] == [PUT, DELETE, PUT]
        assert made.revision == revisions[1]
        assert gone.events[0].prev_kv is not None
        assert gone.events[0].prev_kv.value == b"value of b"
        assert new.revision == store.revision
        watch.cancel()


async def test_a_watch_of_a_future_revision_waits_for_it(opened: Opened) -> None:
    """It was promised to begin there."""
    async with opened() as store:
        watch = store.watch(*ALL, start_revision=store.revision + 2)
        await filled(store, b"a", b"b")
        assert [event.kv.key for event in (await next_events(watch)).events] == [b"b"]
        watch.cancel()


async def test_a_watch_from_before_compaction_says_so(opened: Opened) -> None:
    """The API server turns it into 410 Gone; silence would leave a cache wrong for ever."""
    async with opened() as store:
        revisions = await filled(store, b"a", b"b", b"c")
        await store.compact(revisions[2])
    async with opened() as store:
        watch = store.watch(*ALL, start_revision=revisions[0])
        with pytest.raises(CompactedError):
            await anext(watch)
        again = store.watch(*ALL, start_revision=revisions[2])
        assert (await next_events(again)).revision == revisions[2]
        again.cancel()


async def test_a_quiet_watch_says_how_far_it_has_come(opened: Opened) -> None:
    """Bookmarks let a client resume without reading what never concerned it."""
    async with opened() as store:
        watch = store.watch(b"quiet", progress_interval_s=0.05)
        await filled(store, b"loud")
        batch = await anext(watch)
        while batch.revision < store.revision:
            batch = await anext(watch)
        assert batch.progress
        watch.cancel()


# What rides along


async def test_an_object_rides_along_with_its_value(opened: Opened) -> None:
    """It is decoded once, however many read it."""
    async with opened() as store:
        watch = store.watch(*ALL, prev_kv=True)
        first, second = object(), object()
        await store.put(b"a", b"1", attachment=first)
        found = store.get(b"a")
        assert found is not None
        assert found.attachment is first
        await store.txn(Txn((Compare.mod_is(b"a", found.mod_revision),), (Put(b"a", b"2", attachment=second),)))

        made, changed = (await next_events(watch)).events[0], (await next_events(watch)).events[0]
        assert (made.kv.attachment, changed.kv.attachment) == (first, second)
        assert changed.prev_kv is not None
        assert changed.prev_kv.attachment is first
        watch.cancel()


async def test_the_cause_of_a_revision_is_kept(opened: Opened) -> None:
    """`why` is answered from it, also after a restart."""
    async with opened() as store:
        caused = await store.put(b"a", b"1", cause="handler ü")
        plain = await store.put(b"b", b"1")
        gone = await store.txn(Txn((Compare.mod_is(b"a", caused.revision),), (DeleteRange(b"a"),)), "deleted by ann")
        revisions = (caused.revision, plain.revision, gone.revision)
        assert [await store.cause(revision) for revision in revisions] == ["handler ü", None, "deleted by ann"]
    async with opened() as store:
        assert [await store.cause(revision) for revision in revisions] == ["handler ü", None, "deleted by ann"]
        assert await store.cause(store.revision + 100) is None


async def test_history_tells_of_a_key_what_when_and_why(opened: Opened) -> None:
    """What was changed, by whom and when is the first question after an accident; also after a restart."""
    clock = SystemClock()
    began_s = int(clock.now() * 1000) / 1000
    async with opened() as store:
        made = await store.put(b"a", b"1", cause="made")
        await store.put(b"b", b"1", cause="another key")
        changed = await store.put(b"a", b"2", cause="changed")
        await store.txn(Txn((Compare.mod_is(b"a", changed.revision),), (DeleteRange(b"a"),)), "deleted")
        again = await store.put(b"a", b"3")
        recent = await store.history(b"a")
    async with opened() as store:
        old = await store.history(b"a")
        await store.put(b"a", b"4", cause="new")
        both = await store.history(b"a")
        for changes in (recent, old, both[:-1]):
            assert [change.cause for change in changes] == ["made", "changed", "deleted", None]
            assert [change.event.kind for change in changes] == [PUT, PUT, DELETE, PUT]
            assert [change.event.prev_kv.value if change.event.prev_kv else None for change in changes] == [
                None,
                b"1",
                b"2",
                None,
            ]
            times = [change.time_s for change in changes]
            assert all(time is not None and began_s <= time <= clock.now() for time in times)
            assert times == sorted(times, key=lambda time: time or 0.0)
        assert both[-1].cause == "new"
        assert [change.revision for change in await store.history(b"a", limit=2)] == [again.revision, store.revision]
        bounded = await store.history(b"a", first=made.revision + 1, last=again.revision - 1)
        assert [change.cause for change in bounded] == ["changed", "deleted"]
        assert await store.history(b"none") == ()
        with pytest.raises(KeyEmptyError):
            await store.history(b"")
        with pytest.raises(FutureRevisionError):
            await store.history(b"a", first=store.revision + 1_000)


async def test_history_begins_with_what_held_when_it_was_cut(opened: Opened) -> None:
    """Otherwise the oldest change would seem to come out of nothing."""
    async with opened() as store:
        await store.put(b"a", b"1")
        held = await store.put(b"a", b"2")
        cut = await store.put(b"b", b"1")
        changed = await store.put(b"a", b"3")
        await store.compact(cut.revision)
    async with opened() as store:
        changes = await store.history(b"a")
        assert [(change.revision, change.event.kv.value) for change in changes] == [
            (held.revision, b"2"),
            (changed.revision, b"3"),
        ]
        assert [change.revision for change in await store.history(b"b")] == [cut.revision]
        with pytest.raises(CompactedError):
            await store.history(b"a", first=held.revision)


async def test_a_moment_has_a_revision_and_a_revision_a_moment(opened: Opened) -> None:
    """`--at 10:15` reads what held then; how much history is kept is counted in hours."""
    clock = SystemClock()

    async def later() -> float:
        """A moment that no write was made at."""
        now_s = clock.now()
        while clock.now() < now_s + 0.003:
            await clock.sleep(0.001)
        return now_s + 0.002

    async with opened() as store:
        moments, revisions = [await later()], [store.revision]
        for number in range(6):
            revisions.append((await store.put(b"a", b"%d" % number)).revision)
            moments.append(await later())
        found = [await store.revision_at(moment) for moment in moments[1:]]
    async with opened() as store:
        assert [await store.revision_at(moment) for moment in moments[1:]] == found == revisions[1:]
        before = await store.revision_at(moments[0])
        assert before is not None
        assert before < revisions[1]
        for moment, revision in zip(moments[1:], revisions[1:], strict=True):
            made_s = await store.time_of(revision)
            assert made_s is not None
            assert made_s <= moment
        assert await store.time_of(store.revision + 100) is None
        await store.compact(revisions[3])
    async with opened() as store:
        assert await store.revision_at(moments[1]) is None
        assert await store.revision_at(moments[4]) == revisions[4]


# Leases


async def test_a_lease_takes_its_keys_with_it(opened: Opened) -> None:
    """In one revision, so that nobody sees half of them."""
    async with opened() as store:
        lease = await store.lease_grant(60)
        await store.put(b"a", b"1", lease=lease.id)
        await store.put(b"b", b"1", lease=lease.id)
        await filled(store, b"c")
        watch = store.watch(*ALL)
        assert await store.lease_keep_alive(lease.id) == 60
        revision = await store.lease_revoke(lease.id)

        batch = await next_events(watch)
        assert (batch.revision, [event.kv.key for event in batch.events]) == (revision, [b"a", b"b"])
        assert [kv.key for kv in store.range(Range(*ALL)).kvs] == [b"c"]
        assert await store.lease_keep_alive(lease.id) == 0
        with pytest.raises(LeaseNotFoundError):
            await store.lease_revoke(lease.id)
        watch.cancel()


async def test_a_lease_id_is_given_once(opened: Opened) -> None:
    """Two owners of one lease would end each other's keys."""
    async with opened() as store:
        lease = await store.lease_grant(60)
        with pytest.raises(LeaseExistsError):
            await store.lease_grant(60, lease.id)
        await store.lease_revoke(lease.id)


# Ending


async def test_a_closed_store_says_that_it_is_closed(opened: Opened) -> None:
    """And so do its watches: whoever waits must learn of it."""
    async with opened() as store:
        watch = store.watch(*ALL)
        await store.close()
        with pytest.raises(StoreClosedError):
            await anext(watch)
        with pytest.raises(StoreClosedError):
            await store.put(b"a", b"1")
        with pytest.raises(StoreClosedError):
            store.get(b"a")
        with pytest.raises(StoreClosedError):
            await store.catch_up()
