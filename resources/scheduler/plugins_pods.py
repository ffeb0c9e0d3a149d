"""Affinity and anti-affinity between Pods, in both directions.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/interpodaffinity
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import attrs

from .demand import PodInfo, PodTerm
from .plugin import SCORE_MAX, Cycle, Plugin
from .snapshot import ClusterState, NodeInfo

_HARD_WEIGHT = 1  # what a running Pod's required affinity to the new one is worth
_Domain = tuple[str, str]


@attrs.define
class _Pairs:
    """Counts of Pods by (topology key, value)."""

    wanted: Counter[_Domain] = attrs.field(factory=Counter)
    shunned: Counter[_Domain] = attrs.field(factory=Counter)
    shunning: Counter[_Domain] = attrs.field(factory=Counter)
    first_of_its_kind: bool = False


class InterPodAffinity(Plugin):
    """Puts Pods near those that they want near, and away from those that they, or the others, want far."""

    name, filters, weight, node_local = "InterPodAffinity", True, 2, False
    helped_by = frozenset(["node", "pod-gone", "pod-new"])

    def applies(self, pod: PodInfo, state: ClusterState) -> bool:  # noqa: D102 - see Plugin
        demand = pod.demand
        return bool(demand.affinity or demand.anti_affinity or demand.preferred or state.affine_count)

    def prepare(self, pod: PodInfo, cycle: Cycle) -> None:  # noqa: D102 - see Plugin
        pairs, demand, labels_of = _Pairs(), pod.demand, cycle.state.namespace_labels
        for node in cycle.state.nodes.values():
            for other in node.affine.values():
                for term in other.demand.anti_affinity:
                    if term.key in node.labels and term.matches(pod, labels_of):
                        pairs.shunning[(term.key, node.labels[term.key])] += 1
            if not demand.affinity and not demand.anti_affinity:
                continue
            for other in node.pods.values():
                if demand.affinity and all(term.matches(other, labels_of) for term in demand.affinity):
                    pairs.wanted.update(_domains(demand.affinity, node))
                near = [term for term in demand.anti_affinity if term.matches(other, labels_of)]
                pairs.shunned.update(_domains(near, node))
        # The first Pod of a group that wants to be together would otherwise wait for itself.
        pairs.first_of_its_kind = not pairs.wanted and all(term.matches(pod, labels_of) for term in demand.affinity)
        cycle.prepared[self.name] = pairs

    def reject(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> tuple[str, ...]:  # noqa: D102 - see Plugin
        pairs: _Pairs = cycle.prepared[self.name]
        for term in pod.demand.affinity:
            value = node.labels.get(term.key)
            if value is None or not (pairs.wanted[(term.key, value)] or pairs.first_of_its_kind):
                return ("node(s) didn't match pod affinity rules",)
        if any(pairs.shunned[domain] for domain in _domains(pod.demand.anti_affinity, node)):
            return ("node(s) didn't match pod anti-affinity rules",)
        if pairs.shunning and any(pairs.shunning[(key, value)] for key, value in node.labels.items()):
            return ("node(s) didn't satisfy existing pods anti-affinity rules",)
        return ()

    def prepare_score(self, pod: PodInfo, cycle: Cycle) -> None:  # noqa: D102 - see Plugin
        values: Counter[_Domain] = Counter()
        labels_of = cycle.state.namespace_labels
        for node in cycle.state.nodes.values():
            for other in node.pods.values() if pod.demand.preferred else ():
                for term in pod.demand.preferred:
                    if term.key in node.labels and term.matches(other, labels_of):
                        values[(term.key, node.labels[term.key])] += term.weight
            for other in node.affine.values():
                for term, weight in _wishes(other):
                    if term.key in node.labels and term.matches(pod, labels_of):
                        values[(term.key, node.labels[term.key])] += weight
        cycle.prepared[self.name + "/score"] = values

    def score(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> float:  # noqa: D102 - see Plugin
        values: Counter[_Domain] = cycle.prepared[self.name + "/score"]
        return sum(values[(key, value)] for key, value in node.labels.items()) if values else 0

    def scaled(self, raw: float | None, low: float, high: float) -> int:  # noqa: D102 - see Plugin
        return int(SCORE_MAX * ((raw or 0) - low) / (high - low)) if high > low else 0

    def advice(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> str:  # noqa: D102 - see Plugin
        if pod.demand.affinity:
            return "no node is near the Pods that its affinity names; see whether they run"
        return "add a node, or relax the anti-affinity"


def _domains(terms: Sequence[PodTerm], node: NodeInfo) -> Iterator[_Domain]:
    for term in terms:
        value = node.labels.get(term.key)
        if value is not None:
            yield term.key, value


def _wishes(pod: PodInfo) -> Iterator[tuple[PodTerm, int]]:
    for term in pod.demand.preferred:
        yield term, term.weight
    for term in pod.demand.affinity:
        yield term, _HARD_WEIGHT
