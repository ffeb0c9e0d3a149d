"""Where connections to a Service go, from its EndpointSlices. Pure: a table that events keep and connections ask.

Ready endpoints take new connections; where none is ready, those that terminate but still serve do, as in kube-proxy.
Among them the one with the fewest open connections is taken, in turn where they are equal.

Source: pkg/proxy/topology.go CategorizeEndpoints
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import attrs

from reconcile.errors import Tree
from reconcile.handling import Key

SERVICE_LABEL = "kubernetes.io/service-name"


@attrs.frozen
class Backend:
    """One address and port of a Pod."""

    address: str
    port: int


class ServiceBackends:
    """The endpoints of one Service, by the slices that tell of them."""

    def __init__(self) -> None:
        self._slices: dict[str, Tree] = {}
        self._by_port: dict[str, tuple[Backend, ...]] = {}
        self._open: dict[Backend, int] = {}
        self._turn = 0
        self._changed = asyncio.Event()

    def put(self, name: str, tree: Tree | None) -> None:
        """Take over the newest state of a slice; None: it is gone."""
        if tree is None:
            self._slices.pop(name, None)
        else:
            self._slices[name] = tree
        self._by_port.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change (a new event each time)."""
        return self._changed

    @property
    def empty(self) -> bool:
        """Whether no slice tells of this Service."""
        return not self._slices

    def of_port(self, port_name: str) -> tuple[Backend, ...]:
        """The backends that take new connections to the Service's port of that name."""
        found = self._by_port.get(port_name)
        if found is None:
            found = self._by_port[port_name] = backends_of(self._slices.values(), port_name)
        return found

    def pick(self, port_name: str, tried: Collection[Backend]) -> Backend | None:
        """The next backend to connect to, none of `tried`; None where there is no (other) one."""
        candidates = [backend for backend in self.of_port(port_name) if backend not in tried]
        if not candidates:
            return None
        self._turn += 1
        start = self._turn % len(candidates)
        return min((*candidates[start:], *candidates[:start]), key=lambda backend: self._open.get(backend, 0))

    def opened(self, backend: Backend) -> None:
        """Count a connection."""
        self._open[backend] = self._open.get(backend, 0) + 1

    def closed(self, backend: Backend) -> None:
        """Count it no more."""
        left = self._open.get(backend, 0) - 1
        if left > 0:
            self._open[backend] = left
        else:
            self._open.pop(backend, None)


def backends_of(slices: Collection[Tree], port_name: str) -> tuple[Backend, ...]:
    """The ready endpoints of a named port, else those that serve while they terminate; each once, in a fixed order."""
    ready: dict[Backend, None] = {}
    ending: dict[Backend, None] = {}
    for tree in slices:
        ports = [port["port"] for port in tree.get("ports") or () if (port.get("name") or "") == port_name and port.get("port")]
        for endpoint in tree.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            terminating = bool(conditions.get("terminating"))
            serving = conditions.get("serving", conditions.get("ready", True)) is not False
            kept = ready if conditions.get("ready", True) is not False and not terminating else ending
            if kept is ending and not (terminating and serving):
                continue
            kept |= {Backend(address, port): None for port in ports for address in endpoint.get("addresses") or ()}
    return tuple(ready or ending)


def service_of(tree: Tree) -> Key | None:
    """The Service that a slice belongs to."""
    name = (tree["metadata"].get("labels") or {}).get(SERVICE_LABEL)
    return Key(tree["metadata"].get("namespace", ""), name) if name else None
