"""`kopf.event`, `info`, `warn`, `exception`: Kubernetes Events about the handled object, or any other."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import Kind, Resource, pluralised, typed

from .adapting import CURRENT
from .bodies import View

_MESSAGE_MAX = 1024


def event(objs: Any, *, type: str, reason: str, message: str = "", **_: Any) -> None:  # noqa: A002 - kopf's own word
    """Post an Event about each object. Never fails a handler; equal ones are counted."""
    given = CURRENT.get()
    if given is None:
        return  # outside of handlers there is nobody in whose name to post
    text = (
        message if len(message) <= _MESSAGE_MAX else f"{message[: _MESSAGE_MAX // 2 - 2]}...{message[-_MESSAGE_MAX // 2 + 1 :]}"
    )
    for obj in objs if isinstance(objs, list | tuple) else [objs]:
        given["events"].event(type, reason, text, about=_about(obj))


def info(objs: Any, *, reason: str, message: str = "", **_: Any) -> None:
    """An Event of type Normal."""
    event(objs, type="Normal", reason=reason, message=message)


def warn(objs: Any, *, reason: str, message: str = "", **_: Any) -> None:
    """An Event of type Warning."""
    event(objs, type="Warning", reason=reason, message=message)


def exception(objs: Any, *, reason: str = "", message: str = "", exc: BaseException | None = None, **_: Any) -> None:
    """An Event of type Error about the exception that is being handled."""
    error = exc if exc is not None else sys.exc_info()[1]
    text = f"{message} {error}".strip() if error is not None else message
    event(objs, type="Error", reason=reason or type(error).__name__, message=text)


def _about(obj: Any) -> Resource:
    raw: Any = getattr(obj, "obj", obj)
    tree: Tree = dict(raw.tree) if isinstance(raw, View) else dict(raw if isinstance(raw, Mapping) else {})
    group, _, version = str(tree.get("apiVersion", "v1")).rpartition("/")
    name = str(tree.get("kind", "Object"))
    kind = Kind(group, version, name, pluralised(name.lower()))
    cls: Any = type_of(kind)
    made: Resource = typed(cls, tree)
    return made


def type_of(kind: Kind) -> type[Resource]:
    """A class for objects of a kind that is known by name only."""
    made: type[Resource] = type(kind.kind, (Resource,), {"__kind__": kind, "__doc__": f"A {kind.kind}."})
    return made
