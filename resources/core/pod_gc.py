"""The Pod garbage collector: ends Pods that nobody can end any more.

A Pod whose node is gone (for a while, and by the server's own word) fails and is deleted; one that is going away and never
had a node is deleted; of finished Pods only so many are kept.

Source: K/pkg/controller/podgc/gc_controller.go
"""

from __future__ import annotations

import logging

from reconcile.conditions import with_condition
from reconcile.errors import ApiError, NotFoundError
from reconcile.handling import Cluster
from reconcile.registry import Operator
from reconcile.views import tree_of

from .node import Node
from .pod import Pod

log = logging.getLogger(__name__)

LOOK_S = 20.0
ABSENT_S = 40.0
FINISHED_MAX = 12_500
_TERMINAL = ("Succeeded", "Failed")


def pod_garbage_collector() -> Operator:
    """The operator that ends Pods that nobody can end any more."""
    app = Operator("pod-garbage-collector")

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        cluster.spawn(_look_for_ever(cluster), "look")

    app.serve(Pod, Node)
    return app


async def _look_for_ever(cluster: Cluster) -> None:
    absent_since: dict[str, float] = {}
    while True:
        await cluster.clock.sleep(LOOK_S)
        try:
            await _look(cluster, absent_since)
        except ApiError as error:
            log.warning("looking for pods that nobody ends failed, again in %g s: %s", LOOK_S, error)


async def _look(cluster: Cluster, absent_since: dict[str, float]) -> None:
    nodes = {node.name for node in await cluster.list(Node, "")}
    pods = await cluster.list(Pod, "")
    now_s = cluster.clock.monotonic()
    used = {_node(pod) for pod in pods} - {""}
    for name in list(absent_since):
        if name in nodes or name not in used:
            del absent_since[name]
    for name in used - nodes:
        absent_since.setdefault(name, now_s)
    gone = {name for name, since_s in absent_since.items() if now_s - since_s >= ABSENT_S and await _is_gone(cluster, name)}
    for pod in pods:
        if _node(pod) in gone:
            await _fail(cluster, pod)
            await cluster.delete(pod, grace_s=0)
        elif _deleting(pod) and not _node(pod):
            await cluster.delete(pod, grace_s=0)
    finished = [pod for pod in pods if _phase(pod) in _TERMINAL and not _deleting(pod)]
    if len(finished) > FINISHED_MAX:
        finished.sort(key=lambda pod: str(tree_of(pod)["metadata"].get("creationTimestamp") or ""))
        for pod in finished[: len(finished) - FINISHED_MAX]:
            await cluster.delete(pod, grace_s=0)


# All Pods are looked at, so the trees are: what is read of a view stays decoded, a kilobyte for each Pod.


def _node(pod: Pod) -> str:
    return str(tree_of(pod)["spec"].get("nodeName") or "")


def _deleting(pod: Pod) -> bool:
    return "deletionTimestamp" in tree_of(pod)["metadata"]


def _phase(pod: Pod) -> str:
    return str((tree_of(pod).get("status") or {}).get("phase") or "")


async def _is_gone(cluster: Cluster, name: str) -> bool:
    try:
        await cluster.fresh(Node, name)
    except NotFoundError:
        return True
    return False


async def _fail(cluster: Cluster, pod: Pod) -> None:
    """A Pod never leaves as if it were running: whoever counts it must see that it failed."""
    status = tree_of(pod).get("status") or {}
    if status.get("phase") in _TERMINAL:
        return
    why = {
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
    }  # fmt: skip
    conditions = with_condition(status.get("conditions"), why, cluster.clock.now())
    try:
        await cluster.patch(pod, {"status": {"phase": "Failed", "conditions": conditions}}, subresource="status")
    except NotFoundError:
        return
