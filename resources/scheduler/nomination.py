"""Who is to get which node: a Pod that had others end there, until it is bound.

The room that they leave is the nominated Pod's. For less important Pods it counts as taken already.

Source: K/pkg/scheduler/backend/queue/nominator.go
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from .demand import PodInfo
from .snapshot import ClusterState


@attrs.define
class Nominations:
    """The nominated Pods by uid, with their nodes."""

    _by_uid: dict[str, tuple[PodInfo, str]] = attrs.field(factory=dict)

    def set(self, pod: PodInfo, node: str) -> None:
        """Nominate a Pod."""
        self._by_uid[pod.uid] = (pod, node)

    def drop(self, uid: str) -> None:
        """The Pod has a node, or is gone, or has to look elsewhere."""
        self._by_uid.pop(uid, None)

    def node_of(self, uid: str) -> str | None:
        """Where a Pod is nominated."""
        found = self._by_uid.get(uid)
        return found[1] if found else None

    def displaced(self, node: str, priority: int) -> list[PodInfo]:
        """The less important Pods that are nominated for a node."""
        return [pod for pod, where in self._by_uid.values() if where == node and pod.priority < priority]

    @contextmanager
    def reserved(self, state: ClusterState, pod: PodInfo) -> Iterator[None]:
        """Count all Pods as placed that are nominated and no less important than `pod`."""
        before = [
            (other, node)
            for other, node in self._by_uid.values()
            if other.uid != pod.uid and other.priority >= pod.priority and state.place_of(other.uid) is None
        ]
        for other, node in before:
            state.add_pod(other, node)
        try:
            yield
        finally:
            for other, _ in before:
                state.remove_pod(other.uid)
