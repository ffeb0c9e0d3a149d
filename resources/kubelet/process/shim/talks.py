"""Somebody talks to a container over a connection of their own: a command run in it, or its first process itself.

The descriptors come with the request. A command gets them as they are, so that its bytes never pass through the shim; what
is attached gets copies of the container's output. Either ends with the connection that asked for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import processes
from .launch import LaunchError, launch
from .loop import Loop
from .writer import Writer

if TYPE_CHECKING:
    from .container import Container
    from .peer import Message, Peer

HANG_UP_GRACE_S = 2.0
STUCK_S_MAX = 30.0
"""A container waits so long for an attached reader that takes nothing; then that one is dropped."""
LINGER_S = 2.0
"""Who is attached and has said everything hears the container so long, if its stdin goes on."""
CHUNK_BYTES = 64 * 1024
TERMINAL = "xterm"


class Command:
    """A command run in a container's environment, on descriptors that came with the request."""

    def __init__(self, loop: Loop, container: Container, peer: Peer, request_id: int) -> None:
        self.container = container
        self.pid = 0
        self._loop, self._peer, self._request_id = loop, peer, request_id

    def start(self, request: Message, descriptors: Sequence[int]) -> None:
        """Start it; one that cannot run is answered with a shell's exit code, and why."""
        tty, stdin = bool(request["tty"]), bool(request["stdin"])
        env = dict(self.container.env)
        streams = (descriptors[0], descriptors[0], descriptors[0]) if tty else (descriptors[0], descriptors[1], descriptors[2])
        if tty:
            env.setdefault("TERM", TERMINAL)
        try:
            self.pid = launch(
                request["argv"], env, self.container.working_dir, streams[0] if tty or stdin else None, streams[1], streams[2],
                terminal=tty,
            )  # fmt: skip  # one option a word reads better packed
            answer: dict[str, Any] = {"pid": self.pid}
        except LaunchError as error:
            answer = {"exit_code": error.exit_code, "message": str(error)}
        self._peer.send({"id": self._request_id, "ok": answer})
        if self.pid:
            self._peer.closed = self.hang_up

    def reaped(self, status: int, code: int) -> None:
        """It has ended. What it started and left behind belongs to the container now, and ends with it."""
        self.pid = 0
        self._peer.send({"event": "exit", "exit_code": code if status == os.CLD_EXITED else 128 + code})

    def hang_up(self) -> None:
        """Nobody listens any more: tell it as a terminal does, and kill it if it does not end by that."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGHUP)
            self._loop.after(HANG_UP_GRACE_S, self._kill)

    def _kill(self) -> None:
        if self.pid:
            main = processes.look(self.pid)
            processes.kill([*([main] if main else []), *processes.descendants(self.pid)])


class Attachment:
    """One who is attached to a container's first process: hears what it says, and may say something to it."""

    def __init__(self, loop: Loop, container: Container, peer: Peer, request: Message, descriptors: Sequence[int]) -> None:
        self._loop, self._container, self._peer = loop, container, peer
        given = list(descriptors)
        self._input = given.pop(0) if request["stdin"] else -1
        self._outputs = {name: Writer(loop, given.pop(0)) for name in ("stdout", "stderr") if request[name]}
        self._stuck_checks = 0
        self.over = False
        peer.closed = self.drop
        if self._input >= 0:
            os.set_blocking(self._input, False)
            loop.watch(self._input, lambda _events: self._hear())

    def give(self, stream: str, chunk: bytes) -> Writer | None:
        """Pass output on; returns the writer if it waits for its reader, so that the container's output waits too."""
        writer = self._outputs.get(stream)
        if writer is None or self.over:
            return None
        writer.give(chunk)
        if not writer.blocked:
            return None
        self._stuck_checks += 1
        check = self._stuck_checks
        writer.when_drained(self._moved)
        self._loop.after(STUCK_S_MAX, lambda: self._drop_stuck(check))
        return writer

    def finish(self, exit_code: int) -> None:
        """The container has ended: what it said last still goes out, then its exit code."""
        if not self.over:
            self._stop_hearing()
            for writer in self._outputs.values():
                writer.end()
            self._peer.send({"event": "exit", "exit_code": exit_code})
            self.over = True

    def drop(self) -> None:
        """Let go: the other end hung up, or takes nothing."""
        if not self.over:
            self.over = True
            self._stop_hearing()
            for writer in self._outputs.values():
                writer.close()
            self._container.detach(self)
            self._peer.close()

    def _moved(self) -> None:
        self._stuck_checks += 1

    def _drop_stuck(self, check: int) -> None:
        if check == self._stuck_checks and any(writer.blocked for writer in self._outputs.values()):
            self.drop()

    def _hear(self) -> None:
        """Pass one chunk on to the container, and hear more once it has taken that."""
        try:
            chunk = os.read(self._input, CHUNK_BYTES)
        except BlockingIOError:
            return
        stdin = self._container.stdin
        if not chunk:
            self._stop_hearing()
            if not self._container.input_ended():
                # Stdin stays open for whoever attaches next. Who has said everything is through, as with containerd, which lets
                # go at once; here they still hear what comes of it.
                self._loop.after(LINGER_S, self._leave)
            return
        if stdin is None:
            return
        stdin.give(chunk)
        if stdin.blocked:
            self._loop.unwatch(self._input)
            stdin.when_drained(self._hear_more)

    def _leave(self) -> None:
        if not self.over:
            self._container.detach(self)
            self.finish(0)

    def _hear_more(self) -> None:
        if self._input >= 0:
            self._loop.watch(self._input, lambda _events: self._hear())

    def _stop_hearing(self) -> None:
        if self._input >= 0:
            self._loop.unwatch(self._input)
            os.close(self._input)
            self._input = -1


def resize(terminal: int, columns: int, rows: int) -> None:
    """Tell a terminal how large its window is; what runs in it hears of it by a signal."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))
