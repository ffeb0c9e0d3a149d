"""The engine's handle on the zygote: ask for a shim, get a connection to it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

from reconcile.resources.kubelet.errors import ShimError

_CODE = "import sys; sys.path.append(sys.argv[1]); from shim.zygote import main; main()"


class Launcher:
    """Starts the zygote when it is first needed, and again should it have died.

    The zygote is in a session of its own, so that Ctrl-C in the engine's terminal does not reach the shims.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._sending = asyncio.Lock()

    async def launch(self, directory: str) -> socket.socket:
        """Fork a shim for the sandbox in `directory`; the connection's first message tells how that went."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            async with self._sending:
                try:
                    await self._send(os.fsencode(directory), theirs)
                except (BrokenPipeError, ConnectionResetError):
                    # Somebody killed the zygote. Whether it took the message or not, the lock decides that one shim serves.
                    await self.close()
                    await self._send(os.fsencode(directory), theirs)
        return ours

    async def close(self) -> None:
        """End the zygote; shims live on."""
        if self._control is not None:
            self._control.close()
            self._control = None
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            await asyncio.to_thread(zygote.wait)

    async def _send(self, message: bytes, descriptor: socket.socket) -> None:
        control = self._control or self._start()
        loop = asyncio.get_running_loop()
        while True:
            try:
                socket.send_fds(control, [message], [descriptor.fileno()])
            except BlockingIOError:
                writable: asyncio.Future[None] = loop.create_future()
                loop.add_writer(control.fileno(), _wake, writable)
                try:
                    await writable
                finally:
                    loop.remove_writer(control.fileno())
            else:
                return

    def _start(self) -> socket.socket:
        here = os.path.dirname(os.path.abspath(__file__))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs, open(os.path.join(self._root, "shim.log"), "ab") as log:
                self._zygote = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _CODE, here, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={}, cwd=here,
                    pass_fds=[theirs.fileno()], start_new_session=True,
                )  # fmt: skip  # one option a word reads better packed
        except OSError as error:
            ours.close()
            raise ShimError("start the zygote", str(error)) from error
        self._control = ours
        return ours


def _wake(writable: asyncio.Future[None]) -> None:
    if not writable.done():
        writable.set_result(None)
