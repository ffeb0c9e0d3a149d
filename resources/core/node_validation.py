"""What a Node may say: well-formed taints, capacities that are quantities.

Source: ValidateNode in K/pkg/apis/core/validation/validation.go
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree

from .names import check_label_map, forbidden, is_qualified_name, is_quantity, required, unsupported

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def validate_node(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a Node."""
    spec, status = tree.get("spec") or {}, tree.get("status") or {}
    seen = set()
    for position, taint in enumerate(spec.get("taints") or ()):
        at = f"spec.taints[{position}]"
        yield from is_qualified_name(taint.get("key") or "", f"{at}.key")
        yield from check_label_map({"taint": taint.get("value") or ""}, f"{at}.value")
        effect = taint.get("effect")
        if not effect:
            yield required(f"{at}.effect")
        elif effect not in _EFFECTS:
            yield unsupported(f"{at}.effect", effect, _EFFECTS)
        if (taint.get("key"), effect) in seen:
            yield Cause("FieldValueDuplicate", "Duplicate value: taints must be unique by key and effect pair", at)
        seen.add((taint.get("key"), effect))
    for name in ("capacity", "allocatable"):
        for resource, amount in (status.get(name) or {}).items():
            yield from is_quantity(amount, f"status.{name}[{resource}]")
    if old is not None:
        for name in ("podCIDR", "providerID"):
            before = (old.get("spec") or {}).get(name)
            if before and spec.get(name) != before:
                yield forbidden(f"spec.{name}", "node updates may not change it once it is set")
