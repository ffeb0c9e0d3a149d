"""Sets of field paths, in the very form in which managedFields hold them (FieldsV1).

A set is a nested dict: `f:<name>` is a field, `k:<keys as JSON>` an item of a keyed list, `v:<value as JSON>` an item of a set.
A node `{}` is a member; a node with children is one only if it has the child `.`. None of these functions changes its
arguments; parts are shared. An empty set is `{}` at the top.

Source: sigs.k8s.io/structured-merge-diff/fieldpath
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

FieldSet = dict[str, Any]
"""Any: more of the same."""
_SELF = "."
_MEMBER: FieldSet = {}


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in either."""
    return _union(left, right) if left and right else left or right


def _union(left: FieldSet, right: FieldSet) -> FieldSet:
    if left is right:
        return left
    member = _member(left) or _member(right)
    made = {**left, **right}
    for name in left.keys() & right.keys():
        made[name] = _union(left[name], right[name])
    if member and made and _SELF not in made:
        made[_SELF] = _MEMBER
    return made


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in `left` and not in `right`."""
    return _difference(left, right) or {} if left and right else left


def _difference(left: FieldSet, right: FieldSet) -> FieldSet | None:
    made = {}
    for name, node in left.items():
        if name == _SELF:
            continue
        if name not in right:
            made[name] = node
        elif (rest := _difference(node, right[name])) is not None:
            made[name] = rest
    return _node(_member(left) and not _member(right), made)


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in both."""
    return _intersection(left, right) or {} if left and right else {}


def _intersection(left: FieldSet, right: FieldSet) -> FieldSet | None:
    made = {}
    for name in left.keys() & right.keys():
        if name != _SELF and (both := _intersection(left[name], right[name])) is not None:
            made[name] = both
    return _node(_member(left) and _member(right), made)


def without(left: FieldSet, right: FieldSet) -> FieldSet:
    """`left` without the members of `right` and everything below them."""
    made = {}
    for name, node in left.items():
        if name not in right:
            made[name] = node
        elif not _member(right[name]) and (rest := without(node, right[name])):
            made[name] = rest
    return made


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """The members as people write them: `.spec.containers[name="web"].image`."""
    for name in sorted(fields):
        if name == _SELF:
            continue
        path = prefix + shown(name)
        if _member(fields[name]):
            yield path
        yield from paths(fields[name], path)


def shown(name: str) -> str:
    """One step of a path as people write it."""
    if name.startswith("f:"):
        return f".{name[2:]}"
    if name.startswith("k:"):
        keys = orjson.loads(name[2:])
        return "[" + ",".join(f"{key}={orjson.dumps(keys[key]).decode()}" for key in sorted(keys)) + "]"
    return f"[={name[2:]}]"


def owns_inside(fields: FieldSet, name: str) -> bool:
    """Whether anything at or below a child is a member."""
    return name in fields


def _member(node: FieldSet) -> bool:
    return not node or _SELF in node


def _node(member: bool, children: FieldSet) -> FieldSet | None:
    if children:
        return {**children, _SELF: _MEMBER} if member else children
    return {} if member else None
