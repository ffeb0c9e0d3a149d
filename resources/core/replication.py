"""PodTemplate and ReplicationController: what came before Deployments, and is still asked for by old manifests.

Source: K/pkg/apis/core/v1/defaults.go (SetDefaults_ReplicationController), K/pkg/apis/core/validation
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, Scale, kind
from reconcile.views import field, struct

from .cells import AGE, labels_text, path_cell, template_columns
from .names import check_label_map, invalid, not_negative, required
from .pod_defaults import default_pod_template
from .pod_spec import PodTemplateSpec
from .pod_validation import validate_ending_template, validate_template
from .references import Condition


@struct
class ReplicationControllerSpec:
    """How many Pods, which ones, and what new ones look like."""

    replicas: int = field(default=1, doc="How many Pods are wanted.")
    min_ready_seconds: int = field(default=0, doc="How long a Pod must be ready to count as available.")
    selector: dict[str, str] = field(factory=dict, map_type="atomic", doc="Labels of the Pods; those of the template if absent.")
    template: PodTemplateSpec = field(factory=PodTemplateSpec, doc="What new Pods look like.")


@struct
class ReplicationControllerStatus:
    """How many Pods there are, and how they are."""

    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    observed_generation: int = 0
    conditions: list[Condition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )


def _default(tree: Tree) -> None:
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if labels and not spec.get("selector"):
        spec["selector"] = dict(labels)
    if labels and not tree["metadata"].get("labels"):
        tree["metadata"]["labels"] = dict(labels)
    spec.setdefault("replicas", 1)
    default_pod_template(spec)


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    spec = tree.get("spec") or {}
    yield from not_negative(spec.get("replicas"), "spec.replicas")
    yield from not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    selector, template = spec.get("selector") or {}, spec.get("template") or {}
    if not selector:
        yield required("spec.selector")
    yield from check_label_map(selector, "spec.selector")
    labels = (template.get("metadata") or {}).get("labels") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    if old is None or (old.get("spec") or {}).get("template") != template:
        yield from validate_template(template, "spec.template")


@kind(
    "", "v1", plural="replicationcontrollers", short_names=("rc",), categories=("all",), builtin=True, scale=Scale(),
    selectable_as={"status.replicas": ("status.replicas", "0")},
    hooks=Hooks(default=_default, validate=_validate, keeps_dependents=""),
    columns=(
        Column("Desired", type="integer", cell=path_cell("spec", "replicas", absent=0), doc="Pods wanted."),
        Column("Current", type="integer", cell=path_cell("status", "replicas", absent=0), doc="Pods there."),
        Column("Ready", type="integer", cell=path_cell("status", "readyReplicas", absent=0), doc="Pods ready."),
        AGE,
        *template_columns()[:2],
        Column("Selector", cell=lambda tree, _: labels_text(tree["spec"].get("selector")), priority=1, doc="Picks the Pods."),
    ),
)  # fmt: skip
class ReplicationController(Resource):
    """Keeps so many Pods of one template running; ReplicaSet and Deployment came after it."""

    spec: ReplicationControllerSpec = field(factory=ReplicationControllerSpec)
    status: ReplicationControllerStatus = field(factory=ReplicationControllerStatus, server_default={"replicas": 0})


def _validate_template(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    yield from validate_ending_template(tree.get("template") or {}, "template")


def _labels(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return labels_text(((tree.get("template") or {}).get("metadata") or {}).get("labels"))


def _containers(attribute: str) -> Column:
    def cell(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
        spec = (tree.get("template") or {}).get("spec") or {}
        return ",".join(str(container.get(attribute, "")) for container in spec.get("containers") or ())

    return Column("Containers" if attribute == "name" else "Images", cell=cell, doc="Of the template's containers.")


@kind(
    "", "v1", plural="podtemplates", builtin=True,
    hooks=Hooks(default=default_pod_template, validate=_validate_template, answers_deleted=True),
    columns=(_containers("name"), _containers("image"), Column("Pod Labels", cell=_labels, doc="Labels of its Pods.")),
)  # fmt: skip
class PodTemplate(Resource):
    """A template of Pods, kept for whoever reads it."""

    template: PodTemplateSpec = field(factory=PodTemplateSpec, doc="What the Pods look like.")
