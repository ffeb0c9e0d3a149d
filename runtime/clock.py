"""The real clock. Its virtual twin lives in `reconcile.runtime.testing`."""

from __future__ import annotations

import asyncio
import random
import time
import uuid


class SystemClock:
    """Time as the machine tells it, chance as the kernel gives it. Implements `reconcile.clock.Clock`."""

    def __init__(self) -> None:
        self.random = random.Random()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds`; zero or less only yields to other tasks."""
        await asyncio.sleep(max(0.0, seconds))

    def uid(self) -> str:
        """A new random UUID."""
        return str(uuid.uuid4())
