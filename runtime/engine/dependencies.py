"""What each handled object read from the cache, so that it is run again when that changes.

A dependency is one object, or a selection (namespace, labels, owner, index). Lookups when something changes go through
indexes: by key, by owner's uid, by one label that the selection demands, by field value; only selections with none of these
are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.selectors import LabelSelector, parse_labels

from .cache import controller_uid, value_at
from .queue import ObjectKey


@attrs.frozen
class OneObject:
    """A read of one object, present or not."""

    key: ObjectKey


@attrs.frozen
class Selection:
    """A read of all objects that match; empty parts match everything."""

    namespace: str = ""
    labels: str = ""
    owner_uid: str = ""
    path: tuple[str, ...] = ()
    value: str = ""


Read = OneObject | Selection
Readers = set[ObjectKey]


class Dependencies:
    """The reads of one handler in one kind: who must run again when an object of that kind changes."""

    def __init__(self) -> None:
        self._objects: dict[ObjectKey, Readers] = {}
        self._owners: dict[str, dict[Selection, Readers]] = {}
        self._labels: dict[tuple[str, str], dict[Selection, Readers]] = {}
        self._paths: dict[tuple[str, ...], dict[str, dict[Selection, Readers]]] = {}
        self._others: dict[Selection, Readers] = {}

    def add(self, read: Read, reader: ObjectKey) -> None:
        """`reader` depends on `read`."""
        if isinstance(read, OneObject):
            self._objects.setdefault(read.key, set()).add(reader)
        else:
            self._home(read).setdefault(read, set()).add(reader)

    def remove(self, read: Read, reader: ObjectKey) -> None:
        """`reader` no longer depends on `read`."""
        if isinstance(read, OneObject):
            _discard(self._objects, read.key, reader)
        else:
            _discard(self._home(read), read, reader)

    def readers(self, key: ObjectKey, new: Tree, old: Tree | None) -> Readers:
        """Who read an object of this key, or a selection that it is, or was, part of."""
        found: Readers = set()
        if (readers := self._objects.get(key)) is not None:
            found |= readers
        trees = (new,) if old is None else (new, old)
        if self._owners:
            for uid in {controller_uid(tree) for tree in trees}:
                if uid in self._owners:
                    _match(self._owners[uid], key, trees, found)
        if self._labels:
            for pair in _pairs(trees):
                if pair in self._labels:
                    _match(self._labels[pair], key, trees, found)
        for path, by_value in self._paths.items():
            for value in {value_at(tree, path) for tree in trees}:
                if value in by_value:
                    _match(by_value[value], key, trees, found)
        if self._others:
            _match(self._others, key, trees, found)
        return found

    def _home(self, read: Selection) -> dict[Selection, Readers]:
        if read.owner_uid:
            return self._owners.setdefault(read.owner_uid, {})
        if read.path:
            return self._paths.setdefault(read.path, {}).setdefault(read.value, {})
        pair = _demanded(parse_labels(read.labels)) if read.labels else None
        return self._labels.setdefault(pair, {}) if pair is not None else self._others


def _discard(home: dict[Any, Readers], read: Any, reader: ObjectKey) -> None:
    readers = home.get(read)
    if readers is not None:
        readers.discard(reader)
        if not readers:
            del home[read]


def _demanded(selector: LabelSelector) -> tuple[str, str] | None:
    return next(((r.key, r.values[0]) for r in selector.requirements if r.operator == "="), None)


def _pairs(trees: Iterable[Tree]) -> set[tuple[str, str]]:
    return {pair for tree in trees for pair in (tree["metadata"].get("labels") or {}).items()}


def _match(home: dict[Selection, Readers], key: ObjectKey, trees: tuple[Tree, ...], found: Readers) -> None:
    for selection, readers in home.items():
        if selection.namespace and selection.namespace != key[0]:
            continue
        if not selection.labels or any(_labelled(selection.labels, tree) for tree in trees):
            found |= readers


def _labelled(labels: str, tree: Tree) -> bool:
    return parse_labels(labels).matches(tree["metadata"].get("labels"))
