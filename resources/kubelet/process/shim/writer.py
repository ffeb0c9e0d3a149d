"""Bytes for a descriptor that may not take them at once: a container's stdin, or somebody who is attached to its output."""

from __future__ import annotations

import os
from collections.abc import Callable

from .loop import Loop


class Writer:
    """Owns a descriptor and writes to it without ever blocking; whoever gives it more asks `blocked` first."""

    def __init__(self, loop: Loop, fd: int) -> None:
        self._loop, self._fd = loop, fd
        self._rest = b""
        self._drained: list[Callable[[], None]] = []
        self._closing = False
        os.set_blocking(fd, False)

    @property
    def blocked(self) -> bool:
        """Whether something waits for the other end."""
        return bool(self._rest)

    def give(self, data: bytes) -> None:
        """Write now what can be written, the rest as the other end takes it; where nobody reads any more, drop it."""
        if self._fd < 0 or self._closing:
            return
        if self._rest:
            self._rest += data
            return
        self._rest = data
        self._write()
        if self._rest:
            self._loop.watch_write(self._fd, self._on_writable)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call once, as soon as nothing waits any more (also because the other end is gone)."""
        if self._rest:
            self._drained.append(callback)
        else:
            callback()

    def end(self) -> None:
        """Close after everything was taken."""
        self._closing = True
        if not self._rest:
            self.close()

    def close(self) -> None:
        """Close now; what waits is dropped."""
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd, self._rest = -1, b""
            self._tell()

    def _on_writable(self, _events: int) -> None:
        self._write()
        if not self._rest and self._fd >= 0:
            self._loop.unwatch(self._fd)
            if self._closing:
                self.close()
            else:
                self._tell()

    def _write(self) -> None:
        try:
            self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()  # EPIPE, or EIO of a terminal: nobody reads there any more

    def _tell(self) -> None:
        drained, self._drained = self._drained, []
        for callback in drained:
            callback()
