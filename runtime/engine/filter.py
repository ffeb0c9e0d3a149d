"""Compiles a handler's `Filters` to one function of the object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconcile.errors import DeclarationError, Tree
from reconcile.filters import PRESENT, Criterion, holds
from reconcile.kinds import Resource, typed
from reconcile.registry import Filters, Handler
from reconcile.selectors import parse_fields, parse_labels
from reconcile.views import tree_of

from .access import as_class
from .progress import at

Predicate = Callable[[Resource], bool]


def compiled(handler: Handler) -> Predicate:
    """Whether a handler is for an object; a constant function where it has no filters.

    Raises:
        DeclarationError: a selector cannot be read.
    """
    filters = handler.filters
    by_value = handler.field and handler.trigger not in ("update", "field")  # those two compare what was with what is
    if not (filters.labels or filters.fields or filters.annotations or filters.when or by_value):
        return always
    try:
        tests = list(_tests(handler, filters))
        if by_value:
            tests.append(_value_test(handler.field, PRESENT if filters.value is None else filters.value, _shown(handler)))
    except Exception as error:
        raise DeclarationError(f"handler {handler}: {error}") from error
    when = _as_declared(handler)
    if when is not None and not tests:
        return lambda obj: bool(when(obj))

    def matches(obj: Resource) -> bool:
        tree = tree_of(obj)
        for test in tests:
            if not test(tree):
                return False
        return when is None or bool(when(obj))

    return matches


def _as_declared(handler: Handler) -> Predicate | None:
    """The user's own test, given the object as the class that the handler names (a shared cache may hold another's)."""
    when, cls = handler.filters.when, handler.cls
    if when is None or cls is None or cls is Resource:
        return when
    return lambda obj: bool(when(as_class(obj, cls)))


def always(_: Resource) -> bool:
    """What a handler without filters is compiled to."""
    return True


def _tests(handler: Handler, filters: Filters) -> list[Callable[[Tree], bool]]:
    tests: list[Callable[[Tree], bool]] = []
    shown = _shown(handler)
    if isinstance(filters.labels, str) and filters.labels:
        labels = parse_labels(filters.labels).matches
        tests.append(lambda tree: labels(tree["metadata"].get("labels")))
    elif filters.labels:
        tests.append(_criteria_test("labels", dict(filters.labels), shown))
    if filters.fields:
        tests.append(parse_fields(filters.fields).matches)
    if filters.annotations:
        tests.append(_criteria_test("annotations", dict(filters.annotations), shown))
    return tests


Shown = Callable[[Tree], Any]
"""Makes the object that a criterion may look at."""


def _shown(handler: Handler) -> Shown:
    cls = handler.cls
    if cls is None or cls is Resource:
        return lambda tree: tree
    return lambda tree: typed(cls, tree, frozen=True)


def _criteria_test(part: str, criteria: dict[str, Criterion], shown: Shown) -> Callable[[Tree], bool]:
    def matches(tree: Tree) -> bool:
        has = tree["metadata"].get(part) or {}
        return all(holds(criterion, has.get(name), shown(tree)) for name, criterion in criteria.items())

    return matches


def _value_test(path: str, criterion: Criterion, shown: Shown) -> Callable[[Tree], bool]:
    return lambda tree: holds(criterion, at(tree, path), shown(tree))
