"""A disk that is full, at every write there is: nothing acknowledged is lost, everything can be read, and it goes on after.

The limit is SQLite's own (max_page_count), set through the Database seam just before the nth function of the writer.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from reconcile.runtime.store import (
    FROM_KEY,
    BusyError,
    Database,
    InlineDatabase,
    NoSpaceError,
    Put,
    Range,
    Settings,
    Store,
    Txn,
)
from reconcile.runtime.store.database import Place

if TYPE_CHECKING:
    from tests.store.conftest import VirtualClock

_Result = TypeVar("_Result")
_SETTINGS = Settings(compaction_rows_max=4, checkpoint_pages=20, unsafe_no_fsync=True)


class SmallDisk(InlineDatabase):
    """A database whose disk is full from its nth write on, until there is `room` again."""

    full_at = 0

    def __init__(self, place: Place, unsafe_no_fsync: bool = False) -> None:
        super().__init__(place, unsafe_no_fsync)
        self.writes = 0
        self.refused = 0

    async def write(self, function: Callable[[sqlite3.Connection], _Result]) -> _Result:
        self.writes += 1
        if self.writes == self.full_at:
            await super().write(lambda connection: _limit(connection, 0))
        try:
            return await super().write(function)
        except (NoSpaceError, sqlite3.OperationalError):
            self.refused += 1
            raise

    async def room(self) -> None:
        await super().write(lambda connection: _limit(connection, 1_000_000))


def _limit(connection: sqlite3.Connection, more: int) -> None:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + more}")


class Run:
    """A fixed list of writes, and what must be there after those of them that were acknowledged."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.state: dict[bytes, bytes] = {}
        self.refusals: list[BusyError] = []

    async def all(self) -> None:
        for number in range(24):
            await self._put(b"k%d" % (number % 5), bytes([number]) * (700 * (1 + number % 7)))
            if number % 6 == 5 and self.store.revision - 2 > self.store.compacted:
                await self._quietly(self.store.compact(self.store.revision - 2, physical=True))
            if number == 8:
                await self._quietly(self.store.lease_grant(60, 7))
            if number == 12:
                await self._quietly(self.store.defragment())
        await asyncio.gather(*(self._put(b"together%d" % number, bytes(3000)) for number in range(6)))

    async def _put(self, key: bytes, value: bytes) -> None:
        if await self._quietly(self.store.txn(Txn(success=[Put(key, value), Put(key + b"/twin", value)]))):
            self.state[key] = self.state[key + b"/twin"] = value

    async def _quietly(self, call: object) -> bool:
        try:
            await call  # type: ignore[misc]  # an awaitable of any kind
        except BusyError as error:
            self.refusals.append(error)
            return False
        return True

    def check(self, store: Store) -> None:
        found = store.range(Range(b"\0", FROM_KEY)).kvs
        assert {kv.key: kv.value for kv in found} == self.state


async def _writes_of_a_run(clock: VirtualClock, folder: Path) -> int:
    store = await Store.open(folder, clock, database=SmallDisk, settings=_SETTINGS)
    database: Database = store._database
    assert isinstance(database, SmallDisk)
    await Run(store).all()
    await store.close()
    return database.writes


@pytest.mark.time_limit_s(120)
async def test_a_disk_that_is_full_at_any_write_loses_nothing_and_is_survived(
    clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits, compactions, checkpoints, leases: whichever is the first without room, the store is readable and goes on."""
    refused = 0
    for full_at in range(4, await _writes_of_a_run(clock, tmp_path / "measure"), 2):
        monkeypatch.setattr(SmallDisk, "full_at", full_at)
        folder = tmp_path / f"full-at-{full_at}"
        store = await Store.open(folder, clock, database=SmallDisk, settings=_SETTINGS)
        database = store._database
        assert isinstance(database, SmallDisk)
        run = Run(store)
        await run.all()
        run.check(store)  # readable, and nothing of what was refused is there
        refused += len(run.refusals)
        assert all(isinstance(error, NoSpaceError) for error in run.refusals)
        revision = store.revision
        await database.room()
        await store.put(b"after", b"x")
        run.state[b"after"] = b"x"
        assert store.revision == revision + 1
        if store.revision - 1 > store.compacted:
            await store.compact(store.revision - 1, physical=True)
        run.check(store)
        await store.close()
        monkeypatch.setattr(SmallDisk, "full_at", 0)
        async with await Store.open(folder, clock, database=SmallDisk, settings=_SETTINGS) as again:
            assert again.revision == revision + 1
            run.check(again)
    assert refused > 50, "the disk was full where it mattered"
