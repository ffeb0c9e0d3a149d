"""What the processes of a pod use, read from /proc."""

from __future__ import annotations

import os

from reconcile.resources.kubelet.runtime import PodStats

from .shim import processes

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def read_stats(shim_pid: int) -> PodStats:
    """Add up everything below the shim; the shim itself is our cost, not the pod's. O(processes of the pod).

    CPU time of processes that have ended is kept by whoever waited for them, up to the shim, and counted there. Memory is
    the proportional set size, so that pages which forked workers share count once; where the kernel has none, the
    resident set size.
    """
    living = processes.descendants(shim_pid)
    ticks = sum(process.ticks + process.waited_ticks for process in living)
    shim = processes.look(shim_pid)
    if shim is not None:
        ticks += shim.waited_ticks
    return PodStats(ticks / _TICKS_PER_S, sum(memory_bytes(process.pid) for process in living), len(living))


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
