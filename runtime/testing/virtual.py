"""Virtual time: an event loop on which nobody waits, and the clock that belongs to it.

    def test_the_handler_tries_again_after_an_hour() -> None:
        async def scenario(clock: VirtualClock) -> None:
            ...
            await clock.sleep(3600)

        run_virtual(scenario, seed=1)

When nothing is ready to run, time jumps to the next timer; the same seed gives the same run. If nothing is ready and no
timer is set, nothing will ever happen again: `StuckError` says so instead of hanging. Threads, subprocesses and sockets
live in real time and are invisible here, so they are refused: use the real loop for them.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeVar, overload

from reconcile.errors import ReconcileError

T = TypeVar("T")
Test = Callable[..., Coroutine[Any, Any, None]]
EPOCH_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z: where virtual wall clocks start
STEPS_MAX = 20_000_000
LIMIT_S = 400 * 86_400.0


class StuckError(ReconcileError):
    """Nothing is ready and no timer is set: the scenario waits for what can never happen."""


class RealTimeError(ReconcileError):
    """The scenario wants something that lives in real time: a thread, a process, a socket."""


class VirtualClock:
    """The time of a virtual loop, and chance from a seed. Implements `reconcile.clock.Clock`."""

    def __init__(self, loop: VirtualLoop, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self._loop = loop

    def now(self) -> float:
        """Seconds since the epoch, of virtual days."""
        return EPOCH_S + self._loop.time()

    def monotonic(self) -> float:
        """Seconds since the loop was made."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of virtual time."""
        await asyncio.sleep(max(0.0, seconds))

    def uid(self) -> str:
        """A UUID from the seed."""
        digits = f"{self.random.getrandbits(128):032x}"
        # The version digit and the variant digit, as RFC 9562 wants them of a random UUID.
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) % 4]}{digits[17:20]}-{digits[20:]}"


class _Jump(selectors.SelectSelector):
    """Instead of waiting, advances the time of its loop."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.steps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing is ever ready but timers."""
        if timeout is None:
            raise StuckError("nothing is ready to run and no timer is set; the scenario waits for what can never happen")
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise StuckError(f"no end after {STEPS_MAX} steps of the loop at {self.now_s:.0f} virtual seconds: a livelock?")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on which time passes only when everybody waits."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jump.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # type: ignore[override]  # it never returns
        """Refuse: a thread works in real time, and timers would fire while it does."""
        raise RealTimeError(
            f"a thread was asked for ({getattr(func, '__qualname__', func)!s}), and threads live in real time; use what runs "
            f"inline (the sqlite3 database instead of aiosqlite, handlers without threaded=True), or test on a real loop"
        )

    async def subprocess_exec(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse: a process lives in real time."""
        raise RealTimeError("a process was asked for, and processes live in real time; use the simulated runtime")

    async def create_connection(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse: a socket lives in real time."""
        raise RealTimeError("a connection was asked for, and sockets live in real time; use the in-process client")

    async def create_server(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse: a socket lives in real time."""
        raise RealTimeError("a server was asked for, and sockets live in real time; use the in-process client")


def run_virtual(scenario: Callable[[VirtualClock], Awaitable[T]], *, seed: int = 0, limit_s: float | None = LIMIT_S) -> T:
    """Run a scenario on a virtual loop to its end, and cancel what it leaves running.

    Raises:
        StuckError: it waits for what can never happen.
        TimeoutError: it took longer than `limit_s` virtual seconds.
        RealTimeError: it asked for a thread, a process or a socket.
    """
    loop = VirtualLoop()

    async def bounded() -> T:
        async with asyncio.timeout(limit_s):
            return await scenario(VirtualClock(loop, seed))

    try:
        return loop.run_until_complete(bounded())
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


@overload
def virtual(test: Test) -> Callable[..., None]: ...
@overload
def virtual(*, seed: int = 0, limit_s: float | None = LIMIT_S) -> Callable[[Test], Callable[..., None]]: ...
def virtual(
    test: Test | None = None, *, seed: int = 0, limit_s: float | None = LIMIT_S
) -> Callable[..., None] | Callable[[Test], Callable[..., None]]:
    """Decorate a coroutine test so that it runs in virtual time; its parameter `clock` gets the VirtualClock.

    Its other parameters stay fixtures of pytest.
    """

    def decorate(test: Test) -> Callable[..., None]:
        signature = inspect.signature(test)
        wants_clock = "clock" in signature.parameters

        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            def scenario(clock: VirtualClock) -> Awaitable[None]:
                return test(**fixtures, **({"clock": clock} if wants_clock else {}))

            run_virtual(scenario, seed=seed, limit_s=limit_s)

        kept = [p for p in signature.parameters.values() if p.name != "clock"]
        run.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]  # what pytest reads
        return run

    return decorate if test is None else decorate(test)
