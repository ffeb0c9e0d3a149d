"""What a Pod's container is: command, environment, ports, probes, hooks, resources."""

from __future__ import annotations

from typing import Any

from reconcile.quantities import IntOrString, Quantity
from reconcile.views import field, struct


@struct
class KeySelector:
    """One key of a ConfigMap or Secret."""

    name: str = ""
    key: str
    optional: bool | None = field(default=None, doc="Whether the object or key may be missing.")


@struct
class ObjectFieldSelector:
    """A field of the Pod itself, e.g. metadata.name or status.podIP."""

    api_version: str = ""
    field_path: str


@struct
class ResourceFieldSelector:
    """A limit or request of a container, as a number."""

    container_name: str = ""
    resource: str = field(doc="limits.cpu, requests.memory ...")
    divisor: Quantity = field(default="", doc="The unit to count in; 1 unless given.")


@struct
class EnvVarSource:
    """Where an environment variable's value comes from; exactly one of these."""

    field_ref: ObjectFieldSelector | None = field(default=None, map_type="atomic")
    resource_field_ref: ResourceFieldSelector | None = field(default=None, map_type="atomic")
    config_map_key_ref: KeySelector | None = field(default=None, map_type="atomic")
    secret_key_ref: KeySelector | None = field(default=None, map_type="atomic")


@struct
class EnvVar:
    """One environment variable: a value, or where it comes from."""

    name: str
    value: str = field(default="", doc="$(OTHER) is replaced by a variable defined before; $$ is a plain dollar sign.")
    value_from: EnvVarSource | None = None


@struct
class EnvSource:
    """A ConfigMap or Secret whose keys all become environment variables."""

    name: str = ""
    optional: bool | None = None


@struct
class EnvFromSource:
    """Takes all keys of a ConfigMap or Secret as environment variables, with a prefix if wanted."""

    prefix: str = ""
    config_map_ref: EnvSource | None = None
    secret_ref: EnvSource | None = None


@struct
class ContainerPort:
    """A port that the container listens on."""

    name: str = field(default="", doc="What Services and probes may call it.")
    container_port: int
    host_port: int | None = None
    host_ip: str = field(default="", name="hostIP")
    protocol: str = field(default="TCP", server_default="TCP", enum=("TCP", "UDP", "SCTP"))


@struct
class VolumeMount:
    """Where a volume of the Pod appears in the container."""

    name: str = field(doc="The volume's name.")
    mount_path: str
    sub_path: str = field(default="", doc="A path inside the volume to show instead of its root.")
    sub_path_expr: str = ""
    read_only: bool = False
    recursive_read_only: str = ""
    mount_propagation: str = ""


@struct
class VolumeDevice:
    """Where a block volume appears in the container."""

    name: str
    device_path: str


@struct
class ExecAction:
    """Runs a command in the container; exit code 0 is success."""

    command: list[str] = field(factory=list, list_type="atomic")


@struct
class HTTPHeader:
    """A header of a probe's request."""

    name: str
    value: str


@struct
class HTTPGetAction:
    """Sends a GET request; a status of 200 to 399 is success."""

    port: IntOrString = field(doc="A number, or the name of a container port.")
    path: str = ""
    host: str = ""
    scheme: str = ""
    http_headers: list[HTTPHeader] = field(factory=list, list_type="atomic")


@struct
class TCPSocketAction:
    """Opens a connection; being accepted is success."""

    port: IntOrString
    host: str = ""


@struct
class GRPCAction:
    """Asks the gRPC health service."""

    port: int
    service: str | None = None


@struct
class SleepAction:
    """Waits."""

    seconds: int


@struct
class Probe:
    """A check that the kubelet repeats: exactly one of exec, httpGet, tcpSocket, grpc, and its timing."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


@struct
class LifecycleHandler:
    """What a hook does; exactly one of these."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


@struct
class Lifecycle:
    """Hooks around a container's life."""

    post_start: LifecycleHandler | None = field(default=None, doc="Runs right after the start; a failure kills the container.")
    pre_stop: LifecycleHandler | None = field(default=None, doc="Runs before the stop signal, within the grace period.")
    stop_signal: str = ""


@struct
class ResourceClaimUse:
    """Names a resource claim of the Pod."""

    name: str
    request: str = ""


@struct
class ResourceRequirements:
    """How much of each resource is asked for and allowed at most."""

    limits: dict[str, Quantity] = field(factory=dict, doc="The most it may use.")
    requests: dict[str, Quantity] = field(factory=dict, doc="What the scheduler sets aside; the limits unless given.")
    claims: list[ResourceClaimUse] = field(factory=list, list_type="map", list_map_keys=("name",))


@struct
class ContainerResizePolicy:
    """Whether changing a resource restarts the container."""

    resource_name: str
    restart_policy: str


@struct
class Container:
    """A program that runs in a Pod.

    In process mode it needs `command` (or the name of an image that the node knows).
    """

    name: str
    image: str = ""
    command: list[str] = field(factory=list, list_type="atomic", doc="The program and its first arguments.")
    args: list[str] = field(factory=list, list_type="atomic", doc="Further arguments.")
    working_dir: str = ""
    ports: list[ContainerPort] = field(
        factory=list, list_type="map", list_map_keys=("containerPort", "protocol"), merge_key="containerPort",
        merge_strategy="merge",
    )  # fmt: skip
    env_from: list[EnvFromSource] = field(factory=list, list_type="atomic")
    env: list[EnvVar] = field(factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge")
    resources: ResourceRequirements = field(factory=ResourceRequirements)
    resize_policy: list[ContainerResizePolicy] = field(factory=list, list_type="atomic")
    restart_policy: str = field(default="", doc="Always makes an init container a sidecar.")
    restart_policy_rules: list[dict[str, Any]] = field(factory=list, list_type="atomic")
    volume_mounts: list[VolumeMount] = field(
        factory=list, list_type="map", list_map_keys=("mountPath",), merge_key="mountPath", merge_strategy="merge"
    )
    volume_devices: list[VolumeDevice] = field(
        factory=list, list_type="map", list_map_keys=("devicePath",), merge_key="devicePath", merge_strategy="merge"
    )
    liveness_probe: Probe | None = field(default=None, doc="Restarts the container when it fails.")
    readiness_probe: Probe | None = field(default=None, doc="Keeps traffic away while it fails.")
    startup_probe: Probe | None = field(default=None, doc="Holds the other probes back until it succeeds once.")
    lifecycle: Lifecycle | None = None
    termination_message_path: str = ""
    termination_message_policy: str = ""
    image_pull_policy: str = ""
    security_context: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


@struct
class EphemeralContainer(Container):
    """A container that is added to a running Pod to look at it, and never restarted."""

    target_container_name: str = field(default="", doc="The container that is looked at.")
