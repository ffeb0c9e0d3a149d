"""Garbage collection: what belongs to something goes when that goes."""

from .collector import garbage_collector

__all__ = ["garbage_collector"]
