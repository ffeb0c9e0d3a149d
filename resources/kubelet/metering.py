"""What pods use: processor time as a rate since it was last asked for, memory now; for `top` and the kubelet's summary.

Source: the Summary of k8s.io/kubelet/pkg/apis/stats/v1alpha1
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

import attrs

from reconcile.clock import timestamp
from reconcile.errors import Tree

from .errors import RuntimeFailure
from .host import Host
from .runtime import PodStats, Stats
from .worker import PodWorker

_NANO = 1_000_000_000


@attrs.frozen
class ContainerUsage:
    """What one container of a pod uses."""

    name: str
    cpu_cores: float
    memory_bytes: int


@attrs.frozen
class PodUsage:
    """What a pod uses: CPU cores since the last time it was asked for, memory now."""

    namespace: str
    name: str
    cpu_cores: float
    memory_bytes: int
    processes: int
    window_s: float
    containers: tuple[ContainerUsage, ...] = ()
    labels: Mapping[str, str] = attrs.field(factory=dict)
    """The pod's: what is measured is selected by them."""


class Meter:
    """Measures the pods of these workers. Who wants rates of their own has a meter of their own."""

    def __init__(self, host: Host, workers: Mapping[str, PodWorker]) -> None:
        self._host, self._workers = host, workers
        self._before: dict[tuple[str, str], tuple[float, float]] = {}

    async def usages(self) -> list[PodUsage]:
        """What each running pod uses; the CPU rate is since the previous call (0 at the first)."""
        found = []
        now = self._host.clock.monotonic()
        async for worker, stats in self._stats():
            meta, uid = worker.state.tree["metadata"], worker.state.uid
            cores, window_s = self._rate(uid, "", stats, now)
            containers = tuple(
                ContainerUsage(name, self._rate(uid, name, used, now)[0], used.memory_bytes)
                for name, used in sorted(stats.containers.items())
            )
            found.append(
                PodUsage(
                    meta["namespace"],
                    meta["name"],
                    cores,
                    stats.memory_bytes,
                    stats.processes,
                    window_s,
                    containers,
                    meta.get("labels") or {},
                )
            )
        self._before = {key: sample for key, sample in self._before.items() if key[0] in self._workers}
        return found

    async def summary(self) -> Tree:
        """The kubelet's Summary, with what can be told of processes."""
        import psutil  # 20 ms of a start that few ask for

        at, node = timestamp(self._host.clock.now()), psutil.virtual_memory()
        pods = [_pod(worker, stats, at) async for worker, stats in self._stats()]
        times = psutil.cpu_times()
        busy_s = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        return {
            "node": {
                "nodeName": self._host.node_name, "cpu": {"time": at, "usageCoreNanoSeconds": int(busy_s * _NANO)},
                "memory": {
                    "time": at, "availableBytes": node.available, "usageBytes": node.used,
                    "workingSetBytes": node.total - node.available,
                },
            },
            "pods": pods,
        }  # fmt: skip  # one figure a word reads better packed

    async def _stats(self) -> AsyncIterator[tuple[PodWorker, PodStats]]:
        for uid, worker in list(self._workers.items()):
            if worker.state.sandboxed:
                with contextlib.suppress(RuntimeFailure):  # its sandbox went just now
                    yield worker, await self._host.runtime.stats(uid)

    def _rate(self, uid: str, container: str, stats: Stats, now: float) -> tuple[float, float]:
        """Cores since the last time, and how long ago that was."""
        before_cpu_s, before = self._before.get((uid, container), (0.0, 0.0))
        self._before[uid, container] = (stats.cpu_s, now)
        window_s = now - before if before else 0.0
        return (max(0.0, (stats.cpu_s - before_cpu_s) / window_s) if window_s > 0 else 0.0), window_s


def _pod(worker: PodWorker, stats: PodStats, at: str) -> Tree:
    meta = worker.state.tree["metadata"]
    return {
        "podRef": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "startTime": worker.state.start_time, **_used(stats, at),
        "containers": [{"name": name, **_used(used, at)} for name, used in sorted(stats.containers.items())],
        "process_stats": {"process_count": stats.processes},
    }  # fmt: skip  # one figure a word reads better packed


def _used(stats: Stats, at: str) -> Tree:
    return {
        "cpu": {"time": at, "usageCoreNanoSeconds": int(stats.cpu_s * _NANO)},
        "memory": {"time": at, "usageBytes": stats.memory_bytes, "workingSetBytes": stats.memory_bytes},
    }
