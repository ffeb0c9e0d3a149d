"""What could be adopted: the few objects of a kind that no controller owns, kept up to date by events.

So a controller with a thousand Pods looks at its own (by index) and at these, and at nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from reconcile.errors import Tree
from reconcile.handling import Key
from reconcile.kinds import Resource
from reconcile.registry import Operator
from reconcile.selectors import LabelSelector
from reconcile.views import tree_of

from .ownership import selector_of
from .pod_state import controller_of


class Orphans:
    """The uncontrolled objects of one kind and the selectors that might want them, kept up to date by events."""

    def __init__(self) -> None:
        self._orphans: dict[str, dict[str, Tree]] = {}
        self._selectors: dict[str, dict[str, LabelSelector]] = {}

    @classmethod
    def followed(cls, app: Operator, of: type[Resource], owners: type[Resource]) -> Self:
        """The objects of a kind that an operator's `owners` could adopt, from the events that the operator gets."""
        orphans = cls()

        @app.on.startup()
        def begin() -> None:
            orphans.clear()

        @app.on.event(of, inline=True)
        def saw_object(obj: Resource, event: str) -> None:
            orphans.saw_object(tree_of(obj), event == "DELETED")

        @app.on.event(owners, inline=True)
        def saw_owner(owner: Resource, event: str) -> None:
            orphans.saw_owner(tree_of(owner), event == "DELETED")

        return orphans

    def clear(self) -> None:
        """Forget everything: the events start anew."""
        self._orphans.clear()
        self._selectors.clear()

    def saw_object(self, obj: Tree, gone: bool) -> None:
        """Note one change of an object that could be adopted. O(1)."""
        meta = obj["metadata"]
        inside = self._orphans.get(meta.get("namespace", ""))
        if gone or meta.get("deletionTimestamp") or controller_of(obj) is not None:
            if inside is not None:
                inside.pop(meta["name"], None)
            return
        self._orphans.setdefault(meta.get("namespace", ""), {})[meta["name"]] = obj

    def saw_owner(self, owner: Tree, gone: bool) -> None:
        """Note one change of a controller with a spec.selector."""
        meta = owner["metadata"]
        inside = self._selectors.setdefault(meta.get("namespace", ""), {})
        if gone:
            inside.pop(meta["name"], None)
        else:
            inside[meta["name"]] = selector_of(owner)

    def matching(self, namespace: str, selector: LabelSelector) -> list[Tree]:
        """The orphans of a namespace that a selector matches. O(orphans there)."""
        if selector.empty:
            return []
        found = self._orphans.get(namespace)
        return [obj for obj in found.values() if selector.matches(obj["metadata"].get("labels"))] if found else []

    def adopters(self, obj: Resource) -> Iterator[Key]:
        """Whom to tell of an object: see `wanted_by`."""
        return self.wanted_by(tree_of(obj))

    def wanted_by(self, obj: Tree) -> Iterator[Key]:
        """The controllers whose selector matches an uncontrolled object; nobody's business if it has a controller."""
        meta = obj["metadata"]
        if meta.get("deletionTimestamp") or controller_of(obj) is not None:
            return
        namespace = meta.get("namespace", "")
        for name, selector in (self._selectors.get(namespace) or {}).items():
            if not selector.empty and selector.matches(meta.get("labels")):
                yield Key(namespace, name)
