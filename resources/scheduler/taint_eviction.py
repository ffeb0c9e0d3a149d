"""The taint eviction controller: ends Pods that may not stay on their node, once the time that they tolerate it is over.

The time counts from when this process first saw the Pod under the node's taints, as on the reference server: a control plane
that was away does not evict at once what it could not watch.

Source: K/pkg/controller/tainteviction/taint_eviction.go
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from reconcile.clock import Clock
from reconcile.conditions import with_condition
from reconcile.errors import NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder, Key, Requeue
from reconcile.kinds import typed
from reconcile.registry import Operator, Watch
from reconcile.resources.core import Node, Pod
from reconcile.views import tree_of

from .terms import Taint, taints, tolerations

_NO_EXECUTE = "NoExecute"
_TERMINAL = ("Succeeded", "Failed")
_WHY = {
    "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
    "message": "Taint manager: deleting due to NoExecute taint",
}  # fmt: skip


def taint_eviction() -> Operator:
    """The operator that evicts."""
    app = Operator("taint-eviction")
    placed = _Placed()

    @app.on.startup()
    def begin() -> None:
        placed.clear()

    @app.on.event(Pod, inline=True)
    def saw_pod(pod: Pod, event: str) -> None:
        placed.saw(tree_of(pod), gone=event == "DELETED")

    @app.on.reconcile(Node, watches=(Watch(Pod, to=placed.node_with_taints),), workers=4)
    async def evict(node: Node, cluster: Cluster, events: EventRecorder, clock: Clock, memo: dict[str, Any]) -> Requeue | None:
        active = [taint for taint in taints(tree_of(node)) if taint.effect == _NO_EXECUTE]
        placed.note(node.name, tainted=bool(active))
        since: dict[str, float] = memo.setdefault("since", {})
        pods = placed.on(node.name) if active else []
        if active:
            memo["since"] = since = {p["metadata"]["uid"]: since.get(p["metadata"]["uid"], clock.monotonic()) for p in pods}
        else:
            since.clear()
        next_s = math.inf
        for pod in pods:
            due_s = since[pod["metadata"]["uid"]] + tolerated_s(pod, active)
            if due_s > clock.monotonic():
                next_s = min(next_s, due_s)
                continue
            await _evict(pod, cluster, events)
        return Requeue(max(next_s - clock.monotonic(), 0.001)) if next_s < math.inf else None

    return app


def tolerated_s(pod: Tree, active: Iterable[Taint]) -> float:
    """How long a Pod may stay under these taints; infinite where it tolerates all of them for good."""
    spec = pod.get("spec") or {}
    terms = list(zip(tolerations(spec), spec.get("tolerations") or (), strict=True))
    shortest = math.inf
    for taint in active:
        matching = [given.get("tolerationSeconds") for term, given in terms if term.tolerates(taint)]
        if not matching:
            return 0.0
        shortest = min([shortest, *(max(0.0, seconds) for seconds in matching if seconds is not None)])
    return shortest


async def _evict(pod: Tree, cluster: Cluster, events: EventRecorder) -> None:
    meta = pod["metadata"]
    events.normal("TaintManagerEviction", f"Marking for deletion Pod {meta['namespace']}/{meta['name']}")
    conditions = with_condition((pod.get("status") or {}).get("conditions"), _WHY, cluster.clock.now())
    try:
        await cluster.patch(typed(Pod, pod), {"status": {"conditions": conditions}}, subresource="status")
        await cluster.delete(typed(Pod, pod))
    except NotFoundError:
        return  # it is gone already


@attrs.define
class _Placed:
    """Which Pods are on which node, kept by events; and which nodes have taints that end Pods."""

    _pods: dict[str, dict[Key, Tree]] = attrs.field(factory=dict)
    _tainted: set[str] = attrs.field(factory=set)

    def clear(self) -> None:
        """Forget everything: the events start anew."""
        self._pods.clear()
        self._tainted.clear()

    def saw(self, pod: Tree, *, gone: bool) -> None:
        """Note one change of a Pod. O(1)."""
        meta, node = pod["metadata"], (pod.get("spec") or {}).get("nodeName")
        if not node:
            return
        key = Key(meta["namespace"], meta["name"])
        over = gone or "deletionTimestamp" in meta or (pod.get("status") or {}).get("phase") in _TERMINAL
        if over:
            self._pods.get(node, {}).pop(key, None)
        else:
            self._pods.setdefault(node, {})[key] = pod

    def note(self, node: str, *, tainted: bool) -> None:
        """Note whether Pods of a node are to be looked at."""
        (self._tainted.add if tainted else self._tainted.discard)(node)

    def on(self, node: str) -> list[Tree]:
        """The living Pods of a node."""
        return list(self._pods.get(node, {}).values())

    def node_with_taints(self, pod: Pod) -> Iterator[Key]:
        """The node of a Pod, where that has taints that end Pods."""
        if pod.spec.node_name in self._tainted:
            yield Key("", pod.spec.node_name or "")
