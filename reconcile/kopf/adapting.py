"""Between the engine and a function written for kopf: its keyword arguments, its filters' callbacks, and what it returns."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.views import tree_of

from .bodies import Body, essence
from .diffs import diff_of
from .patches import Patch
from .selectors import resource_of
from .settings import SETTINGS

Function = Callable[..., Any]
Given = Mapping[str, Any]
CURRENT: ContextVar[Given | None] = ContextVar("reconcile_kopf_given", default=None)
"""What the running handler is given: how `kopf.event`, `kopf.adopt` and sub-handlers find their object."""
_LIVING = ("daemon", "timer")
_REPORTED = ("create", "update", "delete", "resume", "field", "daemon", "timer")


def current_body() -> Body | None:
    """The object that the running handler is about."""
    given = CURRENT.get()
    return None if given is None or given.attempt.cached is None else body_of(given)  # type: ignore[attr-defined]  # the engine's


def body_of(given: Given) -> Body:
    """The object; for daemons, as it is now."""
    attempt: Any = given.attempt  # type: ignore[attr-defined]  # the engine's own mapping has it
    if attempt.handler.trigger not in _LIVING:
        tree = attempt.obj.tree
        return Body(tree)
    kind, key, uid = attempt.kind, attempt.key, attempt.obj.uid

    def now() -> Tree:
        informer = attempt.operation.running(kind)
        cached = informer.cache.objects.get(key) if informer is not None else None
        newest = cached if cached is not None and cached.uid == uid else attempt.obj
        return dict(newest.tree)

    return Body(now)


def _plain(value: Any) -> Any:
    """`old` and `new` of the engine are objects, or values of a field."""
    return essence(value.tree) if hasattr(value, "__kind__") else value


def _patch_of(given: Given) -> Patch:
    attempt: Any = given.attempt  # type: ignore[attr-defined]  # as above
    if not isinstance(attempt.patch, Patch):
        attempt.patch = Patch()
    return attempt.patch


def _new(given: Given) -> Any:
    attempt: Any = given.attempt  # type: ignore[attr-defined]  # as above
    return attempt.new if attempt.handler.field else essence(attempt.obj.tree)


_GETTERS: dict[str, Callable[[Given], Any]] = {
    "body": body_of,
    "spec": lambda given: body_of(given).spec,
    "status": lambda given: body_of(given).status,
    "meta": lambda given: body_of(given).metadata,
    "labels": lambda given: body_of(given).metadata.labels,
    "annotations": lambda given: body_of(given).metadata.annotations,
    "namespace": lambda given: given["namespace"] or None,
    "resource": lambda given: resource_of(given["resource"]),
    "patch": _patch_of,
    "old": lambda given: _plain(given.attempt.old),  # type: ignore[attr-defined]  # as above
    "new": _new,
    "diff": lambda given: diff_of(given["diff"]),
    "type": lambda given: given["event"] or None,
    "event": lambda given: {"type": given["event"], "object": dict(body_of(given))},
    "settings": lambda _: SETTINGS,
    "subresource": lambda given: given["subresource"] or None,
    "headers": lambda _: {},
    "sslpeer": lambda _: {},
    "activity": lambda given: given["reason"],
}
_NAMES = (
    "retry", "started", "runtime", "param", "resource", "body", "spec", "status", "meta", "uid", "name", "namespace", "labels",
    "annotations", "logger", "patch", "memo",
)  # fmt: skip
_ALSO = {
    "event": ("event", "type"),
    "daemon": ("stopped",),
    "mutate": ("dryrun", "subresource", "operation", "warnings", "userinfo", "headers", "sslpeer"),
    "validate": ("dryrun", "subresource", "operation", "warnings", "userinfo", "headers", "sslpeer"),
    **dict.fromkeys(("create", "update", "delete", "resume", "field"), ("reason", "old", "new", "diff")),
}
_OF_OPERATORS = ("retry", "started", "runtime", "param", "logger", "memo", "settings", "activity")


class Adapter:
    """A function of a kopf user as the engine calls it: with one mapping, from which it takes what the function names."""

    def __init__(self, trigger: str, fn: Function, name: str) -> None:
        self.trigger, self.fn, self.name = trigger, fn, name
        self._named, self._all = names_of(fn)

    def arguments(self, given: Given) -> dict[str, Any]:
        """The keyword arguments of the function."""
        about_none = self.trigger in ("startup", "cleanup", "probe", "login")
        names: list[str] = [n for n in self._named if n in _GETTERS or n in given]
        if self._all:
            usual = _OF_OPERATORS if about_none else (*_NAMES, *_ALSO.get(self.trigger, ()))
            names = [*dict.fromkeys([*names, *usual, *given["indexes"]])]
        return {name: _GETTERS[name](given) if name in _GETTERS else given[name] for name in names}

    def finish(self, given: Given, result: Any) -> Any:
        """Deliver the result into the status, and settle what the patch says against the object as it is."""
        attempt: Any = given.attempt  # type: ignore[attr-defined]  # the engine's own mapping has it
        if result is not None and self.trigger in _REPORTED:
            _patch_of(given).status[self.name] = _jsonable(result)
        if isinstance(attempt.patch, Patch):
            self.settle(given)
        return result if self.trigger in ("probe", "login", "index") else None

    def settle(self, given: Given) -> None:
        """Leave of the patch what is new; nothing, where nothing is."""
        attempt: Any = given.attempt  # type: ignore[attr-defined]  # as above
        change = attempt.patch.merge_patch(attempt.obj.tree)
        attempt.patch = change or None


def adapted(trigger: str, fn: Function, name: str) -> Function:
    """The function as a lazy handler of the engine."""
    adapter = Adapter(trigger, fn, name)
    if inspect.iscoroutinefunction(_bare(fn)):

        @functools.wraps(fn)
        async def call_async(given: Given) -> Any:
            with _running(given, adapter):
                return adapter.finish(given, await fn(**adapter.arguments(given)))

        return call_async

    @functools.wraps(fn)
    def call(given: Given) -> Any:
        with _running(given, adapter):
            return adapter.finish(given, fn(**adapter.arguments(given)))

    return call


@contextmanager
def _running(given: Given, adapter: Adapter) -> Iterator[None]:
    token = CURRENT.set(given)
    try:
        yield
    except Exception:
        attempt: Any = given.attempt  # type: ignore[attr-defined]  # as above
        if isinstance(attempt.patch, Patch):
            adapter.settle(given)  # what it said before it failed is written, too
        raise
    finally:
        CURRENT.reset(token)


def is_async(fn: Function) -> bool:
    """Whether it is a coroutine function, however it is wrapped."""
    return inspect.iscoroutinefunction(_bare(fn))


def _bare(fn: Function) -> Function:
    while isinstance(fn, functools.partial):
        fn = fn.func
    bare: Function = inspect.unwrap(fn)
    return bare


def names_of(fn: Function) -> tuple[tuple[str, ...], bool]:
    """Which arguments a function names, and whether it really takes all others (`**_` does not mean it)."""
    parameters = inspect.signature(fn).parameters.values()
    named = tuple(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
    return named, any(p.kind is p.VAR_KEYWORD and not p.name.startswith("_") for p in parameters)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_jsonable(item) for item in value]
    return value


# Filters


@attrs.frozen
class Criterion:
    """A filter's callback: of the value, and of the object by keywords."""

    fn: Function

    def judge(self, value: Any, obj: Any) -> bool:
        """Whether it holds."""
        return bool(self.fn(value, **keywords(obj, self.fn)))


def criterion(asked: Any) -> Any:
    """What the engine asks: a callback with kopf's arguments is wrapped, all else is the same."""
    return Criterion(asked) if callable(asked) and not inspect.isclass(asked) else asked


def condition(fn: Function) -> Callable[[Any], bool]:
    """A `when=` callback as a function of the object."""
    return lambda obj: bool(fn(**keywords(obj, fn)))


def _tree(obj: Any) -> Tree:
    if isinstance(obj, dict):
        return obj
    kind: Kind | None = getattr(type(obj), "__kind__", None)
    return {**({"apiVersion": kind.api_version, "kind": kind.kind} if kind is not None else {}), **tree_of(obj)}


def keywords(obj: Any, fn: Function) -> dict[str, Any]:
    """What a callback is given of an object."""
    body = Body(_tree(obj))
    meta = body.metadata
    known: dict[str, Any] = {
        "body": body, "spec": body.spec, "status": body.status, "meta": meta, "labels": meta.labels,
        "annotations": meta.annotations, "name": meta.name, "namespace": meta.namespace, "uid": meta.uid,
    }  # fmt: skip
    takes_more = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(fn).parameters.values())
    named, _ = names_of(fn)
    return known if takes_more else {name: value for name, value in known.items() if name in named}
