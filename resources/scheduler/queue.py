"""The Pods that wait for a node: ready to be tried, backing off, or waiting for something that could help.

Higher priority first, then who waited longer. A Pod that found no node waits until an event that one of the plugins that
rejected it can profit from; then it backs off (1 s, doubled with each attempt, 10 s at most), unless nothing else is to do.
Errors (a failed binding) always back off.

Source: k8s.io/kubernetes/pkg/scheduler/backend/queue
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping

import attrs

from .demand import PodInfo

BACKOFF_S_FIRST, BACKOFF_S_MAX = 1.0, 10.0
ANY_EVENT = frozenset(["node", "pod-gone", "pod-new", "volume"])
_UNSCHEDULABLE_S_MAX = 300.0  # then a Pod is tried again even if nothing seems to have changed


@attrs.define(eq=False)
class Waiting:
    """One Pod in the queue."""

    pod: PodInfo
    since_s: float
    attempts: int = 0
    rejected_by: frozenset[str] = frozenset()
    parked_s: float = 0.0
    due_s: float = 0.0
    is_error: bool = False
    version: int = 0

    @property
    def backoff_s(self) -> float:
        """How long to wait after so many attempts."""
        return float(min(BACKOFF_S_FIRST * 2 ** max(self.attempts - 1, 0), BACKOFF_S_MAX))


class SchedulingQueue:
    """All Pods without a node. Every operation is O(log n), events that help O(parked)."""

    def __init__(self, helped_by: Mapping[str, frozenset[str]]) -> None:
        self._helped_by = helped_by
        self._entries: dict[str, Waiting] = {}
        self._active: list[tuple[int, float, int, Waiting]] = []
        self._backing_off: list[tuple[float, int, int, Waiting]] = []
        self._parked: dict[str, Waiting] = {}
        self._version = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def parked(self) -> int:
        """How many Pods wait for an event."""
        return len(self._parked)

    @property
    def waits_for_time(self) -> bool:
        """Whether the passing of time alone can bring a Pod forward."""
        return bool(self._backing_off or self._parked)

    def add(self, pod: PodInfo, now_s: float) -> None:
        """Queue a new Pod, or one whose change may help it; a known Pod that did not change for scheduling stays put."""
        entry = self._entries.get(pod.uid)
        if entry is None:
            entry = self._entries[pod.uid] = Waiting(pod, now_s)
            self._activate(entry)
            return
        before, entry.pod = entry.pod, pod
        if before.priority != pod.priority or (before.demand is not pod.demand and pod.uid in self._parked):
            self._parked.pop(pod.uid, None)
            self._activate(entry)

    def remove(self, uid: str) -> None:
        """The Pod is gone, or got a node."""
        entry = self._entries.pop(uid, None)
        self._parked.pop(uid, None)
        if entry is not None:
            entry.version = -1

    def pop(self, now_s: float) -> Waiting | None:
        """The next Pod to try; it is out of the queue then. None: nothing to do before `next_due_s`."""
        self._ripen(now_s)
        entry = self._take(self._active) or self._take_idle()
        if entry is not None:
            entry.attempts += 1
            entry.version = -1
            del self._entries[entry.pod.uid]
        return entry

    def park(self, entry: Waiting, rejected_by: Iterable[str], now_s: float) -> None:
        """The Pod found no node: it waits for an event that helps."""
        entry.rejected_by, entry.is_error, entry.parked_s = frozenset(rejected_by), False, now_s
        entry.due_s = now_s + entry.backoff_s
        self._entries[entry.pod.uid] = entry
        self._parked[entry.pod.uid] = entry

    def back_off(self, entry: Waiting, now_s: float) -> None:
        """Something went wrong that has nothing to do with the nodes: the Pod is tried again after a while."""
        entry.is_error, entry.due_s = True, now_s + entry.backoff_s
        self._entries[entry.pod.uid] = entry
        self._delay(entry)

    def helped(self, event: str, now_s: float, fits: Callable[[PodInfo], bool] | None = None) -> int:
        """Something happened (`node`, `pod-gone`, `pod-new`): bring those forward that it may help; returns how many.

        `fits` says whether the Pod passes the filters of the one node that it happened to; asked once for equal Pods.
        """
        moved = 0
        known: dict[int, bool] = {}
        for uid, entry in list(self._parked.items()):
            if entry.rejected_by and not any(event in self._helped_by.get(name, ANY_EVENT) for name in entry.rejected_by):
                continue
            if fits is not None:
                key = id(entry.pod.demand)
                if key not in known:
                    known[key] = fits(entry.pod)
                if not known[key]:
                    continue
            del self._parked[uid]
            moved += 1
            if entry.due_s > now_s:
                self._delay(entry)
            else:
                self._activate(entry)
        return moved

    def _ripen(self, now_s: float) -> None:
        while self._backing_off and self._backing_off[0][0] <= now_s:
            _, _, version, entry = heapq.heappop(self._backing_off)
            if entry.version == version:
                self._activate(entry)
        if self._parked:
            first = next(iter(self._parked.values()))
            if first.parked_s + _UNSCHEDULABLE_S_MAX <= now_s:
                del self._parked[first.pod.uid]
                self._activate(first)

    def _take(self, heap: list[tuple[int, float, int, Waiting]]) -> Waiting | None:
        while heap:
            _, _, version, entry = heapq.heappop(heap)
            if entry.version == version:
                return entry
        return None

    def _take_idle(self) -> Waiting | None:
        """With nothing else to do, a Pod that backs off for want of a node is tried at once."""
        if not self._backing_off:
            return None
        ready = [item for item in self._backing_off if item[3].version == item[2] and not item[3].is_error]
        if not ready:
            return None
        return min(ready, key=lambda item: (-item[3].pod.priority, item[3].since_s, item[2]))[3]

    def _activate(self, entry: Waiting) -> None:
        self._version += 1
        entry.version = self._version
        heapq.heappush(self._active, (-entry.pod.priority, entry.since_s, self._version, entry))

    def _delay(self, entry: Waiting) -> None:
        self._version += 1
        entry.version = self._version
        heapq.heappush(self._backing_off, (entry.due_s, -entry.pod.priority, self._version, entry))
