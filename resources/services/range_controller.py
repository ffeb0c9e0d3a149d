"""The controller of ServiceCIDRs: says that they are ready, and keeps them while they have addresses that no other one has.

Source: K/pkg/controller/servicecidrs/servicecidrs_controller.go
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from reconcile.clock import Clock, parse_timestamp
from reconcile.errors import Tree
from reconcile.handling import Cluster, Requeue
from reconcile.kinds import Resource
from reconcile.registry import Operator
from reconcile.views import tree_of

from .ranges import IPAddress, ServiceCIDR, is_ours, tell_ready

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE_S = 10.0
"""From the deletion to the end: who gives addresses hears of it meanwhile."""
_HELD = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def service_cidr_controller() -> Operator:
    """The operator that keeps ServiceCIDRs."""
    app = Operator("service-cidr-controller")

    @app.on.reconcile(ServiceCIDR, while_deleting=True, workers=5, backoff_s_first=0.1)
    async def kept(obj: Resource, cluster: Cluster, clock: Clock) -> Requeue | None:
        meta = tree_of(obj)["metadata"]
        finalizers = meta.get("finalizers") or []
        if not obj.deleting:
            if FINALIZER not in finalizers:
                guard = {"resourceVersion": meta["resourceVersion"], "finalizers": [*finalizers, FINALIZER]}
                await cluster.patch(obj, {"metadata": guard})
                return None  # and is called again with what that made
            await tell_ready(obj, cluster, clock, "True", "", "Kubernetes Service CIDR is ready")
            return None
        if FINALIZER not in finalizers:
            return None
        # What is read here is what this waits for: it is called again when any of it changes.
        ranges = [tree_of(other) for other in await cluster.list(ServiceCIDR)]
        taken = [address.name for address in await cluster.list(IPAddress) if is_ours(tree_of(address))]
        if not may_go(tree_of(obj), ranges, taken):
            await tell_ready(obj, cluster, clock, "False", "Terminating", _HELD)
            return None
        left_s = parse_timestamp(meta["deletionTimestamp"]) + GRACE_S - clock.now()
        if left_s > 0:
            return Requeue(left_s)
        kept_on = [name for name in finalizers if name != FINALIZER]
        await cluster.patch(obj, {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": kept_on}})
        return None

    return app


def may_go(going: Tree, ranges: Sequence[Tree], taken: Sequence[str]) -> bool:
    """Whether no address that is taken would be left without a range."""
    others = [
        network for tree in ranges if tree["metadata"]["name"] != going["metadata"]["name"] for network in networks_of(tree)
    ]
    own = networks_of(going)
    if all(any(_contains(other, network) for other in others) for network in own):
        return True
    for name in taken:
        address = ipaddress.ip_address(name)
        if any(address in network for network in own) and not any(address in network for network in others):
            return False
    return True


def networks_of(tree: Tree) -> list[_Network]:
    """The ranges of a ServiceCIDR."""
    return [ipaddress.ip_network(text) for text in (tree.get("spec") or {}).get("cidrs") or ()]


def _contains(outer: _Network, inner: _Network) -> bool:
    return (
        outer.version == inner.version
        and outer.prefixlen <= inner.prefixlen
        and inner.network_address in outer
    )  # fmt: skip  # one test a line
