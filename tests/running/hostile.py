"""An API server that misbehaves on demand: what watches and requests meet in real life, one way at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Tree = dict[str, Any]  # Any: a decoded JSON object


def box(name: str, revision: int) -> Tree:
    meta = {"name": name, "namespace": "default", "uid": name, "resourceVersion": str(revision)}
    return {"apiVersion": "example.com/v1", "kind": "Box", "metadata": meta, "spec": {}}


def status(code: int, reason: str = "", **details: Any) -> Tree:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": "no",
        "details": details,
    }


class Hostile:
    """Serves boxes. `list_fault` and `watch_fault` are called once each, instead of the next answer."""

    def __init__(self) -> None:
        self.boxes: dict[str, Tree] = {}
        self.revision = 10
        self.lists = self.watches = 0
        self.list_fault: Callable[[web.Request], Any] | None = None
        self.watch_fault: Callable[[web.Request], Any] | None = None
        self.tokens: set[str] | None = None
        self.busy = 0
        self.under_way = self.under_way_max = self.patched = 0
        self._streams: list[web.StreamResponse] = []

    def put(self, name: str) -> None:
        self.revision += 1
        self.boxes[name] = box(name, self.revision)

    async def tell(self, name: str) -> None:
        """Put a box and tell all watches."""
        self.put(name)
        line = json.dumps({"type": "ADDED", "object": self.boxes[name]}).encode() + b"\n"
        for stream in list(self._streams):
            await stream.write(line)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.tokens is not None and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return web.json_response(status(401, "Unauthorized"), status=401)
        if request.query.get("watch"):
            return await self._watch(request)
        if request.path.endswith("/boxes") and request.method == "GET":
            return await self._list(request)
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            await asyncio.sleep(0.005)
            if self.busy > 0:
                self.busy -= 1
                return web.json_response(status(429, "TooManyRequests"), status=429, headers={"Retry-After": "0"})
            self.patched += request.method == "PATCH"
            return web.json_response(box(request.path.rpartition("/")[2], self.revision))
        finally:
            self.under_way -= 1

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.lists += 1
        fault, self.list_fault = self.list_fault, None
        if fault is not None:
            return await _answered(fault(request))
        return web.json_response(
            {"kind": "BoxList", "metadata": {"resourceVersion": str(self.revision)}, "items": list(self.boxes.values())}
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watches += 1
        fault, self.watch_fault = self.watch_fault, None
        if fault is not None:
            return await _answered(fault(request))
        stream = web.StreamResponse()
        await stream.prepare(request)
        since = int(request.query.get("resourceVersion") or 0)
        for tree in sorted(self.boxes.values(), key=lambda tree: int(tree["metadata"]["resourceVersion"])):
            if int(tree["metadata"]["resourceVersion"]) > since:
                await stream.write(json.dumps({"type": "ADDED", "object": tree}).encode() + b"\n")
        self._streams.append(stream)
        try:
            await asyncio.Event().wait()
        finally:
            self._streams.remove(stream)
        return stream


async def _answered(made: Any) -> web.StreamResponse:
    response: web.StreamResponse = await made if asyncio.iscoroutine(made) else made
    return response


def plain(code: int, body: Any = "no", **headers: str) -> Callable[[web.Request], web.Response]:
    """One answer, as a Status or as text."""

    def fault(_: web.Request) -> web.Response:
        if isinstance(body, dict):
            return web.json_response(body, status=code, headers=headers)
        return web.Response(text=body, status=code, headers=headers)

    return fault


def stream_of(*lines: Any, cut: bool = False) -> Callable[[web.Request], Any]:
    """A watch that says these lines and ends; with `cut`, its connection breaks in the middle of the last."""

    async def fault(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        for line in lines:
            raw = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
            await stream.write(raw)
        if cut and request.transport is not None:
            request.transport.abort()
        return stream

    return fault


@asynccontextmanager
async def hostile() -> AsyncIterator[tuple[Hostile, str]]:
    """The server and its URL."""
    server = Hostile()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield server, f"http://{host}:{port}"
    finally:
        await runner.cleanup()
