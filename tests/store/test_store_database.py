"""The database seam, and the pure pieces: HashKV's bytes, the index, the ring."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
from pathlib import Path

import aiosqlite
import pytest

from reconcile.runtime.store import MEMORY, AioDatabase, KeyValue
from reconcile.runtime.store.database import DatabaseFactory
from reconcile.runtime.store.hashkv import crc32c, encode_key_value
from reconcile.runtime.store.index import Index


def test_aiosqlite_still_has_the_private_method_that_runs_a_function_on_its_thread() -> None:
    """`_run` and `_started` lean on it: an upgrade that takes it away must fail here, not in a user's store."""
    assert list(inspect.signature(aiosqlite.Connection._execute).parameters)[:2] == ["self", "fn"]
    assert isinstance(inspect.getattr_static(aiosqlite.Connection, "_conn"), property)


async def test_functions_run_in_order_and_readers_cannot_write(database: DatabaseFactory, tmp_path: Path) -> None:
    """The writer's order is the order of revisions; a reader that wrote would checkpoint too."""
    opened = database(tmp_path / "x.db", False)
    await opened.open()
    await opened.write(lambda connection: connection.execute("CREATE TABLE t (n INTEGER)") and None)

    def insert(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t SELECT count(*) FROM t")

    await asyncio.gather(*(opened.write(insert) for _ in range(20)))
    reads = await asyncio.gather(*(opened.read(lambda c: c.execute("SELECT sum(n) FROM t").fetchone()[0]) for _ in range(3)))
    assert reads == [190] * 3
    if isinstance(opened, AioDatabase):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await opened.read(insert)
    assert await opened.write(lambda c: c.execute("PRAGMA synchronous").fetchone()[0]) == 2
    assert await opened.write(lambda c: c.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"
    await opened.close()


async def test_an_error_of_a_function_reaches_its_caller_and_leaves_the_database_usable(database: DatabaseFactory) -> None:
    """One bad statement must not take the thread down."""
    opened = database(MEMORY, True)
    await opened.open()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await opened.write(lambda connection: connection.execute("SELECT * FROM missing"))
    assert await opened.read(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    await opened.close()


def test_hashkv_uses_castagnoli_and_protobufs_bytes() -> None:
    """Both are etcd's; the check value is the CRC catalogue's, the bytes are protobuf's for the same message."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283
    assert encode_key_value(b"k", b"v", 300, 301, 2, 7) == b"\x0a\x01k\x10\xac\x02\x18\xad\x02\x20\x02\x2a\x01v\x30\x07"
    assert encode_key_value(b"k", b"", 0, 0, 0, 0) == b"\x0a\x01k"


def test_a_patched_scan_merges_what_differs() -> None:
    """Txns in flight and reads of the past are the present with a patch: added, changed and missing keys."""
    index = Index(KeyValue(key, b"old") for key in (b"a", b"c", b"e"))
    patch = {b"a": None, b"b": KeyValue(b"b", b"new"), b"c": KeyValue(b"c", b"new"), b"d": None}
    found = [(kv.key, kv.value) for kv in index.scan(b"a", b"z", patch)]
    assert found == [(b"b", b"new"), (b"c", b"new"), (b"e", b"old")]
    assert index.count(b"a", b"z", patch) == 3
