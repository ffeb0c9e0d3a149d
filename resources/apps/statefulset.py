"""StatefulSet: Pods with names, and storage, of their own, started and replaced one after the other."""

from __future__ import annotations

from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, Resource, Scale, kind
from reconcile.quantities import IntOrString
from reconcile.resources.core.cells import AGE, template_columns
from reconcile.resources.core.pod_spec import PodTemplateSpec
from reconcile.resources.core.references import Condition, LabelSelector
from reconcile.views import field, struct

from .rules import default_stateful_set, validate_stateful_set


@struct
class RollingUpdateStatefulSetStrategy:
    """How far a rolling update goes."""

    partition: int | None = field(default=None, doc="Pods with lower ordinals stay as they are.")
    max_unavailable: IntOrString | None = field(default=None, doc="Pods that may be missing; one is replaced at a time here.")


@struct
class StatefulSetUpdateStrategy:
    """How Pods are replaced."""

    type: str = field(default="", doc="RollingUpdate, or OnDelete: when somebody deletes them.")
    rolling_update: RollingUpdateStatefulSetStrategy | None = None


@struct
class StatefulSetPersistentVolumeClaimRetentionPolicy:
    """What becomes of the claims."""

    when_deleted: str = field(default="", doc="Retain or Delete, when the set goes.")
    when_scaled: str = field(default="", doc="Retain or Delete, when a Pod goes because there are to be fewer.")


@struct
class StatefulSetOrdinals:
    """How Pods are numbered."""

    start: int = field(default=0, doc="The number of the first.")


@struct
class StatefulSetSpec:
    """How many Pods, what they look like, and how they change."""

    replicas: int = field(default=1, doc="How many Pods are wanted.")
    selector: LabelSelector = field(map_type="atomic", doc="Picks the Pods; must match the template's labels; never changes.")
    template: PodTemplateSpec = field(doc="What the Pods look like.")
    volume_claim_templates: list[dict[str, Any]] = field(factory=list, list_type="atomic", doc="Claims that each Pod has.")
    service_name: str = field(default="", doc="The headless Service under which the Pods have names.")
    pod_management_policy: str = field(default="", doc="OrderedReady: one after the other; Parallel: all at once.")
    update_strategy: StatefulSetUpdateStrategy = field(factory=StatefulSetUpdateStrategy)
    revision_history_limit: int | None = field(default=None, doc="Old revisions to keep, to go back to.")
    min_ready_seconds: int = field(default=0, doc="How long a Pod must be ready to count as available.")
    persistent_volume_claim_retention_policy: StatefulSetPersistentVolumeClaimRetentionPolicy | None = None
    ordinals: StatefulSetOrdinals | None = None


@struct
class StatefulSetStatus:
    """How many Pods there are, and of which revision."""

    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    current_revision: str = field(default="", doc="The revision that Pods are of which are not updated.")
    update_revision: str = field(default="", doc="The revision that Pods are to be of.")
    collision_count: int | None = None
    conditions: list[Condition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )
    available_replicas: int = 0


def _ready(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return f"{(tree.get('status') or {}).get('readyReplicas') or 0}/{tree['spec'].get('replicas') or 0}"


@kind(
    "apps", "v1", plural="statefulsets", short_names=("sts",), categories=("all",), builtin=True, scale=Scale(),
    hooks=Hooks(default=default_stateful_set, validate=validate_stateful_set),
    columns=(Column("Ready", cell=_ready, doc="Ready Pods of those wanted."), AGE, *template_columns()[:2]),
)  # fmt: skip
class StatefulSet(Resource):
    """Keeps Pods with names of their own, started and replaced one after the other."""

    spec: StatefulSetSpec = field(factory=lambda: StatefulSetSpec(selector=LabelSelector(), template=PodTemplateSpec()))
    status: StatefulSetStatus = field(factory=StatefulSetStatus, server_default={"replicas": 0, "availableReplicas": 0})
