"""What the store's tests share: both databases, a virtual clock, and a way to open a store."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from reconcile.runtime.store import AioDatabase, InlineDatabase, Settings, Store
from reconcile.runtime.store.database import DatabaseFactory

Opened = Callable[..., Awaitable[Store]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]


class VirtualClock:
    """Time that passes only when it is told to. Implements `reconcile.clock.Clock`."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.time_s = 1_000_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = 0

    def now(self) -> float:
        return self.time_s

    def monotonic(self) -> float:
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (self.time_s + seconds, self._order, future))
        await future

    def uid(self) -> str:
        return f"{self.random.getrandbits(128):032x}"

    async def advance(self, seconds: float) -> None:
        """Let time pass: each sleeper wakes at its own moment and runs before the next does."""
        target_s = self.time_s + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target_s:
            self.time_s, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await self._settle()
        self.time_s = target_s
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=[AioDatabase, InlineDatabase], ids=["aio", "inline"])
def database(request: pytest.FixtureRequest) -> DatabaseFactory:
    """Every test of the store runs over both implementations of the Database seam."""
    factory: DatabaseFactory = request.param
    return factory


@pytest.fixture
def opened(database: DatabaseFactory, clock: VirtualClock, tmp_path: Path) -> Opened:
    """Open the store of this test; again after a close, it is a restart."""

    async def open_store(settings: Settings | None = None) -> Store:
        return await Store.open(tmp_path / "data", clock, database=database, settings=settings)

    return open_store


@pytest.fixture
def until() -> Until:
    """Let the loop run until a condition holds; the test's time limit bounds it."""

    async def wait(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 (the condition may come from a thread, which sets no Event)
            await asyncio.sleep(0)

    return wait
