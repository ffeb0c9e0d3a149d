"""Event of events.k8s.io/v1: the core group's Events in newer words.

Source: k8s.io/kubernetes/pkg/apis/events/v1/conversion.go
"""

from __future__ import annotations

from reconcile.errors import Tree
from reconcile.kinds import Column, Face, Kind, kind_of
from reconcile.resources.core.event import Event

from .declaration import Cell, declared

_NAMES = {
    "regarding": "involvedObject", "note": "message", "reportingController": "reportingComponent",
    "deprecatedSource": "source", "deprecatedFirstTimestamp": "firstTimestamp", "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}  # fmt: skip
_OLD_NAMES = {old: new for new, old in _NAMES.items()}


def newer_event() -> Kind:
    """The kind; its objects are core Events."""
    core = kind_of(Event)
    columns = tuple(
        Column(c.name, cell=_as_core(c), type=c.type, format=c.format, priority=c.priority, doc=c.doc) for c in core.columns
    )
    return declared(
        "events.k8s.io/v1", "Event", "events", "Something that happened to an object, told to people.", short_names=("ev",),
        has_generation=False, columns=columns, face=Face(core, _shown, _stored),
        selectable=("regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion",
                    "regarding.resourceVersion", "regarding.fieldPath", "reason", "reportingController", "type"),
    )  # fmt: skip


def _as_core(column: Column) -> Cell:
    cell = column.cell
    assert cell is not None, column
    return lambda tree, now_s: cell(_stored(tree), now_s)


def _shown(tree: Tree) -> Tree:
    return {_OLD_NAMES.get(name, name): value for name, value in tree.items()}


def _stored(tree: Tree) -> Tree:
    return {_NAMES.get(name, name): value for name, value in tree.items()}
