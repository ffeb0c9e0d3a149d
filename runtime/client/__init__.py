"""One `Client` protocol, two implementations: in this process, and over HTTP to any Kubernetes API server.

Each is loaded when first asked for: a command that speaks HTTP needs no store, a controller in process no HTTP.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .http import HttpClient as HttpClient
    from .inprocess import InProcessClient as InProcessClient

_HOME = {"InProcessClient": "inprocess", "HttpClient": "http"}
__all__ = ["HttpClient", "InProcessClient"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
