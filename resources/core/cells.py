"""Printer cells that several kinds share: age, labels, selectors, a template's containers.

Every cell answers what kubectl shows for that column of a real server.

Source: K/pkg/printers/internalversion/printers.go
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import Column

from .age import since

NONE = "<none>"


def age_cell(tree: Tree, now_s: float) -> str:
    """How long ago the object was created."""
    return since(tree["metadata"].get("creationTimestamp"), now_s)


AGE = Column("Age", cell=age_cell, doc="The time since the object was created.")


def labels_text(labels: Mapping[str, str] | None) -> str:
    """`a=1,b=2`, or `<none>`."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) if labels else NONE


def selector_text(selector: Tree | None) -> str:
    """A LabelSelector as a selector string, or `<none>`."""
    if not selector:
        return NONE
    rules = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        key, values = rule.get("key", ""), ",".join(sorted(rule.get("values") or ()))
        rules.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }.get(rule.get("operator", ""), key)
        )
    return ",".join(sorted(rules)) or NONE


def template_columns() -> tuple[Column, ...]:
    """The wide columns of everything that has a Pod template and a selector."""
    return (
        Column("Containers", cell=_of_containers("name"), priority=1, doc="Names of the template's containers."),
        Column("Images", cell=_of_containers("image"), priority=1, doc="Images of the template's containers."),
        Column("Selector", cell=lambda tree, _: selector_text(tree["spec"].get("selector")), priority=1, doc="Picks the Pods."),
    )


def shortened(items: Sequence[str], shown_max: int = 3) -> str:
    """The first few items and how many more there are, or `<unset>`."""
    text = ",".join(items[:shown_max])
    if len(items) > shown_max:
        return f"{text} + {len(items) - shown_max} more..."
    return text or "<unset>"


def path_cell(*path: str, absent: Any = "") -> Any:  # Any: a cell holds any JSON value
    """A cell that shows the value at `path`, or `absent`."""

    def cell(tree: Tree, now_s: float) -> Any:  # noqa: ARG001 - a cell's signature
        value: Any = tree
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return absent if value in (None, "") else value

    return cell


def _of_containers(attribute: str) -> Any:
    def cell(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
        spec = (tree["spec"].get("template") or {}).get("spec") or {}
        return ",".join(str(c.get(attribute, "")) for c in spec.get("containers") or ())

    return cell
