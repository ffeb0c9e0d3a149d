"""The shape of a scheduling plugin: what it forbids, and what it prefers.

A plugin filters (says why a node will not do), scores, or both. `node_local` promises that what it says about a node depends
on the Pod's Demand and on that node alone; results of such plugins are kept from Pod to Pod. Scores are either plain
(0 to 100) or raw numbers that `scaled` brings to 0..100 within the lowest and highest of all feasible nodes.

Source: k8s.io/kube-scheduler/framework (Filter, Score, NormalizeScore), without the phases that nothing here needs
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from .demand import PodInfo
from .snapshot import ClusterState, NodeInfo

SCORE_MAX = 100


@attrs.define
class Cycle:
    """One attempt to place one Pod: where it looks, what each plugin prepared, and the nodes that passed all filters."""

    state: ClusterState
    prepared: dict[str, Any] = attrs.field(factory=dict)
    feasible: Sequence[NodeInfo] = ()


class Plugin:
    """A plugin that forbids nothing and prefers nothing; subclass it. Names are those that users read in reasons."""

    name = ""
    weight = 0
    """How much the score counts; 0: does not score."""
    filters = False
    node_local = True
    helped_by: frozenset[str] = frozenset(["node"])
    """What can make a rejected Pod fit: changes of a node (`node`), a Pod's end (`pod-gone`), a Pod's start (`pod-new`),
    a change of a claim, volume or class (`volume`)."""

    def applies(self, pod: PodInfo, state: ClusterState) -> bool:
        """Whether the plugin has anything to say about this Pod now."""
        return True

    def prepare(self, pod: PodInfo, cycle: Cycle) -> None:
        """Work out once for the Pod what filtering needs (into `cycle.prepared[self.name]`)."""

    def reject(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> tuple[str, ...]:
        """Why the node will not do, in the words of `0/3 nodes are available: 2 <reason>`; empty where it will."""
        return ()

    def prepare_score(self, pod: PodInfo, cycle: Cycle) -> None:
        """Work out once what scoring needs; `cycle.feasible` is known now."""

    def score(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> float | None:
        """How good the node is; None: the worst there is."""
        return 0

    def scaled(self, raw: float | None, low: float, high: float) -> int:
        """Bring a raw score to 0..100, given the lowest and highest of all feasible nodes."""
        return int(raw or 0)

    def advice(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> str:
        """What would help a Pod that this plugin rejected on these nodes, in words; empty where nothing can be said."""
        return ""


def scaled_to_max(raw: float, high: float, *, reverse: bool = False) -> int:
    """Raw scores as shares of the highest; reversed, the highest becomes 0.

    Source: helper.DefaultNormalizeScore
    """
    if high == 0:
        return SCORE_MAX if reverse else int(raw)
    share = int(SCORE_MAX * raw // high)
    return SCORE_MAX - share if reverse else share
