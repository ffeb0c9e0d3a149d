"""Several patches in one request, each answered as if it had come alone: the same caller, and nothing else in common.

A write over HTTP costs the server some 0.5 ms of CPU, of which half is the request: TLS, heads, the library that reads them,
a task. An operator with many writes under way sends them together (`reconcile.runtime.client.batching`), which saves most of it.

    POST /batch            Content-Type: application/vnd.reconcile.batch
    [[path and query, media type, cause, whole, bytes of its body], ...] and a newline, then all bodies, one after the other

A list says that batches are taken, and of how many patches (the header `Reconcile-Batch`). The answer is of the same form:
[[code, whole, bytes of its body], ...]. `cause` and `whole` are what the headers `Reconcile-Cause` and `Reconcile-Whole` are to a
single patch. Each is judged, counted and timed by itself; the answer comes when all are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson

from reconcile.causality import CAUSE_HEADER
from reconcile.client import BATCH_MEDIA, BATCH_PATCHES_MAX, WHOLE_HEADER
from reconcile.errors import BadRequestError
from reconcile.runtime.api.refusals import method_not_allowed

from .exchange import Answer, Request

_WHOLE = WHOLE_HEADER.lower()

One = Callable[[Request], Awaitable[Answer]]
"""Answers one patch; never raises."""


async def answered(request: Request, one: One) -> Answer:
    """Answer all patches of a batch.

    Raises:
        ApiError: it cannot be read. Then none of them was made.
    """
    if request.method != "POST":
        raise method_not_allowed()
    inner = _read(request, await request.read())
    answers = await asyncio.gather(*(one(each) for each in inner))
    heads = [[answer.status, _says_whole(answer), len(answer.body)] for answer in answers]
    return Answer(200, b"%b\n%b" % (orjson.dumps(heads), b"".join([answer.body for answer in answers])), BATCH_MEDIA)


def _says_whole(answer: Answer) -> bool:
    return any(name.lower() == _WHOLE for name, _ in answer.headers)


def _read(request: Request, raw: bytes) -> list[Request]:
    first, newline, bodies = raw.partition(b"\n")
    found: list[Request] = []
    at = 0
    try:
        heads = orjson.loads(first) if newline else None
        if type(heads) is not list or not 0 < len(heads) <= BATCH_PATCHES_MAX:
            raise ValueError
        for target, media, cause, whole, size in heads:
            if not (type(target) is type(media) is type(cause) is str and type(size) is int and 0 <= size <= len(bodies) - at):
                raise ValueError
            found.append(_patch(request, target, media, cause, whole is True, bodies[at : at + size]))
            at += size
    except (TypeError, ValueError):
        raise BadRequestError(
            f"this is no batch of 1 to {BATCH_PATCHES_MAX} patches; see reconcile.runtime.api.http.batch"
        ) from None
    if at != len(bodies):
        raise BadRequestError("the bodies of this batch are longer than its heads say")
    return found


def _patch(outer: Request, target: str, media: str, cause: str, whole: bool, body: bytes) -> Request:
    path, _, query = target.partition("?")
    headers: dict[str, Any] = {
        "Accept": "application/json", "Content-Type": media, CAUSE_HEADER: cause,
        "User-Agent": outer.headers.get("User-Agent", ""),
    }  # fmt: skip
    if whole:
        headers[WHOLE_HEADER] = "status"

    async def read() -> bytes:
        return body

    made = Request("PATCH", path, dict(parse_qsl(query, keep_blank_values=True)) if query else {}, headers, read, raw_query=query)
    made.caller = outer.caller
    return made
