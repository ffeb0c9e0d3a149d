"""Computes the Endpoints object of a Service: all its addresses in one object. Pure: trees in, trees out.

Source: K/pkg/controller/endpoint/endpoints_controller.go, K/staging/src/k8s.io/endpointslice/util
"""

from __future__ import annotations

from collections.abc import Iterable

from reconcile.errors import Tree

from .slices import HEADLESS, Ports, endpoint_of, ports_for

ADDRESSES_MAX = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"


def endpoints_of(service: Tree, pods: Iterable[Tree], old: Tree | None) -> Tree:
    """What the Service's Endpoints should be, given what they are; `old` itself where nothing is to be written."""
    meta = service["metadata"]
    subsets, truncated = _subsets(service, pods)
    labels = {**(meta.get("labels") or {}), MANAGED_BY: MANAGER}
    if (service.get("spec") or {}).get("clusterIP") == "None":
        labels[HEADLESS] = ""
    before = (old or {}).get("metadata") or {"name": meta["name"], "namespace": meta.get("namespace", "")}
    annotations = {key: value for key, value in (before.get("annotations") or {}).items() if key != OVER_CAPACITY}
    if truncated:
        annotations[OVER_CAPACITY] = "truncated"
    if (
        old is not None
        and (old.get("subsets") or []) == subsets
        and (before.get("labels") or {}) == labels
        and (before.get("annotations") or {}) == annotations
    ):
        return old
    made = {**before, "labels": labels, "annotations": annotations}
    if old is None:
        # The reference server's controller deletes them with their Service; ours leaves that to the garbage collector,
        # which forgets nothing while a controller is away.
        made["ownerReferences"] = [{"apiVersion": "v1", "kind": "Service", "name": meta["name"], "uid": meta["uid"]}]
    if not annotations:
        del made["annotations"]
    return {"metadata": made, "subsets": subsets}


def _subsets(service: Tree, pods: Iterable[Tree]) -> tuple[list[Tree], bool]:
    """Addresses that share their ports together, in the order of ports and addresses; and whether some are left out."""
    spec = service.get("spec") or {}
    anyway = bool(spec.get("publishNotReadyAddresses"))
    groups: dict[Ports, tuple[list[Tree], list[Tree]]] = {}
    for pod in pods:
        endpoint = endpoint_of(service, pod)
        if endpoint is None or (endpoint["conditions"]["terminating"] and not anyway):
            continue
        ports = ports_for(spec.get("ports") or (), pod)
        if not ports and spec.get("ports"):
            continue  # it has none of them
        ready, waiting = groups.setdefault(tuple(sorted(ports)), ([], []))
        (ready if endpoint["conditions"]["ready"] else waiting).append(_address(endpoint))
    room, total = ADDRESSES_MAX, 0
    shares: dict[Ports, list[list[Tree]]] = {ports: [] for ports in groups}
    for at in (0, 1):  # who is ready comes first
        for ports in sorted(groups):
            found = sorted(groups[ports][at], key=lambda address: (address["ip"], address["targetRef"]["uid"]))
            total += len(found)
            shares[ports].append(found[:room])
            room -= len(shares[ports][-1])
    subsets = []
    for ports, (ready, waiting) in sorted(shares.items()):
        subset: Tree = {}
        if ready:
            subset["addresses"] = ready
        if waiting:
            subset["notReadyAddresses"] = waiting
        if not subset:
            continue
        if ports:
            subset["ports"] = [_port(*port) for port in ports]
        subsets.append(subset)
    return subsets, total > ADDRESSES_MAX


def _address(endpoint: Tree) -> Tree:
    address: Tree = {"ip": endpoint["addresses"][0]}
    return address | {key: endpoint[key] for key in ("hostname", "nodeName", "targetRef") if key in endpoint}


def _port(name: str, protocol: str, number: int, app_protocol: str) -> Tree:
    port: Tree = {"port": number, "protocol": protocol}
    if name:
        port["name"] = name
    if app_protocol:
        port["appProtocol"] = app_protocol
    return port
