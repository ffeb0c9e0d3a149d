"""Whether a node takes a Pod that is bound to it: its resources, host ports, labels and taints are looked at once more.

The scheduler sees to all of this; who sets spec.nodeName goes around it, and two schedulers may both be right on their own. A Pod
that does not fit is failed, for its owner to make another one. Pods that ran before are counted and never judged again.

What Pods ask for is read as the scheduler reads it, so that the two never disagree about a Pod.

Source: K/pkg/kubelet/lifecycle/predicate.go, K/pkg/kubelet/kubelet.go rejectPod
"""

from __future__ import annotations

import contextlib

import attrs

from reconcile.client import Client
from reconcile.clock import timestamp
from reconcile.errors import NotFoundError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.core import Node, Pod
from reconcile.resources.scheduler.demand import Demands, PodInfo
from reconcile.resources.scheduler.snapshot import NodeInfo
from reconcile.resources.scheduler.terms import untolerated

_CRITICAL = 2_000_000_000
_FINISHED = ("Succeeded", "Failed")
_OS_LABEL, _OS = "kubernetes.io/os", "linux"


@attrs.frozen
class Rejection:
    """Why a node does not take a Pod, as its status says it: one word, and a sentence."""

    reason: str
    why: str

    def status(self, pod: Tree, now_s: float) -> Tree:
        """What the Pod's status says from now on."""
        return {
            "phase": "Failed", "reason": self.reason, "message": f"Pod was rejected: {self.why}",
            "startTime": (pod.get("status") or {}).get("startTime") or timestamp(now_s),
            "observedGeneration": pod["metadata"].get("generation", 1),
        }  # fmt: skip  # one field a word reads better packed


class NodeAdmission:
    """What the Pods that were admitted to some nodes ask for, and whether one more has room."""

    def __init__(self) -> None:
        self._demands = Demands()
        self._nodes: dict[str, NodeInfo] = {}
        self._places: dict[str, tuple[NodeInfo, PodInfo]] = {}

    def describe(self, node: Tree) -> None:
        """Take over a state of a Node; one that does not say yet what it offers is passed over."""
        if (node.get("status") or {}).get("allocatable"):
            self._at(node["metadata"]["name"]).describe(node)

    def admit(self, pod: Tree) -> Rejection | None:
        """Count a Pod on its node, unless it has no room there: then the first reason why. O(what the Pod asks for)."""
        status = pod.get("status") or {}
        if status.get("startTime") or status.get("phase", "Pending") != "Pending" or pod["metadata"].get("deletionTimestamp"):
            self.count(pod)
            return None
        found = self._demands.read(pod)
        node = self._at(pod["spec"]["nodeName"])
        rejection = _judged(found, node) if node.tree is not None and found.uid not in self._places else None
        if rejection is None:
            self._put(found, node)
        return rejection

    def count(self, pod: Tree) -> None:
        """Count a Pod that is on its node, in its newest state, whatever the node has; one that is over needs nothing more."""
        if (pod.get("status") or {}).get("phase") in _FINISHED:
            self.release(pod["metadata"]["uid"])
        else:
            self._put(self._demands.read(pod), self._at(pod["spec"]["nodeName"]))

    def release(self, uid: str) -> None:
        """A Pod is gone, or over."""
        place = self._places.pop(uid, None)
        if place is not None:
            node, pod = place
            del node.pods[uid]
            node.account(pod, -1)

    async def judge_again(self, pod: Tree, client: Client) -> Rejection | None:
        """Judge a Pod that was refused by what the server has now: news of the Node, and of Pods that ended, may be on their way.

        Raises:
            ApiError: the server cannot be asked.
        """
        name = pod["spec"]["nodeName"]
        known = set(self._at(name).pods)
        pods = await client.list(kind_of(Pod), fields=f"spec.nodeName={name}")
        with contextlib.suppress(NotFoundError):  # somebody deleted the Node: what was known of it counts
            self.describe(await client.get(kind_of(Node), name))
        there = {tree["metadata"]["uid"] for tree in pods.items if (tree.get("status") or {}).get("phase") not in _FINISHED}
        for uid in known - there:
            self.release(uid)
        return self.admit(pod)

    def _put(self, pod: PodInfo, node: NodeInfo) -> None:
        self.release(pod.uid)
        node.pods[pod.uid] = pod
        node.account(pod, 1)
        self._places[pod.uid] = (node, pod)

    def _at(self, name: str) -> NodeInfo:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = NodeInfo(name, 0.0)
        return node


def _judged(pod: PodInfo, node: NodeInfo) -> Rejection | None:
    spec, demand = pod.tree["spec"], pod.demand
    if pod.labels.get(_OS_LABEL, _OS) != _OS:
        return Rejection(
            "PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        )
    if (spec.get("os") or {}).get("name", _OS) != _OS:
        return Rejection("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    # A critical Pod gets its room. Nobody is evicted for it here: there is no memory that it would have to wait for.
    if pod.priority < _CRITICAL and (short := _short(pod, node)) is not None:
        return short
    if demand.node_required is not None and not demand.node_required(node.name, node.labels):
        return _failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    if node.ports and any(node.port_is_taken(*port) for port in demand.ports):
        return _failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    if untolerated(node.taints, demand.tolerations, ("NoExecute",)) is not None:
        return _failed("TaintToleration", "node(s) had untolerated taint(s)")
    return None


def _short(pod: PodInfo, node: NodeInfo) -> Rejection | None:
    demand = pod.demand
    asked = [
        ("pods", 1, len(node.pods), node.pods_max), ("cpu", demand.cpu_milli, node.used_cpu_milli, node.cpu_milli),
        ("memory", demand.memory_bytes, node.used_memory_bytes, node.memory_bytes),
    ]  # fmt: skip  # one resource a line
    for name, amount in demand.scalars.items():
        # What devices and clusters offer beside a node's own is not for the node to refuse.
        if name in node.scalars or "/" not in name or "kubernetes.io/" in name:
            asked.append((name, amount, node.used_scalars[name], node.scalars.get(name, 0)))
    for name, wanted, used, capacity in asked:
        if wanted and wanted > capacity - used:
            figures = f"requested: {wanted}, used: {used}, capacity: {capacity}"
            return Rejection(f"OutOf{name}", f"Node didn't have enough resource: {name}, {figures}")
    return None


def _failed(predicate: str, why: str) -> Rejection:
    return Rejection(predicate, f"Predicate {predicate} failed: {why}")
