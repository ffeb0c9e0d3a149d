"""Deployment: Pods of one template, replaced step by step when the template changes."""

from __future__ import annotations

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, Resource, Scale, kind
from reconcile.quantities import IntOrString
from reconcile.resources.core.cells import AGE, path_cell, template_columns
from reconcile.resources.core.pod_spec import PodTemplateSpec
from reconcile.resources.core.references import Condition, LabelSelector
from reconcile.views import field, struct

from .rules import default_deployment, validate_deployment


@struct
class RollingUpdateDeployment:
    """How far a rolling update may go above and below the wanted number."""

    max_unavailable: IntOrString = field(default="25%", doc="Pods that may be missing; a percentage rounds down.")
    max_surge: IntOrString = field(default="25%", doc="Pods that may be there on top; a percentage rounds up.")


@struct
class DeploymentStrategy:
    """How Pods are replaced."""

    type: str = field(default="RollingUpdate", doc="RollingUpdate or Recreate.")
    rolling_update: RollingUpdateDeployment | None = None


@struct
class DeploymentSpec:
    """What is to run, how often, and how it changes."""

    replicas: int = field(default=1, doc="How many Pods are wanted.")
    selector: LabelSelector = field(map_type="atomic", doc="Picks the Pods; must match the template's labels; never changes.")
    template: PodTemplateSpec = field(doc="What the Pods look like.")
    strategy: DeploymentStrategy = field(factory=DeploymentStrategy, merge_strategy="retainKeys")
    min_ready_seconds: int = field(default=0, doc="How long a Pod must be ready to count as available.")
    revision_history_limit: int = field(default=10, doc="Old ReplicaSets to keep, to go back to.")
    paused: bool = field(default=False, doc="Whether changes of the template wait.")
    progress_deadline_seconds: int = field(default=600, doc="No progress for so long is a failure.")


@struct
class DeploymentCondition(Condition):
    """One aspect of a rollout: Progressing, Available, ReplicaFailure."""

    last_update_time: str = field(default="", format="date-time")


@struct
class DeploymentStatus:
    """How far the rollout is."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int | None = None
    conditions: list[DeploymentCondition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )
    collision_count: int | None = None


def _ready(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return f"{(tree.get('status') or {}).get('readyReplicas') or 0}/{tree['spec'].get('replicas') or 0}"


@kind(
    "apps", "v1", plural="deployments", short_names=("deploy",), categories=("all",), builtin=True, scale=Scale(),
    hooks=Hooks(default=default_deployment, validate=validate_deployment),
    columns=(
        Column("Ready", cell=_ready, doc="Ready Pods of those wanted."),
        Column("Up-to-date", cell=path_cell("status", "updatedReplicas", absent=0), doc="Pods of the newest template."),
        Column("Available", cell=path_cell("status", "availableReplicas", absent=0), doc="Pods that serve."),
        AGE,
        *template_columns(),
    ),
)  # fmt: skip
class Deployment(Resource):
    """Keeps Pods of one template running, and replaces them step by step when the template changes."""

    spec: DeploymentSpec = field(factory=lambda: DeploymentSpec(selector=LabelSelector(), template=PodTemplateSpec()))
    status: DeploymentStatus = field(factory=DeploymentStatus, server_default={})
