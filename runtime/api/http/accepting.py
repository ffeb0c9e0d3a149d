"""Accepts connections, and lets each introduce itself (TLS) beside the others, for as long as `Patience` has it.

Our own loop instead of asyncio's server: that counts nobody who has not finished his handshake, and knows no bound.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable

from reconcile.clock import Clock

from .patience import Connection, Patience

_AT_ONCE = 32  # a flood of newcomers must not hold up those who are served
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_EXHAUSTED_S = 1.0
# asyncio makes it 256 KB, fills it with zeros, and each connection has it all the time: with a thousand watches, 256 MB. TLS has
# records of 16 KB at most, and most requests fit in one.
_TLS_BUFFER_BYTES = 32 << 10
log = logging.getLogger(__name__)


class Accepting:
    """Gives a protocol, made by `make`, to every connection that comes to `listener`."""

    def __init__(
        self, listener: socket.socket, tls: ssl.SSLContext | None, patience: Patience, clock: Clock,
        make: Callable[[Connection], asyncio.BaseProtocol],
    ) -> None:  # fmt: skip
        self._listener = listener
        self._tls = tls
        self._patience = patience
        self._clock = clock
        self._make = make

    async def run(self) -> None:
        """Accept until cancelled; those who have not introduced themselves are then dropped."""
        self._listener.setblocking(False)
        loop = asyncio.get_running_loop()
        if self._tls is not None:
            sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
        async with asyncio.TaskGroup() as newcomers:
            newcomers.create_task(self._patience.keep())
            accepted = 0
            while True:
                try:
                    sock, peer = await loop.sock_accept(self._listener)
                except ConnectionError:
                    continue  # gone before we came to it
                except OSError as error:
                    if error.errno not in _EXHAUSTED:
                        raise
                    log.warning("no connection can be accepted", extra={"why": error.strerror})
                    self._patience.make_room()
                    await self._clock.sleep(_EXHAUSTED_S)
                    continue
                self._welcome(newcomers, sock, str(peer[0]) if isinstance(peer, tuple) else "")
                accepted += 1
                if not accepted % _AT_ONCE:
                    await asyncio.sleep(0)

    def _welcome(self, newcomers: asyncio.TaskGroup, sock: socket.socket, peer: str) -> None:
        connection = self._patience.opened(sock.close, peer)
        if connection is None:
            sock.close()
            return
        task = newcomers.create_task(self._introduce(sock, connection))

        def end() -> None:
            task.cancel()

        connection.end = end
        # Who is cut off before the task began leaves a socket that nobody has.
        task.add_done_callback(lambda done: sock.close() if done.cancelled() else None)

    async def _introduce(self, sock: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: self._make(connection), sock, ssl=self._tls)
        except OSError as error:  # it speaks no TLS, or is gone
            log.debug("a client did not introduce itself", extra={"peer": connection.peer, "why": str(error)})
            self._patience.closed(connection)
        except BaseException:
            self._patience.closed(connection)
            raise
        else:
            if transport.is_closing():  # asyncio calls a handshake that the client walked out of a success
                self._patience.closed(connection)
