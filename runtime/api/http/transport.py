"""Carries the face over aiohttp, which only this module and `protocol` know.

aiohttp's low-level server is used (no router, no middleware). A client that goes away cancels what it was waiting for,
but never a write that began: that runs to its end in a task of its own. A client that takes nothing is cut off after
`write_timeout_s`; until then its stream waits alone, and the watch behind it falls back to replay. `Patience` measures
how long clients are waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import resource
import socket
import ssl
from typing import cast
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import CIMultiDict

from reconcile.clock import Clock
from reconcile.errors import RequestTimeoutError

from .accepting import Accepting
from .exchange import Answer, Carried, Headers, Request, Stream, Switch, too_large
from .face import Face
from .patience import Connection, Patience, Wait
from .protocol import Protocol, Protocols
from .server import HttpSettings

_GZIP_LEVEL = 1  # a third of the time of level 6 for 10 % more bytes
_FILES_OTHERS = 200  # what a control plane has open beside its clients' connections
_PIECE_BYTES_SMALL = 32 << 10  # half of what a transport takes before it asks its writer to wait
_RELAY_BYTES_MAX = 64 << 10
_BUFFER_BYTES_MAX = 64 << 10  # of what others write
_SHUTDOWN_S = 2.0  # what answers that are on their way get, after watches were ended and writes waited for
log = logging.getLogger(__name__)


class Transport:
    """A listening server."""

    def __init__(self, face: Face, settings: HttpSettings, tls: ssl.SSLContext | None, clock: Clock) -> None:
        self._face = face
        self._settings = settings
        self._tls = tls
        self._clock = clock
        self._writes: set[asyncio.Task[Answer | Stream | Switch]] = set()
        self._streams: set[asyncio.Task[object]] = set()
        self._stopping = False
        self._protocols: Protocols | None = None
        self._accepting: asyncio.Task[None] | None = None
        waits_s = {
            Wait.GREETING: settings.greeting_timeout_s, Wait.IDLE: settings.keepalive_s, Wait.BODY: settings.read_timeout_s,
            Wait.TAKING: settings.write_timeout_s,
        }  # fmt: skip
        self._patience = Patience(clock, waits_s, min(settings.connections_max, _files_max()))

    async def start(self, listener: socket.socket) -> None:
        """Answer what comes to a bound socket. Raises OSError."""
        self._protocols = protocols = Protocols(self._answer, self._patience)
        accepting = Accepting(listener, self._tls, self._patience, self._clock, protocols.make)
        listener.listen(512)
        self._listener = listener
        self._accepting = asyncio.create_task(accepting.run())
        self._accepting.add_done_callback(_ended)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @property
    def connections(self) -> int:
        """How many connections are open, those included that have not introduced themselves yet."""
        return len(self._patience)

    async def stop(self, grace_s: float) -> None:
        """End the streams, let writes finish, close."""
        self._stopping = True
        for task in tuple(self._streams):
            task.cancel()
        if self._writes:
            await asyncio.wait(tuple(self._writes), timeout=grace_s)
        if self._accepting is not None and self._protocols is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._listener.close()
            self._protocols.pre_shutdown()
            await self._protocols.shutdown(_SHUTDOWN_S)

    async def _answer(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """Answer one request to the end; then it is the client's turn again."""
        connection = cast(Protocol, incoming.protocol).connection
        self._patience.go_on(connection)
        response = await self._responded(incoming)
        # Sent here instead of by aiohttp, which would wait for a client that takes nothing as long as that lasts.
        self._patience.wait(connection, Wait.TAKING)
        with contextlib.suppress(ConnectionError):  # aiohttp finds out for itself
            await response.prepare(incoming)
            await response.write_eof()
        self._patience.wait(connection, Wait.IDLE)
        return response

    async def _responded(self, incoming: web.BaseRequest) -> web.StreamResponse:
        path, _, query = incoming.raw_path.partition("?")
        request = Request(
            incoming.method, path, dict(parse_qsl(query, keep_blank_values=True)) if query else {},
            cast("CIMultiDict[str]", incoming.headers), lambda: self._body(incoming), raw_query=query,
        )  # fmt: skip
        if self._tls is not None and incoming.transport is not None:
            request.peer_cert = incoming.transport.get_extra_info("peercert")
        if incoming.method in ("GET", "HEAD"):
            answer = await self._face.handle(request)
        else:
            answer = await self._shielded(request)
        if isinstance(answer, Stream):
            return await self._stream(incoming, answer)
        if isinstance(answer, Switch):
            return await self._switch(incoming, answer)
        body, headers = answer.body, answer.headers
        if len(body) >= self._settings.gzip_bytes_min and "gzip" in incoming.headers.get("Accept-Encoding", ""):
            body = await asyncio.to_thread(gzip.compress, body, _GZIP_LEVEL)
            headers = (*headers, ("Content-Encoding", "gzip"))
        return _whole(answer, body, headers)

    async def _shielded(self, request: Request) -> Answer | Stream | Switch:
        """A write runs to its end even when the client is gone: it may be half-way to the disk."""
        task = asyncio.create_task(self._face.handle(request))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    async def _body(self, incoming: web.BaseRequest) -> bytes:
        bytes_max = self._settings.body_bytes_max
        if (incoming.content_length or 0) > bytes_max:
            raise too_large(bytes_max)
        if not incoming.body_exists:
            return b""
        if incoming.headers.get("Expect", "").lower() == "100-continue" and incoming.transport is not None:
            incoming.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection = cast(Protocol, incoming.protocol).connection
        self._patience.wait(connection, Wait.BODY, lambda: incoming.content.set_exception(TimeoutError()))
        pieces, size = [], 0
        try:
            while piece := await incoming.content.readany():
                size += len(piece)
                if size > bytes_max:
                    raise too_large(bytes_max)
                pieces.append(piece)
        except TimeoutError:
            raise RequestTimeoutError(
                f"Timeout: the rest of the body did not come within {self._settings.read_timeout_s:g} seconds"
            ) from None
        finally:
            self._patience.go_on(connection)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _stream(self, incoming: web.BaseRequest, stream: Stream) -> web.StreamResponse:
        response = web.StreamResponse(status=stream.status, headers=_headers(stream.content_type, stream.headers))
        response.enable_chunked_encoding()
        task = cast("asyncio.Task[object]", asyncio.current_task())
        connection = cast(Protocol, incoming.protocol).connection
        self._streams.add(task)
        try:
            await response.prepare(incoming)
            if incoming.method == "HEAD":
                return response
            async for piece in stream.pieces:
                transport = incoming.transport
                if not isinstance(piece, bytes):
                    await self._carried(piece, incoming, connection)
                    continue
                if len(piece) < _PIECE_BYTES_SMALL and transport is not None and not transport.get_write_buffer_size():
                    await response.write(piece)  # nothing waits, and it fits: nobody has to be waited for
                    continue
                self._patience.wait(connection, Wait.TAKING)
                await response.write(piece)
                self._patience.go_on(connection)
            await response.write_eof()
        except ConnectionError:
            _abort(incoming)  # the client is gone: nobody is left to tell
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            task.uncancel()
            _abort(incoming)
        finally:
            self._streams.discard(task)
            close = getattr(stream.pieces, "aclose", None)  # a plain iterator, which has none, is served too
            if close is not None:
                await close()
        return response

    async def _carried(self, part: Carried, incoming: web.BaseRequest, connection: Connection) -> None:
        """Let others write, then wait for what they left in the buffer."""
        transport = incoming.transport
        if transport is None:
            raise ConnectionResetError
        transport.set_write_buffer_limits(high=_BUFFER_BYTES_MAX)
        await part.carry(transport)
        self._patience.wait(connection, Wait.TAKING)
        await incoming.writer.drain()
        self._patience.go_on(connection)

    async def _switch(self, incoming: web.BaseRequest, switch: Switch) -> web.StreamResponse:
        """Take the connection out of aiohttp's hands, and give it to `serve`."""
        former, transport = incoming.protocol, incoming.transport
        if transport is None or transport.is_closing():
            switch.abandon()
            return web.Response()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_RELAY_BYTES_MAX, loop=loop)
        taken = _Taken(reader, former)
        lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in switch.headers), "", ""]
        transport.write("\r\n".join(lines).encode("latin-1"))
        transport.set_protocol(taken)
        taken.connection_made(transport)
        writer = asyncio.StreamWriter(transport, taken, reader, loop)
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._streams.add(task)
        try:
            await switch.serve(reader, writer)
        except ConnectionError:
            transport.abort()  # the client is gone: nobody is left to tell
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            task.uncancel()
        finally:
            self._streams.discard(task)
            transport.close()
        return web.Response()  # aiohttp finds the connection closed, and sends nothing of this


