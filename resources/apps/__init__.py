"""Kinds that keep Pods running: Deployment and ReplicaSet. Their controllers stand in modules of their own."""

from .deployment import Deployment
from .replicaset import ReplicaSet

__all__ = ["Deployment", "ReplicaSet"]
