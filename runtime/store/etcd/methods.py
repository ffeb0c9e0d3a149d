"""From a gRPC method's name to the function that serves it, and from exceptions to status codes.

Bytes go in and bytes come out: each service parses what it must and assembles its answer once. An unknown method is
refused with the words of a Go server, which clients look at to tell an old server from a broken one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from reconcile.runtime.store.errors import StoreClosedError, StoreError

from . import errors
from .requests import Message

Unary = Callable[[bytes], Awaitable[bytes]]
Stream = Callable[["Call"], Awaitable[None]]
Context = Any
"""A grpc.aio.ServicerContext: grpcio has no types."""

_CODES = {code.name: code for code in grpc.StatusCode}


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
        if raw is grpc.aio.EOF:
            return None
        if self._gate.enabled:
            self._gate.check(self._method, self.context, raw)
        request: bytes = raw
        return request

    async def write(self, answer: bytes) -> None:
        """Send an answer; returns when the transport has taken it."""
        await self.context.write(answer)


class Methods:
    """The methods that are served: what grpcio calls a generic handler."""

    def __init__(self, message_bytes_max: int, gate: Gate) -> None:
        self._message_bytes_max = message_bytes_max
        self._gate = gate
        self._handlers: dict[str, Any] = {}  # Any: grpcio's handlers have no types
        self._services: set[str] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._closing = False

    def unary(self, service: str, **serves: Unary) -> None:
        """Serve methods of one request and one answer."""
        self._services.add(service)
        for name, serve in serves.items():
            path = f"/{service}/{name}"
            self._handlers[path] = grpc.unary_unary_rpc_method_handler(self._unary(path, serve))

    def stream(self, service: str, **serves: Stream) -> None:
        """Serve methods of many requests or many answers."""
        self._services.add(service)
        for name, serve in serves.items():
            path = f"/{service}/{name}"
            self._handlers[path] = grpc.stream_stream_rpc_method_handler(self._stream(path, serve))

    @property
    def paths(self) -> frozenset[str]:
        """All that is served."""
        return frozenset(self._handlers)

    def close(self) -> None:
        """End all streams: their clients are told that the server stops."""
        self._closing = True
        for task in self._streams:
            task.cancel()

    def service(self, details: Any) -> Any:  # Any: as above
        """The handler of a method; grpcio asks for each call."""
        handler = self._handlers.get(details.method)
        return handler if handler is not None else self._unknown(details.method)

    def _unary(self, path: str, serve: Unary) -> Callable[[bytes, Context], Awaitable[bytes]]:
        limit, gate = self._message_bytes_max, self._gate

        async def handle(raw: bytes, context: Context) -> bytes:
            try:
                if len(raw) > limit:
                    raise errors.message_too_large(len(raw), limit)
                if gate.enabled:
                    gate.check(path, context, raw)
                return await serve(raw)
            except StoreError as error:
                await context.abort(_CODES[error.code], error.text)
                raise

        return handle

    def _stream(self, path: str, serve: Stream) -> Callable[[Any, Context], Awaitable[None]]:
        async def handle(_: Any, context: Context) -> None:
            task = asyncio.current_task()
            assert task is not None, "grpcio runs each call in a task"
            self._streams.add(task)
            refusal: StoreError = StoreClosedError()
            try:
                await serve(Call(context, path, self._gate))
                return
            except StoreError as error:
                refusal = error
            except asyncio.CancelledError:
                # Either the client went, and nobody is left to tell, or the server stops.
                if not self._closing:
                    raise
                task.uncancel()
            finally:
                self._streams.discard(task)
            await context.abort(_CODES[refusal.code], refusal.text)

        return handle

    def _unknown(self, method: str) -> Any:
        service, _, name = method.lstrip("/").partition("/")
        known = service in self._services
        text = f"unknown method {name} for service {service}" if known else f"unknown service {service}"

        async def refuse(_: Any, context: Context) -> None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)

        return grpc.stream_stream_rpc_method_handler(refuse)
