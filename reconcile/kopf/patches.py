"""`patch`: what a handler wants changed on its object, merged into it after the handler; written only where it is new."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from reconcile.errors import Tree


class Part(dict[str, Any]):
    """One part of a patch, which comes into being when it is first used."""

    def part(self, name: str) -> Part:
        """The part below."""
        return self.setdefault(name, Part())  # type: ignore[no-any-return]  # parts are made here alone

    @property
    def labels(self) -> Part:
        """Labels to set, or (None) to remove."""
        return self.part("labels")

    @property
    def annotations(self) -> Part:
        """Annotations to set, or (None) to remove."""
        return self.part("annotations")


class Patch(Part):
    """The whole patch. `fns` are functions that change the object's plain body in place."""

    def __init__(self) -> None:
        super().__init__()
        self.fns: list[Callable[[Tree], None]] = []

    @property
    def metadata(self) -> Part:
        """Changes of the metadata."""
        return self.part("metadata")

    @property
    def meta(self) -> Part:
        """Short for `metadata`."""
        return self.part("metadata")

    @property
    def spec(self) -> Part:
        """Changes of the spec."""
        return self.part("spec")

    @property
    def status(self) -> Part:
        """Changes of the status."""
        return self.part("status")

    def merge_patch(self, tree: Tree) -> Tree:
        """All of it as one JSON merge patch for an object that is as `tree` now; empty if it would change nothing."""
        wanted = deepcopy(tree)
        _merge(wanted, self)
        for fn in self.fns:
            fn(wanted)
        return difference(tree, wanted)


def _merge(tree: Tree, patch: Tree) -> None:
    for name, value in patch.items():
        if value is None:
            tree.pop(name, None)
        elif isinstance(value, dict):
            inner = tree.get(name)
            if isinstance(inner, dict):
                _merge(inner, value)
            elif value:
                made: Tree = {}
                tree[name] = made
                _merge(made, value)
        else:
            tree[name] = deepcopy(value)


def difference(old: Tree, new: Tree) -> Tree:
    """The JSON merge patch that makes `old` into `new`. Source: RFC 7386."""
    patch: Tree = {}
    for name, value in new.items():
        before = old.get(name)
        if before == value:
            continue
        both = isinstance(before, dict) and isinstance(value, dict)
        patch[name] = difference(before or {}, value) if both else value
    return patch | {name: None for name in old if name not in new}
