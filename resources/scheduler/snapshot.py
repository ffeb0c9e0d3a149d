"""The cluster as the scheduler knows it: nodes, what runs on them, and what was decided but is not yet written.

Every change of a node is appended to a short log, so that whoever keeps results per node (see `ranking`) catches up in
O(changes). A Pod is `assumed` on its node the moment it is decided, and forgotten again where the binding fails.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.quantities import milli, whole

from .demand import PodInfo
from .terms import Taint, taints

ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
_LOG_MAX = 4096
_NO_LABELS: Mapping[str, str] = {}


@attrs.define(eq=False)
class NodeInfo:
    """A node and the sums of what its Pods ask for. `tree` is None for a node that only Pods speak of so far."""

    name: str
    tiebreak: float
    tree: Tree | None = None
    labels: Mapping[str, str] = _NO_LABELS
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    cpu_milli: int = 0
    memory_bytes: int = 0
    pods_max: int = 0
    scalars: dict[str, int] = attrs.field(factory=dict)
    used_cpu_milli: int = 0
    used_memory_bytes: int = 0
    used_scalars: Counter[str] = attrs.field(factory=Counter)
    score_cpu_milli: int = 0
    score_memory_bytes: int = 0
    pods: dict[str, PodInfo] = attrs.field(factory=dict)
    affine: dict[str, PodInfo] = attrs.field(factory=dict)
    ports: Counter[tuple[str, str, int]] = attrs.field(factory=Counter)
    owners: Counter[str] = attrs.field(factory=Counter)

    def describe(self, tree: Tree) -> bool:
        """Take over a new state of the Node object; whether anything that matters changed."""
        before = (self.labels, self.taints, self.unschedulable, self.cpu_milli, self.memory_bytes, self.pods_max, self.scalars)
        spec, allocatable = tree.get("spec") or {}, dict((tree.get("status") or {}).get("allocatable") or {})
        appeared = self.tree is None
        self.tree = tree
        self.labels = tree["metadata"].get("labels") or _NO_LABELS
        self.taints = (*taints(tree), *_implied_taints(tree))
        self.unschedulable = bool(spec.get("unschedulable"))
        self.cpu_milli = milli(allocatable.pop("cpu", 0))
        self.memory_bytes = whole(allocatable.pop("memory", 0))
        self.pods_max = whole(allocatable.pop("pods", 0))
        self.scalars = {name: whole(amount) for name, amount in allocatable.items()}
        after = (self.labels, self.taints, self.unschedulable, self.cpu_milli, self.memory_bytes, self.pods_max, self.scalars)
        return appeared or before != after

    def account(self, pod: PodInfo, sign: int) -> None:
        """Add (1) or take away (-1) what a Pod asks for."""
        demand = pod.demand
        self.used_cpu_milli += sign * demand.cpu_milli
        self.used_memory_bytes += sign * demand.memory_bytes
        self.score_cpu_milli += sign * demand.score_cpu_milli
        self.score_memory_bytes += sign * demand.score_memory_bytes
        for name, amount in demand.scalars.items():
            self.used_scalars[name] += sign * amount
        for port in demand.ports:
            self.ports[port] += sign
        if demand.owner:
            self.owners[demand.owner] += sign
            if not self.owners[demand.owner]:
                del self.owners[demand.owner]

    def port_is_taken(self, ip: str, protocol: str, port: int) -> bool:
        """Whether a Pod here has that host port on that address; the unspecified address clashes with all."""
        return any(
            count > 0 and (protocol, port) == (p, n) and (ip == other or "0.0.0.0" in (ip, other))  # noqa: S104 - compared
            for (other, p, n), count in self.ports.items()
        )


def _implied_taints(node: Tree) -> tuple[Taint, ...]:
    """What a node controller would taint a node with that is not ready, so that none is needed to keep Pods off it."""
    for condition in (node.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            unknown = condition.get("status") == "Unknown"
            return (Taint(f"node.kubernetes.io/{'unreachable' if unknown else 'not-ready'}", "", "NoSchedule"),)
    return ()


class ClusterState:
    """All nodes and all Pods with a node, by uid; assumed Pods included."""

    def __init__(self, lot: Callable[[], float]) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.zones_of_owner: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.affine_count = 0
        self.change = 0
        self._lot = lot
        self._unknown: dict[str, NodeInfo] = {}
        self._place: dict[str, tuple[NodeInfo, PodInfo]] = {}
        self._assumed: set[str] = set()
        self._log: deque[tuple[int, str]] = deque(maxlen=_LOG_MAX)
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._priorities: Counter[int] = Counter()

    def set_node(self, tree: Tree) -> bool:
        """Take over a Node object; whether anything that matters changed."""
        name = tree["metadata"]["name"]
        node = self.nodes.get(name)
        if node is None:
            node = self._unknown.pop(name) if name in self._unknown else NodeInfo(name, self._lot())
            self.nodes[name] = node
        zone = node.labels.get(ZONE)
        changed = node.describe(tree)
        if node.labels.get(ZONE) != zone:
            for owner, count in node.owners.items():
                self._count_zone(owner, zone, -count)
                self._count_zone(owner, node.labels.get(ZONE), count)
        if changed:
            self._touch(name)
        return changed

    def remove_node(self, name: str) -> None:
        """The node is gone; its Pods are remembered until they are gone too."""
        node = self.nodes.pop(name, None)
        if node is None:
            return
        for owner, count in node.owners.items():
            self._count_zone(owner, node.labels.get(ZONE), -count)
        node.tree, node.labels = None, _NO_LABELS
        if node.pods:
            self._unknown[name] = node
        self._touch(name)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Note a namespace's labels; None: it is gone."""
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """The labels of a namespace; none where it is not known."""
        return self._namespaces.get(name, _NO_LABELS)

    @property
    def lowest_priority(self) -> float:
        """The priority of the least important Pod that has a place; infinite where none has."""
        return min(self._priorities, default=math.inf)

    def place_of(self, uid: str) -> tuple[str, PodInfo] | None:
        """Where a Pod runs (or is assumed to), and as what it was counted."""
        found = self._place.get(uid)
        return (found[0].name, found[1]) if found else None

    def assume(self, pod: PodInfo, node: str) -> None:
        """Count a Pod that was just decided on; `confirm` or `forget` follows."""
        self.add_pod(pod, node)
        self._assumed.add(pod.uid)

    def is_assumed(self, uid: str) -> bool:
        """Whether the Pod's place is decided but not confirmed."""
        return uid in self._assumed

    def confirm(self, uid: str) -> None:
        """The Pod's place stands in the API now."""
        self._assumed.discard(uid)

    def forget(self, uid: str) -> None:
        """The binding failed: the place is free again."""
        if uid in self._assumed:
            self.remove_pod(uid)

    def add_pod(self, pod: PodInfo, node_name: str) -> None:
        """Count a Pod on its node, instead of what was counted for it before."""
        if pod.uid in self._place:
            self.remove_pod(pod.uid)
        node = self.nodes.get(node_name) or self._unknown.get(node_name)
        if node is None:
            node = self._unknown[node_name] = NodeInfo(node_name, self._lot())
        node.pods[pod.uid] = pod
        if pod.demand.affinity or pod.demand.anti_affinity or pod.demand.preferred:
            node.affine[pod.uid] = pod
            self.affine_count += 1
        node.account(pod, 1)
        self._priorities[pod.priority] += 1
        self._count_zone(pod.demand.owner, node.labels.get(ZONE), 1)
        self._place[pod.uid] = (node, pod)
        self._touch(node_name)

    def renew(self, pod: PodInfo) -> None:
        """Take over a newer state of a Pod whose place, labels and demand are as they were."""
        node, _ = self._place[pod.uid]
        self._place[pod.uid] = (node, pod)
        node.pods[pod.uid] = pod
        if pod.uid in node.affine:
            node.affine[pod.uid] = pod

    def remove_pod(self, uid: str) -> str | None:
        """Stop counting a Pod; returns the node that has room again."""
        found = self._place.pop(uid, None)
        self._assumed.discard(uid)
        if found is None:
            return None
        node, pod = found
        del node.pods[uid]
        if node.affine.pop(uid, None) is not None:
            self.affine_count -= 1
        node.account(pod, -1)
        self._priorities[pod.priority] -= 1
        if not self._priorities[pod.priority]:
            del self._priorities[pod.priority]
        self._count_zone(pod.demand.owner, node.labels.get(ZONE), -1)
        if not node.pods:
            self._unknown.pop(node.name, None)
        self._touch(node.name)
        return node.name

    def changed_since(self, change: int) -> Iterable[str] | None:
        """The names of the nodes changed after `change`; None where that is too long ago to tell."""
        if change >= self.change:
            return ()
        if not self._log or self._log[0][0] > change + 1:
            return None
        names: dict[str, Any] = {}
        for at, name in reversed(self._log):
            if at <= change:
                break
            names[name] = None
        return names

    def _touch(self, name: str) -> None:
        self.change += 1
        self._log.append((self.change, name))

    def _count_zone(self, owner: str, zone: str | None, count: int) -> None:
        if owner and zone is not None:
            zones = self.zones_of_owner[owner]
            zones[zone] += count
            if zones[zone] <= 0:
                del zones[zone]
                if not zones:
                    del self.zones_of_owner[owner]
