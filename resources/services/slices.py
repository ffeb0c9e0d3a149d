"""Computes which EndpointSlices a Service should have, with as few writes as possible. Pure: trees in, trees out.

Endpoints stay in the slice where they are; freed places are filled before new slices are made; a slice holds endpoints
that listen on the same ports, a hundred at most.

Source: K/staging/src/k8s.io/endpointslice/reconciler.go, utils.go
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from reconcile.errors import Tree

ENDPOINTS_MAX = 100
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
_TERMINAL = ("Succeeded", "Failed")
_NONE: Tree = {}

Ports = tuple[tuple[str, str, int, str], ...]
"""Name, protocol, number, application protocol."""


@attrs.define
class Plan:
    """What to write: whole slices to create (without a name), to update, to delete."""

    create: list[Tree] = attrs.field(factory=list)
    update: list[Tree] = attrs.field(factory=list)
    delete: list[Tree] = attrs.field(factory=list)

    @property
    def writes(self) -> int:
        """How many writes it takes."""
        return len(self.create) + len(self.update) + len(self.delete)


def planned(service: Tree, pods: Iterable[Tree], slices: Sequence[Tree]) -> Plan:
    """The writes that make `slices` (the Service's own) show `pods` (those that its selector picks)."""
    wanted = _by_ports(service, pods)
    if not wanted:
        # A Service without endpoints has one empty slice, which says so: the one it has, rather than another.
        wanted = {ports_of(slices[0]) if slices else (): {}}
    existing: dict[Ports, list[Tree]] = {}
    plan = Plan()
    for tree in sorted(slices, key=lambda s: str(s["metadata"]["name"])):
        ports = ports_of(tree)
        if tree["metadata"].get("deletionTimestamp"):
            continue
        if ports in wanted and tree.get("addressType") == "IPv4":
            existing.setdefault(ports, []).append(tree)
        else:
            plan.delete.append(tree)
    labels = _labels(service)
    for ports, endpoints in wanted.items():
        _fill(plan, service, labels, ports, endpoints, existing.get(ports, []))
    return plan


def endpoint_of(service: Tree, pod: Tree) -> Tree | None:
    """The endpoint that a Pod is; None where it has no address or is over."""
    meta, spec, status = pod["metadata"], pod.get("spec") or _NONE, pod.get("status") or _NONE
    address = status.get("podIP")
    if not address or status.get("phase") in _TERMINAL:
        return None
    serving = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())
    terminating = "deletionTimestamp" in meta
    anyway = bool((service.get("spec") or _NONE).get("publishNotReadyAddresses"))
    endpoint: Tree = {
        "addresses": [address],
        "conditions": {"ready": anyway or (serving and not terminating), "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": meta.get("namespace", ""), "name": meta["name"], "uid": meta.get("uid", "")},
    }
    if spec.get("nodeName"):
        endpoint["nodeName"] = spec["nodeName"]
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = spec["hostname"]
    return endpoint


def port_number(target: object, pod: Tree, protocol: str) -> int | None:
    """The number behind a targetPort, which may be the name of one of the Pod's container ports."""
    if isinstance(target, int):
        return target
    spec = pod.get("spec") or _NONE
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for port in container.get("ports") or ():
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _by_ports(service: Tree, pods: Iterable[Tree]) -> dict[Ports, dict[str, Tree]]:
    """Endpoints by the ports they listen on, and by their Pod's uid."""
    groups: dict[Ports, dict[str, Tree]] = {}
    declared = (service.get("spec") or _NONE).get("ports") or ()
    fixed = ports_for(declared, _NONE) if all(isinstance(p.get("targetPort"), int) for p in declared) else None
    for pod in pods:
        endpoint = endpoint_of(service, pod)
        if endpoint is not None:
            ports = fixed if fixed is not None else ports_for(declared, pod)
            groups.setdefault(ports, {})[pod["metadata"].get("uid", "")] = endpoint
    return groups


