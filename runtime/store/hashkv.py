"""HashKV: one number for the whole history, equal to etcd's for the same history.

CRC-32C over "key", then for each row up to the revision its (main, sub), a mark for tombstones, and the KeyValue as
protobuf. So feeding one script to this store and to a real etcd and comparing two numbers proves that revisions,
sub-revisions, versions, create revisions, leases and compaction agree.

Source: etcd server/storage/mvcc/hash.go; checked against etcd 3.5.30
"""

from __future__ import annotations

import sqlite3
import struct

from .schema import SUB_BITS, SUB_MAX, row_id

_TABLE: list[int] = []
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = _crc >> 1 ^ (0x82F63B78 if _crc & 1 else 0)
    _TABLE.append(_crc)


_SMALL = tuple(bytes((number,)) for number in range(128))


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C (Castagnoli) of `data`, going on from `crc`. Pure Python: some MB a second."""
    table = _TABLE
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(number: int) -> bytes:
    """A protobuf varint; a negative number is its 64-bit two's complement."""
    if 0 <= number < 128:
        return _SMALL[number]
    encoded = bytearray()
    number &= 0xFFFFFFFFFFFFFFFF
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode_key_value(key: bytes, value: bytes, create: int, mod: int, version: int, lease: int) -> bytes:
    """A mvccpb.KeyValue as protobuf: fields 1 to 6, zero values left out."""
    parts = [b"\x0a", varint(len(key)), key] if key else []
    for tag, number in ((b"\x10", create), (b"\x18", mod), (b"\x20", version)):
        if number:
            parts += [tag, varint(number)]
    if value:
        parts += [b"\x2a", varint(len(value)), value]
    if lease:
        parts += [b"\x30", varint(lease)]
    return b"".join(parts)


def hash_log(connection: sqlite3.Connection, revision: int, compacted: int) -> int:
    """The hash of the history up to `revision`, with `compacted` as the compacted revision (-1: never)."""
    if connection.in_transaction:
        return _hash(connection, row_id(revision, SUB_MAX), compacted)
    connection.execute("BEGIN")  # one snapshot for both queries: a compaction may be running
    try:
        return _hash(connection, row_id(revision, SUB_MAX), compacted)
    finally:
        connection.execute("COMMIT")


def _hash(connection: sqlite3.Connection, last: int, compacted: int) -> int:
    # A row below the compacted revision counts only while it is the newest of its key: the rest may be gone already.
    kept = {
        row[0]
        for row in connection.execute(
            "SELECT id FROM log WHERE id IN (SELECT max(id) FROM log WHERE id <= ? GROUP BY key) AND version > 0", (last,)
        )
    }
    crc = crc32c(b"key")
    rows = connection.execute(
        "SELECT id, key, create_revision, version, lease, value FROM log WHERE id <= ? ORDER BY id", (last,)
    )
    for id_, key, create, version, lease, value in rows:
        main, sub = id_ >> SUB_BITS, id_ & SUB_MAX
        if main <= compacted and kept and id_ not in kept:
            continue
        if not version:
            if main == compacted:
                continue
            crc = crc32c(struct.pack(">qcqc", main, b"_", sub, b"t") + encode_key_value(key, b"", 0, 0, 0, 0), crc)
            continue
        crc = crc32c(struct.pack(">qcq", main, b"_", sub) + encode_key_value(key, value, create, main, version, lease), crc)
    return crc
