"""A connection that bytes flow through in both directions, whatever they are wrapped in."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Protocol

from reconcile import websocket

READ_BYTES_MAX = 64 * 1024
CLOSING_S_MAX = 5.0


class Duplex(Protocol):
    """Reads and writes bytes; a write waits while the other end does not read."""

    async def read(self) -> bytes:
        """Some bytes; none once the other end has closed."""

    async def write(self, data: bytes) -> None:
        """Send.

        Raises:
            ConnectionError: the other end is gone.
        """

    async def close(self) -> None:
        """Say good-bye and hang up."""


class Wire:
    """The bare connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        """Some bytes; none once the other end has closed."""
        try:
            return await self._reader.read(READ_BYTES_MAX)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Hang up, after what was written is sent."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class WebSocket:
    """A connection of messages, the server's end of it; as a `Duplex` it carries bytes in binary messages."""

    def __init__(self, wire: Duplex) -> None:
        self._wire = wire
        self._decoder = websocket.Decoder(masked=True)
        self._arrived: list[websocket.Message] = []
        self._closed = False

    async def receive(self) -> bytes | None:
        """The next message; None once the other end has closed, or broken the protocol (which it is told)."""
        while True:
            while self._arrived:
                opcode, data = self._arrived.pop(0)
                if opcode in (websocket.TEXT, websocket.BINARY):
                    return data
                if opcode == websocket.PING:
                    with contextlib.suppress(ConnectionError):
                        await self._wire.write(websocket.frame(websocket.PONG, data))
                elif opcode == websocket.CLOSE:
                    await self._say_closing(websocket.NORMAL)
                    return None
            data = await self._wire.read()
            if not data:
                return None
            try:
                self._arrived = self._decoder.feed(data)
            except websocket.WebSocketError as error:
                await self._say_closing(error.code, str(error))
                return None

    async def read(self) -> bytes:
        """The bytes of the next message that has any; none once the other end has closed."""
        while (data := await self.receive()) is not None:
            if data:
                return data
        return b""

    async def write(self, data: bytes) -> None:
        """Send a binary message."""
        await self._wire.write(websocket.frame(websocket.BINARY, data))

    async def close(self) -> None:
        """Close as agreed, and hang up; nobody may be receiving any more.

        What the other end still sends is read until it has closed too: a connection that is dropped with something unread
        in it takes along what was sent last.
        """
        await self._say_closing(websocket.NORMAL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S_MAX):
                while await self._wire.read():
                    continue
        await self._wire.close()

    async def _breach(self, why: str) -> None:
        """Tell the other end that it broke the protocol."""
        await self._say_closing(websocket.PROTOCOL_ERROR, why)

    async def _say_closing(self, code: int, why: str = "") -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(ConnectionError):
                await self._wire.write(websocket.closing(code, why))


class TextSocket(WebSocket):
    """A connection of text: a message is a digit, which is its first byte here, and the rest as base64."""

    async def receive(self) -> bytes | None:
        """The next message, decoded."""
        message = await super().receive()
        if not message:
            return message
        try:
            return bytes([message[0] - ord("0")]) + base64.b64decode(message[1:], validate=True)
        except ValueError:
            await self._breach("a message is no digit and base64")
            return None

    async def write(self, data: bytes) -> None:
        """Send a message, encoded."""
        text = bytes([data[0] + ord("0")]) + base64.b64encode(data[1:])
        await self._wire.write(websocket.frame(websocket.TEXT, text))
