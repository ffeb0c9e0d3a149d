"""What a handler changed on its object, as the smallest patch that says it."""

from __future__ import annotations

from typing import Any

from reconcile.errors import Tree

_MISSING: Any = object()  # Any: compared by identity only


def merge_patch(old: Tree, new: Tree) -> Tree:
    """The JSON merge patch that makes `old` into `new`; empty if they are equal.

    Source: RFC 7386
    """
    patch: Tree = {}
    for name, value in new.items():
        before = old.get(name, _MISSING)
        if before is value or before == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            patch[name] = merge_patch(before, value)
        else:
            patch[name] = value
    for name in old:
        if name not in new:
            patch[name] = None
    return patch


def replaces_a_list(patch: Tree) -> bool:
    """Whether the patch writes a list: then it stands on what was read, because lists are replaced as a whole."""
    return any(isinstance(v, list) or (isinstance(v, dict) and replaces_a_list(v)) for v in patch.values())


def carries(actual: Any, desired: Any) -> bool:
    """Whether everything in `desired` stands in `actual` (which may hold more: defaults, other managers' fields)."""
    if isinstance(desired, dict):
        if not isinstance(actual, dict):
            return not desired and actual is None
        return all(value is None or carries(actual.get(name), value) for name, value in desired.items())
    if isinstance(desired, list):
        if not isinstance(actual, list):
            return not desired and actual is None
        return len(actual) == len(desired) and all(map(carries, actual, desired))
    return bool(actual == desired)


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> tuple[tuple[str, tuple[str, ...], Any, Any], ...]:
    """What `new` has that `old` has not, and the other way round: (add|change|remove, path, old, new), as kopf tells it."""
    if old == new:
        return ()
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[tuple[str, tuple[str, ...], Any, Any]] = []
        for name in sorted({*old, *new}):
            found.extend(differences(old.get(name), new.get(name), (*path, name)))
        return tuple(found)
    operation = "add" if old is None else "remove" if new is None else "change"
    return ((operation, path, old, new),)
