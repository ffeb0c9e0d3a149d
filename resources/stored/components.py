"""ComponentStatus: how the parts of a control plane are, as old scripts ask with `kubectl get cs`. Computed, not stored.

Scheduler and controllers run in the process that answers, so that an answer says of itself that they run; only the store can be
in trouble meanwhile.

Source: k8s.io/kubernetes/pkg/registry/core/componentstatus/rest.go, k8s.io/kubernetes/pkg/printers/internalversion
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from reconcile.errors import Tree
from reconcile.kinds import Column, Kind

from .declaration import Cell, declared

_HEALTHY = "Healthy"


@lru_cache(maxsize=1)
def component_kind() -> Kind:
    """The kind; a reader of it is told that it is deprecated."""
    return declared(
        "v1", "ComponentStatus", "componentstatuses", "How a part of the control plane is. Deprecated.", short_names=("cs",),
        namespaced=False, deprecation="v1 ComponentStatus is deprecated in v1.19+",
        columns=(
            Column("Status", cell=_state, doc="Healthy or not."), Column("Message", cell=_told("message"), doc="What it says."),
            Column("Error", cell=_told("error"), doc="Why it cannot be asked."),
        ),
    )  # fmt: skip


class Components:
    """The parts of a control plane. `store_trouble` says why the store does not serve, or nothing."""

    def __init__(self, store_trouble: Callable[[], str]) -> None:
        self._store_trouble = store_trouble

    async def get(self, name: str, namespace: str) -> Tree | None:
        """How one part is."""
        return next((tree for tree in await self.list(namespace) if tree["metadata"]["name"] == name), None)

    async def list(self, namespace: str) -> list[Tree]:
        """How all parts are."""
        return [_component("scheduler", ""), _component("controller-manager", ""), _component("etcd-0", self._store_trouble())]


def _component(name: str, trouble: str) -> Tree:
    condition = {"type": _HEALTHY, "status": "False" if trouble else "True", "message": trouble or "ok"}
    return {"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name}, "conditions": [condition]}


def _state(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    states = {each["status"] for each in tree.get("conditions") or () if each["type"] == _HEALTHY}
    return {"True": _HEALTHY, "False": "Unhealthy"}.get(states.pop() if states else "", "Unknown")


def _told(part: str) -> Cell:
    def cell(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
        return str(next((each.get(part, "") for each in tree.get("conditions") or () if each["type"] == _HEALTHY), ""))

    return cell
