"""The node lifecycle controller: says so when a node falls silent, and keeps new Pods off nodes that are not ready.

A node's sign of life is its Lease. What counts is when a renewal was *seen*, by this process's own clock, so that clocks
that differ, or a control plane that was down, never make a healthy node look dead.

Source: K/pkg/controller/nodelifecycle/node_lifecycle_controller.go
"""

from __future__ import annotations

from typing import Any

from reconcile.clock import Clock, timestamp
from reconcile.conditions import condition, with_condition
from reconcile.errors import Tree
from reconcile.handling import AdmissionReview, Cluster, EventRecorder
from reconcile.registry import Operator
from reconcile.resources.coordination import Lease
from reconcile.views import tree_of

from .node import Node

SILENT_S = 50.0
LOOK_S = 5.0
LEASES = "kube-node-lease"
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def node_lifecycle_controller() -> Operator:
    """The operator that watches over nodes."""
    app = Operator("node-lifecycle")
    leases: dict[str, str] = {}

    @app.on.event(Lease, inline=True)
    def renewed(lease: Lease, event: str) -> None:
        if lease.namespace == LEASES:
            if event == "DELETED":
                leases.pop(lease.name, None)
            else:
                leases[lease.name] = lease.spec.renew_time or ""

    @app.on.timer(Node, interval_s=LOOK_S)
    async def watch_over(node: Node, cluster: Cluster, events: EventRecorder, clock: Clock, memo: dict[str, Any]) -> None:
        heard = (leases.get(node.name, ""), _heartbeat(tree_of(node)))
        if memo.get("heard") != heard:
            memo["heard"], memo["heard_s"] = heard, clock.monotonic()
        if clock.monotonic() - memo["heard_s"] > SILENT_S:
            await _tell_silent(node, cluster, events, clock)

    @app.on.reconcile(Node)
    async def tainted(node: Node, cluster: Cluster, clock: Clock) -> None:
        await _taint(node, cluster, clock)

    return app


def taint_until_ready(review: AdmissionReview) -> None:
    """Admission: a node that joins is for no Pod until it says that it is ready.

    Source: K/plugin/pkg/admission/nodetaint
    """
    node = review.tree
    ready = condition((node.get("status") or {}).get("conditions"), "Ready")
    if ready is not None and ready.get("status") == "True":
        return
    spec = node.setdefault("spec", {})
    taints = spec.get("taints") or []
    if not any(taint.get("key") == NOT_READY and taint.get("effect") == "NoSchedule" for taint in taints):
        spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


def _heartbeat(tree: Tree) -> str:
    ready = condition((tree.get("status") or {}).get("conditions"), "Ready")
    return str((ready or {}).get("lastHeartbeatTime", ""))


async def _tell_silent(node: Node, cluster: Cluster, events: EventRecorder, clock: Clock) -> None:
    """Nothing that the node said last is known to hold any more."""
    status = tree_of(node).get("status") or {}
    before = conditions = list(status.get("conditions") or ())
    for type_ in _CONDITIONS:
        known = condition(conditions, type_)
        if (known is None and type_ == "Ready") or (known is not None and known.get("status") != "Unknown"):
            unknown = {
                "type": type_, "status": "Unknown", "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
            }  # fmt: skip
            conditions = with_condition(conditions, unknown, clock.now())
    if conditions != before:
        events.warning("NodeNotReady", f"Node {node.name} status is now: NodeNotReady")
        change = {"metadata": {"resourceVersion": node.metadata.resource_version}, "status": {"conditions": conditions}}
        await cluster.patch(node, change, subresource="status")


async def _taint(node: Node, cluster: Cluster, clock: Clock) -> None:
    """Make the taints say what the Ready condition says."""
    tree = tree_of(node)
    ready = condition((tree.get("status") or {}).get("conditions"), "Ready")
    if ready is None:
        return  # it has not said anything yet
    wanted = {"True": "", "Unknown": UNREACHABLE}.get(ready.get("status", ""), NOT_READY)
    taints = (tree.get("spec") or {}).get("taints") or []
    ours = {(taint.get("key"), taint.get("effect")) for taint in taints if taint.get("key") in (NOT_READY, UNREACHABLE)}
    should = {(wanted, "NoSchedule"), (wanted, "NoExecute")} if wanted else set()
    if ours == should:
        return
    kept = [taint for taint in taints if taint.get("key") not in (NOT_READY, UNREACHABLE)]
    made = [{"key": key, "effect": effect, "timeAdded": timestamp(clock.now())} for key, effect in sorted(should)]
    change = {"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": [*kept, *made] or None}}
    await cluster.patch(node, change)
