"""The virtual clock and loop: what deterministic tests stand on."""

from __future__ import annotations

import asyncio

import pytest

from reconcile.runtime.testing.virtual import RealTimeError, StuckError, VirtualClock, run_virtual, virtual


def test_a_day_passes_at_once_and_the_clock_knows() -> None:
    """Hours of back-off have to be testable in milliseconds."""

    async def scenario(clock: VirtualClock) -> tuple[float, float]:
        start = clock.now()
        await clock.sleep(86_400)
        return clock.now() - start, clock.monotonic()

    assert run_virtual(scenario) == (86_400.0, 86_400.0)


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    """A failure that a seed found has to be found by it again."""

    async def scenario(clock: VirtualClock) -> list[str]:
        trace: list[str] = []

        async def worker(name: str) -> None:
            for _ in range(5):
                await clock.sleep(clock.random.random())
                trace.append(f"{name} {clock.monotonic()} {clock.uid()}")

        await asyncio.gather(*(worker(name) for name in "abc"))
        return trace

    assert run_virtual(scenario, seed=1) == run_virtual(scenario, seed=1)
    assert run_virtual(scenario, seed=1) != run_virtual(scenario, seed=2)


def test_a_scenario_that_waits_for_nothing_is_told_so() -> None:
    """A hang in a test suite is the worst way to learn of a lost wake-up."""

    async def scenario(_: VirtualClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        run_virtual(scenario, limit_s=10)

    async def endless() -> None:
        await asyncio.Event().wait()

    loop_scenario = endless()

    async def unbounded(_: VirtualClock) -> None:
        await loop_scenario

    with pytest.raises(StuckError, match="can never happen"):
        run_virtual(unbounded, limit_s=None)


def test_a_thread_is_refused_with_a_word_on_what_to_do() -> None:
    """A thread is invisible to a virtual clock: timers would fire while it works."""

    async def scenario(_: VirtualClock) -> None:
        await asyncio.to_thread(print)

    with pytest.raises(RealTimeError, match="threads live in real time; use what runs inline"):
        run_virtual(scenario)


def test_a_process_is_refused() -> None:
    """As a thread: nobody would wait for it."""

    async def scenario(_: VirtualClock) -> None:
        await asyncio.create_subprocess_exec("true")

    with pytest.raises(RealTimeError, match="simulated runtime"):
        run_virtual(scenario)


def test_tasks_left_behind_are_cancelled() -> None:
    """What a scenario leaves running must not leak into the next."""
    ended = []

    async def scenario(clock: VirtualClock) -> None:
        async def forever() -> None:
            try:
                await clock.sleep(1e6)
            finally:
                ended.append(True)

        task = asyncio.get_running_loop().create_task(forever())
        await clock.sleep(1)
        assert not task.done()

    run_virtual(scenario)
    assert ended == [True]


@virtual(seed=7)
async def test_the_decorator_gives_the_clock_and_leaves_fixtures_to_pytest(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a test in virtual time looks like any other."""
    monkeypatch.setenv("X", "1")
    async with asyncio.timeout(100):
        await clock.sleep(99)
    assert clock.monotonic() == 99
