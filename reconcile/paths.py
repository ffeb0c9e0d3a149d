"""Simple JSONPaths, as printer columns and the scale subresource use them, compiled once to closures.

Understood: `.spec.replicas`, `.items[0]`, `.items[*].name`, `['a.b']`, `\\.` for a dot in a key, and one kind of filter,
`[?(@.type=="Ready")]`; all optionally in braces. Anything else is refused with a message that says where.

Source: https://kubernetes.io/docs/reference/kubectl/jsonpath/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from .errors import BadRequestError, Tree

Step = Callable[[Iterable[Any]], Iterator[Any]]
_STEP = re.compile(
    r"""\.?\[\?\(\s*@(?P<filter>(?:\.[\w\\./-]+)+)\s*(?P<op>==|!=)\s*(?P<literal>"[^"]*"|'[^']*'|[-\w.]+)\s*\)\]"""
    r"""|\.?\[(?P<index>-?\d+)\]|\.?\[(?P<all>\*)\]|\.(?P<star>\*)|\.?\[(?P<quoted>'[^']*'|"[^"]*")\]"""
    r"""|\.(?P<key>(?:\\.|[^.\[\]\\])+)"""
)


@lru_cache(maxsize=1024)
def split(path: str) -> tuple[str, ...]:
    """The keys of a plain dotted path: `spec.nodeName`, with or without a dot in front."""
    return tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path.removeprefix(".")) if part)


@lru_cache(maxsize=1024)
def getter(path: str) -> Callable[[Tree], Any]:
    """A function that gives the first value at `path`, or None.

    Raises:
        BadRequestError: the path uses what is not understood here.
    """
    keys = _plain(path)
    if keys is None:
        every = values(path)
        return lambda tree: next(every(tree), None)

    def plain(tree: Any) -> Any:
        for key in keys:
            if not isinstance(tree, dict):
                return None
            tree = tree.get(key)
        return tree

    return plain


@lru_cache(maxsize=1024)
def values(path: str) -> Callable[[Tree], Iterator[Any]]:
    """A function that gives all values at `path`, in order.

    Raises:
        BadRequestError: the path uses what is not understood here.
    """
    steps = [_step(match) for match in _matches(path)]

    def every(tree: Tree) -> Iterator[Any]:
        found: Iterable[Any] = (tree,)
        for step in steps:
            found = step(found)
        return iter(found)

    return every


def _matches(path: str) -> list[re.Match[str]]:
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    text = text.removeprefix("$")
    if text and text[0] not in ".[":
        text = "." + text
    matches, at = [], 0
    while at < len(text) and text[at:] != ".":
        match = _STEP.match(text, at)
        if match is None:
            raise BadRequestError(
                f"JSONPath {path!r}: {text[at:]!r} is not understood; write keys as in .spec.replicas, "
                f'list items as [0] or [*], and filters as [?(@.type=="Ready")]'
            )
        matches.append(match)
        at = match.end()
    return matches


def _plain(path: str) -> tuple[str, ...] | None:
    """The keys of a path that has keys alone."""
    keys = []
    for match in _matches(path):
        key = _key(match)
        if key is None:
            return None
        keys.append(key)
    return tuple(keys)


def _key(match: re.Match[str]) -> str | None:
    if match["quoted"] is not None:
        return match["quoted"][1:-1]
    return re.sub(r"\\(.)", r"\1", match["key"]) if match["key"] is not None else None


def _step(match: re.Match[str]) -> Step:
    key = _key(match)
    if key is not None:
        return lambda found: (item[key] for item in found if isinstance(item, dict) and key in item)
    if match["all"] or match["star"]:
        return _children
    if match["index"] is not None:
        index = int(match["index"])
        return lambda found: (
            item[index] for item in found if isinstance(item, list) and -len(item) <= index < len(item)
        )  # fmt: skip
    wanted = _literal(match["literal"])
    inner, equal = getter(match["filter"]), match["op"] == "=="
    return lambda found: (item for item in _children(found) if (inner(item) == wanted) is equal)


def _children(found: Iterable[Any]) -> Iterator[Any]:
    for item in found:
        if isinstance(item, dict):
            yield from item.values()
        elif isinstance(item, list):
            yield from item


def _literal(text: str) -> Any:
    if text[0] in "\"'":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        return text
