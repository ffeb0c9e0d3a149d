"""Namespace: a room of its own for the names of other objects.

A deleted Namespace lingers while spec.finalizers holds anything; the namespace controller empties it and then takes the
`kubernetes` finalizer away. With the last of them the namespace itself goes.
"""

from __future__ import annotations

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.views import field, struct

from .cells import AGE, path_cell
from .references import Condition

FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"


@struct
class NamespaceSpec:
    """What holds the namespace back from going away."""

    finalizers: list[str] = field(factory=list, list_type="atomic")


@struct
class NamespaceStatus:
    """Active, or Terminating, and what is in the way."""

    phase: str = ""
    conditions: list[Condition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )


def _default(tree: Tree) -> None:
    meta = tree["metadata"]
    name = meta.get("name")
    if name:
        labels = meta.get("labels")
        if labels is None:
            meta["labels"] = {NAME_LABEL: name}
        elif labels.get(NAME_LABEL) != name:
            labels[NAME_LABEL] = name


def _prepare(tree: Tree, old: Tree | None) -> None:
    """Keep spec.finalizers, so that a plain replace does not let a full namespace go: only `finalize` changes them."""
    spec = tree.setdefault("spec", {})
    if old is None:
        finalizers = spec.get("finalizers") or []
        spec["finalizers"] = finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER]
        tree["status"] = {"phase": "Active"}
        return
    kept = (old.get("spec") or {}).get("finalizers")
    if kept:
        spec["finalizers"] = kept
    else:
        spec.pop("finalizers", None)


def _held(tree: Tree) -> bool:
    """A namespace lingers as long as something holds it; then it goes at once, whatever grace was asked for."""
    return bool((tree.get("spec") or {}).get("finalizers"))


def _ending(tree: Tree) -> Tree:
    """Clients see by the phase that it is going away, from the answer to the deletion on."""
    return {**tree, "status": {**(tree.get("status") or {}), "phase": "Terminating"}}


def _finalize(tree: Tree, body: Tree) -> Tree:
    """Replace spec.finalizers by those in `body` (a Namespace)."""
    finalizers = (body.get("spec") or {}).get("finalizers")
    return {**tree, "spec": {"finalizers": finalizers} if finalizers else {}}


@kind(
    "", "v1", plural="namespaces", namespaced=False, short_names=("ns",), builtin=True, has_generation=False,
    selectable=("status.phase",),
    columns=(Column("Status", cell=path_cell("status", "phase"), doc="Active or Terminating."), AGE),
    hooks=Hooks(default=_default, prepare=_prepare, held=_held, ending=_ending, actions={"finalize": _finalize}),
)  # fmt: skip
class Namespace(Resource):
    """A room of its own for names; what is in it goes when it goes."""

    spec: NamespaceSpec = field(factory=NamespaceSpec)
    status: NamespaceStatus = field(factory=NamespaceStatus)
