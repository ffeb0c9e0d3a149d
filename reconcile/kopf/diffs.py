"""The difference between two states, item by item, as kopf tells it."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple


class DiffOperation(enum.StrEnum):
    """What became of a field; compares equal to its plain word."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"


class DiffItem(NamedTuple):
    """One field that differs."""

    operation: DiffOperation
    field: tuple[str, ...]
    old: Any
    new: Any

    @property
    def op(self) -> DiffOperation:
        """Short for `operation`."""
        return self.operation


class Diff(tuple[DiffItem, ...]):
    """All fields that differ."""

    __slots__ = ()


def diff_of(items: tuple[Any, ...]) -> Diff:
    """The engine's differences in kopf's words."""
    return Diff(DiffItem(DiffOperation(item[0]), tuple(item[1]), item[2], item[3]) for item in items)
