"""Looking at a store's file from outside: sizes, soundness, copies; also while a server has it open.

Everything here reads through a connection of its own that cannot write, and blocks until it is done: it is for commands,
not for a process that serves. A copy is the database file followed by its SHA-256, as `etcdctl snapshot save` makes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import attrs

from .database import connect_reader
from .errors import SchemaVersionError
from .hashkv import hash_log
from .log import copy_to, sizes_bytes
from .schema import SUB_BITS, SUB_MAX, check_schema, ensure_schema
from .store import FILE_NAME

_DIGEST_BYTES = 32
_KUBE_APISERVER = b"k8s\0"
_PAGE_BYTES_MIN = 512
_PROBLEMS_MAX = 20
_BLOCK_BYTES = 1 << 20


@attrs.frozen
class Stats:
    """What a store holds, and what it takes."""

    revision: int
    compacted: int
    keys: int
    changes: int
    leases: int
    size_bytes: int
    used_bytes: int
    log_bytes: int
    """The write-ahead log beside the file."""


@attrs.frozen
class Report:
    """What a check of a store found; `hash_kv` is comparable with a real etcd's of the same history."""

    stats: Stats
    hash_kv: int
    problems: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    """Keys where the API keeps objects, and that hold none (see `verify`)."""


def stats(folder: Path) -> Stats:
    """The figures of the store in `folder`.

    Raises:
        SchemaVersionError: there is no store of this version.
    """
    with _reading(folder / FILE_NAME) as connection:
        return _stats(connection, folder / FILE_NAME)


