"""A Service's defaults and rules. Addresses are given by `reconcile.resources.services`.

Source: K/pkg/apis/core/v1/defaults.go, ValidateService in K/pkg/apis/core/validation/validation.go
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from reconcile.errors import Cause, Tree

from .names import (
    check_label_map,
    duplicate,
    forbidden,
    immutable,
    invalid,
    is_dns_label,
    is_int_or_named_port,
    is_port,
    is_qualified_name,
    is_service_name,
    is_subdomain,
    required,
    unsupported,
)

_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_AFFINITY_S = 10800
_AFFINITY_S_MAX = 86400


def default_service(tree: Tree) -> None:
    """Fill in a Service's defaults."""
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", _AFFINITY_S)
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    kind = spec["type"]
    if kind in ("NodePort", "LoadBalancer") and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if kind != "ExternalName":
        if not spec.get("internalTrafficPolicy"):
            spec["internalTrafficPolicy"] = "Cluster"
        if not spec.get("ipFamilies"):
            spec["ipFamilies"] = ["IPv4"]
        if not spec.get("ipFamilyPolicy"):
            spec["ipFamilyPolicy"] = "SingleStack"
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True


def prepare_service(tree: Tree, old: Tree | None) -> None:
    """Keep an address that a writer left out, and let it go where the type has none."""
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return
    if old is None:
        tree["status"] = {"loadBalancer": {}}
    before = (old or {}).get("spec") or {}
    if spec.get("type") == "ExternalName":
        if before.get("type") != "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                spec.pop(name, None)
        return
    if before.get("clusterIP") and not spec.get("clusterIP") and before.get("type") != "ExternalName":
        spec["clusterIP"] = before["clusterIP"]
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]


def validate_service(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a Service."""
    meta, spec = tree["metadata"], tree.get("spec") or {}
    if old is None and meta.get("name"):
        yield from is_service_name(meta["name"], "metadata.name")
    kind = spec.get("type")
    if kind and kind not in _TYPES:
        yield unsupported("spec.type", kind, _TYPES)
    headless = spec.get("clusterIP") == "None"
    if kind != "ExternalName" and not headless and not spec.get("ports"):
        yield required("spec.ports")
    if kind == "LoadBalancer" and headless:
        yield invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services")
    if kind == "NodePort" and headless:
        yield invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services")
    if kind == "ExternalName":
        if spec.get("clusterIP"):
            yield forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'")
        if not spec.get("externalName"):
            yield required("spec.externalName")
        else:
            yield from is_subdomain(spec["externalName"].rstrip("."), "spec.externalName")
    yield from check_label_map(spec.get("selector"), "spec.selector")
    yield from _check_ports(spec)
    yield from _check_outside(spec)
    yield from _check_affinity(spec)
    yield from _check_addresses(spec)
    if old is not None:
        yield from _check_address_stays(spec, old.get("spec") or {})


def _check_ports(spec: Tree) -> Iterator[Cause]:
    ports = spec.get("ports") or ()
    names, pairs, node_ports = set(), set(), set()
    for position, port in enumerate(ports):
        at = f"spec.ports[{position}]"
        name, protocol = port.get("name"), port.get("protocol")
        if not name:
            if len(ports) > 1:
                yield required(f"{at}.name")
        else:
            yield from is_dns_label(name, f"{at}.name")
            if name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
        yield from is_port(port.get("port"), f"{at}.port")
        if protocol not in _PROTOCOLS:
            yield unsupported(f"{at}.protocol", protocol, _PROTOCOLS)
        if port.get("targetPort") is not None:
            yield from is_int_or_named_port(port["targetPort"], f"{at}.targetPort")
        if port.get("appProtocol"):
            yield from is_qualified_name(port["appProtocol"], f"{at}.appProtocol")
        if port.get("nodePort"):
            if spec.get("type") not in ("NodePort", "LoadBalancer"):
                yield forbidden(f"{at}.nodePort", f"may not be used when `type` is '{spec.get('type')}'")
            if (protocol, port["nodePort"]) in node_ports:
                yield duplicate(f"{at}.nodePort", port["nodePort"])
            node_ports.add((protocol, port["nodePort"]))
        if (protocol, port.get("port")) in pairs:
            yield duplicate(at, {"protocol": protocol, "port": port.get("port")})
        pairs.add((protocol, port.get("port")))


def _check_outside(spec: Tree) -> Iterator[Cause]:
    """What is for clients outside alone, and where traffic shall go."""
    kind, policy = spec.get("type"), spec.get("externalTrafficPolicy")
    if policy and kind not in ("NodePort", "LoadBalancer") and not spec.get("externalIPs"):
        yield invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    elif policy and policy not in ("Cluster", "Local"):
        yield unsupported("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    port = spec.get("healthCheckNodePort")
    if port and not (kind == "LoadBalancer" and policy == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid("spec.healthCheckNodePort", port, why)
    if spec.get("loadBalancerClass") is not None and kind != "LoadBalancer":
        yield forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
    for name, known in (("internalTrafficPolicy", ("Cluster", "Local")), ("trafficDistribution", _DISTRIBUTIONS)):
        if spec.get(name) is not None and spec[name] not in known:
            yield unsupported(f"spec.{name}", spec[name], known)


def _check_affinity(spec: Tree) -> Iterator[Cause]:
    affinity = spec.get("sessionAffinity")
    if affinity not in (None, "None", "ClientIP"):
        yield unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    timeout_s = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if timeout_s is not None and not 0 < timeout_s <= _AFFINITY_S_MAX:
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        yield invalid(path, timeout_s, f"must be greater than 0 and less than {_AFFINITY_S_MAX}")


def _check_addresses(spec: Tree) -> Iterator[Cause]:
    address, addresses = spec.get("clusterIP"), spec.get("clusterIPs") or []
    if address and addresses and addresses[0] != address:
        yield invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    if address and address != "None" and not _is_address(address):
        yield invalid("spec.clusterIPs[0]", address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
    for position, outside in enumerate(spec.get("externalIPs") or ()):
        if not _is_address(outside):
            yield invalid(
                f"spec.externalIPs[{position}]", outside, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            )


def _check_address_stays(spec: Tree, before: Tree) -> Iterator[Cause]:
    """An address is somebody's by now: it may only go with a change of type from or to ExternalName."""
    if "ExternalName" in (spec.get("type"), before.get("type")):
        return
    if before.get("clusterIP") and spec.get("clusterIP") != before["clusterIP"]:
        yield immutable("spec.clusterIPs[0]", [spec.get("clusterIP")])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
