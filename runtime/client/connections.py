"""The connections of a client to one API server: opened when there is none to spare, kept for what comes next.

The one that was used last is taken first, so that after a burst the others grow old, and are closed soon.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from reconcile.clock import Clock

from .connection import Answer, Connection
from .kubeconfig import Access
from .proxying import proxy_for, through

KEPT_S_MAX = 60.0
"""How long the connection that was used last is kept, which makes the next request cheap."""
SPARE_S_MAX = 5.0
"""How long the others of a burst are: each takes 300 kB of TLS buffers, here and on the server."""
_DELAY_S = 0.25  # before the server's next address is tried beside the first (happy eyeballs)
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
_IN_A_PATH = "%/?&=:@!$'()*+,;~"


class Request(NamedTuple):
    """What to send. `lines` are header lines, each closed by CRLF; `body` None: none."""

    method: str
    target: str
    lines: str
    body: bytes | None = None


class Connections:
    """Raises OSError where the server cannot be reached. Close it when done."""

    def __init__(self, access: Access, clock: Clock, timeout_s: float) -> None:
        parts = urlsplit(access.server)
        self._tls = access.tls()
        self._proxy = proxy_for(access.server, access.proxy_url, os.environ)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._server_name = (access.server_name or self._host) if self._tls else None
        self._below = parts.path.rstrip("/")
        self._host_line = f"Host: {parts.netloc.rpartition('@')[2]}\r\n"
        self._near = self._host in ("localhost", "::1") or self._host.startswith("127.")
        self._clock, self._timeout_s = clock, timeout_s
        self._idle: deque[tuple[float, Connection]] = deque()
        self._busy: set[Connection] = set()
        self._closed = False
        self._looking: asyncio.TimerHandle | None = None

    async def ask(self, request: Request) -> Answer:
        """The whole answer to one request. Raises OSError."""
        raw = self._raw(request, compressed=request.method == "GET" and not self._near)
        while True:
            connection, kept = await self._connected()
            try:
                answer = await connection.ask(raw, self._timeout_s)
            except ConnectionError:
                # The server may close what it kept while we send. What may be done twice is sent again, if nothing came.
                if not kept or connection.heard or request.method not in _REPEATABLE:
                    raise
            else:
                self._keep(connection)
                return answer
            finally:
                self._busy.discard(connection)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[tuple[int, Connection]]:
        """Send a request; gives the answer's status, and the connection on which the rest comes. Raises OSError.

        It has a connection of its own, which is closed with it.
        """
        raw = self._raw(request)
        connection = await self._connect()
        self._busy.add(connection)
        try:
            yield await connection.begin(raw, self._timeout_s), connection
        finally:
            self._busy.discard(connection)
            connection.abort()

    async def close(self) -> None:
        """Close all of them; whoever waits for an answer gets ConnectionError."""
        self._closed = True
        for connection in (*self._busy, *(connection for _, connection in self._idle)):
            connection.abort()
        self._idle.clear()
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.sleep(0)  # the transports close in callbacks

    def _raw(self, request: Request, *, compressed: bool = False) -> bytes:
        target = self._below + request.target
        if not target.isascii() or not target.isprintable() or " " in target:
            target = quote(target, safe=_IN_A_PATH)
        head = f"{request.method} {target} HTTP/1.1\r\n{self._host_line}{request.lines}"
        if compressed:
            head += "Accept-Encoding: gzip\r\n"
        if request.body is None:
            return f"{head}\r\n".encode("latin-1")
        return f"{head}Content-Length: {len(request.body)}\r\n\r\n".encode("latin-1") + request.body

    async def _connected(self) -> tuple[Connection, bool]:
        """A connection, and whether it has been used before."""
        oldest_s = self._clock.monotonic() - KEPT_S_MAX
        while self._idle:
            since_s, connection = self._idle.pop()
            if connection.usable and since_s > oldest_s:
                self._busy.add(connection)
                return connection, True
            connection.abort()
        connection = await self._connect()
        self._busy.add(connection)
        return connection, False

    async def _connect(self) -> Connection:
        if self._closed:
            raise ConnectionError("the client is closed")
        loop = asyncio.get_running_loop()
        # uvloop, on which somebody's own program may run, tries the addresses one after the other.
        eyeballs: dict[str, Any] = {"happy_eyeballs_delay": _DELAY_S} if isinstance(loop, asyncio.BaseEventLoop) else {}
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._proxy is not None:
                    return await through(self._proxy, self._host, self._port, self._tls, self._server_name)
                _, connection = await loop.create_connection(
                    Connection, self._host, self._port, ssl=self._tls, server_hostname=self._server_name, **eyeballs
                )
        except ssl.SSLError:
            raise
        except OSError as error:
            if error.errno is None and f"[Errno {errno.ECONNREFUSED}]" in str(error):
                raise ConnectionRefusedError(str(error)) from error  # by each of several addresses
            raise
        return connection

    def _keep(self, connection: Connection) -> None:
        if not connection.usable or self._closed:
            connection.abort()
            return
        self._idle.append((self._clock.monotonic(), connection))
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(SPARE_S_MAX, self._look)

    def _look(self) -> None:
        """Close those that are old, and look again later while there are any."""
        now_s, self._looking = self._clock.monotonic(), None
        while self._idle:
            since_s, connection = self._idle[0]
            if now_s - since_s < (SPARE_S_MAX if len(self._idle) > 1 else KEPT_S_MAX):
                self._looking = asyncio.get_running_loop().call_later(SPARE_S_MAX, self._look)
                return
            self._idle.popleft()
            connection.abort()
