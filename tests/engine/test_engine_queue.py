"""The work queue: what it promises to every handler above it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from reconcile.runtime.engine.alarm import Alarm
from reconcile.runtime.engine.queue import HELD_S_MAX, Item, ObjectKey, WorkQueue
from reconcile.runtime.engine.tasks import Tasks
from reconcile.runtime.testing.virtual import VirtualClock, virtual


class Bench:
    """A queue whose work is recorded, with the virtual time of each start."""

    def __init__(
        self, clock: VirtualClock, *, workers: int = 1, takes_s: float = 0.0, gate: Callable[[ObjectKey], bool] | None = None
    ) -> None:
        self.clock, self.takes_s = clock, takes_s
        self.started: list[tuple[float, ObjectKey]] = []
        self.items: list[Item] = []
        self.now: set[ObjectKey] = set()
        self.most = 0
        self.fail: set[ObjectKey] = set()
        self.tasks = Tasks()
        self.alarm = Alarm(clock)
        self.forgotten: list[str] = []
        self.queue = WorkQueue(
            self.process, clock=clock, alarm=self.alarm, spawn=self.tasks.spawn, name="test", workers=workers,
            gate=gate, forgotten=lambda key: self.forgotten.append(key[1]),
        )  # fmt: skip

    async def process(self, item: Item) -> None:
        assert item.key not in self.now, "two workers hold one key"
        self.now.add(item.key)
        self.most = max(self.most, len(self.now))
        self.items.append(item)
        self.started.append((self.clock.monotonic(), item.key))
        await self.clock.sleep(self.takes_s)
        self.now.discard(item.key)
        if item.key in self.fail:
            self.queue.failed(item.key)
        else:
            self.queue.succeeded(item.key)

    @property
    def keys(self) -> list[str]:
        return [key[1] for _, key in self.started]


def k(name: str) -> ObjectKey:
    return ("default", name)


@virtual
async def test_a_key_that_waits_is_queued_once_however_often_it_is_added(clock: VirtualClock) -> None:
    """A hundred changes of an object need one look at it."""
    bench = Bench(clock)
    for revision in range(100):
        bench.queue.add(k("a"), revision=revision)
    await clock.sleep(1)
    assert bench.keys == ["a"]
    assert (bench.items[0].revision, bench.items[0].merged) == (99, 100)


@virtual
async def test_a_key_added_while_it_is_processed_is_processed_once_more(clock: VirtualClock) -> None:
    """The handler may have read before the change: without a second look the change would be lost."""
    bench = Bench(clock, workers=4, takes_s=1)
    bench.queue.add(k("a"))
    await clock.sleep(0.5)
    for _ in range(10):
        bench.queue.add(k("a"))
    await clock.sleep(10)
    assert [at for at, _ in bench.started] == [0.0, 1.0]


@virtual
async def test_workers_are_bounded_and_never_share_a_key(clock: VirtualClock) -> None:
    """`process` itself asserts the second half."""
    bench = Bench(clock, workers=3, takes_s=1)
    for number in range(30):
        bench.queue.add(k(str(number % 10)))
    await clock.sleep(100)
    assert bench.most == 3
    assert sorted(bench.keys) == sorted(str(n) for n in range(10))


@virtual
async def test_fresh_changes_go_before_what_the_first_list_brought(clock: VirtualClock) -> None:
    """After a start with ten thousand objects a user's change must not wait for all of them."""
    bench = Bench(clock, takes_s=1)
    for name in ("busy", "l1", "l2", "l3"):
        bench.queue.add(k(name), listed=True)
    await clock.sleep(0.5)
    bench.queue.add(k("fresh"))
    bench.queue.add(k("l3"))
    await clock.sleep(10)
    assert bench.keys == ["busy", "fresh", "l3", "l1", "l2"]


@virtual
async def test_of_several_delays_the_earliest_wins(clock: VirtualClock) -> None:
    """A handler that asks for an hour must not put off what another asked for in a minute."""
    bench = Bench(clock)
    for after_s in (3600.0, 60.0, 600.0):
        bench.queue.add_after(k("a"), after_s)
    await clock.sleep(10_000)
    assert [at for at, _ in bench.started] == [60.0]


@virtual
async def test_failures_back_off_exponentially_with_jitter_up_to_the_bound(clock: VirtualClock) -> None:
    """5 ms doubles to 1000 s, as upstream; jitter keeps a thousand failing keys from coming back as one."""
    bench = Bench(clock)
    bench.fail.add(k("a"))
    bench.queue.add(k("a"))
    await clock.sleep(20_000)
    times = [at for at, _ in bench.started]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    for number, gap in enumerate(gaps):
        expected = min(0.005 * 2**number, 1000)
        assert gap == pytest.approx(expected, rel=0.11)
    assert gaps[0] != 0.005
    assert len(gaps) > 20


