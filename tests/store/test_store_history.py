"""The past as a feature: what a key held and when, which revision was when, and how much of it is kept."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconcile.clock import duration_s
from reconcile.runtime.store import (
    CompactedError,
    FutureRevisionError,
    HistoryKeep,
    KeyEmptyError,
    Put,
    Range,
    Settings,
    Store,
    Txn,
    keep_history,
)
from reconcile.runtime.store.schema import _LOG_1, _OBJECTS, row_id

if TYPE_CHECKING:
    from tests.store.conftest import Opened, VirtualClock

SMALL_RING = Settings(ring_bytes_max=1)
"""Only the newest revision is in memory: everything else is read from the disk."""


@pytest.fixture(params=[Settings(), SMALL_RING], ids=["ring", "disk"])
def settings(request: pytest.FixtureRequest) -> Settings:
    found: Settings = request.param
    return found


async def _told(store: Store, key: bytes = b"k", **bounds: int) -> list[tuple[int, str, bytes, bytes | None, str | None]]:
    changes = await store.history(key, **bounds)
    return [
        (c.revision, c.event.kind.value, c.event.kv.value, c.event.prev_kv.value if c.event.prev_kv else None, c.cause)
        for c in changes
    ]


async def test_the_history_of_a_key_says_what_when_and_why(opened: Opened, clock: VirtualClock, settings: Settings) -> None:
    """It is what `reconcile history` prints; other keys and other incarnations do not blur it."""
    async with await opened(settings) as store:
        began_s = clock.now()
        await store.put(b"k", b"1", cause="kubectl 0 request")
        await clock.advance(10)
        await store.put(b"other", b"x")
        await store.txn(Txn(success=[Put(b"k", b"2"), Put(b"k2", b"y")]), cause="scale 2 change")
        await store.delete(b"k")
        await clock.advance(10)
        await store.put(b"k", b"4")
        assert await _told(store) == [
            (2, "PUT", b"1", None, "kubectl 0 request"),
            (4, "PUT", b"2", b"1", "scale 2 change"),
            (5, "DELETE", b"", b"2", None),
            (6, "PUT", b"4", None, None),
        ]
        assert [change.time_s for change in await store.history(b"k")] == [began_s, began_s + 10, began_s + 10, began_s + 20]
        assert [change[0] for change in await _told(store, first=3, last=5)] == [4, 5]
        assert [change[0] for change in await _told(store, limit=2)] == [5, 6]
        assert await _told(store, b"never") == []
        with pytest.raises(KeyEmptyError):
            await store.history(b"")
        with pytest.raises(FutureRevisionError):
            await store.history(b"k", first=7)


async def test_history_begins_with_what_held_when_it_was_cut(opened: Opened, settings: Settings) -> None:
    """Whether the rows are off the disk already must make no difference; a key that was gone by then has none."""
    async with await opened(settings) as store:
        for value in (b"1", b"2", b"3", b"4"):
            await store.put(b"k", value)
        await store.put(b"gone", b"x")
        await store.delete(b"gone")
        await store.put(b"other", b"x")
        await store.compact(4)
        told = await _told(store)
        assert told == [(4, "PUT", b"3", None, None), (5, "PUT", b"4", b"3", None)]
        await store.compact(5, physical=True)
        assert await _told(store) == [(5, "PUT", b"4", None, None)]
        with pytest.raises(CompactedError):
            await store.history(b"k", first=4)
        await store.compact(8, physical=True)
        assert await _told(store) == [(5, "PUT", b"4", None, None)]
        assert await _told(store, b"gone") == []


async def test_a_moment_is_mapped_to_the_newest_revision_made_by_then(
    opened: Opened, clock: VirtualClock, settings: Settings
) -> None:
    """`--at 10m` must show exactly what there was: not one write more, not one less. Also after a restart."""
    moments = {1: clock.now() - 1}
    async with await opened(settings) as store:
        assert await store.revision_at(clock.now()) == 1
        await clock.advance(5)
        for number in range(2, 40):
            if number % 3:
                await clock.advance(2)
            await store.put(b"k%d" % (number % 7), b"v")
            moments[number] = clock.now()
    for compacted in (-1, 20):
        async with await opened(settings) as store:
            if compacted > store.compacted:
                await store.compact(compacted, physical=True)
            for revision, moment_s in moments.items():
                last = max(r for r, s in moments.items() if s == moment_s)
                wanted = None if last < compacted else last
                assert await store.revision_at(moment_s) == wanted, revision
                assert await store.revision_at(moment_s + 0.5) == wanted, revision
                if revision >= max(2, compacted):
                    assert await store.time_of(revision) == moment_s
            assert await store.time_of(1) is None


async def test_a_clock_that_is_set_back_does_not_turn_history_around(opened: Opened, clock: VirtualClock) -> None:
    """Times that fell could not be searched; they stand still until the clock has caught up, over restarts too."""
    async with await opened() as store:
        await store.put(b"k", b"1")
        high_s = clock.now()
        clock.time_s -= 3600
        await store.put(b"k", b"2")
    async with await opened() as store:
        await store.put(b"k", b"3")
        assert [change.time_s for change in await store.history(b"k")] == [high_s] * 3
        assert await store.revision_at(high_s) == 4
        assert await store.revision_at(high_s - 1) == 1


async def test_a_store_of_the_first_schema_is_brought_up_to_date(opened: Opened, tmp_path: Path, clock: VirtualClock) -> None:
    """Nothing of it is lost; what is not known (when something was written) is said not to be."""
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "member.db", isolation_level=None)) as connection:
        for name, sql in _OBJECTS.items():
            connection.execute(_LOG_1 if name == "log" else sql)
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", [("schema_version", 1), ("compacted", -1), ("compacted_done", -1)]
        )
        connection.execute("INSERT INTO log VALUES (?, ?, 2, 1, 0, 0, 'why', ?)", (row_id(2), b"k", b"old"))
    async with await opened() as store:
        assert store.revision == 2
        found = store.get(b"k")
        assert found is not None
        assert found.value == b"old"
        assert await store.time_of(2) is None
        assert await store.cause(2) == "why"
        await store.put(b"k", b"new")
        assert [change.time_s for change in await store.history(b"k")] == [None, clock.now()]
        assert await store.revision_at(clock.now() - 1) == 2
    async with await opened() as store:
        assert store.revision == 3


async def test_at_least_an_hour_and_at_least_so_many_revisions_are_kept(opened: Opened, clock: VirtualClock) -> None:
    """Whichever is more: a busy hour is kept whole, and so are the last changes of a quiet month."""
    keep = HistoryKeep(seconds=3600, revisions=20)
    async with await opened() as store:
        for _ in range(100):
            await store.put(b"busy", b"v")
        assert await keep.due(store, clock.now() + 3599) is None
        assert await keep.due(store, clock.now() + 3601) == 101 - 20
        await store.compact(101 - 20)
        assert await keep.due(store, clock.now() + 3601) is None
        await clock.advance(3000)
        for _ in range(50):
            await store.put(b"k", b"v")
        assert await keep.due(store, clock.now() + 3599) == 101
        assert await keep.due(store, clock.now() + 3601) == 151 - 20


async def test_history_is_forgotten_by_itself(opened: Opened, clock: VirtualClock) -> None:
    """In the background, from time to time; what is to be kept can be read afterwards."""
    async with await opened() as store:
        for _ in range(100):
            await store.put(b"busy", b"v")
        task = asyncio.ensure_future(keep_history(store, clock, HistoryKeep(seconds=3600, revisions=20)))
        while store.compacted != 101 - 20:
            await clock.advance(300)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await store.range_at(Range(b"busy", revision=101 - 20))).count == 1


@pytest.mark.parametrize(
    ("text", "seconds", "revisions"),
    [("1h/10000", 3600, 10_000), ("30m", 1800, 0), ("/500", 0, 500), ("1h30m/0", 5400, 0), ("0s", 0, 0), ("2d", 172_800, 0)],
)
def test_what_to_keep_is_written_as_a_span_and_a_number(text: str, seconds: float, revisions: int) -> None:
    """`--history-keep` takes it."""
    assert HistoryKeep.parse(text) == HistoryKeep(seconds, revisions)
    assert HistoryKeep.parse(str(HistoryKeep(seconds, revisions))) == HistoryKeep(seconds, revisions)


@pytest.mark.parametrize("text", ["", "/", "an hour", "1h/many", "10", "1h/-5", "-1h", "1h/5/6", "1h 5m"])
def test_what_to_keep_is_refused_with_words_where_it_is_not_clear(text: str) -> None:
    """Too little history is noticed when it is missing: nothing is guessed."""
    with pytest.raises(ValueError, match="give DURATION/REVISIONS, for example 1h/10000"):
        HistoryKeep.parse(text)


def test_a_span_of_time_is_the_sum_of_its_parts() -> None:
    """As Go writes durations, and with days."""
    assert duration_s("1h2m3s") == 3723
    assert duration_s("1.5s") == 1.5
    assert duration_s("250ms") == 0.25
    with pytest.raises(ValueError, match="write 90s, 10m"):
        duration_s("5 minutes")


async def test_history_agrees_with_what_every_old_revision_holds(opened: Opened, settings: Settings) -> None:
    """Two ways into the past, one truth: random writes, then each change against the revisions on both its sides."""
    chance = random.Random(11)
    keys = [b"a", b"b", b"c"]
    async with await opened(settings) as store:
        for _ in range(60):
            key = chance.choice(keys)
            if chance.random() < 0.3:
                await store.delete(key)
            else:
                await store.put(key, b"%d" % chance.randrange(1000))
        for compacted in (-1, store.revision // 2):
            if compacted > 0:
                await store.compact(compacted)
            for key in keys:
                for change in await store.history(key):
                    if change.revision < max(2, compacted):
                        continue
                    now = (await store.range_at(Range(key, revision=change.revision))).kvs
                    assert [kv.value for kv in now] == ([change.event.kv.value] if change.event.kv.version else [])
                    if change.revision > max(1, compacted):
                        before = (await store.range_at(Range(key, revision=change.revision - 1))).kvs
                        assert list(before) == ([change.event.prev_kv] if change.event.prev_kv else [])
