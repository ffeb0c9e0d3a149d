"""What a Pod asks for, all its containers together: the most that it needs at any one time.

Source: k8s.io/component-helpers/resource PodRequests, PodLimits
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from reconcile.errors import Tree
from reconcile.quantities import parse_quantity

Side = Literal["requests", "limits"]
Amounts = dict[str, Decimal]
_SUFFIXES = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")


def of_container(container: Tree, side: Side) -> Amounts:
    """One container's requests or limits."""
    return {name: parse_quantity(value) for name, value in ((container.get("resources") or {}).get(side) or {}).items()}


def of_pod(spec: Tree, side: Side) -> Amounts:
    """A Pod's requests or limits: its containers and sidecars together, or an init container that needs more."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, of_container(container, side))
    sidecars: Amounts = {}
    most: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = of_container(container, side)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            _add(total, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        for name, amount in own.items():
            most[name] = max(most.get(name, amount), amount)
    for name, amount in most.items():
        total[name] = max(total.get(name, amount), amount)
    if side == "requests" or total:
        for name, value in (spec.get("overhead") or {}).items():
            if side == "requests" or name in total:
                total[name] = total.get(name, Decimal(0)) + parse_quantity(value)
    return total


def shown(name: str, amount: Decimal) -> str:
    """An amount as a quantity, in the units that are usual for the resource: 500m of CPU, 2Gi of memory, 3 Pods."""
    if amount != amount.to_integral_value():
        return f"{int(amount * 1000)}m"
    whole = int(amount)
    if "memory" in name or "storage" in name or "hugepages" in name:
        for power, suffix in enumerate(_SUFFIXES):
            unit = 1 << (10 * (6 - power))
            if whole and whole % unit == 0:
                return f"{whole // unit}{suffix}"
    return str(whole)


def _add(total: Amounts, more: Mapping[str, Decimal]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount
