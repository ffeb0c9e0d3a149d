"""The client's half of HTTP/1.1 for carried requests: one request a connection, whatever the connection is.

What an HTTP library offers ends where a connection is to be upgraded, or is neither TCP nor a socket file; and its client
would be one more thing to load.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from http import HTTPStatus

import attrs

HEAD_BYTES_MAX = 256 << 10
PIECE_BYTES = 64 << 10
HEAD_S_MAX = 30.0
"""How long a backend may take to answer an upgrade; an ordinary answer takes what it takes."""
Header = tuple[str, str]


class BackendError(ConnectionError):
    """The backend does not speak HTTP, or stopped in the middle of it. Whoever passes its answer on has to stop there, too."""


@attrs.frozen
class Head:
    """The head of an answer; header names as they came."""

    status: int
    headers: tuple[Header, ...]

    def value(self, name: str) -> str:
        """A header; empty where it is absent."""
        return next((value for key, value in self.headers if key.lower() == name), "")


class Conversation:
    """One request to a backend and its answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, method: str, target: str, headers: Iterable[Header], body: bytes) -> Head:
        """Send a request, and read the head of its answer.

        Raises:
            BackendError: what comes back is no HTTP.
        """
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        try:
            self.writer.write("\r\n".join(lines).encode("latin-1", "replace") + body)
            await self.writer.drain()
            while True:
                head = _head(await self.reader.readuntil(b"\r\n\r\n"))
                if head.status >= 200 or head.status == HTTPStatus.SWITCHING_PROTOCOLS:
                    return head
        except BackendError:
            raise
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            raise BackendError(f"it closed the connection, or sent no HTTP: {error}") from error

    async def body(self, method: str, head: Head) -> AsyncIterator[bytes]:
        """The body of the answer, as it comes, without its framing; the connection is closed after it.

        Raises:
            BackendError: it ends too early.
        """
        try:
            if method == "HEAD" or head.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
                return
            if "chunked" in head.value("transfer-encoding").lower():
                async for piece in self._chunks():
                    yield piece
            elif length := head.value("content-length"):
                async for piece in self._exactly(_length(length, 10)):
                    yield piece
            else:
                while piece := await self.reader.read(PIECE_BYTES):
                    yield piece
        except BackendError:
            raise
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            raise BackendError(f"its answer ended too early: {error}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Hang up."""
        self.writer.close()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            size = _length((await self.reader.readuntil(b"\r\n")).split(b";")[0].decode("latin-1"), 16)
            if size == 0:
                return  # trailers, if any, concern nobody
            async for piece in self._exactly(size):
                yield piece
            await self.reader.readexactly(2)

    async def _exactly(self, left: int) -> AsyncIterator[bytes]:
        while left:
            piece = await self.reader.read(min(left, PIECE_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            yield piece


def _length(text: str, base: int) -> int:
    with contextlib.suppress(ValueError):
        if (length := int(text.strip(), base)) >= 0:
            return length
    raise BackendError(f"a length of {text.strip()[:40]!r} is none")


def _head(raw: bytes) -> Head:
    first, *lines = raw.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal() or not 100 <= int(words[1]) < 600:
        raise BackendError(f"it sent no HTTP: {first[:40]!r}")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return Head(int(words[1]), tuple((name.strip(), value.strip()) for name, _, value in pairs))


async def relay(near: Conversation, far: Conversation) -> None:
    """Pass bytes on between two connections until the far one has ended; each waits for the other, and nothing piles up."""
    outward = asyncio.create_task(_copy(near, far))
    try:
        await _copy(far, near)
    finally:
        outward.cancel()
        await asyncio.gather(outward, return_exceptions=True)
        far.close()


async def _copy(source: Conversation, sink: Conversation) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.reader.read(PIECE_BYTES):
            sink.writer.write(data)
            await sink.writer.drain()
        if sink.writer.can_write_eof():
            sink.writer.write_eof()
