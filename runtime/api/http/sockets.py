"""What is told over a WebSocket instead of in chunks: watches, one event a message, and logs; and who asks.

Programs in browsers read streams so: they can neither read an answer in pieces everywhere, nor set the header `Authorization` of
a WebSocket. What they send is not listened to, but for the end of it.

Source: k8s.io/apiserver/pkg/endpoints/handlers/watch.go HandleWS, pkg/util/wsstream, pkg/authentication/request/websocket
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterator
from typing import cast

import attrs

from reconcile import websocket
from reconcile.errors import BadRequestError, UnauthorizedError

from .exchange import Headers, Request, Stream, Switch

BEARER = "base64url.bearer.authorization.k8s.io."
_PROTOCOL, _KEY = "Sec-WebSocket-Protocol", "Sec-WebSocket-Key"
_BINARY, _BASE64 = "binary.k8s.io", "base64.binary.k8s.io"
_FRAME_HEAD = 4
"""Bytes that say how long an event in protobuf is."""
_READ_BYTES = 1 << 14


def asked(request: Request) -> bool:
    """Whether the answer is to come over a WebSocket."""
    upgrades = any("upgrade" in value.lower() for value in request.every("Connection"))
    return request.method == "GET" and upgrades and request.headers.get("Upgrade", "").lower() == "websocket"


def with_credentials(request: Request) -> Request:
    """The request with the token that a subprotocol carries as its Authorization.

    Raises:
        UnauthorizedError: the subprotocol cannot be read, or there is no other one to agree on.
    """
    offered = _offered(request)
    tokens = [protocol.removeprefix(BEARER) for protocol in offered if protocol.startswith(BEARER)]
    if not tokens or "Authorization" in request.headers:
        return request
    others = [protocol for protocol in offered if not protocol.startswith(BEARER)]
    try:
        (token,) = tokens
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError:
        raise UnauthorizedError("Unauthorized") from None
    if not others:
        raise UnauthorizedError("missing additional subprotocol")
    rest = {name: value for name, value in request.headers.items() if name.lower() != _PROTOCOL.lower()}
    headers = {**rest, _PROTOCOL: ", ".join(others), "Authorization": f"Bearer {text}"}
    return attrs.evolve(request, headers=_like(request, headers))


def switched(request: Request, stream: Stream) -> Switch:
    """The same stream as messages: lines and events as text, anything else as it comes.

    Raises:
        BadRequestError: the client does not speak the protocol.
    """
    key = request.headers.get(_KEY, "")
    if not key or request.headers.get("Sec-WebSocket-Version", "13") != "13":
        raise BadRequestError("a WebSocket begins with Sec-WebSocket-Key, and Sec-WebSocket-Version 13")
    events = stream.content_type.startswith("application/")
    protocol = _agreed(_offered(request), events=events)
    headers: Headers = (
        ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", websocket.accept_of(key)),
        *(((_PROTOCOL, protocol),) if protocol else ()), *stream.headers,
    )  # fmt: skip

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(_listen(reader, writer))
            telling = group.create_task(_tell(stream, writer, events=events, coded=protocol == _BASE64))
            await asyncio.wait((listening, telling), return_when=asyncio.FIRST_COMPLETED)
            listening.cancel()
            telling.cancel()

    def abandon() -> None:
        """Nobody has begun to read the stream: nothing is open yet."""

    return Switch(headers, serve, abandon)


async def _tell(stream: Stream, writer: asyncio.StreamWriter, *, events: bool, coded: bool) -> None:
    pieces = stream.pieces
    opcode = websocket.TEXT if coded or stream.content_type.startswith("application/json") else websocket.BINARY
    try:
        async for piece in pieces:
            if not isinstance(piece, bytes):
                await piece.carry(writer.transport)
                continue
            for message in _messages(piece, stream.content_type) if events else (piece,):
                writer.write(websocket.frame(opcode, base64.b64encode(message) if coded else message))
            await writer.drain()
        writer.write(websocket.closing(websocket.NORMAL))
        await writer.drain()
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


def _messages(piece: bytes, content_type: str) -> Iterator[bytes]:
    """Each event of a piece: lines of JSON, or what a length stands before."""
    if content_type.startswith("application/json"):
        yield from piece.splitlines(keepends=True)
        return
    at = 0
    while at < len(piece):
        size = int.from_bytes(piece[at : at + _FRAME_HEAD], "big")
        yield piece[at + _FRAME_HEAD : at + _FRAME_HEAD + size]
        at += _FRAME_HEAD + size


async def _listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer pings; returns when the client wants no more."""
    decoder = websocket.Decoder(masked=True)
    try:
        while data := await reader.read(_READ_BYTES):
            for message in decoder.feed(data):
                if message.opcode == websocket.PING:
                    writer.write(websocket.frame(websocket.PONG, message.data))
                elif message.opcode == websocket.CLOSE:
                    writer.write(websocket.frame(websocket.CLOSE, message.data))
                    return
    except websocket.WebSocketError as error:
        with contextlib.suppress(ConnectionError):
            writer.write(websocket.closing(error.code, str(error)))


def _offered(request: Request) -> list[str]:
    return [part.strip() for value in request.every(_PROTOCOL) for part in value.split(",") if part.strip()]


def _agreed(offered: list[str], *, events: bool) -> str:
    """The subprotocol of a watch is whatever the client names; that of a log says how bytes are written."""
    if events:
        return offered[0] if len(offered) == 1 else ""
    if not offered:
        return ""
    found = next((protocol for protocol in offered if protocol in (_BINARY, _BASE64)), None)
    if found is None:
        raise BadRequestError(f"none of the subprotocols is known: {_BINARY} and {_BASE64} are")
    return found


def _like(request: Request, headers: dict[str, str]) -> dict[str, str]:
    """Headers that ignore case, as the request's own do."""
    make = type(request.headers)
    copied = getattr(request.headers, "copy", None)
    if copied is None or make is dict:
        return headers
    made = copied()
    made.clear()
    made.update(headers)
    return cast("dict[str, str]", made)
