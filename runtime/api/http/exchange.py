"""One request and one answer as plain values: what the face speaks, whichever HTTP library carries it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs
import orjson

from reconcile.errors import ApiError, BadRequestError, TooLargeError, Tree
from reconcile.identity import ANONYMOUS, Caller

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
TEXT = "text/plain; charset=utf-8"
Headers = tuple[tuple[str, str], ...]


@attrs.define(eq=False)
class Request:
    """What a client asks. `path` is still percent-encoded; `headers` ignores case; `read` gives the whole body.

    A `read` of more than the server takes raises TooLargeError. `must` raises where the caller may not do
    with the object, or with a part of it, what the verb says: more than the request says by itself.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    read: Callable[[], Awaitable[bytes]]
    peer_cert: Tree | None = None
    caller: Caller = ANONYMOUS
    raw_query: str = ""
    must: Callable[[str, str], None] = lambda _verb, _part: None
    trace: str = ""
    """The traceparent of the span in which it is answered, if it is in one."""

    def every(self, header: str) -> list[str]:
        """Each value of a header that may stand several times."""
        find = getattr(self.headers, "getall", None)
        if find is not None:
            return list(find(header, ()))
        return [self.headers[header]] if header in self.headers else []

    def flag(self, name: str) -> bool:
        """Whether a boolean query parameter is set, as Go's ParseBool reads it (`?watch` alone counts)."""
        value = self.query.get(name)
        return value is not None and value.lower() not in ("0", "f", "false")


@attrs.frozen
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Headers = ()


class Carried(Protocol):
    """A part of a stream that others write to the connection."""

    async def carry(self, transport: asyncio.WriteTransport) -> None:
        """Have chunks of HTTP/1.1 written; returns when they come no more, or when too much waits in the buffer."""


@attrs.frozen(eq=False)
class Stream:
    """An answer that comes in pieces; each piece is sent at once. The iterator is closed when the client is gone."""

    pieces: AsyncIterator[bytes | Carried]
    content_type: str = JSON
    headers: Headers = ()
    status: int = 200


@attrs.frozen(eq=False)
class Switch:
    """The connection goes on in another protocol, as `headers` say; `serve` has it from then on, and closes nothing."""

    headers: Headers
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    abandon: Callable[[], None]
    """Called instead of `serve` where the client is gone already."""


def json_answer(tree: Any, status: int = 200, headers: Headers = (), content_type: str = JSON) -> Answer:
    """A tree as JSON, in a line, as the reference server ends it: some clients compare the text."""
    return Answer(status, orjson.dumps(tree, option=orjson.OPT_APPEND_NEWLINE), content_type, headers)


def refusal(error: ApiError) -> Answer:
    """An error as the Status that clients know how to read."""
    status = error.status()
    code = int(status["code"])
    if isinstance(error, BadRequestError):
        status.pop("details", None)  # which field it was is for callers in this process; the reference server only says it
    after_s = (status.get("details") or {}).get("retryAfterSeconds")
    return json_answer(status, code, (("Retry-After", str(after_s)),) if after_s else ())


def no_such_path() -> Answer:
    """What the reference server says where nothing is served: plain text, no Status."""
    return Answer(404, b"404 page not found\n", TEXT, (("X-Content-Type-Options", "nosniff"),))


def too_large(bytes_max: int) -> TooLargeError:
    """A body beyond the limit."""
    return TooLargeError(f"Request entity too large: limit is {bytes_max}")


def warning_headers(warnings: list[str]) -> Headers:
    """Warnings as kubectl shows them on stderr.

    Source: k8s.io/apimachinery/pkg/util/net NewWarningHeader
    """
    return tuple(("Warning", f'299 - "{_quoted(text)}"') for text in dict.fromkeys(warnings))


def _quoted(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean.replace("\\", "\\\\").replace('"', '\\"')
