"""PodStatus: how it goes, as the kubelet tells it."""

from __future__ import annotations

from typing import Any

from reconcile.quantities import Quantity
from reconcile.views import field, struct

from .container import ResourceRequirements
from .references import Condition


@struct
class ContainerStateWaiting:
    """Not running yet (or not again yet), and why."""

    reason: str = ""
    message: str = ""


@struct
class ContainerStateRunning:
    """Running since."""

    started_at: str = field(default="", format="date-time")


@struct
class ContainerStateTerminated:
    """Ended: how and when."""

    exit_code: int = 0
    signal: int | None = None
    reason: str = ""
    message: str = ""
    started_at: str = field(default="", format="date-time")
    finished_at: str = field(default="", format="date-time")
    container_id: str = field(default="", name="containerID")


@struct
class ContainerState:
    """One of waiting, running, terminated."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


@struct
class ContainerStatus:
    """How one container is doing, and how its last run ended."""

    name: str
    state: ContainerState = field(factory=ContainerState)
    last_state: ContainerState = field(factory=ContainerState)
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = field(default="", name="imageID")
    container_id: str = field(default="", name="containerID")
    started: bool | None = None
    allocated_resources: dict[str, Quantity] = field(factory=dict)
    resources: ResourceRequirements | None = None
    volume_mounts: list[dict[str, Any]] = field(
        factory=list, list_type="map", list_map_keys=("mountPath",), merge_key="mountPath", merge_strategy="merge"
    )
    user: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    stop_signal: str | None = None


@struct
class PodIP:
    """An address of the Pod."""

    ip: str


@struct
class HostIP:
    """An address of the Pod's node."""

    ip: str


@struct
class PodCondition(Condition):
    """One aspect of a Pod's state: PodScheduled, Initialized, ContainersReady, Ready ..."""

    last_probe_time: str | None = field(default=None, format="date-time")


@struct
class PodStatus:
    """How a Pod is doing: its phase, its conditions, its containers, its addresses."""

    phase: str = field(default="", doc="Pending, Running, Succeeded, Failed or Unknown.")
    conditions: list[PodCondition] = field(
        factory=list, list_type="map", list_map_keys=("type",), merge_key="type", merge_strategy="merge"
    )
    observed_generation: int = 0
    message: str = ""
    reason: str = ""
    nominated_node_name: str = ""
    host_ip: str = field(default="", name="hostIP")
    host_ips: list[HostIP] = field(factory=list, name="hostIPs", list_type="atomic", merge_key="ip", merge_strategy="merge")
    pod_ip: str = field(default="", name="podIP")
    pod_ips: list[PodIP] = field(
        factory=list, name="podIPs", list_type="map", list_map_keys=("ip",), merge_key="ip", merge_strategy="merge"
    )
    start_time: str = field(default="", format="date-time")
    init_container_statuses: list[ContainerStatus] = field(factory=list, list_type="atomic")
    container_statuses: list[ContainerStatus] = field(factory=list, list_type="atomic")
    ephemeral_container_statuses: list[ContainerStatus] = field(factory=list, list_type="atomic")
    qos_class: str = ""
    resize: str = ""
    resource_claim_statuses: list[dict[str, Any]] = field(
        factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge,retainKeys"
    )
    extended_resource_claim_status: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    allocated_resources: dict[str, Quantity] = field(factory=dict)
    resources: ResourceRequirements | None = None
