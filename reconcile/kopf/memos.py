"""Scratch space in memory: `memo.x` and `memo["x"]` are the same."""

from __future__ import annotations

from typing import Any


class Memo(dict[Any, Any]):
    """As kopf has it; each object's begins as a copy of the operator's."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __copy__(self) -> Memo:
        return Memo(self)
