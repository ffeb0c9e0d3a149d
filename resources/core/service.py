"""Service: one stable address for the Pods that a selector picks."""

from __future__ import annotations

from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.quantities import IntOrString
from reconcile.views import field, struct

from .cells import AGE, NONE, labels_text, path_cell
from .proxy_connections import SERVICE_PROXY
from .references import Condition
from .service_rules import default_service, prepare_service, validate_service


@struct
class ServicePort:
    """A port of the Service and where it leads."""

    name: str = ""
    protocol: str = field(default="TCP", server_default="TCP", enum=("TCP", "UDP", "SCTP"))
    app_protocol: str | None = None
    port: int
    target_port: IntOrString | None = field(default=None, doc="A number, or the name of a container port; `port` unless given.")
    node_port: int | None = None


@struct
class ClientIPConfig:
    """How long a client stays with one Pod."""

    timeout_seconds: int | None = None


@struct
class SessionAffinityConfig:
    """The settings of session affinity."""

    client_ip: ClientIPConfig | None = field(default=None, name="clientIP")


@struct
class ServiceSpec:
    """Which Pods, at which address and ports."""

    ports: list[ServicePort] = field(
        factory=list, list_type="map", list_map_keys=("port", "protocol"), merge_key="port", merge_strategy="merge"
    )
    selector: dict[str, str] = field(factory=dict, map_type="atomic", doc="Labels of the Pods behind it.")
    cluster_ip: str = field(default="", name="clusterIP", doc="Its address; given by the server, None for no address.")
    cluster_ips: list[str] = field(factory=list, name="clusterIPs", list_type="atomic")
    type: str = field(default="", doc="ClusterIP, NodePort, LoadBalancer or ExternalName.")
    external_ips: list[str] = field(factory=list, name="externalIPs", list_type="atomic")
    session_affinity: str = ""
    load_balancer_ip: str = field(default="", name="loadBalancerIP")
    load_balancer_source_ranges: list[str] = field(factory=list, list_type="atomic")
    external_name: str = ""
    external_traffic_policy: str = ""
    health_check_node_port: int | None = None
    publish_not_ready_addresses: bool = False
    session_affinity_config: SessionAffinityConfig | None = None
    ip_families: list[str] = field(factory=list, list_type="atomic")
    ip_family_policy: str | None = None
    allocate_load_balancer_node_ports: bool | None = None
    load_balancer_class: str | None = None
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None


@struct
class LoadBalancerIngress:
    """An address that a load balancer gave."""

    ip: str = ""
    ip_mode: str | None = None
    hostname: str = ""
    ports: list[dict[str, Any]] = field(factory=list, list_type="atomic")


@struct
class LoadBalancerStatus:
    """The addresses that a load balancer gave."""

    ingress: list[LoadBalancerIngress] = field(factory=list, list_type="atomic")


@struct
class ServiceStatus:
    """What a load balancer says."""

    load_balancer: LoadBalancerStatus = field(factory=LoadBalancerStatus)
    conditions: list[Condition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )


def _cluster_ip(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    spec = tree.get("spec") or {}
    addresses = spec.get("clusterIPs") or ()
    return str(addresses[0]) if addresses else spec.get("clusterIP") or NONE


def _external_ip(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    spec = tree.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName"))
    addresses = list(spec.get("externalIPs") or ())
    if spec.get("type") == "LoadBalancer":
        given = ((tree.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        addresses = [str(i.get("ip") or i.get("hostname")) for i in given] + addresses
        return ",".join(addresses) or "<pending>"
    return ",".join(addresses) or NONE


def _ports(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    shown = []
    for port in (tree.get("spec") or {}).get("ports") or ():
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(shown) or NONE


@kind(
    "", "v1", plural="services", short_names=("svc",), categories=("all",), builtin=True, has_generation=False,
    selectable=("spec.clusterIP", "spec.type"),
    hooks=Hooks(
        connections=(SERVICE_PROXY,), default=default_service, prepare=prepare_service, validate=validate_service,
        answers_deleted=True,
    ),
    columns=(
        Column("Type", cell=path_cell("spec", "type"), doc="How it is reached."),
        Column("Cluster-IP", cell=_cluster_ip, doc="Its address."),
        Column("External-IP", cell=_external_ip, doc="Its addresses outside."),
        Column("Port(s)", cell=_ports, doc="Its ports and protocols."),
        AGE,
        Column(
            "Selector", cell=lambda tree, _: labels_text((tree.get("spec") or {}).get("selector")), priority=1,
            doc="Labels of the Pods behind it.",
        ),
    ),
)  # fmt: skip
class Service(Resource):
    """One stable address and name for a changing set of Pods."""

    spec: ServiceSpec = field(factory=ServiceSpec)
    status: ServiceStatus = field(factory=ServiceStatus, server_default={"loadBalancer": {}})
