"""Functions of lists and sets in expressions: `[3, 1, 2].sort()`, `sets.contains(a, b)`.

Source: k8s.io/apiserver/pkg/cel/library/lists.go, https://github.com/google/cel-go/blob/master/ext/{lists,sets}.go
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from cel_expr_python import cel

from .declaring import DYN, LIST, again, function, overload
from .macros import SORTED

_T = cel.Type


def lists() -> list[cel.FunctionDecl]:
    """The functions."""
    return [
        function("isSorted", _T.BOOL, [LIST], lambda items: all(a <= b for a, b in pairwise(items))),
        function("sum", DYN, [LIST], lambda items: again(sum(items[1:], items[0]) if items else 0)),
        function("min", DYN, [LIST], lambda items: again(min(_filled(items, "min")))),
        function("max", DYN, [LIST], lambda items: again(max(_filled(items, "max")))),
        function("indexOf", _T.INT, [LIST, DYN], lambda items, item: _place(items, item), id_="list_indexOf"),
        function("lastIndexOf", _T.INT, [LIST, DYN], _last_place, id_="list_lastIndexOf"),
        function("reverse", LIST, [LIST], lambda items: again(items[::-1]), id_="list_reverse"),
        function("slice", LIST, [LIST, _T.INT, _T.INT], _slice),
        cel.FunctionDecl("flatten", [
            overload("flatten", LIST, [LIST], lambda items: again(_flat(items, 1))),
            overload("flatten", LIST, [LIST, _T.INT], lambda items, depth: again(_flat(items, depth))),
        ]),
        function("distinct", LIST, [LIST], _distinct),
        function("sort", LIST, [LIST], lambda items: again(_sorted(items, items))),
        function(SORTED, LIST, [LIST], lambda pairs: again(_sorted([key for key, _ in pairs], [item for _, item in pairs]))),
        function("lists.range", LIST, [_T.INT], lambda count: list(range(count)), member=False),
        function("sets.contains", _T.BOOL, [LIST, LIST], _contains, member=False),
        function("sets.equivalent", _T.BOOL, [LIST, LIST], lambda a, b: _contains(a, b) and _contains(b, a), member=False),
        function("sets.intersects", _T.BOOL, [LIST, LIST], lambda a, b: any(item in b for item in a), member=False),
    ]  # fmt: skip


def _filled(items: list[Any], name: str) -> list[Any]:
    if not items:
        raise ValueError(f"{name} called on empty list")
    return items


def _place(items: list[Any], item: Any) -> int:
    return items.index(item) if item in items else -1


def _last_place(items: list[Any], item: Any) -> int:
    return len(items) - 1 - items[::-1].index(item) if item in items else -1


def _slice(items: list[Any], start: int, end: int) -> Any:
    if start < 0 or end < 0:
        raise ValueError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise ValueError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(items):
        raise ValueError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return again(items[start:end])


def _flat(items: list[Any], depth: int) -> list[Any]:
    if depth < 0:
        raise ValueError("level must be non-negative")
    made: list[Any] = []
    for item in items:
        if depth and isinstance(item, list):
            made += _flat(item, depth - 1)
        else:
            made.append(item)
    return made


def _distinct(items: list[Any]) -> Any:
    made: list[Any] = []
    for item in items:
        if not any(item == known and isinstance(item, bool) is isinstance(known, bool) for known in made):
            made.append(item)
    return again(made)


def _sorted(keys: list[Any], items: list[Any]) -> list[Any]:
    kinds = {float if type(key) is int else type(key) for key in keys}
    if len(kinds) > 1 or kinds & {dict, list}:
        raise ValueError("list elements must have the same type" if len(kinds) > 1 else "list elements must be comparable")
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [items[at] for at in order]


def _contains(items: list[Any], wanted: list[Any]) -> bool:
    return all(item in items for item in wanted)
