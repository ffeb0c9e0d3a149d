"""The rest: templates of Pods, runtime classes, and devices (DRA).

Source: k8s.io/kubernetes/pkg/printers/internalversion
"""

from __future__ import annotations

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, Kind
from reconcile.resources.core.cells import AGE, path_cell

from .declaration import at, declared

_DEVICES = "resource.k8s.io/v1"
_ANSWERS_DELETED = Hooks(answers_deleted=True)


def other_kinds() -> list[Kind]:
    """Kinds that belong to no larger subject."""
    return [
        declared(
            "node.k8s.io/v1", "RuntimeClass", "runtimeclasses", "A way of running containers.", namespaced=False,
            has_generation=False, needs_revision=True, immutable=("handler",),
            columns=(Column("Handler", cell=path_cell("handler"), doc="What the node calls it."), AGE),
        ),
        declared(_DEVICES, "DeviceClass", "deviceclasses", "Devices of one sort.", namespaced=False, hooks=_ANSWERS_DELETED),
        declared(
            _DEVICES, "ResourceClaim", "resourceclaims", "A wish for devices.", status=True, immutable=("spec",),
            has_generation=False, hooks=Hooks(answers_deleted=True, default=_default_claim),
            columns=(Column("State", cell=_claim_state, doc="pending, or who has what."), AGE),
        ),
        declared(
            _DEVICES, "ResourceClaimTemplate", "resourceclaimtemplates", "Claims, one for each Pod.", immutable=("spec",),
            has_generation=False,
            hooks=Hooks(answers_deleted=True, default=_default_template),
        ),
        declared(
            _DEVICES, "ResourceSlice", "resourceslices", "Devices that a driver offers.", namespaced=False,
            hooks=_ANSWERS_DELETED, defaults={"spec.pool.generation": 0},
            selectable=("spec.nodeName", "spec.driver"), immutable=("spec.nodeName", "spec.driver"),
            columns=(
                Column("Node", cell=path_cell("spec", "nodeName", absent="<unset>"), doc="Where they are."),
                Column("Driver", cell=path_cell("spec", "driver"), doc="Whose they are."),
                Column("Pool", cell=path_cell("spec", "pool", "name"), doc="The pool that they belong to."),
                AGE,
            ),
        ),
    ]  # fmt: skip


def _default_claim(tree: Tree) -> None:
    """Who asks for devices without a number asks for one; schedulers do not guess. Source: K/pkg/apis/resource/v1/defaults.go."""
    requests = at(tree, "spec", "devices", "requests")
    for request in requests if isinstance(requests, list) else ():
        if not isinstance(request, dict):
            continue  # the schema's rules say so
        chosen = request.get("firstAvailable")
        for wish in (request.get("exactly"), *(chosen if isinstance(chosen, list) else ())):
            if (
                isinstance(wish, dict)
                and wish.setdefault("allocationMode", "ExactCount") == "ExactCount"
                and not wish.get("count")
            ):
                wish["count"] = 1


def _default_template(tree: Tree) -> None:
    if isinstance(spec := tree.get("spec"), dict):
        spec.setdefault("metadata", {})
        _default_claim(spec)


def _claim_state(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    states = []
    if "deletionTimestamp" in tree["metadata"]:
        states.append("deleted")
    if at(tree, "status", "allocation") is None:
        return ",".join([*states, "pending"]) if not states else "deleted,pending"
    states.append("allocated")
    if at(tree, "status", "reservedFor"):
        states.append("reserved")
    return ",".join(states)
