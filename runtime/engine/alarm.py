"""Calls functions when their time has come: one sleeping task for all delays of an engine.

Promises that calls happen in order of their times, through the clock alone, so that a virtual clock rules them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable

from reconcile.clock import Clock

log = logging.getLogger(__name__)


class Alarm:
    """A heap of delayed calls."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._task: asyncio.Task[None] | None = None
        self._wakes_at = 0.0
        self._closed = False

    def after(self, after_s: float, call: Callable[[], None]) -> None:
        """Call `call` after `after_s` seconds. It cannot be taken back: what it calls checks whether it still matters."""
        if self._closed:
            return
        at = self._clock.monotonic() + after_s
        heapq.heappush(self._heap, (at, next(self._numbers), call))
        if self._task is None:
            self._start()
        elif at < self._wakes_at:
            self._task.cancel()
            self._start()

    def close(self) -> None:
        """Forget everything."""
        self._closed = True
        self._heap.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _start(self) -> None:
        self._wakes_at = self._heap[0][0]
        self._task = asyncio.get_running_loop().create_task(self._run(), name="engine alarm")

    async def _run(self) -> None:
        heap = self._heap
        while heap:
            self._wakes_at = heap[0][0]
            wait_s = self._wakes_at - self._clock.monotonic()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
                continue
            call = heapq.heappop(heap)[2]
            try:
                call()
            except Exception:  # the outermost loop: one bad call must not stop all other delays
                log.exception("a delayed call failed")
        self._task = None
