"""How long clients are waited for, and how many of them at once: whoever keeps the server waiting is cut off.

    connection = patience.opened(end)         # None: as many as may be are busy
    patience.wait(connection, Wait.TAKING)    # from now on it is the client's turn
    patience.go_on(connection)                # it is ours again, or a stream's, which may last
    patience.closed(connection)

A wait is measured from its beginning to its end, not from byte to byte: who sends one byte a second is as late as who sends
none. Knows no HTTP library and no sockets; time is the clock's.

Source: k8s.io/apiserver/pkg/server/secure_serving.go, for the lengths
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable, Mapping

import attrs

from reconcile.clock import Clock

log = logging.getLogger(__name__)


class Wait(enum.Enum):
    """What a client is waited for; the value is how the log says that it did not come."""

    GREETING = "sent no whole request head since it connected"
    IDLE = "asked for nothing more"
    BODY = "did not send the rest of a body"
    TAKING = "did not take its answer"


_QUIET = (Wait.GREETING, Wait.IDLE)
"""Connections that may go when others need their place: nothing was asked for that is not answered."""


@attrs.define(eq=False)
class Connection:
    """One client's connection. `end` ends it, `late` is called instead where there is something to say first."""

    end: Callable[[], None]
    peer: str = ""
    wait: Wait | None = None
    """None while it is not the client's turn."""
    late: Callable[[], None] | None = None


class Patience:
    """All connections, those that are waited for by how long already."""

    def __init__(self, clock: Clock, waits_s: Mapping[Wait, float], connections_max: int) -> None:
        self._clock = clock
        self._waits_s = waits_s
        self._max = connections_max
        self._connections: set[Connection] = set()
        # Since when each is waited for: in one kind of wait, the first is the oldest.
        self._since_s: dict[Wait, dict[Connection, float]] = {wait: {} for wait in Wait}
        self._somebody = asyncio.Event()
        self._full = False

    def __len__(self) -> int:
        return len(self._connections)

    def opened(self, end: Callable[[], None], peer: str = "") -> Connection | None:
        """Count a new connection, which is to greet; None if there is no place, and nobody who could make some."""
        if len(self._connections) >= self._max:
            if not self._full:
                log.warning("as many connections as may be: those that say nothing go first", extra={"connections": self._max})
            self._full = True
            if not self.make_room():
                return None
        else:
            self._full = False
        connection = Connection(end, peer)
        self._connections.add(connection)
        self.wait(connection, Wait.GREETING)
        return connection

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self.go_on(connection)
        self._connections.discard(connection)

    def wait(self, connection: Connection, wait: Wait, late: Callable[[], None] | None = None) -> None:
        """It is the client's turn: if it takes too long, `late` is called, else the connection ended."""
        self.go_on(connection)
        if connection in self._connections:
            connection.wait, connection.late = wait, late
            self._since_s[wait][connection] = self._clock.monotonic()
            self._somebody.set()

    def go_on(self, connection: Connection) -> None:
        """The client has done its part."""
        if connection.wait is not None:
            del self._since_s[connection.wait][connection]
            connection.wait = connection.late = None

    def make_room(self) -> bool:
        """Cut off whoever was quiet for longest; whether there was anybody."""
        quiet = [next(iter(self._since_s[wait].items())) for wait in _QUIET if self._since_s[wait]]
        if not quiet:
            return False
        connection = min(quiet, key=lambda found: found[1])[0]
        self.closed(connection)
        connection.end()
        return True

    async def keep(self) -> None:
        """Cut off whoever is late, until cancelled; looks four times within the shortest wait."""
        step_s = min(self._waits_s.values()) / 4
        while True:
            await self._somebody.wait()
            await self._clock.sleep(step_s)
            self._cut_late()
            if not any(self._since_s.values()):
                self._somebody.clear()

    def _cut_late(self) -> None:
        now_s = self._clock.monotonic()
        for wait, since in self._since_s.items():
            late = []
            for connection, since_s in since.items():
                if now_s - since_s < self._waits_s[wait]:
                    break
                late.append(connection)
            for connection in late:
                if wait is not Wait.IDLE:
                    log.info("client cut off", extra={"why": wait.value, "peer": connection.peer, "after_s": self._waits_s[wait]})
                cut = connection.late or connection.end
                self.go_on(connection)
                cut()
