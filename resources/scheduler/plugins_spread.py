"""Spreading: a Pod's own topologySpreadConstraints, and the mild default for the Pods of one controller.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import attrs

from .demand import PodInfo, SpreadConstraint
from .plugin import SCORE_MAX, Cycle, Plugin
from .snapshot import HOSTNAME, ZONE, ClusterState, NodeInfo
from .terms import untolerated

_HOST_SKEW, _ZONE_SKEW = 3, 5


@attrs.frozen
class _Counts:
    """Matching Pods by domain, for one constraint; `least` is the global minimum that skew is measured against."""

    constraint: SpreadConstraint
    by_domain: Counter[str]
    least: int
    own: int
    weight: float = 0.0


class PodTopologySpread(Plugin):
    """Keeps a Pod's hard spread constraints and prefers what serves the soft ones."""

    name, filters, weight, node_local = "PodTopologySpread", True, 2, False
    helped_by = frozenset(["node", "pod-gone", "pod-new"])

    def applies(self, pod: PodInfo, state: ClusterState) -> bool:  # noqa: D102 - see Plugin
        return bool(pod.demand.spread)

    def prepare(self, pod: PodInfo, cycle: Cycle) -> None:  # noqa: D102 - see Plugin
        hard = [c for c in pod.demand.spread if c.hard]
        nodes = [n for n in cycle.state.nodes.values() if all(c.key in n.labels for c in hard)]
        found = []
        for constraint in hard:
            counts = _count(constraint, pod, [n for n in nodes if _is_eligible(constraint, pod, n)])
            least = min(counts.values(), default=0) if len(counts) >= constraint.min_domains else 0
            found.append(_Counts(constraint, counts, least, int(constraint.selector.matches(pod.labels))))
        cycle.prepared[self.name] = found

    def reject(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> tuple[str, ...]:  # noqa: D102 - see Plugin
        for counts in cycle.prepared[self.name]:
            domain = node.labels.get(counts.constraint.key)
            if domain is None:
                return ("node(s) didn't match pod topology spread constraints (missing required label)",)
            if counts.by_domain[domain] + counts.own - counts.least > counts.constraint.max_skew:
                return ("node(s) didn't match pod topology spread constraints",)
        return ()

    def prepare_score(self, pod: PodInfo, cycle: Cycle) -> None:  # noqa: D102 - see Plugin
        soft = [c for c in pod.demand.spread if not c.hard]
        nodes = [n for n in cycle.state.nodes.values() if all(c.key in n.labels for c in soft)]
        kept = [n for n in cycle.feasible if all(c.key in n.labels for c in soft)]
        found = []
        for constraint in soft:
            domains = {node.labels[constraint.key] for node in kept}
            counts = _count(constraint, pod, [n for n in nodes if _is_eligible(constraint, pod, n)])
            size = len(kept) if constraint.key == HOSTNAME else len(domains)
            found.append(_Counts(constraint, counts, 0, 0, math.log(size + 2)))
        cycle.prepared[self.name + "/soft"] = found

    def score(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> float | None:  # noqa: D102 - see Plugin
        total = 0.0
        for counts in cycle.prepared[self.name + "/soft"]:
            domain = node.labels.get(counts.constraint.key)
            if domain is None:
                return None
            total += counts.by_domain[domain] * counts.weight + counts.constraint.max_skew - 1
        return round(total)

    def scaled(self, raw: float | None, low: float, high: float) -> int:  # noqa: D102 - see Plugin
        return _evenness(raw, low, high)

    def advice(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> str:  # noqa: D102 - see Plugin
        keys = sorted({c.key for c in pod.demand.spread if c.hard})
        return f"add nodes with other values of {', '.join(keys)}, or raise maxSkew"


class DefaultSpread(Plugin):
    """Spreads the Pods of one controller over hosts and zones, as far as nothing weightier speaks against it.

    The system default of PodTopologySpread: hostname with skew 3 and zone with skew 5, both ScheduleAnyway. Pods are told
    by their controller, which gives the same counts as the controller's selector.
    """

    name, weight, node_local = "PodTopologySpread", 2, False

    def applies(self, pod: PodInfo, state: ClusterState) -> bool:  # noqa: D102 - see Plugin
        return bool(pod.demand.owner) and not pod.demand.spread

    def prepare_score(self, pod: PodInfo, cycle: Cycle) -> None:  # noqa: D102 - see Plugin
        zones = {node.labels.get(ZONE) for node in cycle.feasible} - {None}
        cycle.prepared[self.name] = (math.log(len(cycle.feasible) + 2), math.log(len(zones) + 2))

    def score(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> float:  # noqa: D102 - see Plugin
        owner, zone = pod.demand.owner, node.labels.get(ZONE)
        in_zone = cycle.state.zones_of_owner[owner][zone] if zone and owner in cycle.state.zones_of_owner else 0
        host_weight, zone_weight = cycle.prepared[self.name]
        return spread_score(node.owners[owner], host_weight, zone is not None, in_zone, zone_weight)

    def scaled(self, raw: float | None, low: float, high: float) -> int:  # noqa: D102 - see Plugin
        return _evenness(raw, low, high)


def spread_score(on_host: int, host_weight: float, has_zone: bool, in_zone: int, zone_weight: float) -> int:
    """The raw score of a node under the default constraints; lower is better."""
    total = on_host * host_weight + _HOST_SKEW - 1
    if has_zone:
        total += in_zone * zone_weight + _ZONE_SKEW - 1
    return round(total)


def _evenness(raw: float | None, low: float, high: float) -> int:
    if raw is None:
        return 0
    return SCORE_MAX if high == 0 else int(SCORE_MAX * (high + low - raw) // high)


def _is_eligible(constraint: SpreadConstraint, pod: PodInfo, node: NodeInfo) -> bool:
    """Whether the constraint counts this node at all."""
    test = pod.demand.node_required
    if constraint.honours_affinity and test is not None and not test(node.name, node.labels):
        return False
    return not (constraint.honours_taints and untolerated(node.taints, pod.demand.tolerations, ("NoSchedule", "NoExecute")))


def _count(constraint: SpreadConstraint, pod: PodInfo, nodes: Sequence[NodeInfo]) -> Counter[str]:
    counts: Counter[str] = Counter()
    matches = constraint.selector.matches
    for node in nodes:
        counts[node.labels[constraint.key]] += sum(
            other.namespace == pod.namespace and matches(other.labels) and not other.tree["metadata"].get("deletionTimestamp")
            for other in node.pods.values()
        )
    return counts
