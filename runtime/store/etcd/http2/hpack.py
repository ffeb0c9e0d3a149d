"""Header blocks, decoded: HPACK with its static and dynamic tables.

A client's calls differ little: their blocks are the same bytes once the tables are filled. What a block means is remembered
for as long as the dynamic table stays as it is.

Source: RFC 7541
"""

from __future__ import annotations

from collections import deque

from . import huffman

Header = tuple[str, str]
TABLE_BYTES_MAX = 4096
"""The size of the dynamic table that a client may use: HTTP/2's default."""
_ENTRY_OVERHEAD_BYTES = 32
_REMEMBERED_MAX = 256
_ENTRIES = """
:authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204|:status 206
:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|accept-language|accept-ranges
accept|access-control-allow-origin|age|allow|authorization|cache-control|content-disposition|content-encoding
content-language|content-length|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host
if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards
proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|strict-transport-security
transfer-encoding|user-agent|vary|via|www-authenticate
"""
STATIC: tuple[Header, ...] = tuple(
    (name, value) for name, _, value in (entry.partition(" ") for entry in _ENTRIES.strip().replace("\n", "|").split("|"))
)
"""Appendix A."""


class HpackError(Exception):
    """A block that is none: the connection cannot go on, for the tables of both sides differ from here."""


class Decoder:
    """The decoding side of one connection."""

    def __init__(self, header_bytes_max: int) -> None:
        self._header_bytes_max = header_bytes_max
        self._table: deque[Header] = deque()
        self._size = 0
        self._size_max = TABLE_BYTES_MAX
        self._remembered: dict[bytes, tuple[Header, ...]] = {}

    def decode(self, block: bytes) -> tuple[Header, ...]:
        """The headers of a block.

        Raises:
            HpackError: it is malformed, or larger than a header may be.
        """
        known = self._remembered.get(block)
        if known is not None:
            return known
        try:
            headers, pure = self._decode(block)
        except (IndexError, ValueError) as error:
            raise HpackError(str(error)) from error
        if pure and len(self._remembered) < _REMEMBERED_MAX:
            self._remembered[block] = headers
        return headers

    def _decode(self, block: bytes) -> tuple[tuple[Header, ...], bool]:
        """The headers, and whether the table is as it was before."""
        headers, at, size, pure = list[Header](), 0, 0, True
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                header = self._entry(index)
            elif first & 0xE0 == 0x20:
                if headers:
                    raise HpackError("a table size in the middle of a block")
                self._size_max, at = _integer(block, at, 5)
                if self._size_max > TABLE_BYTES_MAX:
                    raise HpackError(f"a table of {self._size_max} bytes")
                self._evict()
                pure = False
                continue
            else:
                indexed = first & 0xC0 == 0x40
                index, at = _integer(block, at, 6 if indexed else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                header = (name, value)
                if indexed:
                    self._insert(header)
                    pure = False
            headers.append(header)
            size += len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD_BYTES
            if size > self._header_bytes_max:
                raise HpackError(f"headers of more than {self._header_bytes_max} bytes")
        return tuple(headers), pure

    def _entry(self, index: int) -> Header:
        if not index:
            raise HpackError("index 0")
        if index <= len(STATIC):
            return STATIC[index - 1]
        return self._table[index - len(STATIC) - 1]

    def _insert(self, header: Header) -> None:
        self._remembered.clear()
        self._table.appendleft(header)
        self._size += len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD_BYTES
        self._evict()

    def _evict(self) -> None:
        if self._size > self._size_max:
            self._remembered.clear()
        while self._size > self._size_max:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD_BYTES


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number with a prefix of `bits` bits, and where it ends."""
    top = (1 << bits) - 1
    value = block[at] & top
    at += 1
    if value < top:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise HpackError("a number without an end")


def _string(block: bytes, at: int) -> tuple[str, int]:
    coded = block[at] & 0x80
    length, at = _integer(block, at, 7)
    end = at + length
    if end > len(block):
        raise HpackError("a string that is longer than its block")
    raw = block[at:end]
    return (huffman.decoded(raw) if coded else raw).decode("latin-1"), end
