"""From a gRPC method's name to the function that serves it, and from exceptions to status codes.

Bytes go in and bytes come out: each service parses what it must and assembles its answer once. An unknown method is
refused with the words of a Go server, which clients look at to tell an old server from a broken one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from reconcile.runtime.store.errors import StoreClosedError, StoreError

from . import errors
from .http2.stream import Stream
from .requests import Message

log = logging.getLogger(__name__)

Unary = Callable[[bytes], Awaitable[bytes]]
Streaming = Callable[["Call"], Awaitable[None]]
Context = Stream
"""A call as the transport has it: who sends it, its messages, its end."""


class Gate(Protocol):
    """Asks callers who they are, and whether they may."""

    @property
    def enabled(self) -> bool:
        """Whether anybody is asked."""

    def check(self, method: str, context: Context, raw: bytes) -> None:
        """Let a request pass, or raise a StoreError."""


def parse(kind: Message, raw: bytes) -> Message:
    """A message from its bytes.

    Raises:
        Refusal: they are no such message.
    """
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise errors.malformed(kind.__name__) from None


class Call:
    """One streaming call: read requests until None, write answers; both wait for the other side."""

    def __init__(self, context: Context, method: str, gate: Gate) -> None:
        self.context = context
        self._method = method
        self._gate = gate

    async def read(self) -> bytes | None:
        """The next request; None when the client sends no more.

        Raises:
            StoreError: the caller may not send it.
        """
        raw = await self.context.read()
        if raw is not None and self._gate.enabled:
            self._gate.check(self._method, self.context, raw)
        return raw

    async def write(self, answer: bytes) -> None:
        """Send an answer; returns when the client has taken it, as far as flow control tells."""
        await self.context.write(answer)


class Methods:
    """The methods that are served: `serve` takes a call to its end."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._unary: dict[str, Unary] = {}
        self._streaming: dict[str, Streaming] = {}
        self._services: set[str] = set()
        self._streams: set[asyncio.Task[Any]] = set()  # Any: tasks of the transport
        self._closing = False

    def unary(self, service: str, **serves: Unary) -> None:
        """Serve methods of one request and one answer."""
        self._services.add(service)
        self._unary.update({f"/{service}/{name}": serve for name, serve in serves.items()})

    def stream(self, service: str, **serves: Streaming) -> None:
        """Serve methods of many requests or many answers."""
        self._services.add(service)
        self._streaming.update({f"/{service}/{name}": serve for name, serve in serves.items()})

    @property
    def paths(self) -> frozenset[str]:
        """All that is served."""
        return frozenset((*self._unary, *self._streaming))

    def close(self) -> None:
        """End all streams: their clients are told that the server stops."""
        self._closing = True
        for task in self._streams:
            task.cancel()

    async def serve(self, context: Context) -> None:
        """Serve a call; whatever becomes of it, its client is told."""
        unary = self._unary.get(context.path)
        try:
            if unary is not None:
                await self._answer(context, unary)
            else:
                await self._converse(context)
        except StoreError as error:
            context.finish(error.code, error.text)
        except Exception:
            log.exception("a call failed", extra={"method": context.path})
            context.finish("UNKNOWN", "the server made a mistake, which its log has")

    async def _answer(self, context: Context, serve: Unary) -> None:
        raw = await context.read()
        if raw is None:
            context.finish("INTERNAL", "the call has no request")
            return
        if self._gate.enabled:
            self._gate.check(context.path, context, raw)
        answer = await serve(raw)
        if not context.answer(answer):
            await context.write(answer)
            context.finish()

    async def _converse(self, context: Context) -> None:
        serve = self._streaming.get(context.path)
        if serve is None:
            context.finish("UNIMPLEMENTED", self._unknown(context.path))
            return
        task = asyncio.current_task()
        assert task is not None, "each call has a task"
        self._streams.add(task)
        try:
            await serve(Call(context, context.path, self._gate))
            context.finish()
        except asyncio.CancelledError:
            # Either the client went, and nobody is left to tell, or the server stops.
            if not self._closing:
                raise
            task.uncancel()
            raise StoreClosedError from None
        finally:
            self._streams.discard(task)

    def _unknown(self, path: str) -> str:
        service, _, name = path.lstrip("/").partition("/")
        return f"unknown method {name} for service {service}" if service in self._services else f"unknown service {service}"
