"""What the processes of a pod use, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from reconcile.resources.kubelet.runtime import PodStats, Stats

from .shim import processes

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def read_stats(shim_pid: int, mains: Mapping[str, int]) -> PodStats:
    """Add up everything below the shim; the shim itself is our cost, not the pod's. O(processes of the pod).

    `mains` are the first processes of the containers that run: what is below one of them is that container's. What broke away,
    and commands run by exec, count for the pod alone.

    CPU time of processes that have ended is kept by whoever waited for them, up to the shim, and counted there. Memory is
    the proportional set size, so that pages which forked workers share count once; where the kernel has none, the
    resident set size.
    """
    living = processes.descendants(shim_pid)
    used = {process.pid: _used(process) for process in living}
    by_container = {}
    for name, pid in mains.items():
        below = {pid}
        for process in living:  # parents come before their children
            if process.ppid in below:
                below.add(process.pid)
        by_container[name] = _sum([used[each] for each in below if each in used])
    whole = _sum(list(used.values()))
    shim = processes.look(shim_pid)
    waited_s = shim.waited_ticks / _TICKS_PER_S if shim is not None else 0.0
    return PodStats(whole.cpu_s + waited_s, whole.memory_bytes, whole.processes, by_container)


def _used(process: processes.Process) -> Stats:
    return Stats((process.ticks + process.waited_ticks) / _TICKS_PER_S, memory_bytes(process.pid), 1)


def _sum(parts: Sequence[Stats]) -> Stats:
    return Stats(
        sum(part.cpu_s for part in parts), sum(part.memory_bytes for part in parts), sum(part.processes for part in parts)
    )  # fmt: skip


def memory_bytes(pid: int) -> int:
    """The memory of one process; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
