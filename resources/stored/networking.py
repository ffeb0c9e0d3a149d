"""Networking: Ingresses, network policies and addresses, and the old Endpoints. Nothing here routes or filters.

Source: k8s.io/kubernetes/pkg/apis/networking, k8s.io/kubernetes/pkg/printers/internalversion
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Kind
from reconcile.resources.core.cells import AGE, NONE, path_cell, selector_text
from reconcile.resources.core.names import check_selector, invalid, is_dns_label, is_port, is_subdomain, required

from .declaration import at, declared

_GROUP = "networking.k8s.io/v1"
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_SHOWN_MAX = 3


def networking_kinds() -> list[Kind]:
    """Everything about networks that is stored only."""
    return [
        endpoints(),
        declared(
            _GROUP, "Ingress", "ingresses", "Which requests from outside go to which Service.", short_names=("ing",), status=True,
            hooks=Hooks(validate=_validate_ingress), defaults={"status": {"loadBalancer": {}}},
            columns=(
                Column("Class", cell=_ingress_class, doc="Who serves it."),
                Column("Hosts", cell=_hosts, doc="Names that it answers to."),
                Column("Address", cell=_ingress_addresses, doc="Where it is reached."),
                Column("Ports", cell=lambda tree, _: "80, 443" if at(tree, "spec", "tls") else "80", doc="Ports it answers on."),
                AGE,
            ),
        ),
        declared(
            _GROUP, "IngressClass", "ingressclasses", "A server of Ingresses.", namespaced=False, immutable=("spec.controller",),
            defaults={"spec.parameters.scope": "Cluster"},
            columns=(
                Column("Controller", cell=path_cell("spec", "controller"), doc="Who serves them."),
                Column("Parameters", cell=_parameters, doc="An object with its settings."),
                AGE,
            ),
        ),
        declared(
            _GROUP, "NetworkPolicy", "networkpolicies", "Which Pods may speak to which.", short_names=("netpol",),
            hooks=Hooks(default=_default_policy, validate=_validate_policy),
            defaults={"spec.ingress[].ports[].protocol": "TCP", "spec.egress[].ports[].protocol": "TCP"},
            columns=(Column("Pod-Selector", cell=lambda t, _: selector_text(at(t, "spec", "podSelector")), doc="For whom."), AGE),
        ),
        ip_address(),
        service_cidr(),
    ]  # fmt: skip


@lru_cache(maxsize=1)
def ip_address() -> Kind:
    """The kind of an address that is taken, which is its name."""
    return declared(
        _GROUP, "IPAddress", "ipaddresses", "An address that is taken, by its name.", namespaced=False, short_names=("ip",),
        has_generation=False, columns=(Column("ParentRef", cell=_parent, doc="Who took it."),),
        hooks=Hooks(validate=_validate_address, wrong_name=_wrong_address),
    )  # fmt: skip


@lru_cache(maxsize=1)
def service_cidr() -> Kind:
    """The kind of a range out of which Services get addresses."""
    return declared(
        _GROUP, "ServiceCIDR", "servicecidrs", "A range out of which Services get addresses.", namespaced=False, status=True,
        has_generation=False,
        columns=(Column("CIDRs", cell=lambda tree, _: ",".join(at(tree, "spec", "cidrs") or ()), doc="The range."), AGE),
        hooks=Hooks(validate=_validate_range),
    )  # fmt: skip


@lru_cache(maxsize=1)
def endpoints() -> Kind:
    """The kind of the addresses behind a Service."""
    return declared(
        "v1", "Endpoints", "endpoints", "The addresses behind a Service, in the form before EndpointSlices.",
        short_names=("ep",), has_generation=False, defaults={"subsets[].ports[].protocol": "TCP"},
        deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        columns=(Column("Endpoints", cell=_addresses, doc="Addresses with ports."), AGE),
    )  # fmt: skip


def _wrong_address(name: str) -> str:
    from .address_rules import address_fault  # for those who write addresses, which few do

    return address_fault(name)


def _validate_address(tree: Tree, old: Tree | None) -> Iterable[Cause]:
    from .address_rules import validate_address

    return validate_address(tree, old)


def _validate_range(tree: Tree, old: Tree | None) -> Iterable[Cause]:
    from .address_rules import validate_range

    return validate_range(tree, old)


def _validate_ingress(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    spec = tree.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield invalid("spec", None, "either `defaultBackend` or `rules` must be specified")
    if spec.get("defaultBackend"):
        yield from _validate_backend(spec["defaultBackend"], "spec.defaultBackend")
    if spec.get("ingressClassName") is not None:
        yield from is_subdomain(spec["ingressClassName"], "spec.ingressClassName")
    for number, secured in enumerate(spec.get("tls") or ()):
        for position, host in enumerate(secured.get("hosts") or ()):
            yield from is_subdomain(host.removeprefix("*."), f"spec.tls[{number}].hosts[{position}]")
        if secured.get("secretName"):
            yield from is_subdomain(secured["secretName"], f"spec.tls[{number}].secretName")
    for number, rule in enumerate(spec.get("rules") or ()):
        if rule.get("host"):
            yield from is_subdomain(rule["host"].removeprefix("*."), f"spec.rules[{number}].host")
        if "http" not in rule:
            continue
        where = f"spec.rules[{number}].http.paths"
        if not at(rule, "http", "paths"):
            yield required(where)
        for position, path in enumerate(at(rule, "http", "paths") or ()):
            kind, text = path.get("pathType"), path.get("path") or ""
            if kind is None:
                yield required(f"{where}[{position}].pathType", "pathType must be specified")
            elif kind != "ImplementationSpecific" and not text.startswith("/"):
                yield invalid(f"{where}[{position}].path", text, "must be an absolute path")
            yield from _validate_backend(path.get("backend") or {}, f"{where}[{position}].backend")


def _validate_backend(backend: Tree, path: str) -> Iterator[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service and resource:
        yield invalid(path, "", "cannot set both resource and service backends")
    elif not service and not resource:
        yield required(path, "port name or number is required")
    elif service:
        if not service.get("name"):
            yield required(f"{path}.service.name")
        else:
            yield from is_dns_label(service["name"], f"{path}.service.name")
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            yield invalid(path, "", "cannot set both port name & port number")
        elif not port.get("name") and not port.get("number"):
            yield required(path, "port name or number is required")
        elif port.get("number"):
            yield from is_port(port["number"], f"{path}.service.port.number")


def _default_policy(tree: Tree) -> None:
    spec = tree.get("spec")
    if spec is not None and not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(("Egress",) if spec.get("egress") is not None else ())]


def _validate_policy(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    spec = tree.get("spec") or {}
    yield from check_selector(spec.get("podSelector"), "spec.podSelector")
    for way, peers in (("ingress", "from"), ("egress", "to")):
        for number, rule in enumerate(spec.get(way) or ()):
            for position, peer in enumerate(rule.get(peers) or ()):
                where = f"spec.{way}[{number}].{peers}[{position}]"
                if not peer:
                    yield required(where, "must specify a peer")
                for name in ("podSelector", "namespaceSelector"):
                    yield from check_selector(peer.get(name), f"{where}.{name}")


def _addresses(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    found = []
    for subset in tree.get("subsets") or ():
        for address in subset.get("addresses") or ():
            ports = subset.get("ports") or ()
            found += [f"{address.get('ip')}:{port.get('port')}" for port in ports] if ports else [str(address.get("ip"))]
    return _first(found) or NONE


def _first(items: list[str]) -> str:
    more = len(items) - _SHOWN_MAX
    return ",".join(items[:_SHOWN_MAX]) + (f" + {more} more..." if more > 0 else "")


def _ingress_class(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    annotated = (tree["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    return str(at(tree, "spec", "ingressClassName") or annotated or NONE)


def _hosts(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return _first([rule["host"] for rule in at(tree, "spec", "rules") or () if rule.get("host")]) or "*"


def _ingress_addresses(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    found = at(tree, "status", "loadBalancer", "ingress") or ()
    return ",".join(address for entry in found if (address := entry.get("ip") or entry.get("hostname")))


def _parameters(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    about = at(tree, "spec", "parameters")
    if not about:
        return NONE
    group = f".{about['apiGroup']}" if about.get("apiGroup") else ""
    return f"{about.get('kind')}{group}/{about.get('name')}"


def _parent(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    parent = at(tree, "spec", "parentRef") or {}
    resource = f"{parent.get('group')}/{parent.get('resource')}" if parent.get("group") else str(parent.get("resource", ""))
    return "/".join(part for part in (resource, parent.get("namespace"), parent.get("name")) if part)
