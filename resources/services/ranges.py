"""The ranges of Services as objects: the cluster's own ServiceCIDR, and an IPAddress for each address that a Service has.

Who gives the addresses (`addresses`) works in memory. This follows it: an IPAddress comes a moment after its Service and goes
after it, and costs the Service's writer nothing. The other way round it counts, too: an IPAddress that somebody else made keeps
its address from all Services, and Services may have addresses of further ServiceCIDRs that are ready.

Source: K/pkg/controlplane/controller/defaultservicecidr, K/pkg/registry/core/service/ipallocator/{ipallocator,cidrallocator}.go
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from reconcile.clock import Clock
from reconcile.conditions import condition, is_true, with_condition
from reconcile.errors import AlreadyExistsError, NotFoundError, Tree
from reconcile.handling import Cluster
from reconcile.kinds import Resource, typed
from reconcile.registry import Operator
from reconcile.resources.core import Namespace, Service
from reconcile.resources.stored.declaration import class_of
from reconcile.resources.stored.networking import ip_address, service_cidr
from reconcile.views import tree_of

from .addresses import Addresses

IPAddress, ServiceCIDR = class_of(ip_address()), class_of(service_cidr())
NAME = "kubernetes"
MANAGED_BY, MANAGER = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
FAMILY = "ipaddress.kubernetes.io/ip-family"
READY = "Ready"


def service_ranges(cidr: str, addresses: Addresses) -> Operator:
    """The operator; `addresses` are the ones that `service_addresses` gives out of `cidr`."""
    app = Operator("service-ranges")

    @app.on.reconcile(Namespace, when=lambda obj, **_: obj.name == "default", name="own-range")
    async def own_range(obj: Namespace, cluster: Cluster, clock: Clock) -> None:  # noqa: ARG001 - the namespace says nothing
        # Reading it makes it a dependency: who deletes it gets it back.
        found = await cluster.find(ServiceCIDR, NAME)
        if found is None:
            made = typed(ServiceCIDR, {"metadata": {"name": NAME}, "spec": {"cidrs": [cidr]}})
            try:
                found = await cluster.create(made)
            except AlreadyExistsError:
                return  # the cache was a moment behind
        tree = tree_of(found)
        same = (tree.get("spec") or {}).get("cidrs") == [cidr]
        known = condition((tree.get("status") or {}).get("conditions"), READY)
        if same and not found.deleting and (known is None or known.get("status") == "Unknown"):
            await tell_ready(found, cluster, clock, "True", "", "Kubernetes default Service CIDR is ready")

    @app.on.event(ServiceCIDR, inline=True, name="range")
    def range_seen(obj: Resource, event: str) -> None:
        tree = tree_of(obj)
        ready = event != "DELETED" and not obj.deleting and is_true((tree.get("status") or {}).get("conditions"), READY)
        addresses.set_range(obj.name, (tree.get("spec") or {}).get("cidrs") or () if ready and obj.name != NAME else ())

    @app.on.event(IPAddress, inline=True, name="address")
    def address_seen(obj: Resource, event: str) -> None:
        addresses.keep(obj.name, "" if event == "DELETED" or is_ours(tree_of(obj)) else f"ipaddress {obj.name}")

    @app.on.reconcile(Service, workers=8, name="address-of-service")
    async def noted(service: Service, cluster: Cluster) -> None:
        tree = tree_of(service)
        for address in addresses_of(tree):
            found = await cluster.find(IPAddress, address)
            if found is None:
                await _note(cluster, address, tree)
            elif is_ours(tree_of(found)) and not _belongs(tree_of(found), tree):
                await cluster.delete(found)  # the Service that had it is gone, or was told another one: it comes back as its own

    @app.on.reconcile(IPAddress, workers=8, name="owner-of-address")
    async def owned(obj: Resource, cluster: Cluster) -> None:
        tree = tree_of(obj)
        if not is_ours(tree):
            return
        parent = tree["spec"]["parentRef"]
        service = await cluster.find(Service, parent.get("name", ""), parent.get("namespace", ""))
        if service is None or obj.name not in addresses_of(tree_of(service)):
            await cluster.delete(obj)

    return app


async def tell_ready(obj: Resource, cluster: Cluster, clock: Clock, status: str, reason: str, message: str) -> None:
    """Say whether a ServiceCIDR is ready, unless it says so already."""
    tree = tree_of(obj)
    before = (tree.get("status") or {}).get("conditions") or []
    known = condition(before, READY) or {}
    if (known.get("status"), known.get("reason", ""), known.get("message")) == (status, reason, message):
        return
    told = {"type": READY, "status": status, "reason": reason, "message": message}
    conditions = with_condition(before, told, clock.now())
    guard = {"resourceVersion": tree["metadata"]["resourceVersion"]}
    await cluster.patch(obj, {"metadata": guard, "status": {"conditions": conditions}}, subresource="status")


def is_ours(address: Tree) -> bool:
    """Whether an IPAddress stands for a Service's address, and was not made by somebody else."""
    return (address["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER


def addresses_of(service: Tree) -> Iterator[str]:
    """The addresses inside the cluster that a Service has."""
    spec = service.get("spec") or {}
    if spec.get("type") != "ExternalName":
        yield from (address for address in spec.get("clusterIPs") or () if address and address != "None")


def _belongs(address: Tree, service: Tree) -> bool:
    parent, meta = address["spec"]["parentRef"], service["metadata"]
    return (parent.get("namespace"), parent.get("name")) == (meta.get("namespace"), meta["name"])


async def _note(cluster: Cluster, address: str, service: Tree) -> None:
    meta = service["metadata"]
    family = "IPv6" if ipaddress.ip_address(address).version == 6 else "IPv4"
    tree = {
        "metadata": {"name": address, "labels": {FAMILY: family, MANAGED_BY: MANAGER}},
        "spec": {"parentRef": {"resource": "services", "namespace": meta["namespace"], "name": meta["name"]}},
    }  # fmt: skip  # one part a line
    try:
        await cluster.create(typed(IPAddress, tree))
    except (AlreadyExistsError, NotFoundError):
        return  # it is on its way to the cache, which calls this again
