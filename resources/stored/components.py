"""ComponentStatus: how the parts of a control plane are, as old scripts ask with `kubectl get cs`. Computed, not stored.

Scheduler and controllers that run in the process that answers are healthy, since it answers; only the store can be in trouble
meanwhile. What does not run in it is asked where it is.

Source: k8s.io/kubernetes/pkg/registry/core/componentstatus/rest.go, k8s.io/kubernetes/pkg/printers/internalversion
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache

from reconcile.errors import Tree
from reconcile.kinds import Column, Kind

from .declaration import Cell, declared

_HEALTHY = "Healthy"
_STORE = "etcd-0"
_NAMES = ("scheduler", "controller-manager", _STORE)


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
    """The parts of a control plane. `store_trouble` says why the store does not serve, or nothing.

    `elsewhere` asks, by name, the parts that do not run in this process, in the same manner.
    """

    def __init__(self, store_trouble: Callable[[], str], elsewhere: Mapping[str, Callable[[], Awaitable[str]]] = {}) -> None:
        self._store_trouble, self._elsewhere = store_trouble, elsewhere

    async def get(self, name: str, namespace: str) -> Tree | None:
        """How one part is."""
        return await self._component(name) if name in _NAMES else None

    async def list(self, namespace: str) -> list[Tree]:
        """How all parts are."""
        return list(await asyncio.gather(*map(self._component, _NAMES)))

    async def _component(self, name: str) -> Tree:
        ask = self._elsewhere.get(name)
        trouble = await ask() if ask is not None else self._store_trouble() if name == _STORE else ""
        condition = {"type": _HEALTHY, "status": "False" if trouble else "True", "message": trouble or "ok"}
        return {"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name}, "conditions": [condition]}


def _state(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    states = {each["status"] for each in tree.get("conditions") or () if each["type"] == _HEALTHY}
    return {"True": _HEALTHY, "False": "Unhealthy"}.get(states.pop() if states else "", "Unknown")


def _told(part: str) -> Cell:
    def cell(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
        return str(next((each.get(part, "") for each in tree.get("conditions") or () if each["type"] == _HEALTHY), ""))

    return cell
