"""The log on disk: every SQL statement that writes or reads it, as functions on a connection.

They run on a database thread and hold no state; a function is one transaction. What they return is plain values.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import attrs

from .errors import NoSpaceError
from .model import DELETE, FROM_KEY, PUT, Change, Event, KeyValue
from .schema import SUB_BITS, SUB_MAX, row_id

Value = int | bytes | str | None
Statement = tuple[str, tuple[Value, ...]]
Note = int | bytes
"""What others keep in the file beside the keys, under a name."""

COLUMNS = 9
NOTE = "note:"
"""Names in `meta` that are not the store's own begin with it."""
_ROWS_PER_INSERT_MAX = 512
_VALUES_BYTES_OVERHEAD = 200
_ZEROS = bytes(64 << 10)  # small: what malloc was once asked for in megabytes, it keeps


@cache
def _insert_sql(rows: int) -> str:
    row = f"({','.join('?' * COLUMNS)})"
    return f"INSERT INTO log VALUES {','.join([row] * rows)}"  # noqa: S608 (only question marks are put in)


def is_full(error: sqlite3.Error) -> bool:
    """Whether an error says that the disk is full: nothing of the transaction is written."""
    # The sqlite3 module's own complaints carry no code.
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def commit(connection: sqlite3.Connection, parameters: Sequence[Value], statements: Sequence[Statement], place: str) -> None:
    """Write the rows (COLUMNS parameters each) and run the statements as one transaction: one fsync.

    Each step of SQLite lets go of the GIL and must win it back from a busy loop, so there are as few as can be: a
    batch of plain writes is a single multi-row INSERT, which commits itself.

    Raises:
        NoSpaceError: the disk is full; the transaction is rolled back. Any other error: the outcome is not known.
    """
    rows = len(parameters) // COLUMNS
    try:
        if not statements and rows <= _ROWS_PER_INSERT_MAX:
            connection.execute(_insert_sql(rows), parameters)
            return
        connection.execute("BEGIN IMMEDIATE")
        width = _ROWS_PER_INSERT_MAX * COLUMNS
        for start in range(0, len(parameters), width):
            chunk = parameters[start : start + width]
            connection.execute(_insert_sql(len(chunk) // COLUMNS), chunk)
        for sql, values in statements:
            connection.execute(sql, values)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if not is_full(error):
            raise
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise NoSpaceError(place) from error


@attrs.frozen
class Loaded:
    """What a store finds on disk when it opens."""

    kvs: tuple[KeyValue, ...]
    leases: tuple[tuple[int, int], ...]
    revision: int
    compacted: int
    compacted_done: int
    at_ms: int
    """When the newest revision was made."""
    notes: dict[str, Note]
    """What others keep in the file: small numbers by name."""


def load(connection: sqlite3.Connection) -> Loaded:
    """Read the newest value of each key, the leases and the counters. O(live keys) rows and O(history) index entries."""
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    newest = connection.execute("SELECT max(id) FROM log").fetchone()[0] or 0
    return Loaded(
        kvs=tuple(range_at(connection, b"\0", FROM_KEY, newest >> SUB_BITS)),
        leases=tuple(connection.execute("SELECT id, ttl_s FROM lease ORDER BY id")),
        # Tombstones at the compacted revision are kept, so this can never go below what was acknowledged.
        revision=max(1, newest >> SUB_BITS, meta["compacted"]),
        compacted=meta["compacted"],
        compacted_done=meta["compacted_done"],
        at_ms=made_at(connection, newest >> SUB_BITS),
        notes={name.removeprefix(NOTE): value for name, value in meta.items() if name.startswith(NOTE)},
    )


def _bounds(range_end: bytes) -> tuple[str, tuple[bytes, ...]]:
    if not range_end:
        return "key = ?", ()
    if range_end == FROM_KEY:
        return "key >= ?", ()
    return "key >= ? AND key < ?", (range_end,)


def range_at(connection: sqlite3.Connection, key: bytes, range_end: bytes, revision: int) -> list[KeyValue]:
    """The range as it was at `revision`, in key order."""
    where, end = _bounds(range_end)
    rows = connection.execute(
        f"SELECT key, id, create_revision, version, lease, value FROM log WHERE id IN "  # noqa: S608 (constant texts)
        f"(SELECT max(id) FROM log WHERE {where} AND id <= ? GROUP BY key) AND version > 0 ORDER BY key",
        (key, *end, row_id(revision, SUB_MAX)),
    )
    return [
        KeyValue(key, value, create, id_ >> SUB_BITS, version, lease, None, id_ & SUB_MAX)
        for key, id_, create, version, lease, value in rows
    ]


@attrs.frozen
class Replay:
    """The events of whole revisions, and the last revision that was looked at."""

    revisions: tuple[tuple[int, tuple[Event, ...]], ...]
    upto: int


def replay(connection: sqlite3.Connection, key: bytes, range_end: bytes, first: int, last: int, bytes_max: int) -> Replay:
    """The events of the range in revisions first..last; stops after a whole revision once `bytes_max` are read."""
    where, end = _bounds(range_end)
    where = where.replace("key", "log.key")
    rows = connection.execute(
        f"SELECT log.id, log.key, log.create_revision, log.version, log.lease, log.value, "  # noqa: S608 (constant texts)
        f"prev.id, prev.create_revision, prev.version, prev.lease, prev.value "
        f"FROM log LEFT JOIN log AS prev ON prev.id = log.prev_id "
        f"WHERE +{where.replace('AND log.key', 'AND +log.key')} AND log.id >= ? AND log.id <= ? ORDER BY log.id",
        (key, *end, row_id(first), row_id(last, SUB_MAX)),
    )
    revisions: list[tuple[int, tuple[Event, ...]]] = []
    events: list[Event] = []
    current = size = 0
    for id_, name, create, version, lease, value, prev_id, prev_create, prev_version, prev_lease, prev_value in rows:
        revision = id_ >> SUB_BITS
        if revision != current:
            if events:
                revisions.append((current, tuple(events)))
                events = []
                if size > bytes_max:
                    return Replay(tuple(revisions), current)
            current = revision
        kv = KeyValue(name, value, create, revision, version, lease, None, id_ & SUB_MAX)
        prev = None
        if prev_id is not None:
            prev = KeyValue(name, prev_value, prev_create, prev_id >> SUB_BITS, prev_version, prev_lease, None, prev_id & SUB_MAX)
        events.append(Event(PUT if version else DELETE, kv, prev))
        size += len(value) + _VALUES_BYTES_OVERHEAD
    if events:
        revisions.append((current, tuple(events)))
    return Replay(tuple(revisions), last)


def cause_at(connection: sqlite3.Connection, revision: int) -> str | None:
    """The cause that was kept beside `revision`, if there is one and it is not compacted away."""
    row = connection.execute(
        "SELECT cause FROM log WHERE id >= ? AND id <= ? LIMIT 1", (row_id(revision), row_id(revision, SUB_MAX))
    ).fetchone()
    return row[0] if row else None


def causes_of(connection: sqlite3.Connection, first: int, last: int) -> list[tuple[int, int, str]]:
    """Revision, time and cause of the revisions first..last that were given one and are not compacted away."""
    rows = connection.execute(
        "SELECT id, at_ms, cause FROM log WHERE id >= ? AND id <= ? AND cause IS NOT NULL ORDER BY id",
        (row_id(first), row_id(last, SUB_MAX)),
    )
    return list({id_ >> SUB_BITS: (id_ >> SUB_BITS, at_ms, cause) for id_, at_ms, cause in rows}.values())


def changes_of(connection: sqlite3.Connection, key: bytes, first: int, last: int, limit: int, compacted: int) -> list[Change]:
    """The newest `limit` (0: all) changes of one key in revisions first..last, oldest first.

    What is older than `compacted` counts only as far as it still held at it: the rest may be on the disk, or not.
    """
    at_compacted = connection.execute(
        "SELECT coalesce(max(id), 0) FROM log WHERE key = ? AND id <= ?", (key, row_id(max(compacted, 0), SUB_MAX))
    ).fetchone()[0]
    rows = connection.execute(
        "SELECT log.id, log.create_revision, log.version, log.lease, log.at_ms, log.cause, log.value, "
        "prev.id, prev.create_revision, prev.version, prev.lease, prev.value "
        "FROM log LEFT JOIN log AS prev ON prev.id = log.prev_id AND prev.id >= ? "
        "WHERE log.key = ? AND log.id >= ? AND log.id <= ? ORDER BY log.id DESC LIMIT ?",
        (at_compacted, key, max(at_compacted, row_id(max(first, 0))), row_id(last, SUB_MAX), limit or -1),
    ).fetchall()
    changes = []
    for id_, create, version, lease, at_ms, cause, value, prev_id, prev_create, prev_version, prev_lease, prev_value in rows:
        revision = id_ >> SUB_BITS
        if not version and revision < compacted:
            continue  # a tombstone that tells of nothing that can still be read
        kv = KeyValue(key, value, create, revision, version, lease, None, id_ & SUB_MAX)
        prev = None
        if prev_id is not None:
            prev = KeyValue(key, prev_value, prev_create, prev_id >> SUB_BITS, prev_version, prev_lease, None, prev_id & SUB_MAX)
        changes.append(Change(revision, at_ms / 1000 if at_ms else None, cause, Event(PUT if version else DELETE, kv, prev)))
    changes.reverse()
    return changes


def made_at(connection: sqlite3.Connection, revision: int) -> int:
    """When `revision` was made, in milliseconds since the epoch; 0 if that is not known."""
    row = connection.execute(
        "SELECT at_ms FROM log WHERE id >= ? AND id <= ? LIMIT 1", (row_id(revision), row_id(revision, SUB_MAX))
    ).fetchone()
    return row[0] if row else 0


def revision_before(connection: sqlite3.Connection, at_ms: int, first: int, last: int) -> int | None:
    """The newest of the revisions first..last that was made at `at_ms` or before. O(log revisions) look-ups.

    From the compacted revision on they are dense, and their times never fall: so it is a binary search.
    """
    found, low, high = None, first, last
    while low <= high:
        middle = (low + high) // 2
        row = connection.execute("SELECT at_ms FROM log WHERE id >= ? ORDER BY id LIMIT 1", (row_id(middle),)).fetchone()
        if row is not None and row[0] <= at_ms:
            found, low = middle, middle + 1
        else:
            high = middle - 1
    return found


def compact_slice(connection: sqlite3.Connection, done: int, compacted: int, rows_max: int) -> int:
    """Delete what the revisions after `done` superseded, `rows_max` rows on; returns how far it came.

    Gone are: rows superseded by a row at or below `compacted`, and tombstones below it. Tombstones at exactly
    `compacted` stay: a watch may start there (etcd #19179), and the newest revision never gets lost (etcd #17780).
    How far it came is written in the same transaction, so that a crash resumes where it was.
    """
    low, end = row_id(max(done, 0), SUB_MAX), row_id(compacted, SUB_MAX)
    row = connection.execute(
        "SELECT id FROM log WHERE id > ? AND id <= ? ORDER BY id LIMIT 1 OFFSET ?", (low, end, rows_max)
    ).fetchone()
    reached = row[0] >> SUB_BITS if row else compacted
    high = row_id(reached, SUB_MAX)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "DELETE FROM log WHERE id IN (SELECT prev_id FROM log WHERE id > ? AND id <= ? AND prev_id != 0)", (low, high)
        )
        # From the first row of `done` on: the tombstones that stayed at the last compaction go now.
        connection.execute(
            "DELETE FROM log WHERE id >= ? AND id <= ? AND id < ? AND version = 0",
            (row_id(max(done, 0)), high, row_id(compacted)),
        )
        connection.execute("UPDATE meta SET value = ? WHERE name = 'compacted_done'", (reached,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return reached


def free_pages(connection: sqlite3.Connection, pages_max: int, every: bool = False) -> bool:
    """Give `pages_max` free pages back to the file system; True if more wait.

    Unless `every` free page is wanted, only if more than half the file is free: the next writes need some anyway.
    """
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    if not free or (not every and (free < pages_max or free * 2 < pages)):
        return False
    # A script, for it frees a page a step: `execute` takes the first of a statement without columns, and leaves the rest.
    connection.executescript(f"PRAGMA incremental_vacuum({pages_max:d})")
    return True


def sizes_bytes(connection: sqlite3.Connection) -> tuple[int, int]:
    """What the database takes, and how much of that is in use."""
    page, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return page * pages, page * (pages - free)


def copy_to(connection: sqlite3.Connection, path: Path) -> None:
    """Write all that is committed into a new file, as it is at one moment; writers go on."""
    target = sqlite3.connect(path)
    try:
        connection.backup(target)
    finally:
        target.close()


def grow_log(_: sqlite3.Connection, path: Path, size_bytes: int) -> int:
    """Have the write-ahead log take `size_bytes` on disk, filled with zeros; returns what it takes.

    A commit that makes a file longer has to sync the file's size, too, which costs as much as the data. SQLite reads a
    log up to the first frame whose checksum is wrong, so zeros at its end mean nothing to it. Only the writing thread
    may do this: nobody else then writes the log.
    """
    try:
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            while end < size_bytes:
                end += file.write(_ZEROS[: size_bytes - end])
            return end
    except OSError:
        # No room, or no log: commits are slower, and as durable.
        return size_bytes


def checkpoint(connection: sqlite3.Connection, truncate: bool = False) -> None:
    """Move the WAL into the file. PASSIVE keeps the WAL's size, which keeps the next fsyncs cheap.

    A full disk is no failure here: everything stays in the WAL, which is as durable.
    """
    try:
        connection.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if truncate else 'PASSIVE'})").fetchall()
    except sqlite3.Error as error:
        if not is_full(error):
            raise
