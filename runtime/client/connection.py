"""One HTTP/1.1 connection of a client: a request at a time, whose answer comes whole or as a stream.

An operator makes a request for each write, from one event loop: what a request costs is what it can do. A general library
spends 0.25 ms of CPU on one (URL objects, header multidicts, a task, timers); this takes less than half, and is no more than an
API server needs: no redirects, no cookies, no pipelining.

Whatever breaks is an OSError: ConnectionError where the server hung up or speaks no HTTP, TimeoutError where it is silent.

Source: RFC 9112
"""

from __future__ import annotations

import asyncio
import zlib
from typing import NamedTuple, cast

HEAD_BYTES_MAX = 256 << 10
WAITING_BYTES_MAX = 1 << 20
"""What a stream may bring before its reader has taken it; then the server is kept waiting."""
_PIECE_BYTES = 64 << 10
_GZIP = 16 + zlib.MAX_WBITS
_BODILESS = (204, 304)
_UNTIL_CLOSED = -1


class Answer(NamedTuple):
    """What a server answered; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """A connection that is open. Made by `loop.create_connection`; `ask` and `begin` must not overlap."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._busy = False
        self._lost: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._streams = self._paused = False
        self._reset()

    def _reset(self) -> None:
        self.heard = False
        """Whether anything of the answer came."""
        self._rest = b""
        self._status = 0
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._chunked = self._ended = False
        self._left = 0  # bytes of the body, or of its chunk, that are still to come
        self._complete = False

    @property
    def usable(self) -> bool:
        """Whether the next request may be sent on it."""
        transport = self._transport
        return self._lost is None and not self._busy and transport is not None and not transport.is_closing()

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """Send a request, and read the whole answer.

        Raises:
            OSError: it broke, or took longer than `timeout_s`; nothing else can be sent on it then.
        """
        self._start(streams=False)
        timer = self._loop.call_later(timeout_s, self._expired)
        try:
            await self._send(request)
            await self._wait()
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            if self._headers.get("content-encoding") == "gzip":
                body = _decompressed(body)
            answer = Answer(self._status, self._headers, body)
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()
        self._end()
        return answer

    async def begin(self, request: bytes, timeout_s: float) -> int:
        """Send a request, and read the head of the answer; returns its status. `more` reads the rest. Raises OSError."""
        self._start(streams=True)
        timer = self._loop.call_later(timeout_s, self._expired)
        try:
            await self._send(request)
            while not self._status:
                await self._wait()
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()
        return self._status

    async def more(self, silence_s: float) -> bytes:
        """What came since the last call, waited for if it is nothing; empty at the end of the answer.

        Raises:
            OSError: it broke in the middle, or nothing came for `silence_s`.
        """
        while not self._pieces:
            if self._complete:
                self._end()
                return b""
            timer = self._loop.call_later(silence_s, self._expired)
            try:
                await self._wait()
            finally:
                timer.cancel()
        pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def abort(self) -> None:
        """Close it at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if not self._busy:
            self.abort()  # nobody asked: what comes next would be taken for an answer to something else
            return
        self.heard = True
        data, self._rest = self._rest + data, b""
        try:
            if not self._status:
                data = self._read_head(data)
            if data:
                self._read_body(data)
        except ValueError as error:
            self._lost = ConnectionError(f"the server speaks no HTTP: {error}")
            self.abort()
        if self._complete or self._streams or self._lost is not None:
            self._wake()

    def eof_received(self) -> None:
        """An answer of unknown length ends so."""
        if self._busy and self._status and self._left == _UNTIL_CLOSED:
            self._complete = True
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if self._lost is None:
            lost = exc if isinstance(exc, OSError) else ConnectionResetError("the server closed the connection")
            self._lost = lost
        self._wake()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def pause_writing(self) -> None:
        """The server takes nothing for now."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """It does again."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # Sending and waiting

    def _start(self, *, streams: bool) -> None:
        assert not self._busy, "one request at a time"
        self._reset()
        self._busy, self._streams = True, streams

    def _end(self) -> None:
        self._busy = False
        if self._left == _UNTIL_CLOSED or self._headers.get("connection", "").lower() == "close":
            self.abort()

    async def _send(self, request: bytes) -> None:
        transport = self._transport
        if self._lost is not None or transport is None or transport.is_closing():
            raise self._lost or ConnectionResetError("the connection is closed")
        if len(request) <= _PIECE_BYTES:
            transport.write(request)
            return
        # Much is sent in pieces, so that the event loop is not held up. A server that refuses early is heard.
        for at in range(0, len(request), _PIECE_BYTES):
            if self._complete and self._lost is None:
                self._lost = ConnectionResetError("the server did not want the whole request")
            if self._lost is not None:
                return
            transport.write(request[at : at + _PIECE_BYTES])
            if self._writable is not None:
                await self._writable
            else:
                await asyncio.sleep(0)

    async def _wait(self) -> None:
        """Until the answer is complete; of a stream, until there is news of it."""
        if not self._complete and self._lost is None:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._lost is not None and not self._complete and not (self._streams and self._pieces):
            raise self._lost

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _expired(self) -> None:
        self._lost = TimeoutError("nothing came in time")
        self.abort()
        self._wake()

    # Reading

    def _read_head(self, data: bytes) -> bytes:
        """Take in the head if it is complete, and give what follows it; else keep what came of it."""
        status = 0
        while status < 200:  # those below announce something, and the answer comes after them
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > HEAD_BYTES_MAX:
                    raise ValueError(f"a head of more than {HEAD_BYTES_MAX} bytes")
                self._rest = data
                return b""
            status, headers = _head(data[:end])
            data = data[end + 4 :]
        self._status, self._headers = status, headers
        encoding = headers.get("transfer-encoding", "").lower()
        if encoding:
            if encoding != "chunked":
                raise ValueError(f"transfer-encoding {encoding[:40]}")
            self._chunked = True
        elif status in _BODILESS:
            self._complete = True
        elif "content-length" in headers:
            self._left = _number(headers["content-length"], 10)
            self._complete = not self._left
        else:
            self._left = _UNTIL_CLOSED
        return data

    def _read_body(self, data: bytes) -> None:
        if self._complete:
            raise ValueError("more than the answer")
        if self._chunked:
            self._read_chunks(data)
        elif self._left == _UNTIL_CLOSED:
            self._take(data)
        else:
            self._take(data[: self._left])
            self._complete = len(data) >= self._left
            if len(data) > self._left:
                raise ValueError("more than content-length says")
            self._left -= len(data)

    def _read_chunks(self, data: bytes) -> None:
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._take(piece)
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._rest = data[at:]
                if len(self._rest) > HEAD_BYTES_MAX:
                    raise ValueError("a chunk without an end")
                return
            line = data[at:end]
            at = end + 2
            if self._ended:  # trailers, up to an empty line
                if not line:
                    self._complete = True
                    if at < size:
                        raise ValueError("more than the last chunk")
            elif line:  # an empty one ends the chunk before
                self._left = _number(line.partition(b";")[0].decode("latin-1").strip(), 16)
                self._ended = not self._left

    def _take(self, piece: bytes) -> None:
        self._pieces.append(piece)
        if self._streams:
            self._waiting_bytes += len(piece)
            if self._waiting_bytes > WAITING_BYTES_MAX and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()


def _head(raw: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"{first[:40]!r} is no status line")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if version == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return _number(rest[:3], 10), headers


def _number(text: str, base: int) -> int:
    try:
        if text[:1] in ("+", "-", "_", ""):
            raise ValueError
        return int(text, base)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no number") from None


def _decompressed(body: bytes) -> bytes:
    try:
        return zlib.decompress(body, _GZIP)
    except zlib.error as error:
        raise ConnectionError(f"the answer cannot be decompressed: {error}") from error
