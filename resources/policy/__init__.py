"""Kinds that keep a service up while its Pods are moved: PodDisruptionBudget, and the Eviction that asks it."""

from .budget import PodDisruptionBudget
from .eviction import Eviction

__all__ = ["Eviction", "PodDisruptionBudget"]
