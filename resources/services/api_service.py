"""Keeps the Service `kubernetes` in the namespace default, by which clients inside a cluster look for its API.

Its address is the first of the range, which nobody else gets. It leads to where the API listens, in an EndpointSlice and in
Endpoints, both of which are this operator's alone. Who deletes any of them gets it back.

Source: K/pkg/controlplane/controller/kubernetesservice/controller.go, K/pkg/controlplane/reconcilers/endpointsadapter.go
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import attrs

from reconcile.client import MERGE_PATCH, Client, Patch
from reconcile.errors import AlreadyExistsError, NotFoundError, Tree
from reconcile.handling import Cluster, Requeue
from reconcile.kinds import Kind, kind_of
from reconcile.registry import Operator
from reconcile.resources.core import Namespace, Service
from reconcile.resources.discovery import EndpointSlice
from reconcile.views import tree_of

from .slices import SERVICE_NAME

NAME, NAMESPACE = "kubernetes", "default"
PORT = 443
_PORT_NAME = "https"
_LOOK_S = 60.0  # Endpoints have no class to be watched by


@attrs.frozen
class ApiPlace:
    """Where the API listens, and the port at which its Service leads there."""

    host: str
    port: int
    service_port: int = PORT


def first_address(cidr: str) -> str:
    """The address of the Service in a range."""
    return str(ipaddress.ip_network(cidr)[1])


def api_service(cidr: str, place: Callable[[], ApiPlace | None], endpoints: Callable[[], Kind | None]) -> Operator:
    """The operator; `place` gives where the API is (None: nowhere, and there is no Service), `endpoints` that kind."""
    app = Operator("api-service")

    @app.on.reconcile(Namespace, when=lambda obj, **_: obj.name == NAMESPACE)
    async def kept(obj: Namespace, cluster: Cluster) -> Requeue | None:  # noqa: ARG001 - the namespace itself says nothing
        found = place()
        if found is None:
            return None
        # Reading makes them dependencies: who deletes or changes one gets it back.
        service = await cluster.find(Service, NAME, NAMESPACE)
        piece = await cluster.find(EndpointSlice, NAME, NAMESPACE)
        client, cls = cluster.client, endpoints()
        await _ensure(client, kind_of(Service), tree_of(service) if service else None, _service(cidr, found))
        await _ensure(client, kind_of(EndpointSlice), tree_of(piece) if piece else None, _slice(found))
        if cls is None:
            return None
        await _ensure(client, cls, await _known(client, cls), _endpoints(found))
        return Requeue(_LOOK_S)

    return app


async def _known(client: Client, kind: Kind) -> Tree | None:
    try:
        return await client.get(kind, NAME, NAMESPACE)
    except NotFoundError:
        return None


async def _ensure(client: Client, kind: Kind, known: Tree | None, wanted: Tree) -> None:
    """Create it, or put right what is ours of it; labels and annotations of others stay."""
    if known is None:
        try:
            await client.create(kind, wanted, NAMESPACE)
        except AlreadyExistsError:
            return  # the cache was a moment behind
        return
    change = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind", "metadata")}
    if "spec" in change:
        change["spec"] = {key: value for key, value in change["spec"].items() if key not in ("clusterIP", "clusterIPs")}
    labels = wanted["metadata"]["labels"]
    had = known["metadata"].get("labels") or {}
    if _holds(known, change) and labels.items() <= had.items():
        return
    try:
        await client.patch(kind, NAME, Patch(MERGE_PATCH, {**change, "metadata": {"labels": labels}}), NAMESPACE)
    except NotFoundError:
        return  # it was deleted at this moment, which calls this again


def _holds(known: object, wanted: object) -> bool:
    """Whether everything that is wanted is there, whatever else is."""
    if isinstance(wanted, dict) and isinstance(known, dict):
        return all(key in known and _holds(known[key], value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(known, list):
        return len(known) == len(wanted) and all(map(_holds, known, wanted))
    return known == wanted


def _service(cidr: str, place: ApiPlace) -> Tree:
    port = {"name": _PORT_NAME, "protocol": "TCP", "port": place.service_port, "targetPort": place.port}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": first_address(cidr), "clusterIPs": [first_address(cidr)], "type": "ClusterIP", "ports": [port]},
    }


def _slice(place: ApiPlace) -> Tree:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {SERVICE_NAME: NAME}},
        "addressType": "IPv6" if ":" in place.host else "IPv4",
        "endpoints": [{"addresses": [place.host], "conditions": {"ready": True}}],
        "ports": [{"name": _PORT_NAME, "protocol": "TCP", "port": place.port}],
    }


def _endpoints(place: ApiPlace) -> Tree:
    subset = {"addresses": [{"ip": place.host}], "ports": [{"name": _PORT_NAME, "port": place.port, "protocol": "TCP"}]}
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [subset],
    }
