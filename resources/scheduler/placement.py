"""Choosing a node: every plugin filters every node, the rest are scored, the highest sum wins.

`choose` is the plain way and the definition of what is right; `ranking.Rankings` gives the same answers faster for Pods
whose place depends on no other Pod.

Source: k8s.io/kubernetes/pkg/scheduler/schedule_one.go
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from .demand import PodInfo
from .plugin import Cycle, Plugin
from .plugins_node import BalancedAllocation, NodeAffinity, NodePorts, NodeResourcesFit, NodeUnschedulable, TaintToleration
from .plugins_pods import InterPodAffinity
from .plugins_spread import DefaultSpread, PodTopologySpread
from .snapshot import ClusterState, NodeInfo

_SAMPLED_NODES_MIN = 100


@attrs.frozen
class Rejection:
    """Why one node will not do, and which plugin says so."""

    plugin: Plugin
    reasons: tuple[str, ...]


@attrs.frozen
class Unschedulable:
    """No node will do: the message for people, and the plugins that rejected (whose events can help)."""

    message: str
    plugins: frozenset[str] = frozenset()


def default_plugins() -> tuple[Plugin, ...]:
    """The plugins, in the order in which they filter."""
    return (
        NodeUnschedulable(), TaintToleration(), NodeAffinity(), NodePorts(), NodeResourcesFit(), PodTopologySpread(),
        InterPodAffinity(), BalancedAllocation(), DefaultSpread(),
    )  # fmt: skip


class Chooser:
    """Chooses nodes the plain way. Keeps where it stopped, so that large clusters are looked at in turn."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = tuple(plugins)
        self._next = 0

    def choose(self, pod: PodInfo, state: ClusterState) -> str | Unschedulable:
        """The best node's name, or why there is none. O(nodes x plugins)."""
        cycle = Cycle(state)
        applying = [plugin for plugin in self._plugins if plugin.applies(pod, state)]
        filters = [plugin for plugin in applying if plugin.filters]
        for plugin in filters:
            plugin.prepare(pod, cycle)
        feasible, rejections = self._filtered(pod, cycle, filters)
        if not feasible:
            return unschedulable(pod, state, rejections)
        cycle.feasible = feasible
        return best(pod, cycle, [plugin for plugin in applying if plugin.weight])

    def _filtered(self, pod: PodInfo, cycle: Cycle, filters: Sequence[Plugin]) -> tuple[list[NodeInfo], dict[str, Rejection]]:
        nodes = list(cycle.state.nodes.values())
        enough = _feasible_enough(len(nodes))
        start = self._next % len(nodes) if nodes else 0
        feasible: list[NodeInfo] = []
        rejections: dict[str, Rejection] = {}
        for node in (*nodes[start:], *nodes[:start]) if start else nodes:
            rejection = rejected(pod, node, cycle, filters)
            if rejection is not None:
                rejections[node.name] = rejection
                continue
            feasible.append(node)
            if len(feasible) >= enough:
                break
        self._next = (start + len(feasible) + len(rejections)) % len(nodes) if enough < len(nodes) else 0
        return feasible, rejections


def _feasible_enough(nodes: int) -> int:
    """In a large cluster a good node among many is as good as the best of all.

    Source: numFeasibleNodesToFind
    """
    if nodes < _SAMPLED_NODES_MIN:
        return nodes
    share = max(5, 50 - nodes // 125)
    return max(_SAMPLED_NODES_MIN, nodes * share // 100)


def rejected(pod: PodInfo, node: NodeInfo, cycle: Cycle, filters: Sequence[Plugin]) -> Rejection | None:
    """The first plugin's objection to a node, or None."""
    for plugin in filters:
        reasons = plugin.reject(pod, node, cycle)
        if reasons:
            return Rejection(plugin, reasons)
    return None


def best(pod: PodInfo, cycle: Cycle, scorers: Sequence[Plugin]) -> str:
    """The feasible node with the highest weighted sum; between equals, each node's own lot decides."""
    totals = [0] * len(cycle.feasible)
    for plugin in scorers if len(cycle.feasible) > 1 else ():
        plugin.prepare_score(pod, cycle)
        raws = [plugin.score(pod, node, cycle) for node in cycle.feasible]
        known = [raw for raw in raws if raw is not None]
        low, high = min(known, default=0), max(known, default=0)
        for index, raw in enumerate(raws):
            totals[index] += plugin.weight * plugin.scaled(raw, low, high)
    return min(zip(totals, cycle.feasible, strict=True), key=lambda pair: (-pair[0], pair[1].tiebreak))[1].name


def unschedulable(pod: PodInfo, state: ClusterState, rejections: Mapping[str, Rejection]) -> Unschedulable:
    """Say why no node will do, in the reference scheduler's words, and what would help, in ours."""
    if not state.nodes:
        return Unschedulable("no nodes available to schedule pods")
    counts = Counter(reason for rejection in rejections.values() for reason in rejection.reasons)
    reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    by_plugin: dict[str, tuple[Plugin, list[NodeInfo]]] = {}
    for name, rejection in rejections.items():
        by_plugin.setdefault(rejection.plugin.name, (rejection.plugin, []))[1].append(state.nodes[name])
    advice = [plugin.advice(pod, nodes) for plugin, nodes in by_plugin.values()]
    helps = "; ".join(text for text in advice if text)
    message = f"0/{len(state.nodes)} nodes are available: {reasons}."
    return Unschedulable(f"{message} {helps[0].upper()}{helps[1:]}." if helps else message, frozenset(by_plugin))
