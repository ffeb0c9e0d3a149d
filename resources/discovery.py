"""EndpointSlice: up to a hundred addresses behind a Service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.views import field, struct

from .core.cells import AGE, path_cell, shortened
from .core.names import immutable, unsupported
from .core.references import ObjectReference

_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")


@struct
class EndpointConditions:
    """Whether an endpoint takes traffic; unknown counts as yes for ready and serving, as no for terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


@struct
class Endpoint:
    """One backend: its addresses, its state, and the Pod behind it."""

    addresses: list[str] = field(list_type="set")
    conditions: EndpointConditions = field(factory=EndpointConditions)
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    deprecated_topology: dict[str, str] = field(factory=dict)
    node_name: str | None = None
    zone: str | None = None
    hints: dict[str, Any] | None = field(default=None, preserve_unknown=True)


@struct
class EndpointPort:
    """A port that all endpoints of the slice listen on."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


def _default(tree: Tree) -> None:
    for endpoint in tree.get("endpoints") or ():
        endpoint.setdefault("conditions", {})
    for port in tree.get("ports") or ():
        if port.get("name") is None:
            port["name"] = ""
        if port.get("protocol") is None:
            port["protocol"] = "TCP"


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    address_type = tree.get("addressType")
    if address_type and address_type not in _ADDRESS_TYPES:
        yield unsupported("addressType", address_type, _ADDRESS_TYPES)
    if old is not None and address_type != old.get("addressType"):
        yield immutable("addressType", address_type)
    for position, endpoint in enumerate(tree.get("endpoints") or ()):
        if not endpoint.get("addresses"):
            yield Cause(
                "FieldValueRequired", "Required value: must contain at least 1 address", f"endpoints[{position}].addresses"
            )


def _ports(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return shortened([str(p["port"] if p.get("port") is not None else p.get("name") or "*") for p in tree.get("ports") or ()])


def _endpoints(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return shortened([a for endpoint in tree.get("endpoints") or () for a in endpoint.get("addresses") or ()])


@kind(
    "discovery.k8s.io", "v1", plural="endpointslices", builtin=True, hooks=Hooks(default=_default, validate=_validate),
    columns=(
        Column("AddressType", cell=path_cell("addressType"), doc="IPv4, IPv6 or FQDN."),
        Column("Ports", cell=_ports, doc="Ports of all its endpoints."),
        Column("Endpoints", cell=_endpoints, doc="Addresses."),
        AGE,
    ),
)  # fmt: skip
class EndpointSlice(Resource):
    """Part of the addresses behind a Service."""

    address_type: str
    endpoints: list[Endpoint] = field(factory=list, list_type="atomic")
    ports: list[EndpointPort] = field(factory=list, list_type="atomic")
