"""DaemonSet: one Pod of a template on each node that is meant."""

from __future__ import annotations

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.quantities import IntOrString
from reconcile.resources.core.cells import AGE, labels_text, path_cell, template_columns
from reconcile.resources.core.pod_spec import PodTemplateSpec
from reconcile.resources.core.references import Condition, LabelSelector
from reconcile.views import field, struct

from .rules import default_daemon_set, prepare_daemon_set, validate_daemon_set


@struct
class RollingUpdateDaemonSet:
    """How many nodes may be without, or have a second Pod, during an update."""

    max_unavailable: IntOrString | None = field(default=None, doc="Nodes that may be without; a percentage rounds up.")
    max_surge: IntOrString | None = field(default=None, doc="Nodes that may have both; a percentage rounds up.")


@struct
class DaemonSetUpdateStrategy:
    """How Pods are replaced."""

    type: str = field(default="", doc="RollingUpdate, or OnDelete: when somebody deletes them.")
    rolling_update: RollingUpdateDaemonSet | None = None


@struct
class DaemonSetSpec:
    """What runs on each node, on which, and how it changes."""

    selector: LabelSelector = field(map_type="atomic", doc="Picks the Pods; must match the template's labels; never changes.")
    template: PodTemplateSpec = field(doc="What the Pods look like, and which nodes they fit.")
    update_strategy: DaemonSetUpdateStrategy = field(factory=DaemonSetUpdateStrategy)
    min_ready_seconds: int = field(default=0, doc="How long a Pod must be ready to count as available.")
    revision_history_limit: int | None = field(default=None, doc="Old revisions to keep, to go back to.")


@struct
class DaemonSetStatus:
    """On how many nodes it runs, of those that are meant."""

    current_number_scheduled: int = 0
    number_misscheduled: int = field(default=0, doc="Nodes that have a Pod and should not.")
    desired_number_scheduled: int = 0
    number_ready: int = 0
    observed_generation: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    collision_count: int | None = None
    conditions: list[Condition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )


def _node_selector(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return labels_text(((tree["spec"].get("template") or {}).get("spec") or {}).get("nodeSelector"))


def _count(title: str, name: str, doc: str) -> Column:
    return Column(title, type="integer", cell=path_cell("status", name, absent=0), doc=doc)


@kind(
    "apps", "v1", plural="daemonsets", short_names=("ds",), categories=("all",), builtin=True,
    hooks=Hooks(default=default_daemon_set, prepare=prepare_daemon_set, validate=validate_daemon_set),
    columns=(
        _count("Desired", "desiredNumberScheduled", "Nodes that are meant."),
        _count("Current", "currentNumberScheduled", "Nodes that have a Pod."),
        _count("Ready", "numberReady", "Nodes whose Pod is ready."),
        _count("Up-to-date", "updatedNumberScheduled", "Nodes whose Pod is of the newest template."),
        _count("Available", "numberAvailable", "Nodes whose Pod serves."),
        Column("Node Selector", cell=_node_selector, doc="Which nodes are meant."),
        AGE,
        *template_columns(),
    ),
)  # fmt: skip
class DaemonSet(Resource):
    """Keeps one Pod of a template on each node that is meant."""

    spec: DaemonSetSpec = field(factory=lambda: DaemonSetSpec(selector=LabelSelector(), template=PodTemplateSpec()))
    status: DaemonSetStatus = field(
        factory=DaemonSetStatus,
        server_default={
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        },
    )  # fmt: skip
