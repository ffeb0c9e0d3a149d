"""The database seam: run a function on a SQLite connection.

Two implementations of the same SQL: `AioDatabase` runs functions on aiosqlite's threads, one hop per function;
`InlineDatabase` calls them where it stands, for deterministic simulation (a thread is invisible to a virtual clock).

One writing connection, whose functions run one after the other; only it checkpoints (SQLite up to 3.51.2 can lose
pages when one connection checkpoints while another commits). A second, read-only connection serves replay and history.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import aiosqlite

Result = TypeVar("Result")
Place = Path | Literal[":memory:"]
MEMORY: Literal[":memory:"] = ":memory:"
_STATEMENTS_CACHED = 600
"""Multi-row INSERTs of every small size stay prepared."""


class Database(Protocol):
    """Runs functions on a connection. A function is one transaction, or none."""

    place: Place

    async def open(self) -> None:
        """Connect; the file is created when it is missing."""

    async def write(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `function` on the writing connection, after all that were handed in before."""

    async def read(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `function` on a connection that cannot write; it sees what is committed."""

    async def aside(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a `function` that takes long on a reading connection of its own, so that no other waits for it."""

    async def close(self) -> None:
        """Close the readers, then the writer."""


DatabaseFactory = Callable[[Place, bool], Database]
"""Makes a Database from its place and whether commits may skip fsync (unsafe)."""


def _connect(place: Place) -> sqlite3.Connection:
    return sqlite3.connect(place, isolation_level=None, cached_statements=_STATEMENTS_CACHED, check_same_thread=False)


def connect_reader(place: Path) -> sqlite3.Connection:
    """A connection that cannot write, and never checkpoints."""
    uri = f"{place.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


def _prepare(connection: sqlite3.Connection, unsafe_no_fsync: bool) -> None:
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # takes effect in a new file only
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={'OFF' if unsafe_no_fsync else 'FULL'}")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA journal_size_limit=67108864")
    connection.execute("PRAGMA temp_store=MEMORY")
    # Where SQLite is built to (Debian), each page that a compaction frees would be zeroed, and so written and synced, as
    # large as all that was there: on a full disk there is no room to make room. FAST zeroes what is written anyway.
    connection.execute("PRAGMA secure_delete=FAST")


class AioDatabase:
    """A Database on aiosqlite: a thread for writes, and one for reads from when it is first needed."""

    def __init__(self, place: Place, unsafe_no_fsync: bool = False) -> None:
        self.place = place
        self._unsafe_no_fsync = unsafe_no_fsync
        self._writer: aiosqlite.Connection | None = None
        self._reader: aiosqlite.Connection | None = None
        self._reader_opens = asyncio.Lock()

    async def open(self) -> None:
        """Connect; the file is created when it is missing."""
        self._writer = await _started(lambda: _connect(self.place))
        try:
            await self.write(lambda connection: _prepare(connection, self._unsafe_no_fsync))
        except BaseException:
            await self.close()
            raise

    async def write(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `function` on the writing connection's thread: one hop."""
        assert self._writer is not None, "open the database first"
        return await _run(self._writer, function)

    async def read(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `function` on the reading connection's thread; a database in memory has one connection for all."""
        place = self.place
        if place == MEMORY:
            return await self.write(function)
        assert isinstance(place, Path)
        async with self._reader_opens:
            if self._reader is None:
                self._reader = await _started(lambda: connect_reader(place))
        return await _run(self._reader, function)

    async def aside(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `function` on a reading connection and thread of its own; a database in memory has one for all."""
        place = self.place
        if place == MEMORY:
            return await self.write(function)
        assert isinstance(place, Path)
        connection = await _started(lambda: connect_reader(place))
        try:
            return await _run(connection, function)
        finally:
            await connection.close()

    async def close(self) -> None:
        """Close the reader, then the writer (the last one to close checkpoints)."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()


async def _started(connector: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
    connection = aiosqlite.Connection(connector, iter_chunk_size=64)
    # A process that dies of an exception must end, though nobody closed the store: what is acknowledged is on disk.
    connection._thread.daemon = True
    return await connection


async def _run(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], Result]) -> Result:
    # aiosqlite has no public way to run a function of ours on its thread, and a hop per statement costs 100 us each.
    # `_execute` is what its own cursors use; the version is pinned and tests/store/test_store_database.py holds it.
    execute: Any = connection._execute  # Any: aiosqlite leaves it untyped
    result: Result = await execute(function, connection._conn)
    return result


class InlineDatabase:
    """A Database that calls `sqlite3` where it stands: nothing else runs meanwhile, and nothing depends on threads."""

    def __init__(self, place: Place, unsafe_no_fsync: bool = False) -> None:
        self.place = place
        self._unsafe_no_fsync = unsafe_no_fsync
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Connect; the file is created when it is missing."""
        self._connection = _connect(self.place)
        try:
            _prepare(self._connection, self._unsafe_no_fsync)
        except BaseException:
            await self.close()
            raise

    async def write(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `function` at once."""
        assert self._connection is not None, "open the database first"
        return function(self._connection)

    async def read(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `function` at once, on the one connection."""
        return await self.write(function)

    async def aside(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `function` at once, on the one connection."""
        return await self.write(function)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
