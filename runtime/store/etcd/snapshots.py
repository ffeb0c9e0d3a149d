"""Snapshots in etcd's own form: saved from ours with etcdctl, restored into a real cluster with etcdutl; and back.

The history goes over as it is, so revisions and HashKV stay: with it leases, compaction, users and roles. What a real
etcd has no place for does not: causes, and when revisions were made (`reconcile store snapshot` keeps all). Passwords are
hashed otherwise by a real etcd: neither side knows the other's users by theirs. Alarms stay behind: they are of a disk.

Source: etcd server/mvcc/buckets, server/mvcc/util.go, server/auth/store.go
"""

from __future__ import annotations

import mmap
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aetcd.rpc import auth_pb2, kv_pb2

from reconcile.runtime.store.hashkv import encode_key_value, varint
from reconcile.runtime.store.log import COLUMNS, NOTE, Note, Value, commit, load
from reconcile.runtime.store.schema import SUB_BITS, SUB_MAX, ensure_schema, row_id

from . import accounts, bolt
from .errors import SnapshotError

_REVISION = struct.Struct(">qcq")
_NUMBER = struct.Struct(">q")
_COUNT = struct.Struct(">Q")
_TOMBSTONE = b"t"
_ROWS_AT_ONCE = 1_000
_FINISHED, _SCHEDULED = b"finishedCompactRev", b"scheduledCompactRev"
_ENABLED, _AUTH_REVISION = b"authEnabled", b"authRevision"
_EMPTY_BUCKETS = (b"alarm", b"members", b"members_removed")


def save(connection: sqlite3.Connection, path: Path) -> None:
    """Write the store, as it is at one moment, as the database of an etcd into the new file `path`."""
    connection.execute("BEGIN")
    try:
        loaded = load(connection)
        notes = loaded.notes
        leases = ((_NUMBER.pack(id_), _lease(id_, ttl_s)) for id_, ttl_s in sorted(loaded.leases))
        buckets: list[tuple[bytes, Any]] = [  # Any: lists and iterators of items
            (b"key", _history(connection)),
            (b"meta", sorted(_meta(loaded.compacted, loaded.compacted_done))),
            (b"lease", sorted(leases)),
            (b"cluster", [(b"clusterVersion", b"3.5.0")]),
            (b"auth", sorted(_auth(notes))),
            (b"authUsers", sorted(_named(notes, accounts.USER))),
            (b"authRoles", sorted(_named(notes, accounts.ROLE))),
            *((name, ()) for name in _EMPTY_BUCKETS),
        ]
        with path.open("xb") as file:
            bolt.write(file, buckets)
    finally:
        connection.execute("ROLLBACK")


def _history(connection: sqlite3.Connection) -> Iterator[bolt.Item]:
    rows = connection.execute("SELECT id, key, create_revision, version, lease, value FROM log ORDER BY id")
    for id_, key, create, version, lease, value in rows:
        revision = id_ >> SUB_BITS
        number = _REVISION.pack(revision, b"_", id_ & SUB_MAX)
        if version:
            yield number, encode_key_value(key, value, create, revision, version, lease)
        else:
            yield number + _TOMBSTONE, encode_key_value(key, b"", 0, 0, 0, 0)


def _meta(compacted: int, compacted_done: int) -> Iterator[bolt.Item]:
    yield b"consistent_index", _COUNT.pack(1)
    yield b"term", _COUNT.pack(1)
    for name, revision in ((_FINISHED, compacted_done), (_SCHEDULED, compacted)):
        if revision >= 0:
            yield name, _REVISION.pack(revision, b"_", 0)


def _lease(id_: int, ttl_s: int) -> bytes:
    return b"\x08" + varint(id_) + b"\x10" + varint(ttl_s)


def _auth(notes: dict[str, Note]) -> Iterator[bolt.Item]:
    yield _ENABLED, b"\x01" if notes.get(accounts.ENABLED) else b"\x00"
    yield _AUTH_REVISION, _COUNT.pack(int(notes.get(accounts.REVISION, 1)))


def _named(notes: dict[str, Note], kind: str) -> Iterator[bolt.Item]:
    for name, note in notes.items():
        if name.startswith(kind) and isinstance(note, bytes):
            yield name.removeprefix(kind).encode(), note


