"""What differs between two states of an object, value by value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NOT_CHANGES = frozenset({("metadata", "resourceVersion"), ("metadata", "managedFields"), ("metadata", "generation")})
"""What every write changes, and says nothing."""
_KEYS = ("name", "type", "uid", "ip", "containerPort", "port")
"""What items of lists are told apart by."""


def changes(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, Any]]:
    """What differs between two trees: the path, what was there, what is there (None: nothing)."""
    if old == new or path in NOT_CHANGES:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from changes(old.get(key), new.get(key), (*path, key))
        return
    if isinstance(old, list) and isinstance(new, list):
        key = _key_of([*old, *new])
        olds, news = _by_key(old, key), _by_key(new, key)
        for name in [*olds, *(name for name in news if name not in olds)]:
            yield from changes(olds.get(name), news.get(name), (*path[:-1], f"{path[-1] if path else ''}[{name}]"))
        return
    yield ".".join(path), old, new


def _key_of(items: list[Any]) -> str | None:
    if not all(isinstance(item, dict) for item in items):
        return None
    return next((key for key in _KEYS if all(key in item for item in items)), None)


def _by_key(items: list[Any], key: str | None) -> dict[str, Any]:
    return {str(item[key] if key else position): item for position, item in enumerate(items)}
