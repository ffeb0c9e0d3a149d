"""reconcile: a Kubernetes-style control plane and operator toolkit.

What users write against. Names are loaded when first used, so that `import reconcile` costs a command nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import on as on
    from .conversion import convert
    from .errors import ApiError, NotFoundError, PermanentError, ReconcileError, TemporaryError
    from .handling import Cluster, Conditions, EventRecorder, Requeue, Wait
    from .kinds import Column, Hooks, Kind, ObjectMeta, OwnerReference, Resource, Scale, kind
    from .registry import Operator
    from .views import Rule, field, struct, thawed

_HOME = {
    "ApiError": "errors", "NotFoundError": "errors", "PermanentError": "errors", "ReconcileError": "errors",
    "TemporaryError": "errors", "Cluster": "handling", "Conditions": "handling", "EventRecorder": "handling",
    "Requeue": "handling", "Wait": "handling", "convert": "conversion",
    "Column": "kinds", "Hooks": "kinds", "Kind": "kinds", "ObjectMeta": "kinds",
    "OwnerReference": "kinds", "Resource": "kinds", "Scale": "kinds", "kind": "kinds", "Operator": "registry",
    "Rule": "views", "field": "views", "struct": "views", "thawed": "views",
}  # fmt: skip

__all__ = [
    "ApiError", "Cluster", "Column", "Conditions", "EventRecorder", "Hooks", "Kind", "NotFoundError", "ObjectMeta",
    "Operator", "OwnerReference", "PermanentError", "ReconcileError", "Requeue", "Resource", "Rule", "Scale", "TemporaryError",
    "Wait", "convert", "field", "kind", "on", "struct", "thawed",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "on":
        return import_module(".on", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module 'reconcile' has no attribute {name!r}")
