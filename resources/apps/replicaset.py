"""ReplicaSet: so many Pods of one template."""

from __future__ import annotations

from reconcile.kinds import Column, Hooks, Resource, Scale, kind
from reconcile.resources.core.cells import AGE, path_cell, template_columns
from reconcile.resources.core.pod_spec import PodTemplateSpec
from reconcile.resources.core.references import Condition, LabelSelector
from reconcile.views import field, struct

from .rules import default_replica_set, validate_replica_set


@struct
class ReplicaSetSpec:
    """How many Pods, which ones, and what new ones look like."""

    replicas: int = field(default=1, doc="How many Pods are wanted.")
    min_ready_seconds: int = field(default=0, doc="How long a Pod must be ready to count as available.")
    selector: LabelSelector = field(map_type="atomic", doc="Picks the Pods; must match the template's labels.")
    template: PodTemplateSpec = field(factory=PodTemplateSpec, doc="What new Pods look like.")


@struct
class ReplicaSetStatus:
    """How many Pods there are, and how they are."""

    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int | None = None
    observed_generation: int = 0
    conditions: list[Condition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )


@kind(
    "apps", "v1", plural="replicasets", short_names=("rs",), categories=("all",), builtin=True, scale=Scale(),
    selectable_as={"status.replicas": ("status.replicas", "0")},
    hooks=Hooks(default=default_replica_set, validate=validate_replica_set),
    columns=(
        Column("Desired", type="integer", cell=path_cell("spec", "replicas", absent=0), doc="Pods wanted."),
        Column("Current", type="integer", cell=path_cell("status", "replicas", absent=0), doc="Pods there."),
        Column("Ready", type="integer", cell=path_cell("status", "readyReplicas", absent=0), doc="Pods ready."),
        AGE,
        *template_columns(),
    ),
)  # fmt: skip
class ReplicaSet(Resource):
    """Keeps so many Pods of one template running."""

    spec: ReplicaSetSpec = field(factory=lambda: ReplicaSetSpec(selector=LabelSelector()))
    status: ReplicaSetStatus = field(factory=ReplicaSetStatus, server_default={"replicas": 0})
