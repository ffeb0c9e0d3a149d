"""Watches over HTTPS: `python -m tests.bench watch`.

A real `up` in a process of its own; the watches are read by another process (see `watchers`), and this one writes. So two
cores are shared by the server, who reads, and who writes: beside the times stands what the server and the readers took of CPU.

- one watch and one writer: from sending a write to having its event;
- 1,000 watches of one collection, in which all events go to all: events a second, and from sending a write to each event;
- 1,000 watches that each follow one object of a collection, as kubelets do;
- what a watch takes of memory.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
import attrs
import psutil

from reconcile.runtime.client.kubeconfig import load
from tests.plane import Plane

from .bench_clients import MAPS, say, session, started
from .watchers import Told, Watchers

WATCHES, WRITES, WRITES_PER_S, ALONE = 1000, 500, 100, 200
ALL = f"{MAPS}?watch=1&labelSelector=bench%3Dwatched"


@attrs.frozen
class Written:
    """When each write was sent, and when it was answered, by its number."""

    sent_s: dict[int, float] = attrs.field(factory=dict)
    answered_s: dict[int, float] = attrs.field(factory=dict)

    @property
    def took_ms(self) -> list[float]:
        """What the writes took, sorted."""
        return sorted((self.answered_s[number] - sent_s) * 1000 for number, sent_s in self.sent_s.items())


async def write(http: aiohttp.ClientSession, number: int, written: Written, labels: dict[str, str]) -> None:
    """Create an object that watches are told of."""
    written.sent_s[number] = time.perf_counter()
    async with http.post(MAPS, json={"metadata": {"name": f"w-{number}", "labels": labels}}) as answer:
        assert answer.status == 201, await answer.text()
        written.answered_s[number] = time.perf_counter()
        await answer.read()


async def writes(plane: Plane, numbers: range, per_s: float) -> Written:
    """So many writes a second, whether or not those before are answered."""
    written = Written()
    async with session(plane, 64) as http:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for at, number in enumerate(numbers):
                await asyncio.sleep(max(0.0, began + at / per_s - time.perf_counter()))
                tasks.create_task(write(http, number, written, {"bench": "watched", "one": str(number)}))
    return written


async def writes_alone(plane: Plane, numbers: range) -> Written:
    """One write after the other, with a rest between them."""
    written = Written()
    async with session(plane, 1) as http:
        for number in numbers:
            await write(http, number, written, {"bench": "watched"})
            await asyncio.sleep(0.005)
    return written


def late_ms(told: Told, since_s: dict[int, float]) -> list[float]:
    """From sending a write, or from its answer, to each event of it, sorted."""
    return sorted((at - since_s[number]) * 1000 for at, numbers in told.pieces for number in numbers)


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process so far."""
    times = process.cpu_times()
    return times.user + times.system


def alone(plane: Plane) -> None:
    """One watch, one writer."""
    path = f"{ALL}&resourceVersion={revision(plane)}"
    watchers = Watchers(load(plane.data_dir / "kubeconfig"), [path], [ALONE])
    watchers.wait()
    written = asyncio.run(writes_alone(plane, range(1_000_000, 1_000_000 + ALONE)))
    told = watchers.told()
    say("one watch, one writer: from sending a write to its event, p50", statistics.median(late_ms(told, written.sent_s)), "ms")
    say("  from its answer to its event", statistics.median(late_ms(told, written.answered_s)), "ms")
    say("  a write", statistics.median(written.took_ms), "ms")


def fan_out(plane: Plane, per_s: float, first: int) -> None:
    """Everybody is told everything: each event once, in order, soon."""
    control = psutil.Process(plane.pid)
    numbers = range(first, first + WRITES)
    access = load(plane.data_dir / "kubeconfig")
    paths = [f"{ALL}&resourceVersion={revision(plane)}"] * WATCHES
    watchers = Watchers(access, paths, [WRITES] * WATCHES)
    watchers.wait()
    cpu_before = cpu_s(control)
    written = asyncio.run(writes(plane, numbers, per_s))
    told = watchers.told()
    server_s = cpu_s(control) - cpu_before
    told_in_order = told.by_watch[0]
    assert sorted(told_in_order) == list(numbers), "an event came twice, or never"
    assert all(seen == told_in_order for seen in told.by_watch), "watches were told different things"
    late = late_ms(told, written.sent_s)
    took_s = max(at for at, _ in told.pieces) - min(written.sent_s.values())
    target = 100.0 if per_s == WRITES_PER_S else None
    say(f"{WATCHES:,} watches, {WRITES} writes at {per_s:g}/s: events", len(late) / took_s, "/s")
    say("  from sending a write to each event of it, p50", statistics.median(late), "ms")
    say("  p99", late[int(len(late) * 0.99)], "ms")
    say("  worst", late[-1], "ms")
    say(
        "  from a write's answer to each event of it, p99", late_ms(told, written.answered_s)[int(len(late) * 0.99)], "ms", target
    )
    say("  a write, p50", statistics.median(written.took_ms), "ms")
    say("  p99", written.took_ms[int(WRITES * 0.99)], "ms")
    say("  events in a piece that a watch got", len(late) / len(told.pieces), "")
    say("  CPU of the server an event", server_s / len(late) * 1e6, "us")
    say("  CPU of the readers an event", told.cpu_s / len(late) * 1e6, "us")
    say("  CPU of the server, of one core", server_s / took_s * 100, "%")


def one_each(plane: Plane) -> None:
    """Each watch follows what nobody else does."""
    control = psutil.Process(plane.pid)
    rss_before = control.memory_info().rss
    since, first = revision(plane), 2_000_000
    numbers = range(first, first + WRITES)
    paths = [f"{MAPS}?watch=1&labelSelector=one%3D{first + at}&resourceVersion={since}" for at in range(WATCHES)]
    watchers = Watchers(load(plane.data_dir / "kubeconfig"), paths, [1] * WRITES + [0] * (WATCHES - WRITES))
    watchers.wait()
    grown = (control.memory_info().rss - rss_before) / WATCHES
    say(f"{WATCHES:,} watches of one object each: memory a watch", grown / 1024, "kB")
    cpu_before = cpu_s(control)
    written = asyncio.run(writes(plane, numbers, WRITES_PER_S))
    told = watchers.told()
    late = late_ms(told, written.sent_s)
    assert [seen for watch in told.by_watch for seen in watch] == list(numbers)
    say(f"  {WRITES} writes at {WRITES_PER_S}/s: from sending a write to its event, p50", statistics.median(late), "ms")
    say("  p99", late[int(len(late) * 0.99)], "ms")
    say("  CPU of the server a write", (cpu_s(control) - cpu_before) / WRITES * 1e6, "us")


def revision(plane: Plane) -> int:
    """The newest revision."""
    return int(plane.api.ask("GET", MAPS, {"limit": "1"})["metadata"]["resourceVersion"])


def main() -> None:
    """Measure everything and print."""
    root = Path(tempfile.mkdtemp(prefix="bench-watch-"))
    plane: Plane | None = None
    try:
        _, plane = started(root / "up")
        time.sleep(2.0)
        one_each(plane)
        alone(plane)
        fan_out(plane, 30, 0)
        fan_out(plane, WRITES_PER_S, 100_000)
    finally:
        if plane is not None:
            plane.bury()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
