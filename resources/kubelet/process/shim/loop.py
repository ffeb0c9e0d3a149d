"""The shim's event loop: descriptors, timers and the signals CHLD and TERM, in one thread and little memory.

asyncio would do, at ten times the memory of the whole shim (12 MB against 1.7 MB, measured).
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import sys
import time
from collections.abc import Callable

FAILURES_MAX = 1000
WAIT_S_MAX = 3600.0
"""epoll counts milliseconds in 31 bits: a timer of a month (a generous grace) is waited for in pieces."""

Handler = Callable[[int], object]


class Loop:
    """Calls handlers when descriptors are ready, timers are due, or a signal came; until `stop`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._failures = 0
        self._signals: dict[int, Callable[[], None]] = {}
        self._stopped = False
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.watch(self._woken, self._on_signals)

    def watch(self, fd: int, handler: Handler) -> None:
        """Call `handler` with the events whenever `fd` can be read, or is closed at its other end."""
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def watch_write(self, fd: int, handler: Handler) -> None:
        """Call `handler` with the events whenever `fd` can be written, or is closed at its other end."""
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLOUT)

    def want_write(self, fd: int, wanted: bool) -> None:
        """Whether the handler of `fd` is also called when it can be written."""
        self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def unwatch(self, fd: int) -> None:
        """Call nobody about `fd` any more; do this before closing it."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call once, in `delay_s` seconds; there is no taking back: the callback looks whether it is still wanted."""
        self._serial += 1
        heapq.heappush(self._timers, (time.monotonic() + delay_s, self._serial, callback))

    def on_signal(self, signum: int, callback: Callable[[], None]) -> None:
        """Call after a signal came, outside of the handler, so that everything is allowed in it."""
        self._signals[signum] = callback
        signal.signal(signum, lambda _signum, _frame: None)

    def stop(self) -> None:
        """End `run` after the handlers of this round."""
        self._stopped = True

    def run(self) -> None:
        """Serve until stopped."""
        while not self._stopped:
            timeout_s = min(WAIT_S_MAX, max(0.0, self._timers[0][0] - time.monotonic())) if self._timers else -1.0
            for fd, events in self._epoll.poll(timeout_s):
                handler = self._handlers.get(fd)
                if handler is not None:
                    self._call(handler, events)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                self._call(heapq.heappop(self._timers)[2])

    def _call(self, handler: Callable[..., object], *events: int) -> None:
        try:
            handler(*events)
        except Exception:
            # A mistake in one handler is reported (to shim.log) and must not end the loop: with the shim, everything it
            # looks after would die. One that repeats without end must not fill the disk either.
            self._failures += 1
            if self._failures > FAILURES_MAX:
                raise
            sys.excepthook(*sys.exc_info())

    def _on_signals(self, _events: int) -> None:
        for signum in set(os.read(self._woken, 4096)):
            callback = self._signals.get(signum)
            if callback is not None:
                callback()
