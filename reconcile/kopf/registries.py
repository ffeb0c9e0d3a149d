"""Registries: which operator the decorators declare on."""

from __future__ import annotations

import itertools

from reconcile.registry import Operator

_NUMBERS = itertools.count(1)
_CHOSEN: list[Operator] = []


class OperatorRegistry(Operator):
    """Handlers apart from all others; to be run with `kopf.operator(registry=...)`. `domain` is its identity."""

    def __init__(self, domain: str = "") -> None:
        super().__init__(domain or f"registry{next(_NUMBERS)}.kopf.reconcile.local")


def get_default_registry() -> Operator | None:
    """The registry that was set, or None: then each module has its own."""
    return _CHOSEN[-1] if _CHOSEN else None


def set_default_registry(registry: Operator) -> None:
    """Declare on this registry from now on."""
    _CHOSEN[:] = [registry]
