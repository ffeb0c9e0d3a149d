"""Declares a kind that is only stored and served: from its wire table and rules, and what is said here beyond them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

import attrs

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Face, Hooks, Kind, Resource, Scale
from reconcile.resources.core.cells import AGE

from .schemas import IMMUTABLE, object_schema

Cell = Callable[[Tree, float], Any]
Validate = Callable[[Tree, Tree | None], Iterable[Cause]]


def declared(
    api_version: str, kind: str, plural: str, doc: str, *, short_names: tuple[str, ...] = (), categories: tuple[str, ...] = (),
    namespaced: bool = True, columns: tuple[Column, ...] = (AGE,), status: bool = False, scale: Scale | None = None,
    selectable: tuple[str, ...] = (), defaults: Mapping[str, Any] | None = None,
    immutable: tuple[str, ...] | Mapping[str, str] = (), hooks: Hooks | None = None, has_generation: bool = True,
    needs_revision: bool = False, face: Face | None = None, deprecation: str = "",
) -> Kind:  # fmt: skip
    """The declaration of one kind. `doc` is its description.

    `defaults` and `immutable` name fields by dotted paths (`spec.volumeMode`, `webhooks[].matchPolicy`).
    """
    group, _, version = api_version.rpartition("/")
    if status:
        defaults = {"status": {}, **(defaults or {})}  # typed clients expect a status from the first read on
    fixed = immutable if isinstance(immutable, Mapping) else dict.fromkeys(immutable, IMMUTABLE)

    @lru_cache(maxsize=1)
    def schema() -> Tree:
        # The reference server writes an empty status out; typed clients expect one.
        empty: Mapping[str, Any] = {"status": {}} if status else {}
        return object_schema(f"{api_version}.{kind}", doc, {**empty, **(defaults or {})}, fixed)

    return Kind(
        group=group, version=version, kind=kind, plural=plural, namespaced=namespaced, singular=kind.lower(),
        short_names=short_names, categories=categories, columns=columns, status=status, scale=scale, selectable=selectable,
        hooks=hooks or Hooks(), schema_given=schema, builtin=True, has_generation=has_generation, face=face,
        needs_revision=needs_revision, deprecation=deprecation,
    )  # fmt: skip


def class_of(declared: Kind) -> type[Resource]:
    """A class for a kind that is declared from data, so that handlers can name it; they read its tree."""
    cls = cast(type[Resource], type(declared.kind, (Resource,), {"__doc__": f"A {declared.kind}, as handlers see it."}))
    cls.__kind__ = attrs.evolve(declared, cls=cls)
    return cls


def count_cell(*path: str) -> Cell:
    """A cell that counts the items at a path."""

    def cell(tree: Tree, now_s: float) -> int:  # noqa: ARG001 - a cell's signature
        return len(at(tree, *path) or ())

    return cell


def at(tree: Tree | None, *path: str) -> Any:  # Any: any JSON value may stand there
    """The value at a path, or None."""
    value: Any = tree
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value
