"""What surrounds the apps under test: the built-in kinds, and as much of a cluster as they rely on."""

from __future__ import annotations

from reconcile.resources import builtin_kinds, controllers
from reconcile.resources.core import Namespace
from reconcile.resources.gc import garbage_collector
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.cluster import Parts
from reconcile.runtime.testing.state import Ignore
from reconcile.runtime.testing.universe import Ground

_NAMESPACES = ("default", "kube-system", "kube-node-lease")
"""Always these: plans name revisions, and what a new cluster holds may change."""
SERVICE_CIDR = "10.96.0.0/16"

CHANCE: Ignore = {
    "pods": ["spec.nodeName", "status.podIP", "status.podIPs", "status.hostIP", "status.hostIPs"],
    "endpointslices": ["endpoints.addresses", "endpoints.nodeName"],
    "services": ["spec.clusterIP", "spec.clusterIPs"],
}
"""What is chance in a cluster: where a Pod runs, and which addresses it and Services get."""


def ignored(cluster: bool, ignore: Ignore | None) -> Ignore:
    """What may differ: what was declared, and with a cluster what is chance there."""
    found = {kind: list(paths) for kind, paths in (CHANCE if cluster else {}).items()}
    for kind, paths in (ignore or {}).items():
        found.setdefault(kind, []).extend(paths)
    return found


def surroundings(*, cluster: bool = False, nodes: int = 2, bare: bool = False) -> Ground:
    """A function that makes them anew for each world.

    As a rule that is the API with all built-in kinds, and the garbage collector, which deletes what deleted objects owned.
    With `cluster` also the built-in controllers, the scheduler and so many simulated `nodes`: Deployments get Pods, and Pods
    run. `bare`: the API alone.
    """

    def parts() -> Parts:
        objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in _NAMESPACES]
        operators = []
        if cluster:
            operators = [*controllers(SERVICE_CIDR), scheduler(), simulated_nodes(nodes)]
        elif not bare:
            operators = [garbage_collector()]
        return Parts(builtin_kinds(), Namespace, objects, operators)

    return parts
