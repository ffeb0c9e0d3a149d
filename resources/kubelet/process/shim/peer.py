"""One connection to a shim: requests come in and replies and events go out, each a line of JSON."""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from .loop import Loop

Message = dict[str, Any]  # Any: a decoded JSON object
IN_BYTES_MAX = 8 * 1024 * 1024
OUT_BYTES_MAX = 8 * 1024 * 1024
DESCRIPTORS_MAX = 3


class Peer:
    """A connected engine; one that reads too slowly, or says too much at once, is dropped and finds all by `list`."""

    def __init__(self, loop: Loop, connection: socket.socket, on_request: Callable[[Peer, Message], None]) -> None:
        self._loop, self._connection, self._on_request = loop, connection, on_request
        self._in = b""
        self._out = b""
        self._descriptors: list[int] = []
        self.open = True
        self.closed: Callable[[], None] | None = None
        connection.setblocking(False)
        loop.watch(connection.fileno(), self._on_ready)

    def send(self, message: Message) -> None:
        """Send now, or as soon as the other end reads; a peer that is gone hears nothing."""
        if not self.open:
            return
        waiting = bool(self._out)
        self._out += json.dumps(message).encode() + b"\n"
        if not waiting:
            self._flush()
        if self.open and len(self._out) > OUT_BYTES_MAX:
            self.close()

    def flush(self) -> None:
        """Wait until all is sent, one second at most: the last thing a shim does."""
        if self.open and self._out:
            try:
                self._connection.settimeout(1.0)
                self._connection.sendall(self._out)
            except OSError:
                self.close()

    def take_descriptors(self) -> list[int]:
        """The descriptors that came with what was read so far; they are the caller's to close."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def close(self) -> None:
        """Hang up, and tell `closed`; what was read and not answered is dropped."""
        if self.open:
            self.open = False
            self._loop.unwatch(self._connection.fileno())
            self._connection.close()
            for fd in self.take_descriptors():
                os.close(fd)
            if self.closed is not None:
                self.closed()

    def _on_ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if self.open and events & ~select.EPOLLOUT:
            self._read()

    def _flush(self) -> None:
        try:
            sent = self._connection.send(self._out, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._out = self._out[sent:]
        self._loop.want_write(self._connection.fileno(), bool(self._out))

    def _read(self) -> None:
        try:
            data, descriptors, _flags, _address = socket.recv_fds(self._connection, 256 * 1024, DESCRIPTORS_MAX)
            self._descriptors += descriptors
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._in = (self._in + data).split(b"\n")
        if len(self._in) > IN_BYTES_MAX:
            self.close()
        for line in lines:
            if self.open:
                self._on_request(self, json.loads(line))
