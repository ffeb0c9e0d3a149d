"""One connection of a client: what its frames mean, its limits, and the end of it.

Everything that is sent in one step of the loop goes out in one write. Where the client does not read what we send, we do not
read what it sends. Mistakes of the client end the stream they are of, or the connection, as HTTP/2 says.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from . import frames
from .frames import ConnectionFault, StreamFault
from .hpack import Decoder, HpackError
from .stream import RECEIVE_BYTES, Stream

log = logging.getLogger(__name__)

Serve = Callable[[Stream], Awaitable[None]]
"""Serves a call to its end; cancelled when the client goes."""

_RECEIVE_BYTES = 16 << 20
"""How much a client may send on all streams together before it was looked at."""
_HEADER_BYTES_MAX = 64 << 10
_STREAMS_MAX = 100_000
_OUT_BYTES_MAX = 1 << 20
"""What is put together for one write: a list of 100 MB goes piece by piece, other answers between them."""


class Connection(asyncio.Protocol):
    """A connection that a client has made."""

    def __init__(self, serve: Serve, message_bytes_max: int, connections: set[Connection], changed: Callable[[], object]) -> None:
        self.message_bytes_max = message_bytes_max
        self.window = frames.WINDOW_BYTES
        """What the client takes of us now, over all streams."""
        self.frame_bytes_max = frames.FRAME_BYTES_MAX
        """What the client takes in one frame."""
        self.stream_bytes = max(RECEIVE_BYTES, 2 * message_bytes_max)
        """What a client may send on a stream before it is read: a message must fit."""
        self.congested = False
        """Whether the client does not read what we have sent."""
        self.blocked: dict[int, Stream] = {}
        """Streams with something to send that could not go yet, in the order they came."""
        self.streams: dict[int, Stream] = {}
        self._serve = serve
        self._connections = connections
        self._changed = changed
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(_HEADER_BYTES_MAX)
        self._prefaced = False
        self._buffer = b""
        self._out: list[bytes] = []
        self._stream_window = frames.WINDOW_BYTES
        self._last = 0
        self._going = False
        self._block: tuple[int, bool, list[bytes]] | None = None
        self._block_bytes = 0
        self._received = 0
        self._queued = 0

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: say what we take."""
        assert isinstance(transport, asyncio.Transport), "a stream transport"
        self._transport = transport
        self._connections.add(self)
        values = {
            frames.MAX_CONCURRENT_STREAMS: _STREAMS_MAX, frames.INITIAL_WINDOW_SIZE: self.stream_bytes,
            frames.MAX_HEADER_LIST_SIZE: _HEADER_BYTES_MAX,
        }  # fmt: skip
        self.send(frames.settings(values))
        self.send(frames.window_update(0, _RECEIVE_BYTES - frames.WINDOW_BYTES))
        if self._buffer:  # it came while TLS was being agreed upon
            self.data_received(b"")

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone: so are its calls."""
        self._transport = None
        self._connections.discard(self)
        for stream in list(self.streams.values()):
            self.drop(stream)
        self._changed()

    def pause_writing(self) -> None:
        """The client does not read."""
        self.congested = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.congested = False
        if self._transport is not None:
            self._transport.resume_reading()
        self._pump_all()

    def data_received(self, data: bytes) -> None:
        """Take in frames."""
        if self._transport is None or self._buffer:
            data = self._buffer + data
        if self._transport is None:
            self._buffer = data
            return
        try:
            self._buffer = data[self._frames(data) :]
        except (ConnectionFault, HpackError) as error:
            code = error.code if isinstance(error, ConnectionFault) else frames.COMPRESSION_ERROR
            self._end(code, str(error))

    def send(self, data: bytes) -> None:
        """Send it with everything else of this step of the loop."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)
        self._queued += len(data)

    def _flush(self) -> None:
        out, self._out, self._queued = self._out, [], 0
        if out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out) if len(out) > 1 else out[0])
            if self.blocked and not self.congested:
                self._pump_all()

    # The end

    def going(self) -> None:
        """Take no new calls, and tell the client."""
        if not self._going:
            self._going = True
            self.send(frames.goaway(self._last, frames.NO_ERROR))

    def close(self) -> None:
        """Close the connection, after what is to be sent."""
        if self._out:
            self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, code: int, why: str) -> None:
        log.info("a client's connection is ended", extra={"reason": why})
        self._buffer = b""
        self.send(frames.goaway(self._last, code, why))
        self.close()

    # Frames in

    def _frames(self, data: bytes) -> int:
        """Take in the whole frames of `data`; returns where the rest begins."""
        at, size = 0, len(data)
        if not self._prefaced:
            if not data.startswith(frames.PREFACE[:size]):
                raise ConnectionFault(frames.PROTOCOL_ERROR, "no HTTP/2: this port speaks gRPC")
            if size < len(frames.PREFACE):
                return 0
            self._prefaced = True
            at = len(frames.PREFACE)
        while size - at >= frames.HEAD_BYTES and self._transport is not None:
            length = int.from_bytes(data[at : at + 3])
            if length > frames.FRAME_BYTES_MAX:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = at + frames.HEAD_BYTES + length
            if end > size:
                break
            stream = int.from_bytes(data[at + 5 : at + 9]) & frames.WINDOW_BYTES_MAX
            payload = data[at + frames.HEAD_BYTES : end]
            try:
                self._frame(data[at + 3], data[at + 4], stream, payload)
            except StreamFault as fault:
                self.send(frames.reset(fault.stream, fault.code))
                if fault.stream in self.streams:
                    self.drop(self.streams[fault.stream])
            at = end
        return at

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or number != self._block[0]):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block is not finished")
        if kind == frames.DATA:
            self._data(flags, number, payload)
        elif kind == frames.HEADERS:
            self._headers(flags, number, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(number, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, payload)
        else:
            self._control(kind, flags, number, payload)

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == frames.PING:
            _check(not number and len(payload) == 8, "a PING", frames.FRAME_SIZE_ERROR)
            if not flags & frames.ACK:
                self.send(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.SETTINGS:
            _check(not number and len(payload) % 6 == 0, "SETTINGS", frames.FRAME_SIZE_ERROR)
            if not flags & frames.ACK:
                self._settings(payload)
        elif kind == frames.RST_STREAM:
            _check(0 < number <= self._last and len(payload) == 4, "a RST_STREAM")
            if number in self.streams:
                self.drop(self.streams[number])
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a client pushes nothing")
        # GOAWAY: the client opens no more, and closes when it has its answers. PRIORITY and unknown ones: no matter.

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            name, value = int.from_bytes(payload[at : at + 2]), int.from_bytes(payload[at + 2 : at + 6])
            if name == frames.INITIAL_WINDOW_SIZE:
                _check(value <= frames.WINDOW_BYTES_MAX, "a window", frames.FLOW_CONTROL_ERROR)
                for stream in self.streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
            elif name == frames.MAX_FRAME_SIZE:
                _check(frames.FRAME_BYTES_MAX <= value < 1 << 24, "a frame size")
                self.frame_bytes_max = value
        self.send(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._pump_all()

    def _window_update(self, number: int, payload: bytes) -> None:
        _check(len(payload) == 4, "a WINDOW_UPDATE", frames.FRAME_SIZE_ERROR)
        size = int.from_bytes(payload) & frames.WINDOW_BYTES_MAX
        if not number:
            self.window += size
            _check(size > 0 and self.window <= frames.WINDOW_BYTES_MAX, "a window", frames.FLOW_CONTROL_ERROR)
            self._pump_all()
            return
        _check(number <= self._last, "a window of a stream that is not open")
        stream = self.streams.get(number)
        if stream is not None:
            stream.window += size
            if not size or stream.window > frames.WINDOW_BYTES_MAX:
                raise StreamFault(number, frames.FLOW_CONTROL_ERROR)
            self.pump(stream)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        # What was looked at makes room for more, also where its stream is gone.
        self._received += size
        _check(self._received <= _RECEIVE_BYTES, "more than the window", frames.FLOW_CONTROL_ERROR)
        if self._received > _RECEIVE_BYTES // 2:
            self.send(frames.window_update(0, self._received))
            self._received = 0
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        stream = self.streams.get(number)
        if stream is None:
            _check(0 < number <= self._last, "DATA of a stream that is not open")
            return
        stream.receive(payload, size, end=bool(flags & frames.END_STREAM))

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        _check(number % 2 == 1, "a stream with an even number")
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.HAS_PRIORITY:
            payload = payload[5:]
        ends = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._open(number, payload, ends=ends)
        else:
            self._block = (number, ends, [payload])
            self._block_bytes = len(payload)

    def _continuation(self, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a CONTINUATION of nothing")
        number, ends, parts = self._block
        parts.append(payload)
        # An empty one counts as well: a thousand of them are no header.
        self._block_bytes += len(payload) + frames.HEAD_BYTES
        if self._block_bytes > _HEADER_BYTES_MAX:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, f"a header block of more than {_HEADER_BYTES_MAX} bytes")
        if flags & frames.END_HEADERS:
            self._block = None
            self._open(number, b"".join(parts), ends=ends)

    # Calls

    def _open(self, number: int, block: bytes, *, ends: bool) -> None:
        # Decoded whatever becomes of it: the tables of both sides must stay the same.
        headers = self._decoder.decode(block)
        known = self.streams.get(number)
        if known is not None:
            _check(ends, "trailers that do not end the stream")
            known.end()
            return
        if number <= self._last:
            return  # trailers of a call that has ended here
        self._last = number
        if self._going or len(self.streams) >= _STREAMS_MAX:
            raise StreamFault(number, frames.REFUSED_STREAM)
        found = dict(headers)
        if found.get(":method") != "POST" or not found.get("content-type", "").startswith("application/grpc"):
            self.send(frames.refusal(number, "415"))
            if not ends:
                self.send(frames.reset(number, frames.NO_ERROR))
            return
        stream = Stream(self, number, headers, found.get(":path", ""), self._stream_window)
        self.streams[number] = stream
        if ends:
            stream.end()
        stream.task = self._loop.create_task(self._run(stream))

    async def _run(self, stream: Stream) -> None:
        try:
            await self._serve(stream)
        except asyncio.CancelledError:
            if not stream.closed:
                raise  # not the client's doing
        finally:
            if not stream.closed:
                stream.finish("UNKNOWN", "the handler ended without an answer")

    def auth_context(self) -> dict[str, list[bytes]]:
        """Who the client is by its certificate."""
        found: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        certificate = found.getpeercert() if found is not None else None
        if not certificate:
            return {}
        named: Any = certificate.get("subject", ())  # Any: typeshed knows it as a tree of strings
        names = [value.encode() for part in named for name, value in part if name == "commonName"]
        return {"x509_common_name": names} if names else {}

    def refuse(self, stream: Stream, size: int, *, compressed: bool) -> None:
        """Refuse a message before it is read."""
        if compressed:
            stream.finish("UNIMPLEMENTED", "grpc: Decompressor is not installed for grpc-encoding")
        else:
            text = f"grpc: received message larger than max ({size} vs. {self.message_bytes_max})"
            stream.finish("RESOURCE_EXHAUSTED", text)
        if stream.task is not None:
            stream.task.cancel()

    def forget(self, stream: Stream) -> None:
        """A call has ended here."""
        self.streams.pop(stream.id, None)
        self.blocked.pop(stream.id, None)
        stream.close()
        if self._going:
            self._changed()

    def drop(self, stream: Stream) -> None:
        """A call has ended there: its handler need not go on."""
        self.forget(stream)
        if stream.task is not None:
            stream.task.cancel()

    # Flow control

    def pump(self, stream: Stream) -> None:
        """Send what waits on a stream, as far as the client takes it."""
        outbox = stream.outbox
        while outbox and not self.congested and self._queued < _OUT_BYTES_MAX:
            room = min(stream.window, self.window, self.frame_bytes_max)
            if room <= 0:
                break
            data = outbox[0]
            self.send(frames.frame(frames.DATA, 0, stream.id, bytes(data[:room])))
            sent = min(room, len(data))
            stream.window -= sent
            self.window -= sent
            if sent == len(data):
                outbox.popleft()
            else:
                outbox[0] = data[sent:]
        if outbox or self.congested:
            self.blocked[stream.id] = stream
        else:
            self.blocked.pop(stream.id, None)
            stream.taken()

    def _pump_all(self) -> None:
        for stream in list(self.blocked.values()):
            if self.congested or self._queued >= _OUT_BYTES_MAX:
                break
            del self.blocked[stream.id]  # those that wait on go to the end, so that each has its turn
            self.pump(stream)


def _check(holds: bool, what: str, code: int = frames.PROTOCOL_ERROR) -> None:
    if not holds:
        raise ConnectionFault(code, f"{what} that may not be")


def _unpadded(payload: bytes) -> bytes:
    _check(bool(payload) and payload[0] < len(payload), "padding")
    return payload[1 : len(payload) - payload[0]]
