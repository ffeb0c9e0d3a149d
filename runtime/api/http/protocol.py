"""aiohttp's side of one connection: what it leaves open about heads that are too large, and about clients that make mistakes.

Both are told as Go's server tells them, and logged as the clients' mistakes that they are: without a traceback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler

from .patience import Connection, Patience

LINE_BYTES_MAX = 64 << 10  # selectors can be long
HEAD_BYTES_MAX = 256 << 10
HEADERS_MAX = 128
_KEPT_S = 10 * 365 * 86400.0  # aiohttp's own bound is never met: `Patience` measures
_TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
log = logging.getLogger(__name__)


class Protocol(RequestHandler):
    """One connection, known to `Patience`."""

    __slots__ = ("_head_bytes", "connection")

    def __init__(self, manager: Protocols, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        quiet: Any = None  # aiohttp takes no access log for none, but does not say so in its types
        super().__init__(
            manager, loop=loop, access_log=quiet, keepalive_timeout=_KEPT_S, auto_decompress=True, max_headers=HEADERS_MAX,
            max_line_size=LINE_BYTES_MAX, max_field_size=LINE_BYTES_MAX,
        )  # fmt: skip
        self.connection = connection
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is agreed upon: from now on the connection can be cut."""
        assert isinstance(transport, asyncio.Transport), "the API is served on streams"
        self.connection.end = transport.abort
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a head that does not end is refused before it is whole."""
        super().data_received(data)
        waits = self._waiter is not None and not self._waiter.done()
        if not waits and self._request_count:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX and self.transport is not None:
            log.info("client cut off", extra={"why": "the head of its request is too large", "peer": self.connection.peer})
            self.transport.write(_refusal(_TOO_LARGE))
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:  # fmt: skip
        """Answer what is no request: text, and the connection is closed."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        large = isinstance(exc, LineTooLong) or exc.message == "Too many headers received"
        code = _TOO_LARGE if large else HTTPStatus(status)
        log.info("no request", extra={"why": str(exc.message).partition("\n")[0], "peer": self.connection.peer})
        response = web.Response(status=code, text=f"{code.value} {code.phrase}")
        response.force_close()
        return response


class Protocols(web.Server):
    """All protocols of one listener; it tells `Patience` which of them ended."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], patience: Patience) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._patience = patience

    def make(self, connection: Connection) -> Protocol:
        """The protocol of a new connection."""
        return Protocol(self, connection, self._loop)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """A connection ended, whoever ended it."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Protocol):
            self._patience.closed(handler.connection)


def _refusal(status: HTTPStatus) -> bytes:
    text = f"{status.value} {status.phrase}"
    return f"HTTP/1.1 {text}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{text}".encode()
