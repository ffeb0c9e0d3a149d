"""Lists and dicts of shared views: they read like any other, and refuse to be changed."""

from __future__ import annotations

from typing import Any, NoReturn


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise TypeError(
        f"this {'list' if isinstance(self, list) else 'dict'} belongs to a shared, read-only view of the cache; "
        f"change a copy: thawed(obj)"
    )


class ReadOnlyDict(dict[str, Any]):
    """A dict that cannot be changed; `dict(it)` can."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = pop = popitem = clear = setdefault = _refuse


class ReadOnlyList(list[Any]):
    """A list that cannot be changed; `list(it)` can."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse
