"""The engine's end of a talk with a container: its descriptors, and the connection to the shim that says how it ended.

The other ends of the descriptors go to the shim, or through it to the command itself: a command's output passes from its
pipe to whoever reads it here, and waits in the pipe while nobody does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from reconcile.resources.kubelet.errors import ExecError, SandboxNotFoundError, ShimError
from reconcile.resources.kubelet.runtime import Output

from .connection import Connection, Message, dial
from .shim.talks import resize

READ_BYTES_MAX = 64 * 1024


class ProcessTalk:
    """A talk with a command or a container; implements `Talk`."""

    def __init__(self, pod_uid: str, *, tty: bool) -> None:
        self.outputs: Mapping[str, Output] = {}
        self._tty = tty
        self._connection = Connection(pod_uid, self._on_event, self._on_lost)
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._stdin: asyncio.StreamWriter | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self._terminal = -1

    async def begin(self, directory: str, request: Message, theirs: Sequence[int]) -> Message:
        """Ask the shim that serves the sandbox in `directory`, handing it `theirs`; returns its answer.

        Raises:
            Refusal: the shim will not.
            SandboxNotFoundError: nobody serves the sandbox.
        """
        shim = dial(directory)
        if shim is None:
            raise SandboxNotFoundError(os.path.basename(directory))
        answer = self._connection.expect(0)
        socket.send_fds(shim, [json.dumps({"id": 0, **request}).encode() + b"\n"], list(theirs))
        await asyncio.get_running_loop().create_unix_connection(lambda: self._connection, sock=shim)
        return await answer

    async def hold(self, reads: Mapping[str, int], write: int | None, terminal: int | None) -> None:
        """Take over our ends: `reads` by the name of the stream, `write` for stdin, and the terminal to be resized."""
        self.outputs = {name: await self._reader(fd) for name, fd in reads.items()}
        if write is not None:
            self._stdin = await self._writer(write)
        if terminal is not None:
            self._terminal = terminal

    async def write(self, data: bytes) -> None:
        """Write to its stdin, as fast as that is read."""
        if self._stdin is not None and not self._stdin.is_closing():
            with contextlib.suppress(OSError):  # it reads no more: so it is with a pipe of a shell too
                self._stdin.write(data)
                await self._stdin.drain()

    async def close_stdin(self) -> None:
        """No more input: a terminal is told by the character for it, as nobody could take it away from the command."""
        if self._tty:
            await self.write(b"\x04")
        elif self._stdin is not None:
            self._stdin.close()

    async def resize(self, columns: int, rows: int) -> None:
        """Set the size of the terminal, here or at the shim that holds it."""
        if self._terminal >= 0:
            resize(self._terminal, columns, rows)
        elif self._tty and not self._exit.done():
            with contextlib.suppress(ShimError):
                await self._connection.request("resize", columns=columns, rows=rows)

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.shield(self._exit)

    async def close(self) -> None:
        """Hang up."""
        self._connection.close()
        for transport in self._transports:
            transport.close()
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1
        if not self._exit.done():
            self._exit.cancel()

    def _on_event(self, _uid: str, message: Message) -> None:
        if message["event"] == "exit" and not self._exit.done():
            self._exit.set_result(message["exit_code"])

    def _on_lost(self, connection: Connection) -> None:
        if not self._exit.done():
            self._exit.set_exception(ShimError(f"pod {connection.pod_uid}", "its shim hung up: how this ended is not known"))
            self._exit.exception()  # nobody may be waiting

    async def _reader(self, fd: int) -> Output:
        reader = asyncio.StreamReader(limit=READ_BYTES_MAX)
        file = open(fd, "rb", buffering=0)  # noqa: ASYNC230, SIM115  # a descriptor, which the transport closes
        transport, _protocol = await asyncio.get_running_loop().connect_read_pipe(lambda: _Ending(reader), file)
        self._transports.append(transport)
        return reader

    async def _writer(self, fd: int) -> asyncio.StreamWriter:
        loop = asyncio.get_running_loop()
        file = open(fd, "wb", buffering=0)  # noqa: ASYNC230, SIM115  # a descriptor, which the transport closes
        transport, protocol = await loop.connect_write_pipe(lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), file)
        self._transports.append(transport)
        return asyncio.StreamWriter(transport, protocol, None, loop)


class _Ending(asyncio.StreamReaderProtocol):
    """A terminal that nothing has open any more gives EIO: that is its end, and what was said before is read first."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(None)


async def open_command(directory: str, name: str, argv: Sequence[str], *, stdin: bool, tty: bool) -> ProcessTalk:
    """Start a command in a container of the sandbox in `directory`.

    Raises:
        ExecError: it cannot be started.
        Refusal, ShimError: as `ProcessTalk.begin`.
    """
    talk = ProcessTalk(os.path.basename(directory), tty=tty)
    request: dict[str, Any] = {"op": "run", "name": name, "argv": [*argv], "stdin": stdin, "tty": tty}
    if tty:
        terminal, theirs = os.openpty()
        ends = {"read": os.dup(terminal), "write": os.dup(terminal)}
        answer = await _begun(talk, directory, request, [theirs], [terminal, *ends.values()])
        await talk.hold({"stdout": ends["read"]}, ends["write"], terminal)
    else:
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in ("stdin", "stdout", "stderr")]
        theirs_of = [pipes[0][0], pipes[1][1], pipes[2][1]]
        answer = await _begun(talk, directory, request, theirs_of, [pipes[0][1], pipes[1][0], pipes[2][0]])
        await talk.hold({"stdout": pipes[1][0], "stderr": pipes[2][0]}, pipes[0][1], None)
    if "exit_code" in answer:
        await talk.close()
        raise ExecError(name, answer["exit_code"], answer["message"])
    return talk


async def open_attachment(
    directory: str, name: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
) -> ProcessTalk:  # fmt: skip
    """Attach to a container of the sandbox in `directory`. Raises as `ProcessTalk.begin`."""
    talk = ProcessTalk(os.path.basename(directory), tty=tty)
    wanted = {"stdin": stdin, "stdout": stdout, "stderr": stderr and not tty}
    pipes = {stream: os.pipe2(os.O_CLOEXEC) for stream, is_wanted in wanted.items() if is_wanted}
    theirs = [ends[0 if stream == "stdin" else 1] for stream, ends in pipes.items()]
    ours = {stream: ends[1 if stream == "stdin" else 0] for stream, ends in pipes.items()}
    await _begun(talk, directory, {"op": "attach", "name": name, **wanted}, theirs, list(ours.values()))
    write = ours.pop("stdin", None)
    await talk.hold(ours, write, None)
    return talk


async def _begun(
    talk: ProcessTalk, directory: str, request: Message, theirs: Sequence[int], ours: Sequence[int]
) -> Message:  # fmt: skip
    """Hand `theirs` over; whatever comes of it they are closed here, and `ours` too where it failed."""
    try:
        return await talk.begin(directory, request, theirs)
    except BaseException:
        for fd in ours:
            os.close(fd)
        await talk.close()
        raise
    finally:
        for fd in theirs:
            os.close(fd)
