"""PodDisruptionBudget: how many of some Pods may be missing at once because somebody moves them."""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.quantities import IntOrString
from reconcile.resources.core.cells import AGE, path_cell
from reconcile.resources.core.references import Condition, LabelSelector
from reconcile.views import field, struct

NOT_AVAILABLE = "N/A"


@struct
class PodDisruptionBudgetSpec:
    """Which Pods, and how many of them must stay, or may be missing."""

    min_available: IntOrString | None = field(default=None, doc="So many must stay: a number, or a percentage.")
    selector: LabelSelector | None = field(
        default=None, map_type="atomic", doc="The Pods; an empty one selects all, none selects nothing."
    )
    max_unavailable: IntOrString | None = field(default=None, doc="So many may be missing: a number, or a percentage.")
    unhealthy_pod_eviction_policy: str | None = field(
        default=None, enum=("AlwaysAllow", "IfHealthyBudget"), doc="When Pods that are not ready may be evicted."
    )


@struct
class PodDisruptionBudgetStatus:
    """How many there are now, and how many more may go."""

    observed_generation: int = 0
    disrupted_pods: dict[str, str] = field(factory=dict, doc="Pods whose eviction was granted, until they are seen to go.")
    disruptions_allowed: int = field(default=0)
    current_healthy: int = field(default=0)
    desired_healthy: int = field(default=0)
    expected_pods: int = field(default=0)
    conditions: list[Condition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    """Source: K/pkg/apis/policy/validation/validation.go."""
    spec = tree.get("spec") or {}
    given = [name for name in ("minAvailable", "maxUnavailable") if spec.get(name) is not None]
    if len(given) == 2:
        text = f"Invalid value: {_shown(spec)}: minAvailable and maxUnavailable cannot be both set"
        yield Cause("FieldValueInvalid", text, "spec")
    for name in given:
        value = spec[name]
        if isinstance(value, int):
            if value < 0:
                text = f"Invalid value: {value}: must be greater than or equal to 0"
                yield Cause("FieldValueInvalid", text, f"spec.{name}")
        elif not (value.endswith("%") and value[:-1].isdecimal()):
            text = f"Invalid value: \"{value}\": a valid percent string must be a numeric string followed by an ending '%'"
            yield Cause("FieldValueInvalid", text, f"spec.{name}")
        elif int(value[:-1]) > 100:
            yield Cause("FieldValueInvalid", f'Invalid value: "{value}": must not be greater than 100%', f"spec.{name}")


def _shown(spec: Tree) -> str:
    return f"{{{spec['minAvailable']} {spec['maxUnavailable']}}}"


@kind(
    "policy", "v1", short_names=("pdb",), builtin=True, needs_revision=True, hooks=Hooks(validate=_validate),
    columns=(
        Column("Min Available", cell=path_cell("spec", "minAvailable", absent=NOT_AVAILABLE), doc="How many must stay."),
        Column("Max Unavailable", cell=path_cell("spec", "maxUnavailable", absent=NOT_AVAILABLE), doc="How many may be missing."),
        Column("Allowed Disruptions", ".status.disruptionsAllowed", "integer", doc="How many more may go now."),
        AGE,
    ),
)  # fmt: skip
class PodDisruptionBudget(Resource):
    """Keeps enough of some Pods running while others of them are evicted."""

    spec: PodDisruptionBudgetSpec = field(factory=PodDisruptionBudgetSpec)
    status: PodDisruptionBudgetStatus = field(
        factory=PodDisruptionBudgetStatus,
        server_default={"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
    )
