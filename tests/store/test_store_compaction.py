"""Compaction forgets what etcd forgets, durably first and physically in slices."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconcile.runtime.store import CompactedError, FutureRevisionError, Range, Settings, Store, StoreFailedError, log
from reconcile.runtime.store.log import free_pages

if TYPE_CHECKING:
    from tests.store.conftest import Opened


def _ids(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    """(revision, version) of each row there is."""
    return [(id_ >> 20, version) for id_, version in connection.execute("SELECT id, version FROM log ORDER BY id")]


async def _rows(store: Store) -> list[tuple[int, int]]:
    return await store._database.read(_ids)


async def test_compact_takes_the_revisions_that_etcd_takes(opened: Opened) -> None:
    """Zero succeeds once on a fresh store, the present is allowed, the future is not, nothing twice (observed)."""
    async with await opened() as store:
        await store.compact(0)
        for revision in (0, -1):
            with pytest.raises(CompactedError, match=r"^etcdserver: mvcc: required revision has been compacted"):
                await store.compact(revision)
        await store.compact(1)
        with pytest.raises(FutureRevisionError, match=r"^etcdserver: mvcc: required revision is a future revision"):
            await store.compact(2)
        assert (store.compacted, store.revision) == (1, 1)


async def test_compaction_keeps_newest_rows_and_tombstones_at_exactly_its_revision(opened: Opened) -> None:
    """A watch may start at the compacted revision and must see a delete there (etcd #19179); older ones go."""
    async with await opened() as store:
        await store.put(b"a", b"1")  # 2
        await store.put(b"a", b"2")  # 3
        await store.put(b"b", b"1")  # 4
        await store.delete(b"b")  # 5: gone, with the row that it ends
        await store.put(b"c", b"1")  # 6
        await store.delete(b"c")  # 7: stays, as the tombstone of the compacted revision
        await store.put(b"a", b"3")  # 8
        await store.compact(7, physical=True)
        assert await _rows(store) == [(3, 2), (7, 0), (8, 3)]
        assert [kv.value for kv in (await store.range_at(Range(b"a", revision=7))).kvs] == [b"2"]
        await store.compact(8, physical=True)
        assert await _rows(store) == [(8, 3)]
        await store.delete(b"a")  # 9
        await store.compact(9, physical=True)
        assert await _rows(store) == [(9, 0)]
    async with await opened() as store:
        # Nothing is left but a tombstone, and the revision has not gone back (etcd #17780).
        assert (store.revision, store.compacted, len(store)) == (9, 9, 0)


@pytest.mark.parametrize("rows_max", [1, 2, 3, 1000])
async def test_slices_of_any_size_come_to_the_same_end(opened: Opened, rows_max: int) -> None:
    """Where a slice ends must not matter, tombstones and whole revisions included."""
    async with await opened(Settings(compaction_rows_max=rows_max)) as store:
        for number in range(30):
            await store.put(b"k%d" % (number % 4), b"%d" % number)
            if number % 7 == 3:
                await store.delete(b"k0", b"k3")
        present = store.range(Range(b"k", b"l")).kvs
        await store.compact(20, physical=True)
        await store.compact(store.revision, physical=True)
        rows = await _rows(store)
        assert [revision for revision, _ in rows] == sorted(kv.mod_revision for kv in present)
        assert store._compactor.done == store.revision


async def test_a_compaction_goes_on_after_a_crash_where_it_was(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logical first, so that nothing is served half; then the slices that were not committed are done at the next start."""
    slices = 0
    real = log.compact_slice

    def dying(connection: sqlite3.Connection, done: int, compacted: int, rows_max: int) -> int:
        nonlocal slices
        slices += 1
        if slices == 3:
            raise sqlite3.OperationalError("the machine stopped here")
        return real(connection, done, compacted, rows_max)

    monkeypatch.setattr("reconcile.runtime.store.compaction.compact_slice", dying)
    store = await opened(Settings(compaction_rows_max=4))
    for number in range(40):
        await store.put(b"k", b"%d" % number)
    with pytest.raises(StoreFailedError, match="the machine stopped here"):
        await store.compact(30, physical=True)
    assert store._compactor.done < 30
    await store.close()
    monkeypatch.setattr("reconcile.runtime.store.compaction.compact_slice", real)
    async with await opened(Settings(compaction_rows_max=4)) as store:
        assert store.compacted == 30
        with pytest.raises(CompactedError):
            await store.range_at(Range(b"k", revision=29))
        await store._compactor.finish()
        assert [revision for revision, _ in await _rows(store)] == list(range(30, 42))


async def test_free_pages_go_back_to_the_file_system_while_the_store_serves(opened: Opened) -> None:
    """A store that once held much must not hold the disk for ever."""
    async with await opened() as store:
        for number in range(20):
            await store.put(b"k", bytes(300_000) + b"%d" % number)

        def pages(connection: sqlite3.Connection) -> int:
            return int(connection.execute("PRAGMA page_count").fetchone()[0])

        before = await store._database.read(pages)
        await store.compact(store.revision, physical=True)
        assert await store._database.read(pages) < before / 2
        assert store.count(b"k") == 1


def test_a_slice_gives_back_as_many_pages_as_it_is_told(tmp_path: Path) -> None:
    """Each slice is a commit: one page at a time would take a commit, and a sync, for every page."""
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("CREATE TABLE t (value BLOB)")
        connection.execute("INSERT INTO t VALUES (zeroblob(4000000))")
        connection.execute("DELETE FROM t")
        (before,) = connection.execute("PRAGMA freelist_count").fetchone()
        assert free_pages(connection, 100)
        (after,) = connection.execute("PRAGMA freelist_count").fetchone()
        assert (before > 900, before - after) == (True, 100)


async def test_a_compaction_asked_for_while_pages_are_given_back_is_done_too(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one task that compacts is not idle then, and must look again before it ends."""
    async with await opened() as store:
        for number in range(10):
            await store.put(b"k", b"%d" % number)
        asked: list[asyncio.Task[None]] = []

        def nothing(connection: sqlite3.Connection, pages_max: int, every: bool = False) -> bool:
            return False

        async def keep() -> None:
            if not asked:
                asked.append(asyncio.create_task(store.compact(8)))
                await asked[0]

        monkeypatch.setattr("reconcile.runtime.store.compaction.free_pages", nothing)
        monkeypatch.setattr(store._compactor._reserve, "keep", keep)
        await store.compact(5, physical=True)
        assert (store.compacted, store._compactor.done) == (8, 8)