def load_into(source: Path, place: Path, *, auth_off: bool = False) -> None:
    """Make the new store file `place` from the database of an etcd, which its hash was cut off from.

    With `auth_off` nobody is asked who they are, until somebody enables that again.

    Raises:
        SnapshotError: it is damaged, or root would be asked for a password that only a real etcd could check.
    """
    connection = sqlite3.connect(place, isolation_level=None)
    try:
        ensure_schema(connection, str(place))
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            data = memoryview(mapped)
            try:
                _load(connection, bolt.Bolt(data), str(place), auth_off)
            finally:
                data.release()
    finally:
        connection.close()


def _load(connection: sqlite3.Connection, database: bolt.Bolt, place: str, auth_off: bool) -> None:
    _load_history(connection, database, place)
    for key, value in database.items(b"lease"):
        commit(connection, (), [("INSERT INTO lease VALUES (?, ?)", (_NUMBER.unpack(key)[0], _lease_ttl_s(value)))], place)
    meta = dict(database.items(b"meta"))
    for name, key in (("compacted_done", _FINISHED), ("compacted", _SCHEDULED)):
        if key in meta:
            revision = _REVISION.unpack(meta[key][: _REVISION.size])[0]
            commit(connection, (), [("UPDATE meta SET value = ? WHERE name = ?", (revision, name))], place)
    auth = dict(database.items(b"auth"))
    notes: dict[str, Note] = {accounts.REVISION: _COUNT.unpack(auth.get(_AUTH_REVISION, _COUNT.pack(1)))[0]}
    users = {key.decode(): value for key, value in database.items(b"authUsers")}
    if auth.get(_ENABLED) == b"\x01" and not auth_off:
        notes[accounts.ENABLED] = 1
        if _is_foreign(users.get(accounts.ROOT, b"")):
            raise SnapshotError(
                "authentication is enabled in it, and root's password can be checked by a real etcd only; restore with "
                "--auth-off, then set passwords and enable it again"
            )
    notes |= {accounts.USER + name: _known_user(user) for name, user in users.items()}
    notes |= {accounts.ROLE + key.decode(): value for key, value in database.items(b"authRoles")}
    for name, note in notes.items():
        commit(connection, (), [("INSERT INTO meta VALUES (?, ?)", (NOTE + name, note))], place)


def _load_history(connection: sqlite3.Connection, database: bolt.Bolt, place: str) -> None:
    newest: dict[bytes, int] = {}
    rows: list[Value] = []
    for number, value in database.items(b"key"):
        if len(number) not in (_REVISION.size, _REVISION.size + 1):
            raise SnapshotError(f"{number!r} is no revision")
        revision, _, sub = _REVISION.unpack(number[: _REVISION.size])
        kv = kv_pb2.KeyValue.FromString(value)
        id_ = row_id(revision, sub)
        dead = number.endswith(_TOMBSTONE) and len(number) > _REVISION.size
        shown = (0, 0, 0) if dead else (kv.create_revision, kv.version, kv.lease)
        rows += (id_, kv.key, *shown, newest.pop(kv.key, 0), 0, None, kv.value)
        if not dead:
            newest[kv.key] = id_
        if len(rows) >= _ROWS_AT_ONCE * COLUMNS:
            commit(connection, rows, (), place)
            rows = []
    if rows:
        commit(connection, rows, (), place)


def _lease_ttl_s(value: bytes) -> int:
    """The TTL of a leasepb.Lease: field 2; an id of 10 bytes at most stands before it."""
    fields = dict(_varints(value))
    return fields.get(2, 0)


def _varints(message: bytes) -> Iterator[tuple[int, int]]:
    """The fields of a message that holds small numbers only."""
    number = shift = 0
    field = None
    for byte in message:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            if field is None:
                field = number >> 3
            else:
                yield field, number
                field = None
            number = shift = 0


def _is_foreign(user: bytes) -> bool:
    """Whether a user's password hash is a real etcd's: bcrypt."""
    password: bytes = auth_pb2.User.FromString(user).password
    return password.startswith(b"$2")


def _known_user(user: bytes) -> bytes:
    """A user whose password can be checked here; with one that only a real etcd could check, no password is right."""
    message = auth_pb2.User.FromString(user)
    if _is_foreign(user):
        message.password = b""
    known: bytes = message.SerializeToString()
    return known
