"""Endpoint slice mirroring: Endpoints that somebody wrote for a Service without a selector, as EndpointSlices.

Everything that routes (our own proxies too) reads EndpointSlices alone.

Source: K/pkg/controller/endpointslicemirroring/reconciler.go, utils.go
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from reconcile.errors import Tree
from reconcile.handling import Cluster, Key
from reconcile.kinds import typed
from reconcile.registry import Operator, Watch
from reconcile.resources.core import Service
from reconcile.resources.discovery import EndpointSlice
from reconcile.views import tree_of

from .endpoints import OVER_CAPACITY
from .endpoints_controller import Endpoints
from .slices import HEADLESS, MANAGED_BY, SERVICE_NAME, Plan, ports_of

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
ENDPOINTS_MAX = 1000
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_MIRRORED = frozenset(
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration", OVER_CAPACITY]
)


def endpoint_slice_mirroring() -> Operator:
    """The operator that mirrors Endpoints."""
    app = Operator("endpoint-slice-mirroring")

    def same_name(service: Service) -> Iterator[Key]:
        yield Key(service.namespace, service.name)

    @app.on.reconcile(Endpoints, owns=(EndpointSlice,), watches=(Watch(Service, to=same_name),), workers=2, backoff_s_first=0.1)
    async def mirrored(endpoints: Endpoints, cluster: Cluster) -> None:  # type: ignore[valid-type]  # a class made from data
        tree = tree_of(endpoints)
        meta = tree["metadata"]
        known = await cluster.list(EndpointSlice, meta["namespace"], owner=endpoints)
        own = [s for s in map(tree_of, known) if (s["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER]
        service = await cluster.find(Service, meta["name"], meta["namespace"])
        wanted = service is not None and not service.spec.selector and is_mirrored(tree)
        plan = planned(tree, own) if wanted else Plan(delete=own)
        for made in plan.create:
            await cluster.create(typed(EndpointSlice, made))
        for changed in plan.update:
            await cluster.update(typed(EndpointSlice, changed))
        for gone in plan.delete:
            await cluster.delete(typed(EndpointSlice, gone))

    return app


def is_mirrored(endpoints: Tree) -> bool:
    """Whether Endpoints are addresses at all, and nobody asked for them to be left alone."""
    meta = endpoints["metadata"]
    return (meta.get("labels") or {}).get(SKIP) != "true" and _LEADER not in (meta.get("annotations") or {})


def planned(endpoints: Tree, slices: Sequence[Tree]) -> Plan:
    """The writes that make `slices` (mirrors of these Endpoints) show them: one for each subset and family of addresses."""
    plan, left = Plan(), [tree for tree in slices if "deletionTimestamp" not in tree["metadata"]]
    for wanted in _wanted(endpoints):
        found = next((t for t in left if t["addressType"] == wanted["addressType"] and ports_of(t) == ports_of(wanted)), None)
        if found is None:
            plan.create.append(wanted)
            continue
        left.remove(found)
        meta = found["metadata"]
        same = (found.get("endpoints") or []) == wanted["endpoints"] and all(
            (meta.get(part) or {}) == (wanted["metadata"].get(part) or {}) for part in ("labels", "annotations")
        )
        if not same:
            parts = {part: wanted["metadata"][part] for part in ("labels", "annotations")}
            plan.update.append({**found, "metadata": {**meta, **parts}, "endpoints": wanted["endpoints"]})
    plan.delete.extend(left)
    return plan


def _wanted(endpoints: Tree) -> Iterator[Tree]:
    meta = endpoints["metadata"]
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HEADLESS}
    made = {
        "generateName": f"{meta['name']}-", "namespace": meta["namespace"],
        "labels": {**labels, SERVICE_NAME: meta["name"], MANAGED_BY: MANAGER},
        "annotations": {key: value for key, value in (meta.get("annotations") or {}).items() if key not in _NOT_MIRRORED},
        "ownerReferences": [{
            "apiVersion": "v1", "kind": "Endpoints", "name": meta["name"], "uid": meta["uid"], "controller": True,
            "blockOwnerDeletion": True,
        }],
    }  # fmt: skip
    for subset in endpoints.get("subsets") or ():
        families: dict[str, list[Tree]] = {}
        for part, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(part) or ():
                family = families.setdefault(_family(address["ip"]), [])
                if len(family) < ENDPOINTS_MAX:
                    family.append(_endpoint(address, ready))
        ports = [{"name": "", "protocol": "TCP", **port} for port in subset.get("ports") or ()]
        for family_name, found in sorted(families.items()):
            yield {"metadata": made, "addressType": family_name, "endpoints": found, "ports": ports}


def _family(address: str) -> str:
    return "IPv6" if ipaddress.ip_address(address).version == 6 else "IPv4"


def _endpoint(address: Tree, ready: bool) -> Tree:
    more = {key: address[key] for key in ("hostname", "nodeName", "targetRef") if address.get(key)}
    return {"addresses": [address["ip"]], "conditions": {"ready": ready}, **more}
