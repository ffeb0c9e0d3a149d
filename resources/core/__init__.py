"""The kinds of the core group: Namespace, Pod, Node, ConfigMap, Secret, Service, Event, ServiceAccount, and older ones."""

from .binding import Binding
from .config import ConfigMap, Secret, ServiceAccount
from .container import Container, ContainerPort, EnvVar, Probe, ResourceRequirements
from .event import Event
from .namespace import Namespace
from .node import Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, Taint
from .placement import Affinity, Toleration
from .pod import Pod
from .pod_spec import PodSpec, PodTemplateSpec
from .pod_status import ContainerState, ContainerStatus, PodCondition, PodStatus
from .references import Condition, LabelSelector, ObjectReference
from .replication import PodTemplate, ReplicationController
from .service import Service, ServicePort, ServiceSpec
from .volume import Volume

__all__ = [
    "Affinity", "Binding", "Condition", "ConfigMap", "Container", "ContainerPort", "ContainerState", "ContainerStatus", "EnvVar",
    "Event", "LabelSelector", "Namespace", "Node", "NodeAddress", "NodeCondition", "NodeSpec", "NodeStatus",
    "ObjectReference", "Pod", "PodCondition", "PodSpec", "PodStatus", "PodTemplate", "PodTemplateSpec", "Probe",
    "ReplicationController", "ResourceRequirements", "Secret", "Service", "ServiceAccount", "ServicePort", "ServiceSpec",
    "Taint", "Toleration", "Volume",
]  # fmt: skip
