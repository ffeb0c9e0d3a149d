"""ControllerRevision: a past state of a StatefulSet or DaemonSet, kept to go back to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.resources.core.cells import AGE, NONE, path_cell
from reconcile.resources.core.names import immutable, not_negative
from reconcile.views import field

from .pod_state import controller_of


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    yield from not_negative(tree.get("revision"), "revision")
    if old is not None and old.get("data") != tree.get("data"):
        yield immutable("data", tree.get("data"))


def _controller(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    owner = controller_of(tree)
    if owner is None:
        return NONE
    group = str(owner.get("apiVersion", "")).rpartition("/")[0]
    return f"{str(owner['kind']).lower()}{'.' if group else ''}{group}/{owner['name']}"


@kind(
    "apps", "v1", plural="controllerrevisions", builtin=True, has_generation=False, hooks=Hooks(validate=_validate),
    columns=(
        Column("Controller", cell=_controller, doc="Whose past it is."),
        Column("Revision", cell=path_cell("revision", absent=0), doc="Its number: the highest is the newest."),
        AGE,
    ),
)  # fmt: skip
class ControllerRevision(Resource):
    """A past state of a StatefulSet or DaemonSet."""

    data: dict[str, Any] = field(factory=dict, preserve_unknown=True, doc="The state, as a patch that brings it back.")
    revision: int = field(default=0, doc="The highest is the newest.")
