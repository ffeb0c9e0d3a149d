"""A kind's own defaults, where the schema's are not all.

Source: k8s.io/apimachinery/pkg/runtime, ObjectDefaulter
"""

from __future__ import annotations

from reconcile.errors import Tree
from reconcile.kinds import Kind

from . import metadata
from .catalog import Served
from .judging import misfit
from .sharing import own_copy

_OWN = ("apiVersion", "kind", "metadata", "status")


def defaulted(kind: Kind, tree: Tree, before: Tree | None) -> Tree:
    """The kind's own defaults written in."""
    if kind.hooks.default is not None and not _status_only(tree, before):
        tree = own_copy(tree)
        kind.hooks.default(tree)
    return tree


def completed(served: Served, tree: Tree) -> tuple[Tree, list[str], str]:
    """An object about to be written, with its defaults; fields that its kind does not have; why it is none (see `misfit`).

    Raises:
        BadRequestError: its metadata cannot be read.
    """
    unknown = list[str]()
    shaped, _ = metadata.shaped(served, tree, unknown)
    made = served.complete(shaped, None, unknown)
    why = misfit(served, made)
    return made if why else defaulted(served.kind, made, None), unknown, why


def _status_only(tree: Tree, before: Tree | None) -> bool:
    """Whether nothing but metadata and status differs from the stored object, so that its defaults are there."""
    if before is None:
        return False
    return all(value is before.get(key) for key, value in tree.items() if key not in _OWN)
