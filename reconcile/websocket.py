"""WebSocket frames (RFC 6455) without any I/O: bytes go in, whole messages come out; and the other way round.

Fragments are put together, up to a bound. Extensions are not offered, so a frame that uses one is a mistake.

Source: https://www.rfc-editor.org/rfc/rfc6455#section-5
"""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009
MESSAGE_BYTES_MAX = 32 << 20
"""As large a message as is taken: kubectl sends 32 KiB at once, and some client its whole input."""
_CONTROL_BYTES_MAX = 125
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocketError(Exception):
    """The other end broke the protocol; `code` is what to close with."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Message(NamedTuple):
    """A whole message (TEXT, BINARY) or a control frame (CLOSE, PING, PONG)."""

    opcode: int
    data: bytes


class Decoder:
    """Reads one direction of a connection; `masked` where the other end is the client, who has to mask."""

    def __init__(self, *, masked: bool, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._masked, self._bytes_max = masked, bytes_max
        self._rest = bytearray()
        self._opcode = 0
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes as they came; returns what is whole by now.

        Raises:
            WebSocketError: these bytes are no WebSocket, or too much of it.
        """
        self._rest += data
        found = []
        while (frame := self._frame()) is not None:
            message = self._message(*frame)
            if message is not None:
                found.append(message)
        return found

    def _frame(self) -> tuple[bool, int, bytes] | None:
        """The next frame: whether it is the last of its message, opcode, payload; None while it is not whole."""
        rest = self._rest
        if len(rest) < 2:
            return None
        final, opcode, masked, length = bool(rest[0] & 0x80), rest[0] & 0x0F, bool(rest[1] & 0x80), rest[1] & 0x7F
        if rest[0] & 0x70:
            raise WebSocketError(PROTOCOL_ERROR, "a frame uses an extension that was not agreed on")
        if masked is not self._masked:
            raise WebSocketError(PROTOCOL_ERROR, "a frame is not masked" if self._masked else "a frame is masked")
        if opcode >= CLOSE and (length > _CONTROL_BYTES_MAX or not final):
            raise WebSocketError(PROTOCOL_ERROR, "a control frame is too long, or in pieces")
        start = 2
        if length >= 126:
            wide = "!H" if length == 126 else "!Q"
            if len(rest) < start + struct.calcsize(wide):
                return None
            (length,) = struct.unpack_from(wide, rest, start)
            start += struct.calcsize(wide)
        if length + self._size > self._bytes_max:
            raise WebSocketError(TOO_BIG, f"a message is larger than {self._bytes_max} bytes")
        mask = bytes(rest[start : start + 4]) if masked else b""
        start += 4 if masked else 0
        if len(rest) < start + length:
            return None
        payload = bytes(rest[start : start + length])
        del rest[: start + length]
        return final, opcode, _masked(payload, mask) if masked else payload

    def _message(self, final: bool, opcode: int, payload: bytes) -> Message | None:
        if opcode >= CLOSE:
            if opcode not in (CLOSE, PING, PONG):
                raise WebSocketError(PROTOCOL_ERROR, f"there is no opcode {opcode}")
            return Message(opcode, payload)
        if opcode == CONTINUATION:
            if not self._opcode:
                raise WebSocketError(PROTOCOL_ERROR, "a message begins with a continuation")
        elif opcode not in (TEXT, BINARY) or self._opcode:
            raise WebSocketError(PROTOCOL_ERROR, "a message begins inside another one, or with an unknown opcode")
        else:
            self._opcode = opcode
        self._parts.append(payload)
        # A frame counts for more than its bytes: a million empty ones must not fill the memory either.
        self._size += len(payload) + 1
        if not final:
            return None
        message = Message(self._opcode, b"".join(self._parts))
        self._opcode, self._parts, self._size = 0, [], 0
        return message


def frame(opcode: int, data: bytes, mask: bytes = b"") -> bytes:
    """One whole message as bytes; a client gives a `mask` of four random bytes."""
    flag = 0x80 if mask else 0
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, flag | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, flag | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, flag | 127, size)
    return head + mask + (_masked(data, mask) if mask else data)


def closing(code: int, why: str = "", mask: bytes = b"") -> bytes:
    """A close frame."""
    return frame(CLOSE, struct.pack("!H", code) + why.encode()[: _CONTROL_BYTES_MAX - 2], mask)


def accept_of(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def _masked(data: bytes, mask: bytes) -> bytes:
    # One operation on large integers takes a hundredth of a loop over bytes.
    whole = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(data), "big")
