"""exec and attach: a command's streams over a WebSocket's channels (v5, v4 and older), or over SPDY streams (v4).

Over WebSocket the first byte of a message is its channel. How the command ended comes last, as a Status; before v4 only where it
went wrong, and as a sentence.

Source: k8s.io/apimachinery/pkg/util/remotecommand/constants.go, k8s.io/cri-streaming/pkg/streaming/remotecommand
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs

from reconcile.errors import Tree
from reconcile.resources.kubelet.errors import ExecError, RuntimeFailure
from reconcile.resources.kubelet.runtime import Output, Talk

from .duplex import READ_BYTES_MAX, WebSocket
from .errors import EndpointError
from .http import Exchange, Request
from .multiplex import Stream
from .upgrades import SPDY, asks_for, spdy_session, websocket_of

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_TELL_STATUS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io")
WEBSOCKET_PROTOCOLS = (*_TELL_STATUS, "channel.k8s.io", "base64.channel.k8s.io", "")
SPDY_PROTOCOLS = ("v4.channel.k8s.io",)
STREAMS_S_MAX = 30.0
_SILENT_S = 0.1
_RESIZE_BYTES_MAX = 1024
Begin = Callable[[], Awaitable[Talk]]


@attrs.frozen
class Wanted:
    """Which streams the client wants."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @classmethod
    def of(cls, request: Request) -> Wanted:
        """As the query says. Raises EndpointError: it wants none of them."""
        tty = request.flag("tty")
        wanted = cls(request.flag("input"), request.flag("output"), request.flag("error") and not tty, tty)
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            raise EndpointError(400, "you must specify at least 1 of stdin, stdout, stderr")
        return wanted


class Channel(Protocol):
    """The client, whatever it speaks."""

    async def listen(self, talk: Talk) -> None:
        """Pass on what it says, until it is gone."""

    async def send(self, stream: str, data: bytes) -> None:
        """Send output. Raises ConnectionError."""

    async def finish(self, status: Tree) -> None:
        """Say how it ended, and hang up."""


async def converse(exchange: Exchange, begin: Begin, *, tells_exit: bool) -> None:
    """Upgrade the connection, begin the talk, and pass everything on until either end is over.

    `tells_exit`: how it ended is told with its exit code, as for a command; who was attached only hears that it is over.
    """
    wanted = Wanted.of(exchange.request)
    if asks_for(exchange.request, SPDY):
        await _over_spdy(exchange, wanted, begin, tells_exit=tells_exit)
    else:
        socket, protocol = websocket_of(exchange, WEBSOCKET_PROTOCOLS)
        channel = _WebSocketChannel(socket, wanted, halves=protocol == _TELL_STATUS[0], tells_status=protocol in _TELL_STATUS)
        # Tells the client that it is through, as the reference does: an empty message on the lowest channel.
        lowest = STDOUT if wanted.stdout else STDERR if wanted.stderr else ERROR
        with contextlib.suppress(ConnectionError):
            await socket.write(bytes([lowest]))
        await _converse(channel, begin, tells_exit=tells_exit)


