"""Kinds that keep Pods running: Deployment, ReplicaSet, StatefulSet, DaemonSet. Controllers stand in their own modules."""

from .controller_revision import ControllerRevision
from .daemonset import DaemonSet
from .deployment import Deployment
from .replicaset import ReplicaSet
from .statefulset import StatefulSet

__all__ = ["ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]
