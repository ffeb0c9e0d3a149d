"""Many watches read by one process that costs little: sockets and epoll instead of an event loop, and no JSON.

1,000 connections of asyncio and its TLS cost as much CPU time to read as the server needs to write them, so that a bench on a
small machine would measure its client. Here a piece that comes costs one `recv` and one search for the names in it.
"""

from __future__ import annotations

import re
import select
import socket
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import attrs

from reconcile.runtime.client.kubeconfig import Access

WATCHED = re.compile(rb'"name":"w-(\d+)"')
_RECV_BYTES = 64 << 10
_NAME_BYTES_MAX = 64


@attrs.frozen
class Told:
    """What watches were told: by each piece that came, when, and the numbers in it; CPU time and pieces in all."""

    pieces: list[tuple[float, list[int]]]
    cpu_s: float
    by_watch: list[list[int]]


class Watchers:
    """Watches in a process of their own. Make it, and when `wait` returns all are open; `told` waits for the events."""

    def __init__(self, access: Access, paths: list[str], events: list[int], timeout_s: float = 120.0) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_read, args=(theirs, access, paths, events, timeout_s), daemon=True)
        self._process.start()

    def wait(self) -> None:
        """Return when all watches were answered."""
        assert self._pipe.recv() == "open"

    def told(self) -> Told:
        """Return when each watch had as many events as it was to have, and close them."""
        told = self._pipe.recv()
        assert isinstance(told, Told), told
        self._process.join()
        return told

    def close(self) -> None:
        """End the process whatever it does."""
        self._process.kill()
        self._process.join()


class _Watch:
    """One connection."""

    def __init__(self, access: Access, path: str) -> None:
        address, tls = urlsplit(access.server), access.tls()
        plain = socket.create_connection((str(address.hostname), int(address.port or 443)), timeout=30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = tls.wrap_socket(plain, server_hostname=address.hostname) if tls is not None else plain
        head = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {access.token}\r\n\r\n"
        self.socket.sendall(head.encode())
        self.seen: list[int] = []
        self._rest = b""

    def open(self) -> None:
        """Read until the answer is there."""
        text = self.socket.recv(_RECV_BYTES)
        assert text.startswith(b"HTTP/1.1 200"), text[:200]
        self.numbers(text)
        self.socket.setblocking(False)

    def read(self) -> list[int]:
        """What came; empty when nothing did."""
        try:
            text = self.socket.recv(_RECV_BYTES)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            if error.errno is None or "WANT_READ" in str(error) or "did not complete" in str(error):
                return []  # a ticket of TLS, or half a record
            raise
        assert text, "the server closed a watch"
        return self.numbers(text)

    def numbers(self, text: bytes) -> list[int]:
        """The numbers of the objects that are named in what came; a name may come in two pieces."""
        text = self._rest + text
        found, end = [], 0
        for match in WATCHED.finditer(text):
            found.append(int(match[1]))
            end = match.end()
        self._rest = text[max(end, len(text) - _NAME_BYTES_MAX) :]
        self.seen += found
        return found


def _read(pipe: Connection, access: Access, paths: list[str], events: list[int], timeout_s: float) -> None:
    """The process: open, say so, read until every watch has what it is to have, tell."""
    poll, by_fd = select.epoll(), dict[int, tuple[_Watch, int]]()
    watches = []
    for path, wanted in zip(paths, events, strict=True):
        watch = _Watch(access, path)
        watch.open()
        watches.append(watch)
        by_fd[watch.socket.fileno()] = (watch, wanted)
        poll.register(watch.socket.fileno(), select.EPOLLIN)
    pipe.send("open")
    began, pieces = time.process_time(), list[tuple[float, list[int]]]()
    left, deadline = sum(1 for wanted in events if wanted), time.monotonic() + timeout_s
    while left and time.monotonic() < deadline:
        for fd, _ in poll.poll(1.0):
            watch, wanted = by_fd[fd]
            numbers = watch.read()
            if numbers:
                pieces.append((time.perf_counter(), numbers))
                left -= len(watch.seen) == wanted
    pipe.send(Told(pieces, time.process_time() - began, [watch.seen for watch in watches]))
