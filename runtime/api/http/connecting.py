"""Subresources that somebody else answers: the request is carried to the backend that the kind's declaration names.

An upgraded connection is passed on byte by byte: what the two ends speak (a WebSocket, SPDY) is no business of this server.

Source: k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go, transport.go
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from reconcile.client import Page
from reconcile.errors import ApiError, BadRequestError, InternalError, Tree, UnavailableError
from reconcile.kinds import Kind
from reconcile.runtime.api import refusals
from reconcile.runtime.api.server import ApiServer, Dial
from reconcile.subresources import Asked, Backend, Connection

from .backend import HEAD_BYTES_MAX, HEAD_S_MAX, BackendError, Conversation, Head, Header, relay
from .exchange import Answer, Request, Stream, Switch
from .location import Location

if TYPE_CHECKING:
    import ssl

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "OPTIONS": "get"}
_HOPS = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade")
)
_OURS = frozenset(("authorization", "host", "content-length", "expect"))
"""Credentials are for this server alone; the others are made anew."""
_IMPERSONATION = "impersonate-"
_SAFE = "/:@!$&'()*+,;=~"
"""What stands in a path as it is; clients that escape the slashes of a path that they were given mean slashes."""
_REFUSAL_BYTES_MAX = 1 << 20
_PAGE_BYTES_MAX = 4 << 20
_LINK = re.compile(rb"""(?i)(\b(?:href|src|action|codebase|poster|cite|data)\s*=\s*["']?)(/(?!/)[^\s"'>]*)""")


class _Lookup:
    """The API server as those who locate a backend see it."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        return (await self._api.get(kind, name, namespace)).tree

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "") -> Page:
        listing = await self._api.list(kind, namespace, labels=labels)
        return Page([stored.tree for stored in listing.items], listing.revision)


async def connect(
    api: ApiServer, connection: Connection, request: Request, location: Location
) -> Answer | Stream | Switch:  # fmt: skip
    """Carry a request to its backend.

    Raises:
        ApiError: the method is not one of the subresource's, there is no such backend, or it cannot be reached.
    """
    if _VERBS.get(request.method) not in connection.verbs:
        raise refusals.method_not_allowed()
    upgrading = any("upgrade" in value.lower() for value in request.every("Connection"))
    upgrade = request.headers.get("Upgrade", "") if upgrading else ""
    if upgrade and connection.upgraded:
        request.must("create", location.subresource)  # a WebSocket begins as a GET, and can do all that a POST can
    asked = Asked(
        request.method, location.name, location.namespace, quote(unquote(location.rest), safe=_SAFE),
        tuple(parse_qsl(request.raw_query, keep_blank_values=True)), request.raw_query, upgrade,
    )  # fmt: skip
    kind = api.find(location.group, location.version, location.plural)
    assert kind is not None, "its subresource was found"
    await api.admit_connection(kind, connection, asked, request.caller)
    backend = await connection.locate(_Lookup(api), asked)
    if connection.upgraded and not upgrade:
        raise BadRequestError("Upgrade request required")
    prefix = request.path[: len(request.path) - len(location.rest)] if location.rest else request.path
    if backend.rewritten and not location.rest and request.method in ("GET", "HEAD") and not upgrade:
        query = f"?{request.raw_query}" if request.raw_query else ""
        return Answer(HTTPStatus.MOVED_PERMANENTLY, b"", headers=(("Location", f"{request.path}/{query}"),))
    body = b"" if upgrade else await request.read()
    conversation = await _dialled(api, backend.address)
    headers = _outward(request, backend, body, upgrade, prefix)
    try:
        if upgrade:
            return await _switched(conversation, request, backend, headers)
        head = await conversation.ask(request.method, backend.path, headers, body)
        return await _carried(conversation, request, backend, head, prefix)
    except BackendError as error:
        conversation.close()
        raise _unreachable(backend.address, str(error)) from error
    except BaseException:
        conversation.close()
        raise


async def _switched(
    conversation: Conversation, request: Request, backend: Backend, headers: list[Header]
) -> Answer | Switch:  # fmt: skip
    try:
        async with asyncio.timeout(HEAD_S_MAX):
            head = await conversation.ask(request.method, backend.path, headers, b"")
    except TimeoutError:
        raise _unreachable(backend.address, f"it did not answer within {HEAD_S_MAX:g} s") from None
    if head.status != HTTPStatus.SWITCHING_PROTOCOLS:
        body = b""
        async for piece in conversation.body(request.method, head):
            body += piece
            if len(body) > _REFUSAL_BYTES_MAX:
                raise BackendError("its refusal does not end")
        return Answer(head.status, body, head.value("content-type") or "text/plain; charset=utf-8")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay(Conversation(reader, writer), conversation)

    return Switch(head.headers, serve, conversation.close)


async def _carried(
    conversation: Conversation, request: Request, backend: Backend, head: Head, prefix: str
) -> Answer | Stream:  # fmt: skip
    pieces = conversation.body(request.method, head)
    content_type = head.value("content-type")
    gone = _HOPS | {"content-length", "content-type"}
    headers = [(name, value) for name, value in head.headers if name.lower() not in gone]
    if backend.rewritten:
        headers = [(name, _moved(value, backend, prefix) if name.lower() == "location" else value) for name, value in headers]
        if content_type.startswith("text/html") and not head.value("content-encoding"):
            pieces = _relinked(pieces, prefix.encode())
    if request.method == "HEAD" or head.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        conversation.close()
        return Answer(head.status, b"", content_type, tuple(headers))
    return Stream(pieces, content_type, tuple(headers), head.status)


async def _dialled(api: ApiServer, address: str) -> Conversation:
    scheme, _, rest = address.partition("://")
    dial = api.dialers.get(scheme) or _DIALERS.get(scheme)
    if dial is None:
        raise InternalError(f"error dialing backend: nobody knows how to reach {address}")
    try:
        return Conversation(*await dial(rest))
    except OSError as error:
        # asyncio words a refusal in its own way; the kernel's is what people know.
        why = os.strerror(error.errno) if error.errno else str(error) or "it does not answer"
        raise _unreachable(address, why) from error


async def _dial_http(netloc: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await _dial(netloc, None)


async def _dial_https(netloc: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    import ssl  # only where a backend speaks TLS

    # As the reference does for pods and services, whose certificates nobody here could vouch for.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return await _dial(netloc, context)


async def _dial(netloc: str, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(f"//{netloc}")
    async with asyncio.timeout(HEAD_S_MAX):  # its TimeoutError is an OSError
        return await asyncio.open_connection(
            parts.hostname,
            parts.port,
            ssl=tls,
            limit=HEAD_BYTES_MAX,
        )


_DIALERS: dict[str, Dial] = {"http": _dial_http, "https": _dial_https}


def _outward(request: Request, backend: Backend, body: bytes, upgrade: str, prefix: str) -> list[Header]:
    """The headers that the backend gets."""
    dropped = _HOPS | _OURS | ({"accept-encoding"} if backend.rewritten else frozenset())
    headers = [
        (name, value)
        for name, value in request.headers.items()
        if name.lower() not in dropped and not name.lower().startswith(_IMPERSONATION)
    ]
    headers.append(("Host", backend.address.partition("://")[2]))
    if upgrade:
        return [*headers, ("Connection", "Upgrade"), ("Upgrade", upgrade)]
    headers.append(("Connection", "close"))
    if body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", str(len(body))))
    if backend.rewritten:
        headers += [("X-Forwarded-Uri", prefix + "/"), ("X-Forwarded-Proto", "https")]
    return headers


def _moved(to: str, backend: Backend, prefix: str) -> str:
    """A redirect within the backend, so that it passes here again; one to elsewhere stays."""
    parts = urlsplit(to)
    if parts.netloc and f"{parts.scheme}://{parts.netloc}" != backend.address:
        return to
    if not parts.path.startswith("/"):
        return to
    query = f"?{parts.query}" if parts.query else ""
    return f"{prefix}{parts.path}{query}"


async def _relinked(pieces: AsyncIterator[bytes], prefix: bytes) -> AsyncIterator[bytes]:
    """A page whose links to the backend's root pass here again; one too large to be held is left as it is."""
    page = b""
    async for piece in pieces:
        page += piece
        if len(page) > _PAGE_BYTES_MAX:
            break
    else:
        yield _LINK.sub(rb"\g<1>" + prefix.replace(b"\\", b"\\\\") + rb"\g<2>", page)
        return
    yield page
    async for piece in pieces:
        yield piece


def _unreachable(address: str, why: str) -> ApiError:
    return UnavailableError(f"error trying to reach service: dial {address}: {why}")
