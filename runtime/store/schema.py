"""The tables of the store, and the check that a file holds them.

One wide, append-only log. Its row id is `revision << 20 | sub`, so a scan is history in order; `prev_id` is the row
that a row supersedes (0: none, or a tombstone), which gives prev_kv in one step and compaction in O(changes). A row
with version 0 is a tombstone. `value` is the last column, so scans of metadata skip its overflow pages.

    meta    schema_version, compacted, compacted_done, and the notes of others (numbers or bytes) under "note:..."
    log     what happened; `cause` is a small text kept beside each revision
    lease   what was granted; keys of a lease stand in the log
"""

from __future__ import annotations

import sqlite3

from .errors import SchemaVersionError

SCHEMA_VERSION = 1
SUB_BITS = 20
SUB_MAX = (1 << SUB_BITS) - 1
"""A revision holds a million changes at most."""

_OBJECTS = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "log": (
        "CREATE TABLE log (id INTEGER PRIMARY KEY, key BLOB NOT NULL, create_revision INTEGER NOT NULL, "
        "version INTEGER NOT NULL, lease INTEGER NOT NULL, prev_id INTEGER NOT NULL, cause TEXT, value BLOB NOT NULL)"
    ),
    "log_key": "CREATE INDEX log_key ON log (key, id)",
    "lease": "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_s INTEGER NOT NULL)",
}


def row_id(revision: int, sub: int = 0) -> int:
    """The id of the row of a change."""
    return revision << SUB_BITS | sub


def ensure_schema(connection: sqlite3.Connection, place: str) -> None:
    """Create the tables in an empty file; check them in one that is not.

    Raises:
        SchemaVersionError: the file is not a store, is of another version, or lacks a table or an index (an index
            that was lost would resurrect deleted keys).
    """
    if not _tables(connection, place):
        _create(connection)
        return
    check_schema(connection, place)


def check_schema(connection: sqlite3.Connection, place: str) -> None:
    """Check that a file holds the tables.

    Raises:
        SchemaVersionError: as above, and for an empty file.
    """
    wanted = f"schema version {SCHEMA_VERSION}"
    found = _tables(connection, place)
    if not found:
        raise SchemaVersionError(place, "an empty database", wanted)
    if "meta" not in found:
        raise SchemaVersionError(place, f"a database with {', '.join(sorted(found))}", wanted)
    version = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    if version is None or version[0] != SCHEMA_VERSION:
        raise SchemaVersionError(place, f"schema version {version[0] if version else 'unknown'}", wanted)
    for name, sql in _OBJECTS.items():
        if found.get(name) != sql:
            raise SchemaVersionError(place, f"schema version {SCHEMA_VERSION} with {name} missing or changed", wanted)


def _tables(connection: sqlite3.Connection, place: str) -> dict[str, str]:
    try:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall())
    except sqlite3.DatabaseError as error:
        raise SchemaVersionError(place, f"no readable database ({error})", f"schema version {SCHEMA_VERSION}") from error


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for sql in _OBJECTS.values():
        connection.execute(sql)
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)",
        [("schema_version", SCHEMA_VERSION), ("compacted", -1), ("compacted_done", -1)],
    )
    connection.execute("COMMIT")
