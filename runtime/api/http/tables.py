"""Tables: what `kubectl get` shows, computed by the server from a kind's columns.

A kind without columns of its own has Name and Age. A column has a JSONPath or a function of the tree (`Column.cell`); a
cell function that fails costs its own cell, not the table.

Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor, k8s.io/apimachinery/pkg/util/duration
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree
from reconcile.kinds import Column, Kind
from reconcile.paths import getter
from reconcile.runtime.api.stored import Stored

Include = Literal["None", "Metadata", "Object"]
Cell = Callable[[Tree, float], Any]
log = logging.getLogger(__name__)
_NAME = Column("Name", ".metadata.name", format="name", doc="Name must be unique within a namespace.")
_AGE = Column("Age", ".metadata.creationTimestamp", "date", doc="When the object was created.")


def age(seconds: float) -> str:
    """A span of time the way kubectl writes it: `45s`, `3m12s`, `7h5m`, `12d`, `2y40d`.

    Source: duration.HumanDuration
    """
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def table(
    kind: Kind, objects: Iterable[Stored], now_s: float, *, version: str = "v1", include: Include = "Metadata",
    metadata: Tree | None = None, headers: bool = True,
) -> Tree:  # fmt: skip
    """The Table of some objects. `metadata` is the list's; without `headers` the column definitions are left out."""
    cells = _cells(kind)
    rows = []
    for stored in objects:
        tree = stored.tree
        row: Tree = {"cells": [cell(tree, now_s) for cell in cells]}
        if include == "Metadata":
            row["object"] = partial_object(tree)
        elif include == "Object":
            row["object"] = tree
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata or {},
        "columnDefinitions": _definitions(kind) if headers else None,
        "rows": rows,
    }


def partial_object(tree: Tree, version: str = "v1") -> Tree:
    """An object's metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": tree["metadata"]}


def columns_of(kind: Kind) -> tuple[Column, ...]:
    """A kind's columns as they are shown, the name first."""
    if not kind.columns:
        return (_NAME, _AGE)
    named = any("name" in (column.format, column.name.lower()) for column in kind.columns)
    return kind.columns if named else (_NAME, *kind.columns)


@lru_cache(maxsize=512)
def _definitions(kind: Kind) -> list[Tree]:
    return [
        {
            "name": column.name,
            # An age is made here, so that to a client it is text; only kinds of users keep the word of their declaration.
            "type": "string" if column.type == "date" and kind.builtin else column.type,
            "format": "name" if column is _NAME or column.name == "Name" else column.format,
            "description": column.doc,
            "priority": column.priority,
        }
        for column in columns_of(kind)
    ]


@lru_cache(maxsize=512)
def _cells(kind: Kind) -> tuple[Cell, ...]:
    return tuple(_cell(kind, column) for column in columns_of(kind))


def _cell(kind: Kind, column: Column) -> Cell:
    if column.cell is not None:
        return _guarded(kind, column.name, column.cell)
    read = getter(column.path or ".metadata.name")
    convert = _CONVERSIONS.get(column.type, _text)
    return lambda tree, now_s: convert(read(tree), now_s)


def _guarded(kind: Kind, name: str, compute: Cell) -> Cell:
    def cell(tree: Tree, now_s: float) -> Any:
        try:
            return compute(tree, now_s)
        except Exception:  # the function is a kind's own: its fault must not hide all objects from `get`
            log.warning("column failed", extra={"kind": str(kind), "column": name}, exc_info=True)
            return "<error>"

    return cell


def _date(value: Any, now_s: float) -> Any:
    if value is None:
        return "<unknown>"
    try:
        at = value.timestamp() if isinstance(value, datetime) else parse_timestamp(str(value))
    except ValueError:
        return "<invalid>"
    return age(now_s - at)


def _text(value: Any, _now_s: float) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        from orjson import dumps

        return dumps(value).decode()
    return str(value)


def _integer(value: Any, _now_s: float) -> Any:
    return int(value) if isinstance(value, int | float) else None


def _number(value: Any, _now_s: float) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _boolean(value: Any, _now_s: float) -> Any:
    return value if isinstance(value, bool) else None


def _two(first: int, first_unit: str, second: int, second_unit: str) -> str:
    return f"{first}{first_unit}{second}{second_unit}" if second else f"{first}{first_unit}"


_CONVERSIONS: dict[str, Callable[[Any, float], Any]] = {
    "date": _date, "integer": _integer, "number": _number, "boolean": _boolean,
}  # fmt: skip