def verify(folder: Path, objects: bytes = b"") -> Report:
    """Check the store in `folder`: SQLite's own integrity check, then that the log tells one consistent history.

    With `objects`, values below that prefix have to be JSON mappings with a name. O(history), and some MB a second for the hash.

    Raises:
        SchemaVersionError: there is no store of this version.
    """
    with _reading(folder / FILE_NAME) as connection:
        problems = [f"SQLite: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        problems += _inconsistencies(connection)
        figures = _stats(connection, folder / FILE_NAME)
        unreadable = tuple(_unreadable(connection, objects)) if objects else ()
        hashed = hash_log(connection, figures.revision, figures.compacted)
        return Report(figures, hashed, tuple(problems[:_PROBLEMS_MAX]), unreadable)


def snapshot(folder: Path, target: Path) -> int:
    """Copy the store in `folder`, as it is at one moment, into the new file `target`; returns its revision.

    Raises:
        FileExistsError: `target` is there already.
        SchemaVersionError: there is no store of this version.
    """
    if target.exists():
        raise FileExistsError(f"{target} is there already; name a new file")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    with _reading(folder / FILE_NAME) as connection:
        copy_to(connection, part)
    with part.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        file.seek(0, os.SEEK_END)
        file.write(digest)
        file.flush()
        os.fsync(file.fileno())
    part.rename(target)
    with _reading(folder / FILE_NAME) as connection:
        return _stats(connection, folder / FILE_NAME).revision


def restore(source: Path, folder: Path, load_into: Callable[[Path, Path], None] | None = None) -> Stats:
    """Make the new store `folder` from a snapshot of ours; with `load_into`, from one of another form, which that reads.

    Raises:
        FileExistsError: `folder` holds a store already.
        SchemaVersionError: the file is damaged, or is no snapshot of a store of this version.
    """
    place = folder / FILE_NAME
    if place.exists():
        raise FileExistsError(f"{folder} holds a store already; name a new folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = place.with_name(FILE_NAME + ".part")
    _copy_checked(source, part)
    if load_into is not None:
        other = part.rename(place.with_name(FILE_NAME + ".other"))
        try:
            part.unlink(missing_ok=True)
            load_into(other, part)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            other.unlink()
    with closing(sqlite3.connect(part, isolation_level=None)) as connection:
        ensure_schema(connection, str(source))  # it is a store, maybe an older one
    for beside in ("-wal", "-shm"):
        part.with_name(part.name + beside).unlink(missing_ok=True)
    part.rename(place)
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)
    return stats(folder)


def _copy_checked(source: Path, part: Path) -> None:
    size = source.stat().st_size
    rest = size - _DIGEST_BYTES
    if size % _PAGE_BYTES_MIN != _DIGEST_BYTES:
        raise SchemaVersionError(str(source), f"{size} bytes, so no hash at the end", "a snapshot with its hash")
    digest = hashlib.sha256()
    with source.open("rb") as file, part.open("wb") as copy:
        while rest and (block := file.read(min(rest, _BLOCK_BYTES))):
            digest.update(block)
            copy.write(block)
            rest -= len(block)
        if file.read() != digest.digest():
            raise SchemaVersionError(str(source), "content that is not what its hash says", "an undamaged snapshot")
        copy.flush()
        os.fsync(copy.fileno())


@contextmanager
def _reading(place: Path) -> Iterator[sqlite3.Connection]:
    if not place.exists():
        raise SchemaVersionError(str(place), "no file", "a store")
    with closing(connect_reader(place)) as connection:
        check_schema(connection, str(place))
        connection.execute("BEGIN")  # all that is read is of one moment
        yield connection


def _stats(connection: sqlite3.Connection, place: Path) -> Stats:
    def one(sql: str) -> int:
        return int(connection.execute(sql).fetchone()[0] or 0)

    compacted = one("SELECT value FROM meta WHERE name = 'compacted'")
    size_bytes, used_bytes = sizes_bytes(connection)
    log = place.with_name(place.name + "-wal")
    return Stats(
        revision=max(1, one("SELECT max(id) FROM log") >> SUB_BITS, compacted),
        compacted=compacted,
        keys=one("SELECT count(*) FROM (SELECT max(id), version FROM log GROUP BY key) WHERE version > 0"),
        changes=one("SELECT count(*) FROM log"),
        leases=one("SELECT count(*) FROM lease"),
        size_bytes=size_bytes,
        used_bytes=used_bytes,
        log_bytes=log.stat().st_size if log.exists() else 0,
    )


def _unreadable(connection: sqlite3.Connection, prefix: bytes) -> Iterator[str]:
    """Keys below `prefix` whose newest value is no object, with what is wrong."""
    newest = "SELECT key, value, version, max(id) FROM log WHERE key >= ? AND key < ? GROUP BY key ORDER BY key"
    for key, value, version, id_ in connection.execute(newest, (prefix, prefix[:-1] + bytes([prefix[-1] + 1]))):
        if version and (why := _no_object(value)):
            yield f"{key.decode(errors='backslashreplace')} at revision {id_ >> SUB_BITS}: {why}"


def _no_object(value: bytes) -> str:
    if value.startswith(_KUBE_APISERVER):
        return ""  # a real one keeps its objects here
    try:
        tree = json.loads(value)
    except ValueError as error:
        return f"no JSON: {error}"
    meta = tree.get("metadata") if isinstance(tree, dict) else None
    named = isinstance(meta, dict) and isinstance(meta.get("name"), str) and isinstance(tree.get("apiVersion"), str)
    return "" if named else "no apiVersion, or no metadata.name"


def _inconsistencies(connection: sqlite3.Connection) -> Iterator[str]:
    """What the log says that cannot have happened."""
    compacted = connection.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()[0]
    versions: dict[bytes, tuple[int, int]] = {}
    last = floor = max(1, compacted)
    for id_, key, create, version in connection.execute("SELECT id, key, create_revision, version FROM log ORDER BY id"):
        revision, sub = id_ >> SUB_BITS, id_ & SUB_MAX
        if revision > floor:
            if revision not in (last, last + 1) or (revision == last) == (sub == 0):
                yield f"change {sub} of revision {revision} follows revision {last}: changes between are lost"
            last = revision
        known = versions.get(key)
        if version and known is not None and known[1] and (create, version) != (known[0], known[1] + 1):
            yield f"{key!r} at revision {revision}: version {version} follows version {known[1]}"
        if version and known is not None and not known[1] and (create, version) != (revision, 1):
            yield f"{key!r} at revision {revision}: version {version} follows a delete"
        versions[key] = (create, version)
