"""Measure the process runtime: the time to start and stop pods, the memory of a shim, and the speed of the log pump.

    python tests/bench/bench_shim.py

Each figure is printed beside what it is meant to be, and as a ratio to it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from reconcile.resources.kubelet.process import ProcessRuntime
from reconcile.resources.kubelet.runtime import ContainerConfig, ContainerStatus, SandboxConfig
from reconcile.runtime.clock import SystemClock

LINES = 1_000_000


def pss_kb(pid: int) -> int:
    """The proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise LookupError(pid)


def say(what: str, figure: float, unit: str, wanted: float) -> None:
    """Print a figure, what it should be, and their ratio."""
    print(f"{what:<44} {figure:>10.2f} {unit:<8} wanted {wanted:g}, ratio {figure / wanted:.2f}")


async def start(runtime: ProcessRuntime, uid: str, argv: list[str], log_path: str) -> ContainerStatus:
    """One pod of one process."""
    await runtime.run_sandbox(SandboxConfig(uid, "default", uid))
    return await runtime.start_container(uid, ContainerConfig("main", 0, argv, {"PATH": os.environ["PATH"]}, log_path=log_path))


async def measure(pods: int) -> None:
    """Start, re-adopt, and stop `pods` pods."""
    with tempfile.TemporaryDirectory() as folder:
        runtime = ProcessRuntime(Path(folder) / "run", SystemClock())
        began = time.perf_counter()
        await runtime.start()
        names = [f"pod-{number}" for number in range(pods)]
        await asyncio.gather(*(start(runtime, name, ["sleep", "600"], f"{folder}/logs/{name}.log") for name in names))
        say(f"start {pods} pods, with the zygote", time.perf_counter() - began, "s", 0.5 if pods <= 20 else 1.0)
        shims = sorted(pss_kb(sandbox.pid) for sandbox in await runtime.list())
        say(f"PSS of a shim, median of {pods}", shims[len(shims) // 2] / 1000, "MB", 1.7)
        began = time.perf_counter()
        for name in names:
            await runtime.stats(name)
        say("stats of one pod", (time.perf_counter() - began) / pods * 1000, "ms", 1.0)
        await runtime.close()
        began = time.perf_counter()
        await runtime.start()
        assert sum(len(sandbox.containers) for sandbox in await runtime.list()) == pods
        say(f"re-adopt {pods} pods", time.perf_counter() - began, "s", 0.2)
        began = time.perf_counter()
        await runtime.close(stop=True)
        say(f"stop and remove {pods} pods", time.perf_counter() - began, "s", 0.5 if pods <= 20 else 1.0)


async def measure_log() -> None:
    """Have one container write a million lines."""
    with tempfile.TemporaryDirectory() as folder:
        runtime = ProcessRuntime(Path(folder) / "run", SystemClock())
        ended: asyncio.Future[ContainerStatus] = asyncio.get_running_loop().create_future()
        runtime.subscribe(ended.set_result)
        await runtime.start()
        began = time.perf_counter()
        await start(runtime, "pod", ["sh", "-c", f"yes 'a line of thirty-two characters.' | head -n {LINES}"], f"{folder}/0.log")
        await ended
        say("log pump", LINES / (time.perf_counter() - began) / 1e6, "M lines/s", 1.0)
        await runtime.close(stop=True)


def main() -> None:
    """Run all of it."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for pods in (20, 50):
        asyncio.run(measure(pods))
    asyncio.run(measure_log())


if __name__ == "__main__":
    main()