def ports_for(declared: Iterable[Tree], pod: Tree) -> Ports:
    """The ports of a Service as a Pod has them; those that it does not have are left out."""
    found = []
    for port in declared:
        protocol = port.get("protocol") or "TCP"
        target = port.get("targetPort")
        number = port_number(port.get("port") if target in (None, 0, "") else target, pod, protocol)
        if number is not None:
            found.append((port.get("name") or "", protocol, number, port.get("appProtocol") or ""))
    return tuple(found)


def ports_of(tree: Tree) -> Ports:
    """The ports of a slice."""
    return tuple(
        (p.get("name") or "", p.get("protocol") or "TCP", int(p.get("port") or 0), p.get("appProtocol") or "")
        for p in tree.get("ports") or ()
    )


def _labels(service: Tree) -> dict[str, str]:
    """A slice has its Service's labels, and says whose it is."""
    labels = dict(service["metadata"].get("labels") or {})
    labels |= {SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}
    if (service.get("spec") or _NONE).get("clusterIP") == "None":
        labels[HEADLESS] = ""
    return labels


def _fill(plan: Plan, service: Tree, labels: dict[str, str], ports: Ports, wanted: dict[str, Tree], existing: list[Tree]) -> None:
    """Keep what is right, take out what is gone, and put what is new where there is room."""
    kept: list[tuple[Tree, list[Tree], bool]] = []
    missing = dict(wanted)
    for tree in existing:
        endpoints, changed = [], tree["metadata"].get("labels") != labels
        for endpoint in tree.get("endpoints") or ():
            newest = missing.pop((endpoint.get("targetRef") or _NONE).get("uid", ""), None)
            if newest is not None:
                endpoints.append(newest)
            changed = changed or newest is None or newest != endpoint
        kept.append((tree, endpoints, changed))
    rest = list(missing.values())
    # Slices that are written anyway take what is new first, the fullest before the others; then one that has room for all.
    for _, endpoints, _ in sorted((k for k in kept if k[2]), key=lambda k: -len(k[1])):
        room = ENDPOINTS_MAX - len(endpoints)
        endpoints.extend(rest[:room])
        rest = rest[room:]
    if rest:
        roomy = [k for k in kept if not k[2] and len(k[1]) + len(rest) <= ENDPOINTS_MAX]
        if roomy:
            best = max(roomy, key=lambda k: len(k[1]))
            kept[kept.index(best)] = (best[0], best[1] + rest, True)
            rest = []
    fresh = [rest[start : start + ENDPOINTS_MAX] for start in range(0, len(rest), ENDPOINTS_MAX)]
    if not fresh and not any(endpoints for _, endpoints, _ in kept):
        for tree, _, changed in kept[:1]:
            if changed:
                plan.update.append(_updated(tree, labels, []))
        plan.delete.extend(tree for tree, _, _ in kept[1:])
        if not kept:
            plan.create.append(_made(service, labels, ports, []))
        return
    for tree, endpoints, changed in kept:
        if not endpoints:
            plan.delete.append(tree)
        elif changed:
            plan.update.append(_updated(tree, labels, endpoints))
    plan.create.extend(_made(service, labels, ports, endpoints) for endpoints in fresh)


def _updated(tree: Tree, labels: dict[str, str], endpoints: list[Tree]) -> Tree:
    return {**tree, "metadata": {**tree["metadata"], "labels": labels}, "endpoints": endpoints}


def _made(service: Tree, labels: dict[str, str], ports: Ports, endpoints: list[Tree]) -> Tree:
    meta = service["metadata"]
    owner = {
        "apiVersion": "v1", "kind": "Service", "name": meta["name"], "uid": meta.get("uid", ""), "controller": True,
        "blockOwnerDeletion": True,
    }  # fmt: skip
    return {
        "metadata": {
            "generateName": f"{meta['name']}-", "namespace": meta.get("namespace", ""), "labels": labels,
            "ownerReferences": [owner],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [
            {"name": name, "protocol": protocol, "port": number, **({"appProtocol": app} if app else {})}
            for name, protocol, number, app in ports
        ],
    }  # fmt: skip
