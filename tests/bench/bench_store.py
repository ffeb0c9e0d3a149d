"""Writes per second of the store, next to the least that durable writing can cost.

    python tests/bench/bench_store.py

The yardstick is a bare group commit: the same rows, batched the same way, through aiosqlite with nothing around it (no
revisions, no compares, no index, no watches). Medians of five runs; the ratio is what to compare between machines.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import AioDatabase, Compare, InlineDatabase, Put, Store, Txn
from reconcile.runtime.store.database import DatabaseFactory
from reconcile.runtime.store.log import commit
from reconcile.runtime.store.schema import ensure_schema, row_id

_VALUE = bytes(500)
_RUNS = 5
_WRITES = {1: 1_000, 64: 12_800}

Write = Callable[[bytes], Awaitable[object]]


async def _rate(callers: int, write: Write) -> float:
    per_caller = _WRITES[callers] // callers

    async def caller(number: int) -> None:
        for count in range(per_caller):
            await write(b"/bench/%03d/%06d" % (number, count))

    started_s = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return per_caller * callers / (time.perf_counter() - started_s)


async def _store_rate(callers: int, database: DatabaseFactory, watched: bool) -> float:
    with tempfile.TemporaryDirectory() as folder:
        async with await Store.open(Path(folder), SystemClock(), database=database) as store:
            watch = store.watch(b"/bench/", b"/bench0", prev_kv=True)

            async def follow() -> None:
                async for _ in watch:
                    pass

            follower = asyncio.ensure_future(follow()) if watched else None

            async def write(key: bytes) -> None:
                await store.txn(Txn([Compare.missing(key)], [Put(key, _VALUE)]))

            rate = await _rate(callers, write)
            watch.cancel()
            if follower is not None:
                await follower
            return rate


async def _bare_rate(callers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        database = AioDatabase(Path(folder) / "bare.db")
        await database.open()
        await database.write(lambda connection: ensure_schema(connection, folder))
        waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        wake = asyncio.Event()
        number = 1

        async def writer() -> None:
            nonlocal number, waiting
            while True:
                await wake.wait()
                wake.clear()
                batch, waiting = waiting, []
                parameters: list[int | bytes | str | None] = []
                for key, _ in batch:
                    number += 1
                    parameters += (row_id(number), key, number, 1, 0, 0, None, _VALUE)
                await database.write(lambda connection: commit(connection, parameters, (), folder))  # noqa: B023 (awaited)
                for _, future in batch:
                    future.set_result(None)

        async def write(key: bytes) -> None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append((key, future))
            wake.set()
            await future

        task = asyncio.ensure_future(writer())
        rate = await _rate(callers, write)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()
        return rate


def _median(measure: Callable[[], Awaitable[float]]) -> float:
    async def once() -> float:
        return await measure()

    return statistics.median(asyncio.run(once()) for _ in range(_RUNS))


def main() -> None:
    """Print one line per configuration: what, callers, writes per second, ratio to the bare loop."""
    for callers in _WRITES:
        bare = _median(lambda callers=callers: _bare_rate(callers))  # type: ignore[misc]  # the loop's own value
        sys.stdout.write(f"bare group commit     {callers:3d} callers {bare:9.0f} /s\n")
        for name, database, watched in (
            ("store, aiosqlite", AioDatabase, False),
            ("store, one watch", AioDatabase, True),
            ("store, inline", InlineDatabase, False),
        ):
            rate = _median(lambda c=callers, d=database, w=watched: _store_rate(c, d, w))  # type: ignore[misc]  # same
            sys.stdout.write(f"{name:21s} {callers:3d} callers {rate:9.0f} /s  {rate / bare:5.2f} of bare\n")


if __name__ == "__main__":
    main()
