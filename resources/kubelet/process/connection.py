"""The engine's end of a connection to one shim: requests with replies, and events in between."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from typing import Any

from reconcile.resources.kubelet.errors import ShimError

Message = dict[str, Any]  # Any: a decoded JSON object
_LINE_BYTES_MAX = 16 * 1024 * 1024


class Refusal(Exception):
    """The shim answered that it will not; `kind` says why."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Connection(asyncio.Protocol):
    """Speaks lines of JSON; `on_event` gets what was not asked for, `on_lost` the end, once, unless we closed it."""

    def __init__(self, pod_uid: str, on_event: Callable[[str, Message], None], on_lost: Callable[[Connection], None]) -> None:
        self.pod_uid = pod_uid
        self.greeting: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()
        self._on_event, self._on_lost = on_event, on_lost
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._serial = 0
        self._rest = b""
        self._closed = False

    async def request(self, op: str, **more: Any) -> Message:  # Any: JSON values
        """Ask, and wait for the reply.

        Raises:
            Refusal: the shim will not.
            ShimError: the shim went away before it answered.
        """
        if self._transport is None or self.lost.is_set():
            raise self._gone()
        self._serial += 1
        serial = self._serial
        reply = self.expect(serial)
        self._transport.write(json.dumps({"id": serial, "op": op, **more}).encode() + b"\n")
        try:
            answer: Message = await reply
        finally:
            self._waiting.pop(serial, None)
        return answer

    def expect(self, serial: int) -> asyncio.Future[Message]:
        """The reply to the request of that number, which somebody sends by other means."""
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[serial] = reply
        return reply

    def close(self) -> None:
        """Hang up; the shim goes on."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "event" not in message:
                self._answer(message)
            elif message["event"] in ("ready", "refused"):
                if not self.greeting.done():
                    self.greeting.set_result(message)
            elif not self._closed:
                self._on_event(self.pod_uid, message)
        assert len(self._rest) <= _LINE_BYTES_MAX, "a shim bounds what it says"

    def connection_lost(self, _exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        self.lost.set()
        for reply in [*self._waiting.values(), self.greeting]:
            if not reply.done():
                reply.set_exception(self._gone())
                reply.exception()  # nobody may be waiting any more; that is no mistake
        if not self._closed:
            self._on_lost(self)

    def _answer(self, message: Message) -> None:
        reply = self._waiting.get(message["id"])
        if reply is None or reply.done():
            return  # who asked was cancelled
        if "error" in message:
            reply.set_exception(Refusal(message["error"]))
        else:
            reply.set_result(message["ok"])

    def _gone(self) -> ShimError:
        return ShimError(f"pod {self.pod_uid}", "its shim is gone; run_sandbox makes a new one")


def dial(directory: str) -> socket.socket | None:
    """Connect to the shim that serves the sandbox in `directory`; None where nobody listens (yet, or any more).

    The address goes through a descriptor of the folder: a path of more than 107 bytes is no valid socket address.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    try:
        folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{folder}/sock")
        finally:
            os.close(folder)
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
        connection.close()
        return None
    return connection
