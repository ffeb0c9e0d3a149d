"""The kubelet: what makes a Pod that is bound to this node run, and says how it goes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agent import Kubelet, kubelet
    from .metering import PodUsage
    from .settings import KubeletSettings

_HOME = {"Kubelet": "agent", "PodUsage": "metering", "kubelet": "agent", "KubeletSettings": "settings"}

__all__ = ["Kubelet", "KubeletSettings", "PodUsage", "kubelet"]


def __getattr__(name: str) -> Any:
    # Loaded when first used: the runtimes import this package too, and must not pay for the kinds.
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
