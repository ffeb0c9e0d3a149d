"""One command run beside a container: for exec probes, hooks and `kubectl exec` without a terminal."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any

from . import processes
from .container import Container
from .launch import LaunchError, launch
from .loop import Loop

OUTPUT_BYTES_MAX = 64 * 1024

Answer = Callable[[dict[str, Any]], None]  # Any: a JSON object


class Execution:
    """Runs to its end or its time limit, then answers once; it dies with its container."""

    def __init__(self, loop: Loop, container: Container, answer: Answer) -> None:
        self.container = container
        self.pid = 0
        self._loop, self._answer = loop, answer
        self._output = b""
        self._fd = -1

    def start(self, request: Mapping[str, Any]) -> None:
        """Start the command; one that cannot run is answered as a shell would: 127 or 126, and why."""
        self._fd, end = os.pipe2(os.O_CLOEXEC)
        try:
            self.pid = launch(request["argv"], self.container.env, self.container.working_dir, None, end, end)
        except LaunchError as error:
            self._output = f"{error}\n".encode()
            self._finish({"exit_code": error.exit_code})
        else:
            os.set_blocking(self._fd, False)
            self._loop.watch(self._fd, lambda _events: self._read())
            self._loop.after(request["timeout_s"], self._on_timeout)
        finally:
            os.close(end)

    def reaped(self, status: int, code: int) -> None:
        """The command has ended."""
        self.pid = 0
        while self._fd >= 0 and self._read():
            pass
        self._finish({"exit_code": code if status == os.CLD_EXITED else 128 + code})

    def _on_timeout(self) -> None:
        if self.pid:
            main = processes.look(self.pid)
            processes.kill([*([main] if main else []), *processes.descendants(self.pid)])
            self._finish({"timeout": True})

    def _finish(self, outcome: dict[str, Any]) -> None:
        self._close()
        self._answer({**outcome, "output": base64.b64encode(self._output).decode()})
        self._answer = lambda _outcome: None

    def _read(self) -> bool:
        try:
            chunk = os.read(self._fd, OUTPUT_BYTES_MAX)
        except BlockingIOError:
            return False
        if not chunk:
            self._close()
            return False
        # What is beyond the bound is read and dropped: a full pipe would hang the command.
        self._output += chunk[: OUTPUT_BYTES_MAX - len(self._output)]
        return True

    def _close(self) -> None:
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd = -1
