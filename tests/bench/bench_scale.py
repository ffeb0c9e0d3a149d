"""The store at scale, in process: many watches, long lists, a full boot: `python -m tests.bench.bench_scale [runs]`.

Each figure comes from a process of its own; printed are medians. Values are 300 bytes, the clock is the machine's.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Put, Range, RangeResponse, Settings, Store, Txn, Watch, prefix_end

_RUNS = 5
_KEYS = 100_000
_VALUE = bytes(300)
_EVENTS = 20_000
_PAGE = 500
_PREFIX = b"/pods/"


def _key(number: int) -> bytes:
    return _PREFIX + b"%08d" % number


async def _fill(store: Store, keys: int) -> None:
    for start in range(0, keys, 4_000):
        chunk = range(start, min(start + 4_000, keys), 100)
        await asyncio.gather(*(store.txn(Txn(success=[Put(_key(at), _VALUE) for at in range(n, n + 100)])) for n in chunk))


def _memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def _watched(store: Store, watches: list[Watch], writes: int) -> float:
    """Events delivered per second while `writes` keys are written, each watch read by a task of its own."""
    delivered = 0

    async def follow(watch: Watch) -> None:
        nonlocal delivered
        async for batch in watch:
            delivered += len(batch.events)

    followers = [asyncio.ensure_future(follow(watch)) for watch in watches]
    await asyncio.sleep(0)
    wanted = writes * len(watches) if watches[0].range_end else writes
    began_s = time.perf_counter()
    for start in range(0, writes, 500):
        await asyncio.gather(*(store.put(_key(n), _VALUE) for n in range(start, min(start + 500, writes))))
    while delivered < wanted:  # noqa: ASYNC110 (an Event for each of a million events would be measured, too)
        await asyncio.sleep(0)
    took_s = time.perf_counter() - began_s
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*followers)
    return wanted / took_s


async def exact_watches(folder: Path) -> dict[str, float]:
    """10,000 watches, each on a key of its own: an event goes to one of them."""
    async with await Store.open(folder, SystemClock(), settings=Settings(unsafe_no_fsync=True)) as store:
        before = _memory_bytes()
        watches = [store.watch(_key(number)) for number in range(10_000)]
        each = (_memory_bytes() - before) / len(watches)
        return {"events/s": await _watched(store, watches, 10_000), "bytes a watch": each}


async def prefix_watches(folder: Path) -> dict[str, float]:
    """1,000 watches on one prefix: an event goes to all of them."""
    async with await Store.open(folder, SystemClock(), settings=Settings(unsafe_no_fsync=True)) as store:
        before = _memory_bytes()
        watches = [store.watch(_PREFIX, prefix_end(_PREFIX)) for _ in range(1_000)]
        each = (_memory_bytes() - before) / len(watches)
        rate = await _watched(store, watches, _EVENTS // 100)
        return {"events/s": rate, "bytes a watch": each, "MB after": _memory_bytes() / 1e6}


async def listing(folder: Path) -> dict[str, float]:
    """A list of 100,000 keys: its first page, and page after page with what the loop is blocked for at most."""
    async with await Store.open(folder, SystemClock(), settings=Settings(unsafe_no_fsync=True)) as store:
        await _fill(store, _KEYS)
        began_s = time.perf_counter()
        page = store.range(Range(_PREFIX, prefix_end(_PREFIX), limit=_PAGE))
        first_s = time.perf_counter() - began_s
        revision, start, found, blocked_s, total_s = page.revision, _PREFIX, 0, 0.0, time.perf_counter()
        while True:
            step_s = time.perf_counter()
            request = Range(start, prefix_end(_PREFIX), limit=_PAGE, revision=revision)
            answer: RangeResponse = await store.range_at(request)
            blocked_s = max(blocked_s, time.perf_counter() - step_s)
            found += len(answer.kvs)
            if not answer.more:
                break
            start = answer.kvs[-1].key + b"\0"
            await store.put(b"/other", b"")  # the list stays at its revision while writers go on
        assert found == _KEYS
        whole_s = time.perf_counter()
        store.range(Range(_PREFIX, prefix_end(_PREFIX)))
        whole_s = time.perf_counter() - whole_s
        return {
            "first page, ms": first_s * 1e3, "longest page, ms": blocked_s * 1e3,
            "in pages, ms": (time.perf_counter() - total_s) * 1e3, "in one piece, ms": whole_s * 1e3,
        }  # fmt: skip


async def boot(folder: Path) -> dict[str, float]:
    """Opening a store of 100,000 keys."""
    async with await Store.open(folder, SystemClock(), settings=Settings(unsafe_no_fsync=True)) as store:
        await _fill(store, _KEYS)
    began_s = time.perf_counter()
    async with await Store.open(folder, SystemClock()) as store:
        took_s = time.perf_counter() - began_s
        assert len(store) == _KEYS
    return {"boot, ms": took_s * 1e3}


async def compaction(folder: Path) -> dict[str, float]:
    """Writes while 100,000 rows are compacted away: the longest that one waits, next to the longest without."""
    async with await Store.open(folder, SystemClock()) as store:
        longest = []
        for compacting in (False, True):
            for _ in range(2):
                await _fill(store, _KEYS // 2)
            task = asyncio.ensure_future(store.compact(store.revision, physical=True) if compacting else asyncio.sleep(0.5))
            waits = []
            while not task.done():
                began_s = time.perf_counter()
                await store.put(b"/other", b"")
                waits.append(time.perf_counter() - began_s)
            await task
            waits.sort()
            longest += [waits[len(waits) * 99 // 100] * 1e3, waits[-1] * 1e3]
        names = ("quiet p99, ms", "quiet longest, ms", "compacting p99, ms", "compacting longest, ms")
        return dict(zip(names, longest, strict=True))


_FIGURES: dict[str, Callable[[Path], Awaitable[dict[str, float]]]] = {
    "10,000 exact watches": exact_watches, "1,000 watches of one prefix": prefix_watches, "list of 100,000 keys": listing,
    "boot with 100,000 keys": boot, "writes beside a compaction": compaction,
}  # fmt: skip


async def _measure(name: str, folder: Path) -> dict[str, float]:
    return await _FIGURES[name](folder)


def _once(name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.bench_scale", "one", name, str(Path(folder) / "data")]
        found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout)
        return found


def main() -> None:
    """Print a line for each figure; "one" is how it calls itself."""
    if sys.argv[1:2] == ["one"]:
        sys.stdout.write(json.dumps(asyncio.run(_measure(sys.argv[2], Path(sys.argv[3])))))
        return
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else _RUNS
    for name in _FIGURES:
        found = [_once(name) for _ in range(runs)]
        told = ", ".join(f"{what} {statistics.median(each[what] for each in found):,.1f}" for what in found[0])
        sys.stdout.write(f"{name:28s} {told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
