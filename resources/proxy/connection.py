"""One client's connection, joined to one backend: bytes both ways, half-closes passed on, nobody's buffer without a bound.

Until a byte was forwarded the client does not know which backend it talks to: a backend that does not take the connection
is passed over for the next one, and where there is none for a moment, the client waits that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from reconcile.clock import Clock

from .backends import Backend, ServiceBackends

CONNECT_S_MAX = 3.0
WAIT_S_MAX = 2.0
_REFUSED_PAUSE_S = 0.05
_Closed = Callable[["Side"], None]


class Side(asyncio.Protocol):
    """One end of a joined connection."""

    def __init__(self, closed: _Closed | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self._closed = closed
        self._read_all = False
        self._written_all = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hold the bytes back until there is another side."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()

    def join(self, other: Side) -> None:
        """Let bytes flow to `other`; called on both sides."""
        self.other = other
        if self.transport is not None and not self.lost:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the half-close on; this direction is through, the other one goes on."""
        self._read_all = True
        if self.other is not None:
            self.other.finish_writing()
        self._close_if_through()
        return True

    def finish_writing(self) -> None:
        """Say that nothing more comes, once everything before is sent."""
        if self.transport is None or self.lost or self._written_all:
            return
        self._written_all = True
        if self.transport.can_write_eof() and not self.transport.is_closing():
            with contextlib.suppress(OSError):  # it hung up at this very moment; connection_lost follows
                self.transport.write_eof()
        self._close_if_through()

    def _close_if_through(self) -> None:
        if self._read_all and self._written_all and self.transport is not None:
            self.transport.close()

    def pause_writing(self) -> None:
        """This side takes no more for now: the other one is not read."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """It takes more again."""
        if self.other is not None and self.other.transport is not None and not self.other.lost:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """End the other side as this one ended: in order, or not."""
        self.lost = True
        if self.other is not None and self.other.transport is not None and not self.other.lost:
            if error is None:
                self.other.transport.close()
            else:
                self.other.transport.abort()
        if self._closed is not None:
            self._closed(self)

    def abort(self) -> None:
        """End it at once; the peer sees a reset."""
        if self.transport is not None:
            self.transport.abort()


async def connect(client: Side, backends: ServiceBackends, port_name: str, clock: Clock, lost: Callable[[Side], None]) -> bool:
    """Join a client to a backend, trying one after the other; returns False (and hangs up) where none can be had in time."""
    loop = asyncio.get_running_loop()
    deadline = clock.monotonic() + WAIT_S_MAX
    tried: set[Backend] = set()
    while not client.lost:
        changed = backends.changed
        backend = backends.pick(port_name, tried)
        if backend is None:
            left_s = deadline - clock.monotonic()
            if left_s <= 0:
                break
            await _changed_within(changed, min(left_s, _REFUSED_PAUSE_S) if tried else left_s)
            tried.clear()
            continue
        tried.add(backend)
        backends.opened(backend)

        def closed(side: Side, backend: Backend = backend) -> None:
            backends.closed(backend)
            lost(side)

        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                _, server = await loop.create_connection(lambda closed=closed: Side(closed), backend.address, backend.port)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        except (OSError, TimeoutError):
            backends.closed(backend)
            continue
        except BaseException:
            backends.closed(backend)
            raise
        if client.lost:
            server.abort()
            return False
        client.join(server)
        server.join(client)
        return True
    client.abort()
    return False


async def _changed_within(changed: asyncio.Event, limit_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await changed.wait()
