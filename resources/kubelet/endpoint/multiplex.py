"""Many streams over one connection: a SPDY/3.1 server as Kubernetes' clients need one.

What arrives for a stream waits in memory until it is read, within one bound for the whole connection; beyond it nothing
more is read from the connection. Writing waits for the connection. So neither end can fill this process's memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from . import spdy
from .duplex import Duplex

log = logging.getLogger(__name__)

BUFFERED_BYTES_MAX = 1 << 20
STREAMS_MAX = 1000
FRAME_BYTES_MAX = 32 * 1024


class Stream:
    """One stream that the other end opened. It ends when both ends have said so, or one has reset it."""

    def __init__(self, session: Session, stream_id: int, headers: Mapping[str, str]) -> None:
        self.id, self.headers = stream_id, headers
        self._session = session
        self._arrived: deque[bytes] = deque()
        self._more = asyncio.Event()
        self.ended = False
        self.closed = False
        self.forgotten = False

    async def read(self) -> bytes:
        """Some bytes; none at the end of the stream."""
        while not self._arrived:
            if self.ended:
                return b""
            self._more.clear()
            await self._more.wait()
        data = self._arrived.popleft()
        self._session.took(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the other end does not take them.

        Raises:
            ConnectionError: the stream or the connection is over.
        """
        for start in range(0, len(data), FRAME_BYTES_MAX):
            if self.closed:
                raise ConnectionResetError(f"stream {self.id} is closed")
            await self._session.send(spdy.Data(self.id, data[start : start + FRAME_BYTES_MAX]))

    async def close(self) -> None:
        """Say that there is no more to come from here."""
        if not self.closed:
            self.closed = True
            with contextlib.suppress(ConnectionError):
                await self._session.send(spdy.Data(self.id, b"", fin=True))
            self._session.settle(self)

    async def reset(self, status: int = spdy.CANCEL) -> None:
        """End the stream in both directions."""
        if not (self.closed and self.ended):
            self.closed = True
            self.end()
            with contextlib.suppress(ConnectionError):
                await self._session.send(spdy.Control(spdy.RST_STREAM, self.id, status=status))
        self._session.forget(self)

    def release(self) -> None:
        """Nobody reads from it any more: what waits in it, and what may still come, is dropped."""
        self._session.forget(self)

    # What the session tells it.

    def arrived(self, data: bytes) -> bool:
        """Take bytes in; returns whether anybody will read them."""
        if self.ended or self.forgotten:
            return False
        self._arrived.append(data)
        self._more.set()
        return True

    def end(self) -> None:
        """The other end has said all."""
        self.ended = True
        self._more.set()

    def drop(self) -> int:
        """Forget what nobody will read; returns how many bytes that were."""
        self.forgotten = True
        count = sum(map(len, self._arrived))
        self._arrived.clear()
        return count


class Session:
    """The server's end of one connection; `on_stream` is called for every stream that the client opens."""

    def __init__(self, duplex: Duplex, on_stream: Callable[[Stream], Awaitable[None]]) -> None:
        self._duplex, self._on_stream = duplex, on_stream
        self._streams: dict[int, Stream] = {}
        self._decoder, self._encoder = spdy.Decoder(), spdy.Encoder()
        self._sending = asyncio.Lock()
        self._buffered = 0
        self._room = asyncio.Event()
        self._last_id = 0

    async def run(self) -> None:
        """Serve until the client hangs up or breaks the protocol; every stream is at its end then."""
        try:
            while data := await self._duplex.read():
                for frame in self._decoder.feed(data):
                    await self._take(frame)
                while self._buffered > BUFFERED_BYTES_MAX:
                    self._room.clear()
                    await self._room.wait()
        except spdy.SpdyError as error:
            log.info("a client speaks no SPDY/3.1", extra={"error": str(error)})
            with contextlib.suppress(ConnectionError):
                await self.send(spdy.Control(spdy.GOAWAY, self._last_id, status=spdy.PROTOCOL_ERROR))
        except ConnectionError:
            return  # nobody is left to be answered
        finally:
            for stream in self._streams.values():
                stream.closed = True
                stream.end()

    async def send(self, frame: spdy.Control | spdy.Data) -> None:
        """Send one frame; they go out in the order in which they are made, because headers build on one another."""
        async with self._sending:
            data = self._encoder.data(frame) if isinstance(frame, spdy.Data) else self._encoder.control(frame)
            await self._duplex.write(data)

    def took(self, count: int) -> None:
        """Somebody read so many bytes."""
        self._buffered -= count
        self._room.set()

    def settle(self, stream: Stream) -> None:
        """Forget a stream that is closed at both ends; what it still holds can be read."""
        if stream.closed and stream.ended:
            self._streams.pop(stream.id, None)

    def forget(self, stream: Stream) -> None:
        """Forget a stream, and what waits in it."""
        self._streams.pop(stream.id, None)
        self.took(stream.drop())

    async def _take(self, frame: spdy.Control | spdy.Data) -> None:
        if isinstance(frame, spdy.Data):
            await self._data(frame)
        elif frame.type == spdy.SYN_STREAM:
            await self._open(frame)
        elif frame.type == spdy.PING and frame.status % 2:
            await self.send(frame)
        elif frame.type == spdy.RST_STREAM and (stream := self._streams.get(frame.stream_id)) is not None:
            stream.closed = True
            stream.end()
            self.forget(stream)
        elif frame.type == spdy.HEADERS and frame.fin and (stream := self._streams.get(frame.stream_id)) is not None:
            stream.end()
            self.settle(stream)

    async def _data(self, frame: spdy.Data) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            return  # of a stream that is over: it was on its way when that was said
        if frame.data and stream.arrived(frame.data):
            self._buffered += len(frame.data)
        if frame.fin:
            stream.end()
            self.settle(stream)

    async def _open(self, frame: spdy.Control) -> None:
        if frame.stream_id <= self._last_id or frame.stream_id % 2 == 0:
            raise spdy.SpdyError(f"stream {frame.stream_id} was opened before, or is not the client's to open")
        self._last_id = frame.stream_id
        if len(self._streams) >= STREAMS_MAX:
            await self.send(spdy.Control(spdy.RST_STREAM, frame.stream_id, status=spdy.REFUSED_STREAM))
            return
        stream = self._streams[frame.stream_id] = Stream(self, frame.stream_id, frame.headers)
        await self.send(spdy.Control(spdy.SYN_REPLY, frame.stream_id))
        if frame.fin:
            stream.end()
        await self._on_stream(stream)
