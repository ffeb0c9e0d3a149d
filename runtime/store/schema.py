"""The tables of the store, and the check that a file holds them.

One wide, append-only log. Its row id is `revision << 20 | sub`, so a scan is history in order; `prev_id` is the row
that a row supersedes (0: none, or a tombstone), which gives prev_kv in one step and compaction in O(changes). A row
with version 0 is a tombstone. `value` is the last column, so scans of metadata skip its overflow pages.

    meta    schema_version, compacted, compacted_done, and the notes of others (numbers or bytes) under "note:..."
    log     what happened, and when (`at_ms`, since the epoch, never less than the row before; 0: not known, the row is
            from schema version 1); `cause` is a small text kept beside each revision
    lease   what was granted; keys of a lease stand in the log
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from .errors import DamagedError, SchemaVersionError

SCHEMA_VERSION = 2
_WANTED = f"schema version {SCHEMA_VERSION}"
SUB_BITS = 20
SUB_MAX = (1 << SUB_BITS) - 1
"""A revision holds a million changes at most."""

_OBJECTS = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "log": (
        "CREATE TABLE log (id INTEGER PRIMARY KEY, key BLOB NOT NULL, create_revision INTEGER NOT NULL, "
        "version INTEGER NOT NULL, lease INTEGER NOT NULL, prev_id INTEGER NOT NULL, at_ms INTEGER NOT NULL, cause TEXT, "
        "value BLOB NOT NULL)"
    ),
    "log_key": "CREATE INDEX log_key ON log (key, id)",
    "lease": "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_s INTEGER NOT NULL)",
}
_LOG_1 = _OBJECTS["log"].replace(" at_ms INTEGER NOT NULL,", "")
_FROM_1 = (
    "ALTER TABLE log RENAME TO log_1",
    "DROP INDEX log_key",
    _OBJECTS["log"],
    "INSERT INTO log SELECT id, key, create_revision, version, lease, prev_id, 0, cause, value FROM log_1",
    "DROP TABLE log_1",
    _OBJECTS["log_key"],
    "UPDATE meta SET value = 2 WHERE name = 'schema_version'",
)
"""Rebuilt, not altered: a column that is added stands behind the value, and is read through all its overflow pages."""


def row_id(revision: int, sub: int = 0) -> int:
    """The id of the row of a change."""
    return revision << SUB_BITS | sub


def ensure_schema(connection: sqlite3.Connection, place: str) -> None:
    """Create the tables in an empty file; check them in one that is not, and bring version 1 up to date.

    Raises:
        SchemaVersionError: the file is not a store, is of another version, or lacks a table or an index (an index
            that was lost would resurrect deleted keys).
    """
    if not _tables(connection, place):
        _create(connection)
        return
    if _version(connection, place) == 1:
        _check_objects(connection, place, {**_OBJECTS, "log": _LOG_1})
        _in_one_transaction(connection, _FROM_1)
    check_schema(connection, place)


def check_schema(connection: sqlite3.Connection, place: str) -> None:
    """Check that a file holds the tables.

    Raises:
        SchemaVersionError: as above, and for an empty file.
    """
    version = _version(connection, place)
    if version != SCHEMA_VERSION:
        raise SchemaVersionError(place, f"schema version {'unknown' if version is None else version}", _WANTED)
    _check_objects(connection, place, _OBJECTS)


def check_pages(connection: sqlite3.Connection, place: str, bytes_max: int) -> None:
    """Check that the pages of a file hold together, if it is no larger than `bytes_max`. About 1 ms a MB.

    Raises:
        DamagedError: they do not.
    """
    pages, page_bytes = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * page_bytes > bytes_max:
        return
    try:
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise DamagedError(place, str(error)) from error
    if problem != "ok":
        raise DamagedError(place, " ".join(problem.split()))


def _version(connection: sqlite3.Connection, place: str) -> int | None:
    found = _tables(connection, place)
    if not found:
        raise SchemaVersionError(place, "an empty database", _WANTED)
    if "meta" not in found:
        raise SchemaVersionError(place, f"a database with {', '.join(sorted(found))}", _WANTED)
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    return row[0] if row else None


def _check_objects(connection: sqlite3.Connection, place: str, objects: Mapping[str, str]) -> None:
    found = _tables(connection, place)
    for name, sql in objects.items():
        if found.get(name) != sql:
            raise SchemaVersionError(place, f"a store with {name} missing or changed", _WANTED)


def _tables(connection: sqlite3.Connection, place: str) -> dict[str, str]:
    try:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall())
    except sqlite3.DatabaseError as error:
        raise SchemaVersionError(place, f"no readable database ({error})", _WANTED) from error


def _create(connection: sqlite3.Connection) -> None:
    counters = (("schema_version", SCHEMA_VERSION), ("compacted", -1), ("compacted_done", -1))
    rows = (f"INSERT INTO meta VALUES ('{name}', {value})" for name, value in counters)  # noqa: S608 (constant texts)
    _in_one_transaction(connection, (*_OBJECTS.values(), *rows))


def _in_one_transaction(connection: sqlite3.Connection, statements: Iterable[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql in statements:
            connection.execute(sql)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
