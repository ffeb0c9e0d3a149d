"""metrics.k8s.io of simulated nodes and their Pods, so that `kubectl top` and what scales by it find figures."""

from __future__ import annotations

import attrs

from reconcile.clock import Clock, timestamp
from reconcile.errors import Tree
from reconcile.kinds import Kind, kind_of
from reconcile.resources.core import Node, Pod
from reconcile.resources.kubelet.simulated_usage import containers_usage, node_usage
from reconcile.runtime.api import ApiServer

from .node import NODE_METRICS, POD_METRICS

_WINDOW = "15s"


def serve_simulated(api: ApiServer, clock: Clock) -> None:
    """Serve the figures."""
    api.serve_virtual(POD_METRICS, SimulatedPodMeter(api, clock))
    api.serve_virtual(NODE_METRICS, SimulatedNodeMeter(api, clock))


@attrs.frozen
class SimulatedPodMeter:
    """PodMetrics."""

    api: ApiServer
    clock: Clock

    async def get(self, name: str, namespace: str) -> Tree | None:
        """What one Pod uses, or None if it does not run."""
        return next((tree for tree in await self.list(namespace) if tree["metadata"]["name"] == name), None)

    async def list(self, namespace: str) -> list[Tree]:
        """What each Pod uses."""
        found = []
        for item in (await self.api.list(kind_of(Pod), namespace)).items:
            containers = [{"name": name, "usage": usage} for name, usage in containers_usage(item.tree)]
            if containers:
                found.append({**_head(POD_METRICS, item.tree, self.clock), "containers": containers})
        return found


@attrs.frozen
class SimulatedNodeMeter:
    """NodeMetrics."""

    api: ApiServer
    clock: Clock

    async def get(self, name: str, namespace: str) -> Tree | None:
        """What one node uses, or None if there is no such node."""
        return next((tree for tree in await self.list(namespace) if tree["metadata"]["name"] == name), None)

    async def list(self, namespace: str) -> list[Tree]:
        """What each node uses."""
        pods = [item.tree for item in (await self.api.list(kind_of(Pod))).items]
        nodes = (await self.api.list(kind_of(Node))).items
        return [{**_head(NODE_METRICS, item.tree, self.clock), "usage": node_usage(item.tree, pods)} for item in nodes]


def _head(kind: Kind, of: Tree, clock: Clock) -> Tree:
    meta, at = of["metadata"], timestamp(clock.now())
    named = {key: meta[key] for key in ("name", "namespace", "labels") if key in meta}
    return {
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {**named, "creationTimestamp": at}, "timestamp": at,
        "window": _WINDOW,
    }  # fmt: skip
