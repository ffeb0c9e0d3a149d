"""Event: something that happened to an object, told to people."""

from __future__ import annotations

from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import Column, Resource, kind
from reconcile.views import field, struct

from .age import since
from .cells import path_cell
from .references import ObjectReference


@struct
class EventSource:
    """Who tells."""

    component: str = ""
    host: str = ""


@struct
class EventSeries:
    """How often it happened, and when last."""

    count: int = 0
    last_observed_time: str = field(default="", format="micro-time")


def _first(tree: Tree, now_s: float) -> str:
    return since(tree.get("firstTimestamp") or tree.get("eventTime"), now_s)


def _last(tree: Tree, now_s: float) -> str:
    series = tree.get("series")
    if series:
        return since(series.get("lastObservedTime"), now_s)
    return since(tree["lastTimestamp"], now_s) if tree.get("lastTimestamp") else _first(tree, now_s)


def _count(tree: Tree, now_s: float) -> int:  # noqa: ARG001 - a cell's signature
    series: Any = tree.get("series")
    return int((series.get("count") if series else tree.get("count")) or 1)


def _object(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    about = tree.get("involvedObject") or {}
    kind_name = str(about.get("kind") or "").lower()
    return f"{kind_name}/{about['name']}" if about.get("name") else kind_name


def _source(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    source = tree.get("source") or {}
    words = (source.get("component") or tree.get("reportingComponent"), source.get("host") or tree.get("reportingInstance"))
    return ", ".join(str(word) for word in words if word)


@kind(
    "", "v1", plural="events", short_names=("ev",), builtin=True, has_generation=False,
    selectable=(
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "type",
    ),
    selectable_as={"source": ("source.component", "", "reportingComponent")},
    columns=(
        Column("Last Seen", cell=_last, doc="When it last happened."),
        Column("Type", cell=path_cell("type"), doc="Normal or Warning."),
        Column("Reason", cell=path_cell("reason"), doc="What happened, in one word."),
        Column("Object", cell=_object, doc="What it happened to."),
        Column("Subobject", cell=path_cell("involvedObject", "fieldPath"), priority=1, doc="Which part of it."),
        Column("Source", cell=_source, priority=1, doc="Who tells."),
        Column("Message", cell=lambda tree, _: str(tree.get("message") or "").strip(), doc="What happened, in words."),
        Column("First Seen", cell=_first, priority=1, doc="When it first happened."),
        Column("Count", cell=_count, priority=1, doc="How often it happened."),
        Column("Name", cell=path_cell("metadata", "name"), priority=1, format="name", doc="The Event's own name."),
    ),
)  # fmt: skip
class Event(Resource):
    """Something that happened to an object, told to people; equal ones are counted."""

    involved_object: ObjectReference = field(map_type="atomic", doc="What it happened to.")
    reason: str = field(default="", doc="What happened, in one CamelCase word.")
    message: str = field(default="", doc="What happened, in words.")
    source: EventSource = field(factory=EventSource)
    first_timestamp: str | None = field(default=None, format="date-time")
    last_timestamp: str | None = field(default=None, format="date-time")
    count: int = 0
    type: str = field(default="", doc="Normal or Warning.")
    event_time: str | None = field(default=None, format="micro-time")
    series: EventSeries | None = None
    action: str = ""
    related: ObjectReference | None = None
    reporting_component: str = ""
    reporting_instance: str = ""
