"""Node: a machine (or what stands for one) that runs Pods."""

from __future__ import annotations

from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.quantities import Quantity
from reconcile.views import field, struct

from .cells import AGE, NONE, path_cell
from .node_validation import validate_node
from .proxy_connections import NODE_PROXY

_ROLE = "node-role.kubernetes.io/"


@struct
class Taint:
    """Keeps away the Pods that do not tolerate it."""

    key: str
    value: str = ""
    effect: str = field(doc="NoSchedule, PreferNoSchedule or NoExecute.")
    time_added: str = field(default="", format="date-time")


@struct
class NodeSpec:
    """What is wanted of a node."""

    pod_cidr: str = field(default="", name="podCIDR")
    pod_cidrs: list[str] = field(factory=list, name="podCIDRs", list_type="set", merge_strategy="merge")
    provider_id: str = field(default="", name="providerID")
    unschedulable: bool = field(default=False, doc="Whether new Pods stay away (cordon).")
    taints: list[Taint] = field(factory=list, list_type="atomic")


@struct
class NodeCondition:
    """One aspect of a node's state: Ready, MemoryPressure ..."""

    type: str
    status: str
    last_heartbeat_time: str = field(default="", format="date-time")
    last_transition_time: str = field(default="", format="date-time")
    reason: str = ""
    message: str = ""


@struct
class NodeAddress:
    """An address of the node: InternalIP, ExternalIP, Hostname ..."""

    type: str
    address: str


@struct
class DaemonEndpoint:
    """A port of one of the node's daemons."""

    port: int = field(name="Port")


@struct
class NodeDaemonEndpoints:
    """Where the kubelet listens."""

    kubelet_endpoint: DaemonEndpoint | None = None


@struct
class NodeSystemInfo:
    """What the node runs."""

    machine_id: str = field(default="", name="machineID")
    system_uuid: str = field(default="", name="systemUUID")
    boot_id: str = field(default="", name="bootID")
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    kube_proxy_version: str = ""
    operating_system: str = ""
    architecture: str = ""
    swap: dict[str, Any] | None = field(default=None, preserve_unknown=True)


@struct
class ContainerImage:
    """An image that the node has."""

    names: list[str] = field(factory=list, list_type="atomic")
    size_bytes: int = 0


@struct
class NodeStatus:
    """How a node is doing and what it has."""

    capacity: dict[str, Quantity] = field(factory=dict, doc="All it has.")
    allocatable: dict[str, Quantity] = field(factory=dict, doc="What Pods may use.")
    phase: str = ""
    conditions: list[NodeCondition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )
    addresses: list[NodeAddress] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )
    daemon_endpoints: NodeDaemonEndpoints | None = None
    node_info: NodeSystemInfo = field(factory=NodeSystemInfo)
    images: list[ContainerImage] = field(factory=list, list_type="atomic")
    volumes_in_use: list[str] = field(factory=list, list_type="atomic")
    volumes_attached: list[dict[str, Any]] = field(factory=list, list_type="atomic")
    config: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    runtime_handlers: list[dict[str, Any]] = field(factory=list, list_type="atomic")
    features: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    declared_features: list[str] = field(factory=list, list_type="atomic")


def _prepare_node(tree: Tree, old: Tree | None) -> None:  # noqa: ARG001 - a hook's signature
    """A node that names no allocatable resources offers all it has."""
    status = tree.get("status")
    if status and status.get("capacity") and "allocatable" not in status:
        status["allocatable"] = dict(status["capacity"])


def _status(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    ready = next((c for c in (tree.get("status") or {}).get("conditions") or () if c.get("type") == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return text + (",SchedulingDisabled" if (tree.get("spec") or {}).get("unschedulable") else "")


def _roles(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    labels = tree["metadata"].get("labels") or {}
    roles = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE) and key != _ROLE}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    return ",".join(sorted(roles)) or NONE


def _address(of_type: str) -> Any:
    def cell(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
        for address in (tree.get("status") or {}).get("addresses") or ():
            if address.get("type") == of_type:
                return str(address.get("address"))
        return NONE

    return cell


def _info(name: str, absent: str = "<unknown>") -> Any:
    return path_cell("status", "nodeInfo", name, absent=absent)


@kind(
    "", "v1", plural="nodes", namespaced=False, short_names=("no",), builtin=True, has_generation=False,
    selectable_as={"spec.unschedulable": ("spec.unschedulable", "false")},
    hooks=Hooks(prepare=_prepare_node, validate=validate_node, keeps_status=True, connections=(NODE_PROXY,)),
    columns=(
        Column("Status", cell=_status, doc="Whether it is ready for Pods."),
        Column("Roles", cell=_roles, doc="What it is for, by its labels."),
        AGE,
        Column("Version", cell=_info("kubeletVersion", ""), doc="The kubelet's version."),
        Column("Internal-IP", cell=_address("InternalIP"), priority=1, doc="Its address inside."),
        Column("External-IP", cell=_address("ExternalIP"), priority=1, doc="Its address outside."),
        Column("OS-Image", cell=_info("osImage"), priority=1, doc="Its operating system."),
        Column("Kernel-Version", cell=_info("kernelVersion"), priority=1, doc="Its kernel."),
        Column("Container-Runtime", cell=_info("containerRuntimeVersion"), priority=1, doc="What runs its containers."),
    ),
)  # fmt: skip
class Node(Resource):
    """A machine that runs Pods."""

    spec: NodeSpec = field(factory=NodeSpec)
    status: NodeStatus = field(factory=NodeStatus, server_default={})


__all__ = [
    "ContainerImage", "DaemonEndpoint", "Node", "NodeAddress", "NodeCondition", "NodeDaemonEndpoints", "NodeSpec",
    "NodeStatus", "NodeSystemInfo", "Taint",
]  # fmt: skip
