"""What a Pod says about where it may run: affinity, tolerations, spreading."""

from __future__ import annotations

from reconcile.views import field, struct

from .references import LabelSelector


@struct
class NodeSelectorRequirement:
    """One rule over a node's labels or fields: In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: list[str] = field(factory=list, list_type="atomic")


@struct
class NodeSelectorTerm:
    """Rules that must all hold."""

    match_expressions: list[NodeSelectorRequirement] = field(factory=list, list_type="atomic", doc="Over labels.")
    match_fields: list[NodeSelectorRequirement] = field(factory=list, list_type="atomic", doc="Over fields (metadata.name).")


@struct
class NodeSelector:
    """Picks nodes: one of the terms must hold."""

    node_selector_terms: list[NodeSelectorTerm] = field(list_type="atomic")


@struct
class PreferredSchedulingTerm:
    """A wish about nodes, with a weight from 1 to 100."""

    weight: int
    preference: NodeSelectorTerm


@struct
class NodeAffinity:
    """Which nodes a Pod must have, and which it would like."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = field(default=None, map_type="atomic")
    preferred_during_scheduling_ignored_during_execution: list[PreferredSchedulingTerm] = field(factory=list, list_type="atomic")


@struct
class PodAffinityTerm:
    """Other Pods, and the node label within whose value they count as near."""

    label_selector: LabelSelector | None = field(default=None, map_type="atomic")
    namespaces: list[str] = field(factory=list, list_type="atomic")
    namespace_selector: LabelSelector | None = field(default=None, map_type="atomic")
    topology_key: str
    match_label_keys: list[str] = field(factory=list, list_type="atomic")
    mismatch_label_keys: list[str] = field(factory=list, list_type="atomic")


@struct
class WeightedPodAffinityTerm:
    """A wish about other Pods, with a weight from 1 to 100."""

    weight: int
    pod_affinity_term: PodAffinityTerm


@struct
class PodAffinity:
    """Which Pods a Pod wants near (or, as anti-affinity, far)."""

    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] = field(factory=list, list_type="atomic")
    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm] = field(factory=list, list_type="atomic")


@struct
class Affinity:
    """A Pod's rules about nodes and about other Pods."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


@struct
class Toleration:
    """A taint that a Pod bears, for ever or for some seconds."""

    key: str = field(default="", doc="Empty, with operator Exists, bears every taint.")
    operator: str = field(default="", doc="Equal (as if empty), Exists, Lt or Gt.")
    value: str = ""
    effect: str = field(default="", doc="NoSchedule, PreferNoSchedule or NoExecute; empty means all.")
    toleration_seconds: int | None = None


@struct
class TopologySpreadConstraint:
    """How evenly Pods are spread over the values of a node label."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: str
    label_selector: LabelSelector | None = field(default=None, map_type="atomic")
    min_domains: int | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
    match_label_keys: list[str] = field(factory=list, list_type="atomic")
