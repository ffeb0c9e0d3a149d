"""SPDY/3.1 frames without any I/O: what kubectl still speaks for port-forward, and older ones for everything.

Only what Kubernetes' streams need: streams with headers, data, half-closing, resets, pings and going away. Flow control is
left out, as its clients have none: what a reader does not take waits in the connection.

Source: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import attrs

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY, HEADERS = 1, 2, 3, 6, 7, 8
FIN = 1
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5
CONTROL_BYTES_MAX = 64 << 10
HEADERS_BYTES_MAX = 256 << 10
_FIXED_BYTES = {SYN_STREAM: 10, SYN_REPLY: 4, RST_STREAM: 8, PING: 4, GOAWAY: 8, HEADERS: 4}
_STREAM_ID = 0x7FFFFFFF
# The dictionary that both ends seed their compression with: names and values with their lengths, then common texts.
_WORDS = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow|"
    "authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|content-location|"
    "content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|"
    "if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|proxy-authenticate|proxy-authorization|range|"
    "referer|retry-after|server|te|trailer|transfer-encoding|upgrade|user-agent|vary|via|warning|www-authenticate|method|"
    "get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|keep-alive|origin"
)
_TEXTS = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack("!I", len(word)) + word.encode() for word in _WORDS.split("|")) + _TEXTS.encode()


class SpdyError(Exception):
    """The other end broke the protocol: the connection cannot go on."""


@attrs.frozen
class Control:
    """A control frame. `headers` have lower-case names; `status` is a reason's number, or a ping's."""

    type: int
    stream_id: int = 0
    headers: Mapping[str, str] = attrs.field(factory=dict)
    fin: bool = False
    status: int = 0


@attrs.frozen
class Data:
    """Bytes of a stream; `fin`: there are no more. A long frame comes in several of these."""

    stream_id: int
    data: bytes
    fin: bool = False


class Decoder:
    """Reads one direction of a connection."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._inflater = zlib.decompressobj(zdict=DICTIONARY)
        self._data: tuple[int, int, bool] | None = None

    def feed(self, data: bytes) -> list[Control | Data]:
        """Take bytes as they came; returns the frames that are whole by now, and what there is of a data frame.

        Raises:
            SpdyError: these bytes are no SPDY/3.1.
        """
        self._rest += data
        found: list[Control | Data] = []
        while True:
            if self._data is not None:
                piece = self._piece(*self._data)
                if piece is not None:
                    found.append(piece)
                if self._data is not None:
                    return found
            if len(self._rest) < 8:
                return found
            first, second = struct.unpack_from("!II", self._rest)
            length, flags = second & 0xFFFFFF, second >> 24
            if not first >> 31:
                del self._rest[:8]
                self._data = (first, length, bool(flags & FIN))
                continue
            if length > CONTROL_BYTES_MAX:
                raise SpdyError(f"a control frame of {length} bytes is too long")
            if first >> 16 & 0x7FFF != VERSION:
                raise SpdyError(f"a frame of SPDY version {first >> 16 & 0x7FFF}; this is version {VERSION}")
            if len(self._rest) < 8 + length:
                return found
            payload = bytes(self._rest[8 : 8 + length])
            del self._rest[: 8 + length]
            control = self._control(first & 0xFFFF, flags, payload)
            if control is not None:
                found.append(control)

    def _piece(self, stream_id: int, left: int, fin: bool) -> Data | None:
        data = bytes(self._rest[:left])
        del self._rest[:left]
        left -= len(data)
        self._data = (stream_id, left, fin) if left else None
        ends = fin and not left
        return Data(stream_id, data, ends) if data or ends else None

    def _control(self, kind: int, flags: int, payload: bytes) -> Control | None:
        fixed = _FIXED_BYTES.get(kind)
        if fixed is None:
            return None  # settings, windows, and what may come: of no meaning here
        if len(payload) < fixed:
            raise SpdyError(f"a control frame of type {kind} is too short")
        (number,) = struct.unpack_from("!I", payload)
        if kind == PING:
            return Control(PING, status=number)
        status = struct.unpack_from("!I", payload, 4)[0] if kind in (RST_STREAM, GOAWAY) else 0
        headers = self._headers(payload[fixed:]) if kind in (SYN_STREAM, SYN_REPLY, HEADERS) else {}
        return Control(kind, number & _STREAM_ID, headers, bool(flags & FIN), status)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflater.decompress(block, HEADERS_BYTES_MAX)
        except zlib.error as error:
            raise SpdyError(f"headers cannot be decompressed: {error}") from error
        if self._inflater.unconsumed_tail:
            raise SpdyError(f"headers are longer than {HEADERS_BYTES_MAX} bytes")
        headers = {}
        try:
            (count,) = struct.unpack_from("!I", text)
            at = 4
            for _ in range(count):
                name, at = _text(text, at)
                value, at = _text(text, at)
                headers[name.lower()] = value
        except struct.error:
            raise SpdyError("headers end too early") from None
        return headers


def _text(block: bytes, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("!I", block, at)
    end = at + 4 + size
    if end > len(block):
        raise SpdyError("a header is longer than its frame")
    return block[at + 4 : end].decode("utf-8", "replace"), end


class Encoder:
    """Writes one direction of a connection; what it makes must be sent in the order in which it was made."""

    def __init__(self) -> None:
        self._deflater = zlib.compressobj(zdict=DICTIONARY)

    def control(self, frame: Control) -> bytes:
        """A control frame as bytes."""
        if frame.type == PING:
            payload = struct.pack("!I", frame.status)
        elif frame.type in (RST_STREAM, GOAWAY):
            payload = struct.pack("!II", frame.stream_id, frame.status)
        else:
            payload = struct.pack("!I", frame.stream_id)
            if frame.type == SYN_STREAM:
                payload += bytes(6)  # no associated stream, the highest priority, no credential
            payload += self._headers(frame.headers)
        head = struct.pack("!II", 1 << 31 | VERSION << 16 | frame.type, (FIN if frame.fin else 0) << 24 | len(payload))
        return head + payload

    def data(self, frame: Data) -> bytes:
        """A data frame as bytes; at most 16 MiB."""
        return struct.pack("!II", frame.stream_id, (FIN if frame.fin else 0) << 24 | len(frame.data)) + frame.data

    def _headers(self, headers: Mapping[str, str]) -> bytes:
        text = struct.pack("!I", len(headers))
        for name, value in headers.items():
            for part in (name.lower().encode(), value.encode()):
                text += struct.pack("!I", len(part)) + part
        return self._deflater.compress(text) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
