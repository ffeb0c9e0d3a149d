"""PriorityClass: a name for how important a Pod is.

Source: K/pkg/apis/scheduling/validation, https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.resources.core.cells import AGE, path_cell
from reconcile.resources.core.names import forbidden, immutable, unsupported
from reconcile.views import field

VALUE_MAX = 1_000_000_000
SYSTEM = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
PREEMPTS, NEVER = "PreemptLowerPriority", "Never"
_SYSTEM_PREFIX = "system-"
_DOCS = {
    "system-cluster-critical": "Used for system critical pods that must run in the cluster, but can be moved to another node if "
    "necessary.",
    "system-node-critical": "Used for system critical pods that must not be moved from their current node.",
}  # fmt: skip


def system_classes() -> list[Tree]:
    """The two classes that every cluster has."""
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "description": _DOCS[name],
        }
        for name, value in SYSTEM.items()
    ]  # fmt: skip


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    name, value = tree["metadata"].get("name") or "", tree.get("value") or 0
    policy = tree.get("preemptionPolicy")
    if policy not in (PREEMPTS, NEVER):
        yield unsupported("preemptionPolicy", policy, (PREEMPTS, NEVER))
    if old is not None:
        if old.get("value") != tree.get("value"):
            yield forbidden("value", "may not be changed in an update.")
        if old.get("preemptionPolicy") != policy:
            yield immutable("preemptionPolicy", policy)
        return
    if name.startswith(_SYSTEM_PREFIX):
        if SYSTEM.get(name) != value or tree.get("globalDefault"):
            why = f"priority class names with '{_SYSTEM_PREFIX}' prefix are reserved for system use only. error: {name} is not a "
            yield forbidden("metadata.name", f"{why}known system priority class")
    elif value > VALUE_MAX:
        yield forbidden("value", f"maximum allowed value of a user defined priority is {VALUE_MAX}")


@kind(
    "scheduling.k8s.io", "v1", plural="priorityclasses", namespaced=False, short_names=("pc",), builtin=True,
    has_generation=True, hooks=Hooks(validate=_validate),
    columns=(
        Column("Value", type="integer", cell=path_cell("value", absent=0), doc="The higher, the more important."),
        Column(
            "Global-Default", type="boolean", cell=path_cell("globalDefault", absent=False),
            doc="Whether Pods without a class get it.",
        ),
        AGE,
        Column("PreemptionPolicy", cell=path_cell("preemptionPolicy"), doc="Whether its Pods may push out others."),
    ),
)  # fmt: skip
class PriorityClass(Resource):
    """A name for how important a Pod is."""

    value: int = field(default=0, format="int32", doc="The higher, the more important.")
    global_default: bool = field(default=False, doc="Whether Pods without a class get this one; at most one may.")
    description: str = field(default="", doc="When to use it.")
    preemption_policy: str | None = field(
        default=None, server_default=PREEMPTS, doc="PreemptLowerPriority, or Never: its Pods wait for room."
    )
