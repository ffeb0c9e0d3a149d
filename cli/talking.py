"""A WebSocket to an API server, for commands that talk to a container; and this terminal as the other end of that.

The server is any Kubernetes: what is spoken is `v5.channel.k8s.io`, with `v4` where the server has no other.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import signal
import struct
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode, urlsplit

from reconcile import websocket
from reconcile.errors import Tree, error_from_status
from reconcile.runtime.client.errors import unreachable
from reconcile.runtime.client.kubeconfig import Access

from .errors import EXIT_REFUSED, CommandError, NoControlPlane

COMMAND_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
HEAD_BYTES_MAX = 64 << 10
CHUNK_BYTES = 32 << 10


class Channels:
    """One open WebSocket whose messages begin with the number of a channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: str) -> None:
        self.protocol = protocol
        self._reader, self._writer = reader, writer
        self._decoder = websocket.Decoder(masked=False)
        self._arrived: list[websocket.Message] = []

    @classmethod
    async def open(
        cls, access: Access, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]
    ) -> Channels:  # fmt: skip
        """Open one.

        Raises:
            NoControlPlane: nothing answers.
            ApiError, CommandError: the server refuses.
        """
        parts = urlsplit(access.server)
        tls = access.tls()
        try:
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if tls else 80), ssl=tls, limit=HEAD_BYTES_MAX,
                server_hostname=(access.server_name or parts.hostname) if tls else None,
            )  # fmt: skip
        except OSError as error:
            raise NoControlPlane(unreachable(access.server, error, access.source)) from error
        lines = [
            f"GET {parts.path}{path}?{urlencode(query)} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade",
            "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            f"Sec-WebSocket-Protocol: {', '.join(protocols)}", "User-Agent: reconcile-cli",
        ]  # fmt: skip  # one header a word reads better packed
        if token := access.bearer():
            lines.append(f"Authorization: Bearer {token}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
            writer.close()
            raise NoControlPlane(f"{access.server} hung up while a connection to it was opened") from error
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        status = int(head[0].split(" ")[1]) if head[0].startswith("HTTP/1.") else 0
        if status != 101:
            body = await reader.read(HEAD_BYTES_MAX)
            writer.close()
            raise _refusal(status, body)
        return cls(reader, writer, headers.get("sec-websocket-protocol", ""))

    async def send(self, channel: int, data: bytes) -> None:
        """Send a message; it waits while the server takes nothing. Raises ConnectionError."""
        self._writer.write(websocket.frame(websocket.BINARY, bytes([channel]) + data, os.urandom(4)))
        await self._writer.drain()

    async def receive(self) -> tuple[int, bytes] | None:
        """The next message, None at the end. Raises ConnectionError."""
        while True:
            while self._arrived:
                opcode, data = self._arrived.pop(0)
                if opcode == websocket.PING:
                    self._writer.write(websocket.frame(websocket.PONG, data, os.urandom(4)))
                elif opcode == websocket.CLOSE:
                    return None
                elif data:
                    return data[0], data[1:]
            data = await self._reader.read(CHUNK_BYTES)
            if not data:
                return None
            try:
                self._arrived = self._decoder.feed(data)
            except websocket.WebSocketError as error:
                raise ConnectionError(f"the server breaks the protocol: {error}") from error

    async def close(self) -> None:
        """Say good-bye."""
        with contextlib.suppress(OSError):
            self._writer.write(websocket.closing(websocket.NORMAL, mask=os.urandom(4)))
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()


async def converse(channels: Channels, *, stdin: bool, terminal: bool) -> int:
    """Connect this process's own streams to a command until that has ended; returns its exit code."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    status: Tree = {}
    with _raw(sys.stdin.fileno()) if terminal else contextlib.nullcontext():
        try:
            if terminal:
                await _send_size(channels)
                loop.add_signal_handler(signal.SIGWINCH, lambda: tasks.append(loop.create_task(_send_size(channels))))
            if stdin:
                tasks.append(loop.create_task(_send_input(channels)))
            while (message := await channels.receive()) is not None:
                channel, data = message
                if channel == ERROR:
                    status = json.loads(data) if data else status
                elif data:
                    out = sys.stderr.buffer if channel == STDERR else sys.stdout.buffer
                    out.write(data)
                    out.flush()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await channels.close()
    return _exit_code(status)


async def _send_input(channels: Channels) -> None:
    """Pass stdin on, one piece after the other has been taken; a thread reads it, as a file cannot be waited for."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(4)

    def read() -> None:
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the loop is over, and so is the interest
            while True:
                room.acquire()
                piece = os.read(sys.stdin.fileno(), CHUNK_BYTES)
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
                if not piece:
                    return

    threading.Thread(target=read, daemon=True).start()
    with contextlib.suppress(ConnectionError):
        while piece := await pieces.get():
            await channels.send(STDIN, piece)
            room.release()
        if channels.protocol == COMMAND_PROTOCOLS[0]:
            await channels.send(CLOSE, bytes([STDIN]))


async def _send_size(channels: Channels) -> None:
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(sys.stdin.fileno(), termios.TIOCGWINSZ, bytes(8)))
    with contextlib.suppress(ConnectionError):
        await channels.send(RESIZE, json.dumps({"Width": columns, "Height": rows}).encode())


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """The terminal passes every key on, Ctrl-C too; what it was is restored."""
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _exit_code(status: Tree) -> int:
    if not status:
        raise CommandError("the connection broke before the command had ended; it is ended with that")
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == "NonZeroExitCode":
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdecimal():
                return int(cause["message"])
        return EXIT_REFUSED
    raise CommandError(str(status.get("message") or "the command failed, and the server does not say why"))


def _refusal(status: int, body: bytes) -> Exception:
    with contextlib.suppress(ValueError):
        tree = json.loads(body)
        if isinstance(tree, dict) and tree.get("kind") == "Status":
            return error_from_status({"code": status, **tree})
    return CommandError(body.decode(errors="replace").strip() or f"the server answered {status} instead of a WebSocket")