class _Taken(asyncio.StreamReaderProtocol):
    """Reads a connection that aiohttp accepted, and tells aiohttp's own protocol of its end."""

    def __init__(self, reader: asyncio.StreamReader, former: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._former = former

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._former.connection_lost(exc)


def _ended(accepting: asyncio.Task[None]) -> None:
    if not accepting.cancelled() and (error := accepting.exception()) is not None:
        log.error("no connection is accepted any more", exc_info=error)


def _files_max() -> int:
    """How many connections the operating system lets this process have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - _FILES_OTHERS, soft // 2) if soft != resource.RLIM_INFINITY else 1 << 30


def _abort(incoming: web.BaseRequest) -> None:
    if incoming.transport is not None:
        incoming.transport.abort()


def _whole(answer: Answer, body: bytes, headers: Headers | None = None) -> web.Response:
    response = web.Response(
        status=answer.status, body=body, headers=_headers(answer.content_type, answer.headers if headers is None else headers)
    )
    if answer.status == RequestTimeoutError.code:
        response.force_close()
    return response


def _headers(content_type: str, further: Headers) -> CIMultiDict[str]:
    headers = CIMultiDict[str]({"Content-Type": content_type, "Cache-Control": "no-cache, private"})
    for name, value in further:
        if name == "Cache-Control":
            headers[name] = value
        else:
            headers.add(name, value)
    return headers
