"""PodSpec and PodTemplateSpec: what is to run."""

from __future__ import annotations

from typing import Any

from reconcile.kinds import ObjectMeta
from reconcile.quantities import Quantity
from reconcile.views import field, struct

from .container import Container, EphemeralContainer, ResourceRequirements
from .placement import Affinity, Toleration, TopologySpreadConstraint
from .references import LocalObjectReference
from .volume import Volume


@struct
class HostAlias:
    """A line of the hosts file."""

    ip: str
    hostnames: list[str] = field(factory=list, list_type="atomic")


@struct
class PodDNSConfigOption:
    """An option of the resolver."""

    name: str = ""
    value: str | None = None


@struct
class PodDNSConfig:
    """The resolver's settings."""

    nameservers: list[str] = field(factory=list, list_type="atomic")
    searches: list[str] = field(factory=list, list_type="atomic")
    options: list[PodDNSConfigOption] = field(factory=list, list_type="atomic")


@struct
class PodReadinessGate:
    """A condition type that must also be True before the Pod is Ready."""

    condition_type: str


@struct
class PodSchedulingGate:
    """Keeps the scheduler away until somebody removes it."""

    name: str


@struct
class PodOS:
    """The operating system that the containers need."""

    name: str


@struct
class PodResourceClaim:
    """A claim on devices."""

    name: str
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


@struct
class PodSpec:
    """What a Pod runs, and where and how it may run."""

    containers: list[Container] = field(
        list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge", doc="The programs that run together."
    )
    init_containers: list[Container] = field(
        factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge",
        doc="Run one after the other before the containers; with restartPolicy Always, beside them.",
    )  # fmt: skip
    ephemeral_containers: list[EphemeralContainer] = field(
        factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge",
        doc="Added to a running Pod to look at it, through the subresource of that name.",
    )  # fmt: skip
    volumes: list[Volume] = field(
        factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge,retainKeys",
        doc="What containers can mount.",
    )  # fmt: skip
    restart_policy: str = field(default="Always", doc="Always, OnFailure or Never.")
    termination_grace_period_seconds: int = field(default=30, doc="From the stop signal to the kill.")
    active_deadline_seconds: int | None = field(default=None, doc="The Pod fails when it runs for longer.")
    dns_policy: str = "ClusterFirst"
    dns_config: PodDNSConfig | None = None
    node_selector: dict[str, str] = field(factory=dict, map_type="atomic", doc="Labels that the node must have.")
    node_name: str = field(default="", doc="The node that runs it; the scheduler's answer.")
    service_account_name: str = ""
    service_account: str = ""
    automount_service_account_token: bool | None = None
    host_network: bool = False
    host_pid: bool = field(default=False, name="hostPID")
    host_ipc: bool = field(default=False, name="hostIPC")
    host_users: bool | None = None
    share_process_namespace: bool | None = None
    security_context: dict[str, Any] = field(factory=dict, preserve_unknown=True)
    image_pull_secrets: list[LocalObjectReference] = field(
        factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge"
    )
    hostname: str = ""
    hostname_override: str | None = None
    subdomain: str = ""
    set_hostname_as_fqdn: bool | None = field(default=None, name="setHostnameAsFQDN")
    host_aliases: list[HostAlias] = field(
        factory=list, list_type="map", list_map_keys=("ip",), merge_key="ip", merge_strategy="merge"
    )
    affinity: Affinity | None = None
    scheduler_name: str = "default-scheduler"
    tolerations: list[Toleration] = field(factory=list, list_type="atomic")
    priority_class_name: str = ""
    priority: int | None = None
    preemption_policy: str | None = None
    readiness_gates: list[PodReadinessGate] = field(factory=list, list_type="atomic")
    scheduling_gates: list[PodSchedulingGate] = field(
        factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge"
    )
    runtime_class_name: str | None = None
    enable_service_links: bool = True
    overhead: dict[str, Quantity] = field(factory=dict)
    topology_spread_constraints: list[TopologySpreadConstraint] = field(
        factory=list, list_type="map", list_map_keys=("topologyKey", "whenUnsatisfiable"), merge_key="topologyKey",
        merge_strategy="merge",
    )  # fmt: skip
    os: PodOS | None = None
    resource_claims: list[PodResourceClaim] = field(
        factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge,retainKeys"
    )
    resources: ResourceRequirements | None = field(default=None, doc="For the whole Pod.")


@struct
class PodTemplateSpec:
    """The Pods that a controller makes: their labels and annotations, and what they run."""

    metadata: ObjectMeta = field(factory=ObjectMeta)
    spec: PodSpec = field(factory=lambda: PodSpec(containers=[]))