async def _over_spdy(exchange: Exchange, wanted: Wanted, begin: Begin, *, tells_exit: bool) -> None:
    channel = _SpdyChannel(wanted)
    session = spdy_session(exchange, SPDY_PROTOCOLS, channel.opened)
    running = asyncio.create_task(session.run())
    try:
        async with asyncio.timeout(STREAMS_S_MAX):
            await channel.complete.wait()
        channel.running = running
        await _converse(channel, begin, tells_exit=tells_exit)
    except TimeoutError:
        return  # the client never opened the streams that it asked for
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _converse(channel: Channel, begin: Begin, *, tells_exit: bool) -> None:
    try:
        talk = await begin()
    except RuntimeFailure as error:
        await channel.finish(failed(error))
        return
    outputs = [_Pump(channel, name, talk.outputs[name]) for name in ("stdout", "stderr") if name in talk.outputs]
    listening = asyncio.create_task(channel.listen(talk))
    ending = asyncio.create_task(_ended(talk, outputs, tells_exit=tells_exit))
    try:
        await asyncio.wait({listening, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await channel.finish(ending.result())
    finally:
        for task in (listening, ending, *(pump.task for pump in outputs)):
            task.cancel()
        await asyncio.gather(listening, ending, *(pump.task for pump in outputs), return_exceptions=True)
        await talk.close()


async def _ended(talk: Talk, outputs: list[_Pump], *, tells_exit: bool) -> Tree:
    """The Status of the end, after all output was passed on."""
    try:
        code = await talk.wait()
        status = exited(code if tells_exit else 0)
    except RuntimeFailure as error:
        status = failed(error)
    # What it started may keep its output open for ever: once that is silent, nobody waits for it.
    while any(not pump.task.done() for pump in outputs):
        await asyncio.wait({pump.task for pump in outputs}, timeout=_SILENT_S)
        if all(pump.task.done() or pump.silent() for pump in outputs):
            break
    return status


class _Pump:
    """Passes one stream of output on."""

    def __init__(self, channel: Channel, name: str, output: Output) -> None:
        self._count = self._seen = 0
        self._reading = True
        self.task = asyncio.create_task(self._run(channel, name, output))

    def silent(self) -> bool:
        """Whether nothing came since the last time this was asked, and nothing is on its way."""
        quiet = self._reading and self._count == self._seen
        self._seen = self._count
        return quiet

    async def _run(self, channel: Channel, name: str, output: Output) -> None:
        with contextlib.suppress(ConnectionError):  # the client is gone, which `listen` notices
            while chunk := await output.read(READ_BYTES_MAX):
                self._count += 1
                self._reading = False
                await channel.send(name, chunk)
                self._reading = True


class _WebSocketChannel:
    """A client that speaks in channels; only with v5 (`halves`) can it end stdin alone, and only since v4 is it told a Status."""

    def __init__(self, socket: WebSocket, wanted: Wanted, *, halves: bool, tells_status: bool) -> None:
        self._socket, self._wanted, self._halves, self._tells_status = socket, wanted, halves, tells_status

    async def listen(self, talk: Talk) -> None:
        while (message := await self._socket.receive()) is not None:
            if not message:
                continue
            channel, data = message[0], message[1:]
            if channel == STDIN and self._wanted.stdin and data:
                await talk.write(data)
            elif channel == RESIZE and self._wanted.tty:
                await _resized(talk, data)
            elif channel == CLOSE and self._halves and data[:1] == bytes([STDIN]):
                await talk.close_stdin()

    async def send(self, stream: str, data: bytes) -> None:
        if getattr(self._wanted, stream):
            await self._socket.write(bytes([STDOUT if stream == "stdout" else STDERR]) + data)

    async def finish(self, status: Tree) -> None:
        text = json.dumps(status) if self._tells_status else str(status.get("message", ""))
        with contextlib.suppress(ConnectionError):
            if text:
                await self._socket.write(bytes([ERROR]) + text.encode())
        await self._socket.close()


class _SpdyChannel:
    """A client that opens a stream for everything that it asked for."""

    def __init__(self, wanted: Wanted) -> None:
        self._streams: dict[str, Stream] = {}
        names = {"error": True, "stdin": wanted.stdin, "stdout": wanted.stdout, "stderr": wanted.stderr, "resize": wanted.tty}
        self._expected = {name for name, is_wanted in names.items() if is_wanted}
        self.complete = asyncio.Event()
        self.running: asyncio.Task[None] | None = None

    async def opened(self, stream: Stream) -> None:
        """Take one of the client's streams."""
        name = stream.headers.get("streamtype", "")
        if name not in self._expected or name in self._streams:
            await stream.reset()
            return
        self._streams[name] = stream
        if set(self._streams) == self._expected:
            self.complete.set()

    async def listen(self, talk: Talk) -> None:
        listeners = [asyncio.create_task(self._input(talk)), asyncio.create_task(self._sizes(talk))]
        assert self.running is not None, "the session runs before anybody listens"
        try:
            await asyncio.wait({self.running})
        finally:
            for listener in listeners:
                listener.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)

    async def send(self, stream: str, data: bytes) -> None:
        if stream in self._streams:
            await self._streams[stream].write(data)

    async def finish(self, status: Tree) -> None:
        with contextlib.suppress(ConnectionError):
            await self._streams["error"].write(json.dumps(status).encode())
        for stream in self._streams.values():
            await stream.close()
            stream.release()
        # The client hangs up once it has everything.
        if self.running is not None:
            await asyncio.wait({self.running}, timeout=STREAMS_S_MAX)

    async def _input(self, talk: Talk) -> None:
        stream = self._streams.get("stdin")
        if stream is None:
            return
        while data := await stream.read():
            await talk.write(data)
        await talk.close_stdin()

    async def _sizes(self, talk: Talk) -> None:
        stream, text = self._streams.get("resize"), b""
        while stream is not None and (data := await stream.read()):
            *whole, text = (text + data).split(b"}")
            for part in whole:
                await _resized(talk, part + b"}")
            text = text[:_RESIZE_BYTES_MAX]


async def _resized(talk: Talk, data: bytes) -> None:
    """A size that makes no sense is no reason to end anything."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        size: dict[str, Any] = json.loads(data)
        await talk.resize(int(size.get("Width", 0)), int(size.get("Height", 0)))


def exited(code: int) -> Tree:
    """The Status of a command that ran.

    Source: k8s.io/cri-streaming/pkg/streaming/remotecommand/exec.go
    """
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }  # fmt: skip  # one field a word reads better packed


def failed(error: RuntimeFailure) -> Tree:
    """The Status of a command that never ran, or whose end nobody knows."""
    what = "error executing command in container" if isinstance(error, ExecError) else "error in the container"
    message = f"Internal error occurred: {what}: {error}"
    return {
        "metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500,
        "details": {"causes": [{"message": f"{what}: {error}"}]},
    }  # fmt: skip  # one field a word reads better packed
