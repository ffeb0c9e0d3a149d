"""Agreeing on another protocol: WebSocket with a subprotocol, or SPDY/3.1 with a stream protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from reconcile import websocket

from .duplex import TextSocket, WebSocket
from .errors import EndpointError
from .http import Exchange, Request
from .multiplex import Session, Stream

SPDY, WEBSOCKET = "SPDY/3.1", "websocket"
BASE64 = "base64"
PROTOCOL_HEADER = "X-Stream-Protocol-Version"


def asks_for(request: Request, protocol: str) -> bool:
    """Whether the client wants to go on in `protocol`."""
    return request.headers.get("upgrade", "").lower() == protocol.lower()


def websocket_of(exchange: Exchange, protocols: Sequence[str]) -> tuple[WebSocket, str]:
    """Go on as a WebSocket; returns it, and the subprotocol: the first of the client's that is one of `protocols`.

    An empty one among them is for clients that name none. Those of base64 carry text: who reads and writes need not know.

    Raises:
        EndpointError: it asks for no WebSocket, or for another subprotocol.
    """
    request = exchange.request
    if not asks_for(request, WEBSOCKET):
        raise EndpointError(400, "you must upgrade this connection: to a WebSocket, or to SPDY/3.1")
    key = request.headers.get("sec-websocket-key", "")
    if not key or request.headers.get("sec-websocket-version") != "13":
        raise EndpointError(400, "this is no WebSocket handshake of version 13")
    protocol = _chosen(request.listed("sec-websocket-protocol") or [""], protocols)
    accept = {"Sec-WebSocket-Accept": websocket.accept_of(key)}
    if protocol:
        accept["Sec-WebSocket-Protocol"] = protocol
    made = TextSocket if BASE64 in protocol.split(".") else WebSocket
    return made(exchange.upgrade(WEBSOCKET, accept)), protocol


def spdy_session(
    exchange: Exchange, protocols: Sequence[str], on_stream: Callable[[Stream], Awaitable[None]]
) -> Session:  # fmt: skip
    """Go on in SPDY/3.1. Raises EndpointError: the client wants another stream protocol."""
    protocol = _chosen(exchange.request.listed(PROTOCOL_HEADER.lower()), protocols)
    return Session(exchange.upgrade(SPDY, {PROTOCOL_HEADER: protocol}), on_stream)


def _chosen(asked: Sequence[str], protocols: Sequence[str]) -> str:
    for protocol in asked:
        if protocol in protocols:
            return protocol
    offered = " ".join(filter(None, protocols))
    raise EndpointError(403, f"unable to negotiate protocol: client supports [{' '.join(asked)}], server supports [{offered}]")
