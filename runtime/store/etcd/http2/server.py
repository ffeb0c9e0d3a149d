"""Listens for clients, with or without TLS, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Self

from .connection import Connection, Serve

log = logging.getLogger(__name__)

_HANDSHAKE_S = 10.0


class Http2Server:
    """A server of gRPC. Make one with `listen`; `close` it."""

    def __init__(self, serve: Serve, message_bytes_max: int, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self.port = 0
        self._serve, self._message_bytes_max, self._tls = serve, message_bytes_max, tls
        self._connections: set[Connection] = set()
        self._changed = asyncio.Event()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    async def listen(
        cls, host: str, port: int, serve: Serve, message_bytes_max: int, tls: Callable[[], ssl.SSLContext] | None = None
    ) -> Self:
        """Listen; port 0 takes a free one. `tls` is asked for each connection, so that certificates may be renewed.

        Raises:
            OSError: the address cannot be had.
        """
        server = cls(serve, message_bytes_max, tls)
        loop = asyncio.get_running_loop()
        server._server = await loop.create_server(server._accepted, host, port, backlog=1024)
        server.port = server._server.sockets[0].getsockname()[1]
        return server

    async def close(self, grace_s: float) -> None:
        """Take nobody new; give calls a moment to end."""
        assert self._server is not None, "it listens"
        self._server.close()
        for task in self._handshakes:
            task.cancel()
        for connection in list(self._connections):
            connection.going()
        deadline = asyncio.get_running_loop().time() + grace_s
        await self._until(lambda: not any(connection.streams for connection in self._connections), deadline)
        for connection in list(self._connections):
            connection.close()
        await self._until(lambda: not self._connections, deadline + grace_s)
        for connection in list(self._connections):
            connection.abort()

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait for a condition, no longer than to a moment of the loop's clock."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()

    def _accepted(self) -> asyncio.BaseProtocol:
        connection = Connection(self._serve, self._message_bytes_max, self._connections, self._changed.set)
        return connection if self._tls is None else _Secured(self, connection, self._tls)

    def secure(self, transport: asyncio.Transport, protocol: _Secured, connection: Connection, tls: ssl.SSLContext) -> None:
        """Agree upon TLS, then let the connection begin."""
        task = asyncio.get_running_loop().create_task(self._secure(transport, protocol, connection, tls))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _secure(
        self, transport: asyncio.Transport, protocol: _Secured, connection: Connection, tls: ssl.SSLContext
    ) -> None:  # fmt: skip
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(transport, connection, tls, server_side=True, ssl_handshake_timeout=_HANDSHAKE_S)
        except (OSError, ssl.SSLError) as error:
            log.info("a client did not get through TLS", extra={"error": str(error), "protocol": repr(protocol)})
            transport.abort()
            return
        except asyncio.CancelledError:
            transport.abort()
            raise
        if secured is not None:
            connection.connection_made(secured)


class _Secured(asyncio.Protocol):
    """What a connection is until TLS is agreed upon."""

    def __init__(self, server: Http2Server, connection: Connection, tls: Callable[[], ssl.SSLContext]) -> None:
        self._server, self._connection, self._tls = server, connection, tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with TLS, as its files are now."""
        assert isinstance(transport, asyncio.Transport), "a stream transport"
        self._server.secure(transport, self, self._connection, self._tls())
