"""The plugins that look at one node at a time: name, labels, taints, ports, resources.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins (nodename, nodeunschedulable, tainttoleration, nodeaffinity,
nodeports, noderesources)
"""

from __future__ import annotations

from collections.abc import Sequence

from .demand import PodInfo
from .plugin import SCORE_MAX, Cycle, Plugin, scaled_to_max
from .snapshot import ClusterState, NodeInfo
from .terms import Taint, untolerated

_GIB, _MIB = 1024**3, 1024**2
_UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable(Plugin):
    """Keeps Pods off cordoned nodes."""

    name, filters = "NodeUnschedulable", True

    def reject(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> tuple[str, ...]:  # noqa: D102 - see Plugin
        if not node.unschedulable or any(t.tolerates(_UNSCHEDULABLE) for t in pod.demand.tolerations):
            return ()
        return ("node(s) were unschedulable",)

    def advice(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> str:  # noqa: D102 - see Plugin
        return f"uncordon {_some(nodes)}"


class TaintToleration(Plugin):
    """Keeps Pods off nodes with taints that they do not tolerate; avoids PreferNoSchedule taints."""

    name, filters, weight = "TaintToleration", True, 3

    def reject(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> tuple[str, ...]:  # noqa: D102 - see Plugin
        if not node.taints:
            return ()
        taint = untolerated(node.taints, pod.demand.tolerations, ("NoSchedule", "NoExecute"))
        return (f"node(s) had untolerated taint {taint}",) if taint else ()

    def score(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> float:  # noqa: D102 - see Plugin
        if not node.taints:
            return 0
        return sum(untolerated((t,), pod.demand.tolerations, ("PreferNoSchedule",)) is not None for t in node.taints)

    def scaled(self, raw: float | None, low: float, high: float) -> int:  # noqa: D102 - see Plugin
        return scaled_to_max(raw or 0, high, reverse=True)

    def advice(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> str:  # noqa: D102 - see Plugin
        found = {untolerated(node.taints, pod.demand.tolerations, ("NoSchedule", "NoExecute")) for node in nodes}
        texts = sorted(f"{taint.key}:{taint.effect}" for taint in found if taint)
        return f"tolerate {' or '.join(texts[:3])}" if texts else ""


class NodeAffinity(Plugin):
    """Honours nodeSelector and node affinity."""

    name, filters, weight = "NodeAffinity", True, 2

    def applies(self, pod: PodInfo, state: ClusterState) -> bool:  # noqa: D102 - see Plugin
        return pod.demand.node_required is not None or bool(pod.demand.node_preferred)

    def reject(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> tuple[str, ...]:  # noqa: D102 - see Plugin
        test = pod.demand.node_required
        if test is None or test(node.name, node.labels):
            return ()
        return ("node(s) didn't match Pod's node affinity/selector",)

    def score(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> float:  # noqa: D102 - see Plugin
        return sum(weight for weight, test in pod.demand.node_preferred if test(node.name, node.labels))

    def scaled(self, raw: float | None, low: float, high: float) -> int:  # noqa: D102 - see Plugin
        return scaled_to_max(raw or 0, high)

    def advice(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> str:  # noqa: D102 - see Plugin
        wanted = (pod.tree.get("spec") or {}).get("nodeSelector") or {}
        if not wanted:
            return "change the Pod's node affinity, or label a node for it"
        return f"label a node {','.join(f'{key}={value}' for key, value in sorted(wanted.items()))}"


class NodePorts(Plugin):
    """Keeps Pods that want the same host port apart."""

    name, filters, helped_by = "NodePorts", True, frozenset(["node", "pod-gone"])

    def applies(self, pod: PodInfo, state: ClusterState) -> bool:  # noqa: D102 - see Plugin
        return bool(pod.demand.ports)

    def reject(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> tuple[str, ...]:  # noqa: D102 - see Plugin
        if node.ports and any(node.port_is_taken(*port) for port in pod.demand.ports):
            return ("node(s) didn't have free ports for the requested pod ports",)
        return ()

    def advice(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> str:  # noqa: D102 - see Plugin
        return f"host port {', '.join(str(port) for _, _, port in sorted(pod.demand.ports))} is in use"


class NodeResourcesFit(Plugin):
    """Keeps requests within what a node offers; prefers the emptier node (LeastAllocated, CPU and memory alike)."""

    name, filters, weight, helped_by = "NodeResourcesFit", True, 1, frozenset(["node", "pod-gone"])

    def reject(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> tuple[str, ...]:  # noqa: D102 - see Plugin
        demand = pod.demand
        full = len(node.pods) >= node.pods_max
        if (
            not full
            and demand.cpu_milli <= node.cpu_milli - node.used_cpu_milli
            and demand.memory_bytes <= node.memory_bytes - node.used_memory_bytes
            and not demand.scalars
        ):
            return ()
        found = ["Too many pods"] if full else []
        if demand.cpu_milli and demand.cpu_milli > node.cpu_milli - node.used_cpu_milli:
            found.append("Insufficient cpu")
        if demand.memory_bytes and demand.memory_bytes > node.memory_bytes - node.used_memory_bytes:
            found.append("Insufficient memory")
        for name, amount in demand.scalars.items():
            if amount and amount > node.scalars.get(name, 0) - node.used_scalars[name]:
                found.append(f"Insufficient {name}")
        return tuple(found)

    def score(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> float:  # noqa: D102 - see Plugin
        demand = pod.demand
        total, counted = 0, 0
        for offered, asked in (
            (node.cpu_milli, node.score_cpu_milli + demand.score_cpu_milli),
            (node.memory_bytes, node.score_memory_bytes + demand.score_memory_bytes),
        ):
            if offered:
                counted += 1
                total += (offered - asked) * SCORE_MAX // offered if asked <= offered else 0
        return total // counted if counted else 0

    def advice(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> str:  # noqa: D102 - see Plugin
        demand, parts = pod.demand, []
        short_cpu = [n for n in nodes if demand.cpu_milli > n.cpu_milli - n.used_cpu_milli]
        if demand.cpu_milli and short_cpu:
            best = max(short_cpu, key=lambda n: n.cpu_milli - n.used_cpu_milli)
            free = max(best.cpu_milli - best.used_cpu_milli, 0)
            parts.append(f"needs {_cpu(demand.cpu_milli)} cpu, largest free is {_cpu(free)} on {best.name}")
        short_memory = [n for n in nodes if demand.memory_bytes > n.memory_bytes - n.used_memory_bytes]
        if demand.memory_bytes and short_memory:
            best = max(short_memory, key=lambda n: n.memory_bytes - n.used_memory_bytes)
            free = max(best.memory_bytes - best.used_memory_bytes, 0)
            parts.append(f"needs {_bytes(demand.memory_bytes)} memory, largest free is {_bytes(free)} on {best.name}")
        full = [n for n in nodes if len(n.pods) >= n.pods_max]
        if full:
            parts.append(f"{_some(full)} may run no more than {max(n.pods_max for n in full)} pods")
        return "; ".join(parts)


class BalancedAllocation(Plugin):
    """Prefers nodes on which CPU and memory are then used to equal shares."""

    name, weight = "NodeResourcesBalancedAllocation", 1

    def applies(self, pod: PodInfo, state: ClusterState) -> bool:  # noqa: D102 - see Plugin
        return bool(pod.demand.cpu_milli or pod.demand.memory_bytes)

    def score(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> float:  # noqa: D102 - see Plugin
        cpu, memory = node.cpu_milli, node.memory_bytes
        if not cpu or not memory:
            return SCORE_MAX // 2
        before = _balance(node.used_cpu_milli / cpu, node.used_memory_bytes / memory)
        after = _balance(
            (node.used_cpu_milli + pod.demand.cpu_milli) / cpu, (node.used_memory_bytes + pod.demand.memory_bytes) / memory
        )
        return int(50 + (50 + after - before) / 2)


def _balance(cpu_share: float, memory_share: float) -> float:
    """100 for equal shares; half the difference is the deviation of two numbers."""
    return (1 - abs(min(cpu_share, 1.0) - min(memory_share, 1.0)) / 2) * SCORE_MAX


def _cpu(amount_milli: int) -> str:
    return f"{amount_milli / 1000:g}"


def _bytes(amount: int) -> str:
    return f"{amount / _GIB:.4g}Gi" if amount >= _GIB else f"{amount / _MIB:.4g}Mi"


def _some(nodes: Sequence[NodeInfo]) -> str:
    names = sorted(node.name for node in nodes)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
