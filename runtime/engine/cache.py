"""The objects of one kind as an informer last saw them, with an index for every lookup a controller makes.

Objects are frozen views, one for each revision, shared by everybody. An index on a further field is made when it is first
asked for and kept up to date from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import Resource
from reconcile.selectors import LabelSelector, field_text
from reconcile.views import tree_of

from .queue import ObjectKey

Bucket = dict[ObjectKey, Resource]
INDEXES_MAX = 64
_EMPTY: Bucket = {}
_NAMESPACE = ("metadata", "namespace")


def key_of(tree: Tree) -> ObjectKey:
    """Namespace and name of an object."""
    meta = tree["metadata"]
    return meta.get("namespace") or "", meta["name"]


def controller_uid(tree: Tree) -> str:
    """The uid of the controlling owner, or an empty string."""
    for reference in tree["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference.get("uid") or "")
    return ""


def value_at(tree: Tree, path: Iterable[str]) -> str:
    """The field at `path` as text; empty where it is absent."""
    node: Any = tree
    for key in path:
        if not isinstance(node, dict):
            return ""
        node = node.get(key)
    return field_text(node)


class Cache:
    """Objects by key, by namespace, by the controller that owns them, and by any field."""

    def __init__(self) -> None:
        self.objects: Bucket = {}
        self._by_owner: dict[str, Bucket] = {}
        self._by_path: dict[tuple[str, ...], dict[str, Bucket]] = {}

    def get(self, key: ObjectKey) -> Resource | None:
        """The object of that key, or None."""
        return self.objects.get(key)

    def owned(self, uid: str) -> Bucket:
        """What the controller with this uid owns. Read-only."""
        return self._by_owner.get(uid, _EMPTY)

    def where(self, path: tuple[str, ...], value: str) -> Bucket:
        """The objects whose field at `path` is `value`; the index is made on first use. Read-only."""
        index = self._by_path.get(path)
        if index is None:
            if len(self._by_path) >= INDEXES_MAX:
                return {key: obj for key, obj in self.objects.items() if value_at(tree_of(obj), path) == value}
            index = self._by_path[path] = {}
            for key, obj in self.objects.items():
                index.setdefault(value_at(tree_of(obj), path), {})[key] = obj
        return index.get(value, _EMPTY)

    def select(self, namespace: str, selector: LabelSelector | None, owner_uid: str = "") -> list[Resource]:
        """Objects by namespace (empty: all), labels and owner, through the narrowest index there is."""
        if owner_uid:
            found: Mapping[ObjectKey, Resource] = self.owned(owner_uid)
        elif selector is not None and not selector.empty:
            found = self._labelled(selector)
        else:
            found = self.where(_NAMESPACE, namespace) if namespace else self.objects
            return list(found.values())
        matches = None if selector is None or selector.empty else selector.matches
        return [
            obj
            for key, obj in found.items()
            if (not namespace or key[0] == namespace) and (matches is None or matches(tree_of(obj)["metadata"].get("labels")))
        ]

    def _labelled(self, selector: LabelSelector) -> Mapping[ObjectKey, Resource]:
        best: Mapping[ObjectKey, Resource] = self.objects
        for requirement in selector.requirements:
            if requirement.operator == "=" and requirement.values[0]:
                bucket = self.where(("metadata", "labels", requirement.key), requirement.values[0])
                if len(bucket) < len(best):
                    best = bucket
        return best

    def put(self, key: ObjectKey, obj: Resource, old: Resource | None) -> None:
        """Store an object in place of `old`; O(number of indexes)."""
        self.objects[key] = obj
        tree, before = tree_of(obj), tree_of(old) if old is not None else None
        _move(self._by_owner, key, obj, controller_uid(tree), controller_uid(before) if before is not None else None, "")
        for path, index in self._by_path.items():
            _move(index, key, obj, value_at(tree, path), value_at(before, path) if before is not None else None, None)

    def drop(self, key: ObjectKey, old: Resource) -> None:
        """Remove an object."""
        self.objects.pop(key, None)
        tree = tree_of(old)
        _remove(self._by_owner, key, controller_uid(tree))
        for path, index in self._by_path.items():
            _remove(index, key, value_at(tree, path))


def _move(index: dict[str, Bucket], key: ObjectKey, obj: Resource, value: str, before: str | None, unindexed: str | None) -> None:
    if before is not None and before != value:
        _remove(index, key, before)
    if value != unindexed:
        bucket = index.get(value)
        if bucket is None:
            bucket = index[value] = {}
        bucket[key] = obj


def _remove(index: dict[str, Bucket], key: ObjectKey, value: str) -> None:
    bucket = index.get(value)
    if bucket is not None:
        bucket.pop(key, None)
        if not bucket:
            del index[value]
