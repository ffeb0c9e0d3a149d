"""Which resources a handler is for, said in kopf's many ways; and what `resource` shows of one.

Source: https://docs.kopf.dev/en/stable/resources/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from reconcile.errors import DeclarationError
from reconcile.kinds import Kind


class Everything:
    """All resources."""

    def __repr__(self) -> str:
        return "EVERYTHING"


EVERYTHING = Everything()


@attrs.frozen
class Resource:
    """A kind of the cluster, as handlers are given it."""

    group: str
    version: str
    plural: str
    kind: str = ""
    singular: str = ""
    shortcuts: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    subresources: frozenset[str] = frozenset()
    namespaced: bool = True
    preferred: bool = True
    verbs: frozenset[str] = frozenset({"get", "list", "watch", "create", "update", "patch", "delete"})

    @property
    def name(self) -> str:
        """`kopfexamples.kopf.dev`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """`kopf.dev/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __repr__(self) -> str:
        return f"{self.plural}.{self.version}.{self.group}".strip(".")


def resource_of(kind: Kind) -> Resource:
    """A kind as kopf shows it."""
    parts = {name for name, there in (("status", kind.status), ("scale", kind.scale is not None)) if there}
    return Resource(
        kind.group, kind.version, kind.plural, kind.kind, kind.singular, frozenset(kind.short_names), frozenset(kind.categories),
        frozenset(parts), kind.namespaced,
    )  # fmt: skip


@attrs.frozen
class Selector:
    """What a handler says of its resources; empty parts match everything."""

    group: str | None = None
    version: str | None = None
    any_name: str | Everything | None = None
    kind: str | None = None
    plural: str | None = None
    singular: str | None = None
    shortcut: str | None = None
    category: str | None = None
    fn: Callable[[Resource], bool] | None = None

    def __call__(self, kind: Kind) -> bool:
        """Whether a kind (in the version that the server prefers) is meant."""
        if self.fn is not None:
            return bool(self.fn(resource_of(kind)))
        if self.any_name is EVERYTHING and kind.plural == "events" and kind.group in ("", "events.k8s.io"):
            return False
        return (
            self.group in (None, kind.group)
            and self.version in (None, kind.version)
            and self.kind in (None, kind.kind)
            and self.plural in (None, kind.plural)
            and self.singular in (None, kind.singular)
            and (self.shortcut is None or self.shortcut in kind.short_names)
            and (self.category is None or self.category in kind.categories)
            and (self.any_name in (None, EVERYTHING, kind.kind, kind.plural, kind.singular) or self.any_name in kind.short_names)
        )

    def __str__(self) -> str:
        said = [str(value) for value in attrs.astuple(self) if value is not None]
        return ".".join(said)


def selector_of(*words: Any, **parts: Any) -> Selector:
    """Read what a decorator was given.

    Raises:
        DeclarationError: it says nothing, or too much.
    """
    given = {name: value for name, value in parts.items() if value is not None}
    if len(words) == 1 and callable(words[0]) and not isinstance(words[0], Everything):
        return Selector(fn=words[0])
    if not words and not given:
        raise DeclarationError("say which resources: 'kopfexamples', ('kopf.dev', 'v1', 'kopfexamples'), or group=, plural= ...")
    if len(words) > 3:
        raise DeclarationError(f"resources are named in three words at most (group, version, name), not by {words!r}")
    return Selector(**{**_named(words), **given})


def _named(words: tuple[Any, ...]) -> dict[str, Any]:
    if not words:
        return {}
    *before, name = words
    found: dict[str, Any] = {"any_name": name}
    if len(before) == 2:
        found |= {"group": before[0], "version": before[1]}
    elif before:
        found |= _api_version(str(before[0]))
    elif isinstance(name, str) and "." in name:
        plural, _, rest = name.partition(".")
        version, _, group = rest.partition(".")
        if _is_version(version):
            found = {"any_name": plural, "version": version, "group": group}
        else:
            found = {"any_name": plural, "group": rest}
    return found


def _api_version(text: str) -> dict[str, str]:
    if "/" in text:
        group, _, version = text.partition("/")
        return {"group": group, "version": version}
    return {"group": "", "version": text} if _is_version(text) else {"group": text}


def _is_version(text: str) -> bool:
    return len(text) > 1 and text[0] == "v" and text[1].isdigit()


Callback = Callable[..., bool]


def not_(fn: Callback) -> Callback:
    """True where `fn` is not."""
    return lambda *args, **kwargs: not fn(*args, **kwargs)


def all_(fns: Iterable[Callback]) -> Callback:
    """True where all are."""
    kept = tuple(fns)
    return lambda *args, **kwargs: all(fn(*args, **kwargs) for fn in kept)


def any_(fns: Iterable[Callback]) -> Callback:
    """True where one is."""
    kept = tuple(fns)
    return lambda *args, **kwargs: any(fn(*args, **kwargs) for fn in kept)


def none_(fns: Iterable[Callback]) -> Callback:
    """True where none is."""
    return not_(any_(fns))