@virtual
async def test_changes_to_a_failing_key_run_it_at_most_once_a_second(clock: VirtualClock) -> None:
    """A handler that writes its object and then fails would otherwise wake itself in a hot loop."""
    bench = Bench(clock)
    bench.fail.add(k("a"))
    bench.queue.add(k("a"))
    await clock.sleep(30)  # by now the back-off is some ten seconds
    before = len(bench.started)
    for _ in range(100):
        bench.queue.add(k("a"))
        await clock.sleep(0.1)
    assert 9 <= len(bench.started) - before <= 10 / HELD_S_MAX + 1


@virtual
async def test_a_success_resets_the_back_off(clock: VirtualClock) -> None:
    """An object that was healed must not pay for its past."""
    bench = Bench(clock)
    bench.fail.add(k("a"))
    bench.queue.add(k("a"))
    await clock.sleep(30)
    bench.fail.clear()
    await clock.sleep(100)
    assert bench.queue.failures(k("a")) == 0
    bench.fail.add(k("a"))
    bench.queue.add(k("a"))
    await clock.sleep(0)
    assert bench.queue.failed(k("a")) < 0.05


@virtual
async def test_a_hot_key_does_not_starve_the_others(clock: VirtualClock) -> None:
    """First come, first served: a key that is always dirty goes to the end each time."""
    bench = Bench(clock, takes_s=1)
    bench.queue.add(k("hot"))
    await clock.sleep(0.5)
    for name in "abc":
        bench.queue.add(k(name))
    for _ in range(8):
        bench.queue.add(k("hot"))
        await clock.sleep(1)
    assert bench.keys[:5] == ["hot", "a", "b", "c", "hot"]


@virtual
async def test_a_key_that_is_another_replicas_is_not_taken_and_forgotten_when_its_worker_is_through(clock: VirtualClock) -> None:
    """What is known of an object must not outlive the right to work on it, nor go while a worker needs it."""
    ours = {k("a"), k("b"), k("c"), k("d")}
    bench = Bench(clock, takes_s=1, gate=ours.__contains__)
    for name in "abz":
        bench.queue.add(k(name))
    bench.queue.add_after(k("c"), 5)
    bench.queue.add_after(k("d"), 5)
    await clock.sleep(0.5)
    bench.queue.add(k("a"))
    ours.remove(k("a"))
    ours.remove(k("b"))
    ours.remove(k("c"))
    for name in "abc":
        bench.queue.let_go(k(name))
    assert bench.forgotten == ["b", "c"], "a is still worked on"
    waiting = asyncio.ensure_future(bench.queue.handed_over())
    await clock.sleep(0.2)
    assert not waiting.done()
    await waiting
    assert clock.monotonic() == 1
    assert bench.forgotten == ["b", "c", "a"]
    await clock.sleep(20)
    assert bench.keys == ["a", "d"]


@virtual
async def test_an_error_in_the_work_itself_leaves_the_worker_alive(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """One bad key must not stop the controller."""
    done = []

    async def process(item: Item) -> None:
        if item.key == k("bad"):
            raise ValueError("our own mistake")
        done.append(item.key)

    tasks = Tasks()
    queue = WorkQueue(process, clock=clock, alarm=Alarm(clock), spawn=tasks.spawn, name="test", workers=1)
    queue.add(k("bad"))
    queue.add(k("good"))
    await clock.sleep(1)
    assert done == [k("good")]
    assert "our own mistake" in caplog.text


@virtual
async def test_quiet_waits_until_no_worker_holds_the_key(clock: VirtualClock) -> None:
    """A cleanup must not run beside a reconcile of the same object."""
    bench = Bench(clock, takes_s=5)
    bench.queue.add(k("a"))
    await clock.sleep(1)
    await bench.queue.quiet(k("a"))
    assert clock.monotonic() == 5.0
    await asyncio.wait_for(bench.queue.quiet(k("b")), 0.1)


@virtual
async def test_ten_thousand_delayed_keys_need_one_sleeping_task(clock: VirtualClock) -> None:
    """Delays are a heap, not a task each."""
    bench = Bench(clock, workers=4)
    before = len(asyncio.all_tasks())
    for number in range(10_000):
        bench.queue.add_after(k(str(number)), 1 + clock.random.random() * 1000)
    await clock.sleep(0)
    assert len(asyncio.all_tasks()) <= before + 1
    await clock.sleep(2000)
    assert len(bench.started) == 10_000
    assert [at for at, _ in bench.started] == sorted(at for at, _ in bench.started)
    assert bench.queue.statistics().processed == 10_000
