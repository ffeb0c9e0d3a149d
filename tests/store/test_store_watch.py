"""Watches deliver as etcd's do: atomic per revision, in order, from any revision that is not compacted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from reconcile.runtime.store import (
    DELETE,
    FROM_KEY,
    PUT,
    CompactedError,
    DeleteRange,
    EmptyRangeError,
    Event,
    KeyEmptyError,
    KeyValue,
    Narrow,
    Put,
    Settings,
    StoreClosedError,
    Txn,
    Watch,
    WatchBatch,
    WatchFilter,
    prefix_end,
)

if TYPE_CHECKING:
    from tests.store.conftest import Opened, Until, VirtualClock

_SOURCES = [Settings(), Settings(ring_bytes_max=0), Settings(watch_queue_bytes_max=-1), Settings(replay_revisions_max=1)]
_SOURCE_NAMES = ["ring", "disk", "no queue", "one revision a step"]


def _told(events: Iterable[Event]) -> list[tuple[str, bytes, int, int]]:
    return [(event.kind.value, event.kv.key, event.kv.mod_revision, event.kv.version) for event in events]


async def _take(watch: Watch, count: int) -> list[WatchBatch]:
    return [await anext(watch) for _ in range(count)]


async def _quiet(watch: Watch) -> bool:
    """Nothing comes, however long the loop runs."""
    waiting = asyncio.ensure_future(anext(watch))
    for _ in range(20):
        await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return not done


@pytest.mark.parametrize("settings", _SOURCES, ids=_SOURCE_NAMES)
@pytest.mark.parametrize("start_revision", [0, 2], ids=["live", "replayed"])
async def test_a_watch_tells_one_batch_per_revision_in_txn_order(opened: Opened, settings: Settings, start_revision: int) -> None:
    """The same events come whether they are seen live, from the ring, or from the disk."""
    async with await opened(settings) as store:
        watch = store.watch(b"w/", prefix_end(b"w/"), start_revision, prev_kv=True)
        await store.put(b"w/1", b"a")
        await store.txn(Txn(success=[Put(b"w/2", b"b"), Put(b"other"), Put(b"w/1", b"c")]))
        await store.put(b"w", b"not under the prefix")
        await store.delete(b"w/", prefix_end(b"w/"))
        batches = await _take(watch, 3)
        assert [(batch.revision, _told(batch.events)) for batch in batches] == [
            (2, [("PUT", b"w/1", 2, 1)]),
            (3, [("PUT", b"w/2", 3, 1), ("PUT", b"w/1", 3, 2)]),
            (5, [("DELETE", b"w/1", 5, 0), ("DELETE", b"w/2", 5, 0)]),
        ]
        previous = [event.prev_kv and (event.prev_kv.value, event.prev_kv.mod_revision) for event in batches[2].events]
        assert previous == [(b"c", 3), (b"b", 3)]
        gone = batches[2].events[0].kv
        assert (gone.value, gone.create_revision, gone.lease) == (b"", 0, 0)
        assert await _quiet(watch)


@pytest.mark.parametrize("settings", _SOURCES, ids=_SOURCE_NAMES)
async def test_filters_and_prev_kv_shape_what_is_told(opened: Opened, settings: Settings) -> None:
    """A batch that the filter emptied is not sent; previous values only come when asked for."""
    async with await opened(settings) as store:
        await store.put(b"k", b"1")
        await store.put(b"k", b"2")
        await store.delete(b"k")
        deletes = store.watch(b"k", start_revision=2, filters=[WatchFilter.NOPUT])
        puts = store.watch(b"k", start_revision=2, filters=[WatchFilter.NODELETE])
        assert [(b.revision, [e.kind for e in b.events]) for b in await _take(deletes, 1)] == [(4, [DELETE])]
        told = await _take(puts, 2)
        assert [(b.revision, [(e.kind, e.prev_kv) for e in b.events]) for b in told] == [(2, [(PUT, None)]), (3, [(PUT, None)])]


async def test_a_watch_from_the_future_hears_nothing_below_its_start(opened: Opened) -> None:
    """A client that resumes after a store was restored from a copy must not hear old news; it waits in silence."""
    async with await opened() as store:
        watch = store.watch(b"k", start_revision=4)
        assert not watch.progress()
        for value in (b"2", b"3", b"4"):
            await store.put(b"k", value)
        assert [batch.revision for batch in await _take(watch, 1)] == [4]


async def test_matching_knows_exact_keys_prefixes_ranges_and_everything(opened: Opened) -> None:
    """Each shape has its own structure in the hub; a key may match several, each watch once."""
    async with await opened() as store:
        ranges = [(b"a", b""), (b"a", prefix_end(b"a")), (b"a/b", prefix_end(b"a/b")), (b"a/a", b"a/c"), (b"\0", FROM_KEY)]
        watches = [store.watch(key, end, prev_kv=True) for key, end in ranges]
        for key in (b"a", b"a/b", b"a/bc", b"z"):
            await store.put(key, b"")
        seen = []
        for watch in watches:
            watch.progress()
            keys = []
            async for batch in watch:
                if batch.progress:
                    break
                keys += [event.kv.key for event in batch.events]
            seen.append(keys)
        everything = [b"a", b"a/b", b"a/bc", b"z"]
        assert seen == [[b"a"], everything[:3], everything[1:3], everything[1:3], everything]
        for watch in watches:
            watch.cancel()
        assert not any([*store._hub._exact, *store._hub._prefixes, *store._hub._others, *store._hub._prefix_lengths])


async def test_narrowed_watches_are_offered_what_may_concern_them_and_leave_nothing_behind(opened: Opened) -> None:
    """Where the function cannot tell, all are; where nobody says what was there before, too."""

    def first(kv: KeyValue) -> str | None:
        return None if kv.value == b"?" else kv.value[:1].decode()

    def last(kv: KeyValue) -> str | None:
        if kv.value == b"?":
            raise ValueError("what is that?")
        return kv.value[-1:].decode()

    async with await opened() as store:
        end = prefix_end(b"k")
        wide = store.watch(b"k", end)
        narrow = [store.watch(b"k", end, narrow=Narrow(of, value)) for of, value in ((first, "a"), (first, "b"), (last, "a"))]
        twin = store.watch(b"k", end, narrow=Narrow(first, "a"))
        for value in (b"ab", b"ba", b"?", b"cc", b"cd"):
            await store.put(b"k", value)
        await store.txn(Txn((), (Put(b"k1", b"aa"), Put(b"k2", b"xx"))))
        told = [[event.kv.value for batch in watch.take() for event in batch.events] for watch in (wide, *narrow, twin)]
        assert told[0] == [b"ab", b"ba", b"?", b"cc", b"cd", b"aa", b"xx"]
        assert told[1] == told[4] == [b"ab", b"ba", b"?", b"cc", b"aa"]
        assert told[2] == [b"ba", b"?", b"cc"]
        assert told[3] == [b"ba", b"?", b"cc", b"aa"]
        assert all(watch.synced for watch in narrow)
        assert [watch.present for watch in narrow] == [store.revision] * 3
        assert len(list(store._hub)) == 5
        narrow[0].cancel()
        await store.put(b"k", b"a")
        assert [len(watch.take()) for watch in (narrow[0], twin)] == [0, 1]
        for watch in (wide, *narrow, twin):
            watch.cancel()
        assert not [*store._hub._prefixes, *store._hub._prefix_lengths, *store._hub]


@pytest.mark.parametrize("settings", _SOURCES, ids=_SOURCE_NAMES)
async def test_a_narrowed_watch_that_lags_misses_nothing(opened: Opened, settings: Settings) -> None:
    """Of the past it is told everything: less would need the disk to know the function."""
    async with await opened(settings) as store:
        watch = store.watch(b"k", prefix_end(b"k"), 2, narrow=Narrow(lambda kv: kv.value, b"7"))
        for number in range(10):
            await store.put(f"k{number}".encode(), str(number).encode())
        watch.progress()
        await watch.arrive()
        told = [event.kv.value for batch in watch.take() for event in batch.events]
        assert b"7" in told
        assert watch.present == store.revision
        watch.cancel()


async def test_a_watch_that_arrives_has_come_to_the_present_or_has_something_to_tell(opened: Opened) -> None:
    """Who leaves the past behind may go on with others; who has not been told all of it must not."""
    async with await opened(Settings(replay_revisions_max=1)) as store:
        for key in (b"x", b"a", b"x", b"x"):
            await store.put(key, b"")
        watch = store.watch(b"a", start_revision=2)
        assert (watch.present, watch.lagging) == (None, True)
        await watch.arrive()
        assert [batch.revision for batch in watch.take()] == [3]
        await watch.arrive()
        assert (watch.take(), watch.present) == ((), store.revision)
        await store.put(b"a", b"")
        assert watch.present is None
        assert [batch.revision for batch in watch.take()] == [store.revision]
        assert watch.present == store.revision
        watch.cancel()
        assert watch.present is None


@pytest.mark.parametrize("ring_bytes_max", [1 << 20, 0], ids=["ring", "disk"])
async def test_a_watch_below_the_compacted_revision_is_told_so(opened: Opened, ring_bytes_max: int) -> None:
    """The client must list again; silence would leave its cache wrong for ever. At the revision itself all is told."""
    async with await opened(Settings(ring_bytes_max=ring_bytes_max)) as store:
        for value in (b"2", b"3", b"4"):
            await store.put(b"k", value)
        await store.put(b"j", b"5")
        await store.compact(4, physical=True)
        with pytest.raises(CompactedError) as caught:
            await anext(store.watch(b"k", start_revision=3))
        assert (caught.value.revision, caught.value.compacted) == (3, 4)
        with pytest.raises(CompactedError):
            await anext(store.watch(b"k", start_revision=-1))
        at = store.watch(b"k", start_revision=4, prev_kv=True)
        event = (await anext(at)).events[0]
        assert (event.kv.value, event.prev_kv) == (b"4", None)
        with pytest.raises(EmptyRangeError, match=r"^mvcc: watcher range is empty"):
            store.watch(b"k", b"j")
        with pytest.raises(KeyEmptyError):
            store.watch(b"")


async def test_a_slow_watch_loses_nothing(opened: Opened) -> None:
    """Its queue is bounded; beyond it the rest is pulled from the past, first from the disk, then from the ring."""
    async with await opened(Settings(watch_queue_bytes_max=2_000, ring_bytes_max=5_000)) as store:
        watch = store.watch(b"k")
        for number in range(100):
            await store.put(b"k", b"%d" % number)
        assert watch._queued_bytes < 4_000
        assert not watch.synced
        values = [batch.events[0].kv.value for batch in await _take(watch, 100)]
        assert values == [b"%d" % number for number in range(100)]
        assert await _quiet(watch)
        assert watch.synced
        await store.put(b"k", b"live")
        assert (await anext(watch)).events[0].kv.value == b"live"


async def test_a_slow_watch_overtaken_by_compaction_hears_what_was_queued_then_the_error(opened: Opened) -> None:
    """What it is told is true to the end, and the gap is announced."""
    async with await opened(Settings(watch_queue_bytes_max=0)) as store:
        watch = store.watch(b"k")
        for number in range(5):
            await store.put(b"k", b"%d" % number)
        await store.compact(5)
        assert (await anext(watch)).revision == 2
        with pytest.raises(CompactedError):
            await anext(watch)
        with pytest.raises(CompactedError):
            await anext(watch)


async def test_progress_comes_behind_the_events_it_speaks_of(opened: Opened) -> None:
    """Bookmarks let a client resume late: nothing at or below their revision may follow."""
    async with await opened() as store:
        watch = store.watch(b"k")
        await store.put(b"k", b"1")
        await store.put(b"other", b"1")
        assert watch.progress()
        first, second = await _take(watch, 2)
        assert (first.revision, first.progress, second.revision, second.progress) == (2, False, 3, True)
        behind = store.watch(b"k", start_revision=2)
        assert not behind.progress()


async def test_progress_is_told_at_its_interval_unless_events_flow(opened: Opened, clock: VirtualClock) -> None:
    """An idle watch must not fall behind compaction."""
    async with await opened() as store:
        watch = store.watch(b"k", progress_interval_s=5.0)
        await store.put(b"other", b"1")
        await clock.advance(4.9)
        assert await _quiet(watch)
        await clock.advance(0.2)
        assert await anext(watch) == WatchBatch(2)
        await store.put(b"k", b"1")
        await clock.advance(5.0)
        assert [batch.progress for batch in await _take(watch, 1)] == [False]
        assert await _quiet(watch)
        await clock.advance(5.0)
        assert await anext(watch) == WatchBatch(3)
        watch.cancel()


async def test_a_cancelled_watch_ends_and_a_closed_store_says_why(opened: Opened, until: Until) -> None:
    """A consumer must be able to tell its own stop from the store's."""
    store = await opened()
    watch = store.watch(b"k")
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    watch.cancel()
    with pytest.raises(StopAsyncIteration):
        await waiting
    assert [batch async for batch in watch] == []
    other = store.watch(b"k")
    await store.put(b"k", b"1")
    await store.close()
    assert (await anext(other)).revision == 2
    with pytest.raises(StoreClosedError, match="etcdserver: server stopped"):
        await anext(other)


async def test_a_watch_resumes_after_a_restart_where_it_was(opened: Opened) -> None:
    """The disk tells the same story as memory did, previous values included."""
    async with await opened() as store:
        await store.put(b"k", b"1")
        await store.txn(Txn(success=[DeleteRange(b"k"), Put(b"l", b"2")]))
        before = await _take(store.watch(b"\0", FROM_KEY, 2, prev_kv=True), 2)
    async with await opened() as store:
        watch = store.watch(b"\0", FROM_KEY, 2, prev_kv=True)
        assert await _take(watch, 2) == before
        await store.put(b"k", b"3")
        assert [_told(batch.events) for batch in await _take(watch, 1)] == [[("PUT", b"k", 4, 1)]]
