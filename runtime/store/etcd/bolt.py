"""Files of bbolt, the database that a real etcd keeps: written whole, and read.

A file is pages of 4 KiB: two metas, a list of free pages, and for each bucket a B+tree of sorted keys. What is written
here is written once, in order, and full; so there are no free pages, and each level of a tree follows the one below it.

    page     id u64, flags u16, count u16, overflow u32; then elements, then their keys and values
    leaf     flags u32, position u32, key size u32, value size u32      (position: from the element's own start)
    branch   position u32, key size u32, page u64
    bucket   root page u64, sequence u64; with root 0 a page follows inline
    meta     magic, version, page size, flags u32; root bucket; free list, pages, txid u64; FNV-1a of all that

Source: https://github.com/etcd-io/bbolt, page.go, bucket.go, db.go; checked with `etcdctl snapshot status`
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from .errors import SnapshotError

_PAGE_BYTES = 4096
_MAGIC, _VERSION = 0xED0CDAED, 2
_BRANCH, _LEAF, _META, _FREE = 1, 2, 4, 16
_IS_BUCKET = 1
_COUNT_MAX = 0xFFFE
_HEADER = struct.Struct("<QHHI")
_LEAF_ELEMENT = struct.Struct("<IIII")
_BRANCH_ELEMENT = struct.Struct("<IIQ")
_BUCKET = struct.Struct("<QQ")
_META_FIELDS = struct.Struct("<IIII QQ QQQ")
_CHECKSUM = struct.Struct("<Q")
_FIRST_FREE, _FIRST_DATA = 2, 3
_DEPTH_MAX = 64

Item = tuple[bytes, bytes]


def write(file: BinaryIO, buckets: Sequence[tuple[bytes, Iterable[Item]]]) -> None:
    """Write a database of buckets, each with its items in the order of their keys, into an empty file."""
    writer = _Writer(file)
    roots = sorted((name, writer.bucket(items)) for name, items in buckets)
    root = writer.tree(roots, _IS_BUCKET)
    writer.finish(root)


class _Writer:
    """Appends pages; knows the number of the next."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._next = _FIRST_DATA
        file.seek(_FIRST_DATA * _PAGE_BYTES)

    def bucket(self, items: Iterable[Item]) -> bytes:
        """Write a bucket's tree; gives what stands for the bucket in its parent."""
        items = iter(items)
        first = next(items, None)
        if first is None:
            return _BUCKET.pack(0, 0) + _HEADER.pack(0, _LEAF, 0, 0)
        return _BUCKET.pack(self.tree(_chain(first, items)), 0)

    def tree(self, items: Iterable[Item], flags: int = 0) -> int:
        """Write leaves, then the branches above them; gives the root's page."""
        level = list(self._leaves(items, flags))
        while len(level) > 1:
            level = list(self._branches(level))
        return level[0][1]

    def _leaves(self, items: Iterable[Item], flags: int) -> Iterator[tuple[bytes, int]]:
        """Write leaves; gives the first key of each, and its page."""
        page: list[Item] = []
        size = _HEADER.size
        for key, value in items:
            grown = _LEAF_ELEMENT.size + len(key) + len(value)
            if page and (size + grown > _PAGE_BYTES or len(page) == _COUNT_MAX):
                yield page[0][0], self._leaf(page, flags)
                page, size = [], _HEADER.size
            page.append((key, value))
            size += grown
        yield page[0][0], self._leaf(page, flags)

    def _leaf(self, items: list[Item], flags: int) -> int:
        elements = bytearray()
        position = len(items) * _LEAF_ELEMENT.size
        for key, value in items:
            elements += _LEAF_ELEMENT.pack(flags, position - len(elements), len(key), len(value))
            position += len(key) + len(value)
        return self._page(_LEAF, len(items), bytes(elements) + b"".join(part for item in items for part in item))

    def _branches(self, below: list[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
        page: list[tuple[bytes, int]] = []
        size = _HEADER.size
        for key, number in below:
            grown = _BRANCH_ELEMENT.size + len(key)
            if page and size + grown > _PAGE_BYTES:
                yield page[0][0], self._branch(page)
                page, size = [], _HEADER.size
            page.append((key, number))
            size += grown
        yield page[0][0], self._branch(page)

    def _branch(self, children: list[tuple[bytes, int]]) -> int:
        elements = bytearray()
        position = len(children) * _BRANCH_ELEMENT.size
        for key, number in children:
            elements += _BRANCH_ELEMENT.pack(position - len(elements), len(key), number)
            position += len(key)
        return self._page(_BRANCH, len(children), bytes(elements) + b"".join(key for key, _ in children))

    def _page(self, flags: int, count: int, body: bytes) -> int:
        """Append a page, as long as its body needs it to be; gives its number."""
        number = self._next
        pages = -(-(_HEADER.size + len(body)) // _PAGE_BYTES)
        self._file.write(_HEADER.pack(number, flags, count, pages - 1) + body)
        self._file.write(bytes(pages * _PAGE_BYTES - _HEADER.size - len(body)))
        self._next += pages
        return number

    def finish(self, root: int) -> None:
        """Write the metas, the newer last, and the empty list of free pages."""
        self._file.seek(0)
        for number in range(_FIRST_FREE):
            fields = _META_FIELDS.pack(_MAGIC, _VERSION, _PAGE_BYTES, 0, root, 0, _FIRST_FREE, self._next, number)
            page = _HEADER.pack(number, _META, 0, 0) + fields + _CHECKSUM.pack(_fnv(fields))
            self._file.write(page.ljust(_PAGE_BYTES, b"\0"))
        self._file.write(_HEADER.pack(_FIRST_FREE, _FREE, 0, 0).ljust(_PAGE_BYTES, b"\0"))


def _chain(first: Item, rest: Iterable[Item]) -> Iterator[Item]:
    yield first
    yield from rest


def _fnv(data: bytes) -> int:
    found = 0xCBF29CE484222325
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return found


class Bolt:
    """A database that is read. `data` is the whole file, or a map of it."""

    def __init__(self, data: memoryview) -> None:
        """Find the newer of the two metas that is whole.

        Raises:
            SnapshotError: there is none.
        """
        self._data = data
        metas = [meta for number in range(2) if (meta := self._meta(number)) is not None]
        if not metas:
            raise SnapshotError("no whole bbolt meta page: not a snapshot of an etcd, or a damaged one")
        _, self._root = max(metas)

    def _meta(self, number: int) -> tuple[int, int] | None:
        """The txid and the root of a meta page; None if it is broken."""
        start = number * _PAGE_BYTES + _HEADER.size
        fields = bytes(self._data[start : start + _META_FIELDS.size])
        checksum = bytes(self._data[start + _META_FIELDS.size : start + _META_FIELDS.size + _CHECKSUM.size])
        if len(checksum) < _CHECKSUM.size or _CHECKSUM.unpack(checksum)[0] != _fnv(fields):
            return None
        magic, version, page_bytes, _, root, _, _, _, txid = _META_FIELDS.unpack(fields)
        if (magic, version) != (_MAGIC, _VERSION):
            return None
        if page_bytes != _PAGE_BYTES:
            raise SnapshotError(f"pages of {page_bytes} bytes: only those of {_PAGE_BYTES} are read")
        return txid, root

    def items(self, bucket: bytes) -> Iterator[Item]:
        """The items of a bucket in the order of their keys; none if it is not there.

        Raises:
            SnapshotError: a page is damaged.
        """
        for name, value in self._walk(self._root, _DEPTH_MAX):
            if name == bucket:
                root, _ = _BUCKET.unpack_from(value)
                if root:
                    yield from self._walk(root, _DEPTH_MAX)
                else:
                    yield from self._leaf(memoryview(value)[_BUCKET.size :])

    def _walk(self, number: int, depth: int) -> Iterator[Item]:
        start = number * _PAGE_BYTES
        head = self._data[start : start + _HEADER.size]
        if len(head) < _HEADER.size or not depth:
            raise SnapshotError(f"page {number} is not in the file")
        found, flags, count, overflow = _HEADER.unpack(head)
        page = self._data[start : start + (overflow + 1) * _PAGE_BYTES]
        if found != number or flags not in (_LEAF, _BRANCH):
            raise SnapshotError(f"page {number} says that it is page {found}, of kind {flags}")
        if flags == _LEAF:
            yield from self._leaf(page)
            return
        for index in range(count):
            _, _, child = _BRANCH_ELEMENT.unpack_from(page, _HEADER.size + index * _BRANCH_ELEMENT.size)
            yield from self._walk(child, depth - 1)

    @staticmethod
    def _leaf(page: memoryview) -> Iterator[Item]:
        _, _, count, _ = _HEADER.unpack_from(page)
        for index in range(count):
            at = _HEADER.size + index * _LEAF_ELEMENT.size
            _, position, key_bytes, value_bytes = _LEAF_ELEMENT.unpack_from(page, at)
            key_at = at + position
            value_at = key_at + key_bytes
            if value_at + value_bytes > len(page):
                raise SnapshotError("a value reaches beyond its page")
            yield bytes(page[key_at:value_at]), bytes(page[value_at : value_at + value_bytes])
