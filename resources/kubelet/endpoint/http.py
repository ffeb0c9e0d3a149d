"""Just enough of an HTTP/1.1 server for the kubelet's endpoint: one request a connection, answered or upgraded.

Its one client is an API server, which parses what the outside world sends. A library for more
than that would be loaded before the first Pods are started, wherever the kubelet runs by itself; this costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import attrs

from .duplex import Wire
from .errors import EndpointError

HEAD_BYTES_MAX = 256 << 10
HEAD_S_MAX = 30.0
TEXT, JSON = "text/plain; charset=utf-8", "application/json"


@attrs.frozen
class Request:
    """What is asked. `path` in decoded parts; header names are in lower case, repeated ones joined by a comma."""

    method: str
    path: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]

    def value(self, name: str) -> str:
        """A parameter of the query; empty where it is absent."""
        return next((value for key, value in self.query if key == name), "")

    def values(self, name: str) -> list[str]:
        """A parameter that may be repeated."""
        return [value for key, value in self.query if key == name]

    def flag(self, name: str) -> bool:
        """Whether a boolean parameter is set."""
        return self.value(name) in ("1", "true", "True")

    def listed(self, header: str) -> list[str]:
        """The values of a header that lists several."""
        return [part.strip() for part in self.headers.get(header, "").split(",") if part.strip()]


class Exchange:
    """One request and its answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = Request("", ("",), (), {})
        self.answered = False
        self._reader, self._writer = reader, writer

    async def begin(self) -> bool:
        """Read the request; False where the connection ends, or stays silent, before that.

        Raises:
            EndpointError: what came is no request.
        """
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            async with asyncio.timeout(HEAD_S_MAX):
                try:
                    head = await self._reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    raise EndpointError(431, f"the head of the request is longer than {HEAD_BYTES_MAX} bytes") from None
            self.request = parse_request(head)
            return True
        return False

    async def answer(self, body: bytes, content_type: str = TEXT, status: int = 200) -> None:
        """Send a whole answer."""
        self._head(status, {"Content-Type": content_type, "Content-Length": str(len(body)), "Connection": "close"})
        self._writer.write(body)
        await self._writer.drain()

    def upgrade(self, protocol: str, headers: Mapping[str, str]) -> Wire:
        """Agree to another protocol; from here on the connection speaks that."""
        self._head(101, {"Connection": "Upgrade", "Upgrade": protocol, **headers})
        return Wire(self._reader, self._writer)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.answered = True
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))


def parse_request(head: bytes) -> Request:
    """Read the head of a request. Raises EndpointError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise EndpointError(400, "this is no HTTP/1.1 request")
    path, _, query = words[1].partition("?")
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise EndpointError(400, "a header has no name")
        key = name.strip().lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    parts = tuple(unquote(part) for part in path.strip("/").split("/"))
    return Request(words[0], parts, tuple(parse_qsl(query, keep_blank_values=True)), headers)
