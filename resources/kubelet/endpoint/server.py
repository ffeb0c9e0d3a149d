"""Routes what an API server asks of a node to those who know: the paths are the reference kubelet's.

    GET|POST /exec/NAMESPACE/POD/CONTAINER?command=..&input=1&output=1&error=1&tty=1
    GET|POST /attach/NAMESPACE/POD/CONTAINER?input=1&output=1...
    GET|POST /portForward/NAMESPACE/POD
    GET      /pods, /stats/summary, /healthz

It trusts whoever reaches it: authorisation is the API server's, and the socket is a file that only its owner may open.

Source: pkg/kubelet/server/server.go
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from reconcile.errors import Tree
from reconcile.resources.kubelet.runtime import Talk

from .errors import EndpointError
from .http import HEAD_BYTES_MAX, JSON, Exchange
from .port_forward import forward
from .remote_command import converse
from .socket import listening

log = logging.getLogger(__name__)
Route = Callable[[Exchange], Awaitable[None]]


class Pods(Protocol):
    """The pods of a node, as its kubelet knows them. What is not there raises an EndpointError."""

    def require(self, namespace: str, name: str, container: str = "") -> None:
        """Refuse unless there is such a pod, and it runs such a container."""

    async def run(self, namespace: str, name: str, container: str, argv: Sequence[str], *, stdin: bool, tty: bool) -> Talk:
        """Start a command in a container. Raises RuntimeFailure."""

    async def attach(self, namespace: str, name: str, container: str, *, stdin: bool, stdout: bool, stderr: bool) -> Talk:
        """Attach to a container. Raises RuntimeFailure."""

    def listed(self) -> Sequence[Tree]:
        """Every pod."""

    async def summary(self) -> Tree:
        """What the node and its pods use."""

    def address(self, namespace: str, name: str) -> str:
        """The pod's address."""


class Endpoint:
    """A kubelet's server. `start` it in a folder, `close` it; talks that are open end then."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._routes: dict[str, Route] = {
            "exec": self._exec, "attach": self._attach, "portForward": self._forward, "healthz": self._health,
            "pods": self._list, "stats": self._stats,
        }  # fmt: skip  # pairs read better packed

    async def start(self, folder: Path) -> None:
        """Listen in `folder`."""
        self._server = await asyncio.start_unix_server(self._serve, sock=listening(folder), limit=HEAD_BYTES_MAX)

    async def close(self) -> None:
        """Stop listening, and end what is open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio serves each connection in a task"
        self._open.add(task)
        try:
            await self._answer(reader, writer)
        except ConnectionError:
            return  # the client is gone: nobody is left to be told
        except asyncio.CancelledError:
            return  # the kubelet closes: for this connection, that is all
        except Exception:  # the outermost loop of a request: the log says more
            log.exception("a request to the kubelet failed")
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(reader, writer)
        try:
            if not await exchange.begin():
                return
            route = self._routes.get(exchange.request.path[0])
            if route is None:
                raise EndpointError(404, "404 page not found")
            await route(exchange)
        except EndpointError as error:
            if not exchange.answered:
                await exchange.answer(f"{error}\n".encode(), status=error.status)

    async def _exec(self, exchange: Exchange) -> None:
        namespace, name, container = _parts(exchange, 3)
        request = exchange.request
        argv = request.values("command")
        if not argv:
            raise EndpointError(400, "you must specify at least one command for the container")
        self._pods.require(namespace, name, container)

        async def begin() -> Talk:
            return await self._pods.run(
                namespace, name, container, argv, stdin=request.flag("input"), tty=request.flag("tty")
            )  # fmt: skip

        await converse(exchange, begin, tells_exit=True)

    async def _attach(self, exchange: Exchange) -> None:
        namespace, name, container = _parts(exchange, 3)
        request = exchange.request
        self._pods.require(namespace, name, container)

        async def begin() -> Talk:
            return await self._pods.attach(
                namespace, name, container, stdin=request.flag("input"), stdout=request.flag("output"),
                stderr=request.flag("error"),
            )  # fmt: skip

        await converse(exchange, begin, tells_exit=False)

    async def _forward(self, exchange: Exchange) -> None:
        namespace, name = _parts(exchange, 2)
        self._pods.require(namespace, name)
        await forward(exchange, f"{namespace}/{name}", self._pods.address(namespace, name))

    async def _list(self, exchange: Exchange) -> None:
        _parts(exchange, 0)
        listed = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(self._pods.listed())}
        await exchange.answer(json.dumps(listed).encode(), JSON)

    async def _stats(self, exchange: Exchange) -> None:
        if _parts(exchange, 1) != ("summary",):
            raise EndpointError(404, "404 page not found")
        await exchange.answer(json.dumps(await self._pods.summary()).encode(), JSON)

    async def _health(self, exchange: Exchange) -> None:
        await exchange.answer(b"ok")


def _parts(exchange: Exchange, count: int) -> Sequence[str]:
    parts = exchange.request.path[1:]
    if len(parts) != count or not all(parts):
        raise EndpointError(404, "404 page not found")
    return parts
