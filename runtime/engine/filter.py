"""Compiles a handler's `Filters` to one function of the object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconcile.errors import DeclarationError, Tree
from reconcile.kinds import Resource
from reconcile.registry import Filters, Handler
from reconcile.selectors import parse_fields, parse_labels
from reconcile.views import tree_of

from .access import as_class

Predicate = Callable[[Resource], bool]


def compiled(handler: Handler) -> Predicate:
    """Whether a handler is for an object; a constant function where it has no filters.

    Raises:
        DeclarationError: a selector cannot be read.
    """
    filters = handler.filters
    if not (filters.labels or filters.fields or filters.annotations or filters.when):
        return _always
    try:
        tests = list(_tests(filters))
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


def _always(_: Resource) -> bool:
    return True


def _tests(filters: Filters) -> list[Callable[[Tree], bool]]:
    tests: list[Callable[[Tree], bool]] = []
    if filters.labels:
        labels = parse_labels(filters.labels).matches
        tests.append(lambda tree: labels(tree["metadata"].get("labels")))
    if filters.fields:
        tests.append(parse_fields(filters.fields).matches)
    if filters.annotations:
        wanted: dict[str, Any] = dict(filters.annotations)  # Any: compared, never used

        def annotated(tree: Tree) -> bool:
            has = tree["metadata"].get("annotations") or {}
            return all(has.get(name) == value for name, value in wanted.items())

        tests.append(annotated)
    return tests
