"""One call: its messages in both directions, what may be sent of them, and how it ends.

What the client sends is held until the handler reads it, and only then is the client told to send more; what the handler
writes waits until the client takes it. So neither side can fill the memory of the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import frames
from .hpack import Header

if TYPE_CHECKING:
    from .connection import Connection

RECEIVE_BYTES = 4 << 20
"""How much a client may send on a stream before the handler has read it."""


class Stream:
    """A stream that a client has opened."""

    __slots__ = (
        "_buffer", "_connection", "_ended", "_inbox", "_received", "_taken", "_unread", "_waiter", "begun", "closed", "headers",
        "id", "outbox", "path", "refused", "task", "window",
    )  # fmt: skip

    def __init__(self, connection: Connection, number: int, headers: tuple[Header, ...], path: str, window: int) -> None:
        self.id = number
        self.headers = headers
        self.path = path
        self.window = window
        """What the client takes of us now; a change of its settings may make it negative."""
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        """Whether the headers of the answer are sent."""
        self.closed = False
        """Whether nothing more may be sent: it has ended, was reset, or the connection is gone."""
        self.refused = False
        """Whether a message was refused unread: what else comes is dropped."""
        self.outbox: deque[memoryview] = deque()
        """DATA payloads that wait for the client to take more."""
        self._connection = connection
        self._buffer = bytearray()
        self._inbox: deque[bytes] = deque()
        self._received = connection.stream_bytes
        self._unread = 0
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None

    # What access wants to know

    def invocation_metadata(self) -> Iterable[Header]:
        """The headers of the call, without HTTP's own."""
        return [header for header in self.headers if not header[0].startswith(":")]

    def auth_context(self) -> dict[str, list[bytes]]:
        """Who the client is by its certificate."""
        return self._connection.auth_context()

    # In

    @property
    def ended(self) -> bool:
        """Whether the client sends no more."""
        return self._ended

    def receive(self, data: bytes, size: int, *, end: bool) -> None:
        """Take the content of a DATA frame that counts for `size`.

        Raises:
            StreamFault: it is more than we said, or no gRPC message.
        """
        self._received -= size
        if self._received < 0:
            raise frames.StreamFault(self.id, frames.FLOW_CONTROL_ERROR)
        if self._ended:
            raise frames.StreamFault(self.id, frames.STREAM_CLOSED)
        self._unread += size - len(data)
        if not self.refused:
            self._messages(data)
        self._ended = end
        self._wake()

    def end(self) -> None:
        """The client sends no more."""
        self._ended = True
        self._wake()

    def _messages(self, data: bytes) -> None:
        """Cut what came into messages."""
        buffer = self._buffer
        size = len(data) - 5
        if not buffer and size >= 0 and not data[0] and int.from_bytes(data[1:5]) == size <= self._connection.message_bytes_max:
            self._accept(data[5:])  # almost always: one message, whole
            return
        buffer += data
        while len(buffer) >= 5:
            size = int.from_bytes(buffer[1:5])
            if buffer[0] or size > self._connection.message_bytes_max:
                self.refused = True
                self._connection.refuse(self, size, compressed=bool(buffer[0]))
                return
            if len(buffer) < 5 + size:
                return
            message = bytes(buffer[5 : 5 + size])
            del buffer[: 5 + size]
            self._accept(message)

    def _accept(self, message: bytes) -> None:
        self._inbox.append(message)

    async def read(self) -> bytes | None:
        """The next message; None when the client sends no more."""
        while not self._inbox:
            if self._ended or self.closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._inbox.popleft()
        self._unread += len(message) + 5
        if self._unread > self._connection.stream_bytes // 2 and not self._ended:
            self._received += self._unread
            self._connection.send(frames.window_update(self.id, self._unread))
            self._unread = 0
        return message

    def whole(self) -> bytes | None:
        """The one message of a call that takes one, once it is whole; None: it is not yet, or there is none."""
        return self._inbox[0] if self._inbox and self._ended else None

    # Out

    async def write(self, message: bytes) -> None:
        """Send a message; returns when the client has taken it, as far as flow control tells. One task writes at a time."""
        if self.closed:
            return
        connection = self._connection
        if not self.begun:
            self.begun = True
            connection.send(frames.answer_headers(self.id))
        framed = b"\0" + len(message).to_bytes(4) + message
        if not self.outbox and len(framed) <= min(self.window, connection.window, connection.frame_bytes_max):
            self.window -= len(framed)
            connection.window -= len(framed)
            connection.send(frames.frame(frames.DATA, 0, self.id, framed))
        else:
            self.outbox.append(memoryview(framed))
            connection.pump(self)
        while not self.closed and (self.outbox or connection.congested):
            self._taken = asyncio.get_running_loop().create_future()
            connection.blocked[self.id] = self
            await self._taken

    def finish(self, code: str = "OK", text: str = "") -> None:
        """End the call with a status."""
        if self.closed:
            return
        connection = self._connection
        if self.outbox:  # half of a message is sent: nothing but a reset can follow
            connection.send(frames.reset(self.id, frames.CANCEL))
            connection.forget(self)
            return
        connection.send(frames.trailers(self.id, code, text, begun=self.begun))
        if not self._ended:
            # The client may stop sending: nobody reads it.
            connection.send(frames.reset(self.id, frames.NO_ERROR))
        connection.forget(self)

    def answer(self, message: bytes) -> bool:
        """Send the one answer of a call and end it, if it can go at once."""
        connection = self._connection
        size = len(message) + 5
        if self.closed or not self._ended or size > min(self.window, connection.window, connection.frame_bytes_max):
            return False
        connection.window -= size
        connection.send(frames.small_answer(self.id, message))
        connection.forget(self)
        return True

    def close(self) -> None:
        """Nothing more can be sent or will come: who waits goes on, and the handler is cancelled if it has not ended."""
        self.closed = True
        self.outbox.clear()
        self._wake()
        self.taken()

    def taken(self) -> None:
        """What waited was taken: let the writer go on."""
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
