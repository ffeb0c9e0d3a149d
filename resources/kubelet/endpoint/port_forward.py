"""port-forward: connections to a pod's ports, over SPDY streams (bare or inside a WebSocket) or WebSocket channels.

Over SPDY each connection is a pair of streams, data and error, that belong together by a request id. The Python clients
speak v4.channel.k8s.io instead: two channels for each port that the query names.

Source: k8s.io/cri-streaming/pkg/streaming/portforward, client-go/tools/portforward
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Awaitable, Callable

from .duplex import READ_BYTES_MAX, WebSocket
from .errors import EndpointError
from .http import Exchange
from .multiplex import Session, Stream
from .upgrades import SPDY, asks_for, spdy_session, websocket_of

PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = f"{SPDY}+{PROTOCOL}"
CHANNEL_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")
"""Some clients (kr8s) name none."""
DIAL_S_MAX = 30.0
Read = Callable[[], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]


async def forward(exchange: Exchange, pod: str, host: str) -> None:
    """Serve one client until it hangs up; `host` is the address of the pod, which messages call `pod`."""
    target = _Target(pod, host)
    if asks_for(exchange.request, SPDY):
        pairs = _Pairs(target)
        await pairs.serve(spdy_session(exchange, (PROTOCOL,), pairs.opened))
        return
    ports = [_port(text) for text in exchange.request.values("port")]
    socket, protocol = websocket_of(exchange, (TUNNEL_PROTOCOL, *(CHANNEL_PROTOCOLS if ports else ())))
    if protocol == TUNNEL_PROTOCOL:
        pairs = _Pairs(target)
        await pairs.serve(Session(socket, pairs.opened))
        await socket.close()
    else:
        await _Channels(target, socket, ports).serve()


class _Target:
    """The pod that connections go to."""

    def __init__(self, pod: str, host: str) -> None:
        self._pod, self._host = pod, host

    async def connect(self, port: int, read: Read, write: Write) -> str:
        """Open one connection and copy both ways until both have ended; returns what is wrong, or an empty string."""
        try:
            async with asyncio.timeout(DIAL_S_MAX):
                reader, writer = await asyncio.open_connection(self._host, port)
        except (OSError, TimeoutError) as error:
            why = os.strerror(error.errno) if error.errno else "it does not answer"
            return (
                f"error forwarding port {port} to pod {self._pod}: dial {self._host}:{port}: {why} "
                f"(a server has to listen on its pod's address, $POD_IP, or on all)"
            )
        inward = asyncio.create_task(_inward(read, writer))
        try:
            # When the server has said all, it is over: what the client might still say nobody would hear.
            while data := await reader.read(READ_BYTES_MAX):
                await write(data)
        except ConnectionError:
            return ""
        finally:
            inward.cancel()
            await asyncio.gather(inward, return_exceptions=True)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return ""


async def _inward(read: Read, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # the server reads no more, or is gone; its end says so
        while data := await read():
            writer.write(data)
            await writer.drain()
        writer.write_eof()


class _Pairs:
    """The streams of one SPDY session, put together to connections."""

    def __init__(self, target: _Target) -> None:
        self._target = target
        self._halves: dict[str, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, session: Session) -> None:
        """Run until the client hangs up."""
        try:
            await session.run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def opened(self, stream: Stream) -> None:
        """Take a stream; with its other half it makes a connection."""
        kind, request_id = stream.headers.get("streamtype", ""), stream.headers.get("requestid", str(stream.id))
        if kind not in ("data", "error") or not stream.headers.get("port", "").isdecimal():
            await stream.reset()
            return
        half = self._halves.pop(request_id, None)
        if half is None:
            self._halves[request_id] = stream
        elif half.headers.get("streamtype") == kind:
            await stream.reset()
            await half.reset()
        else:
            data, error = (stream, half) if kind == "data" else (half, stream)
            self._spawn(self._connect(int(data.headers["port"]), data, error))

    def _spawn(self, coroutine: Awaitable[None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, port: int, data: Stream, error: Stream) -> None:
        try:
            why = await self._target.connect(port, data.read, data.write)
            if why:
                with contextlib.suppress(ConnectionError):
                    await error.write(why.encode())
        finally:
            await data.close()
            await error.close()
            data.release()
            error.release()


class _Channels:
    """A client that speaks in channels: 2n is the data of the n-th port, 2n + 1 what is wrong with it."""

    def __init__(self, target: _Target, socket: WebSocket, ports: list[int]) -> None:
        self._target, self._socket, self._ports = target, socket, ports
        # One message at a time waits for a port that does not take it; the others wait with it, and memory does not fill.
        self._arrived: list[asyncio.Queue[bytes]] = [asyncio.Queue(1) for _ in ports]
        self._over = [False for _ in ports]

    async def serve(self) -> None:
        """Connect every port, until the client hangs up."""
        tasks = []
        try:
            for index, port in enumerate(self._ports):
                for channel in (2 * index, 2 * index + 1):
                    await self._socket.write(bytes([channel]) + struct.pack("<H", port))
                tasks.append(asyncio.create_task(self._connect(index, port)))
            while (message := await self._socket.receive()) is not None:
                index = message[0] // 2 if message else len(self._ports)
                if index < len(self._ports) and message[0] % 2 == 0 and message[1:] and not self._over[index]:
                    await self._arrived[index].put(message[1:])
        except ConnectionError:
            return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._socket.close()

    async def _connect(self, index: int, port: int) -> None:
        async def write(data: bytes) -> None:
            await self._socket.write(bytes([2 * index]) + data)

        why = await self._target.connect(port, self._arrived[index].get, write)
        self._over[index] = True
        while not self._arrived[index].empty():
            self._arrived[index].get_nowait()
        with contextlib.suppress(ConnectionError):
            if why:
                await self._socket.write(bytes([2 * index + 1]) + why.encode())
            if all(self._over):
                await self._socket.close()


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise EndpointError(400, f"port {text!r}: give a number from 1 to 65535")
    return int(text)
