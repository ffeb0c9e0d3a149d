"""Puts mutate and validate handlers into the API server's write path, where that is in the same process, and finalizers too.

There an object is born with the finalizer of an operator that has something to do before it goes: no write of its own is
needed for that, and no handler has to wait for it. A server of ours elsewhere does that while the operator watches, where it is
needed whatever the object looks like. For all others, and for what was there before, `Operation.hold` adds it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from reconcile.causality import TRIGGER, Trigger
from reconcile.errors import ApiError, ForbiddenError, InternalError, PermanentError, TemporaryError, Tree
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind, Resource, kind_of, typed
from reconcile.registry import Handler
from reconcile.views import tree_of

from .attempt import Attempt, Call
from .filter import compiled
from .informer import class_of

if TYPE_CHECKING:
    from .operation import Operation

log = logging.getLogger(__name__)

Admit = Callable[[AdmissionReview], Awaitable[None] | None]


class AdmissionHooks(Protocol):
    """Where an API server lets handlers in; a kind of None stands for all. Both return what takes the function out again."""

    def add_mutator(self, kind: Kind | None, fn: Admit) -> Callable[[], None]:
        """Call `fn` before a write is validated; it may change `review.tree` in place."""

    def add_validator(self, kind: Kind | None, fn: Admit) -> Callable[[], None]:
        """Call `fn` before a write is stored; it raises to refuse."""


def install(operation: Operation, handler: Handler, hooks: AdmissionHooks | None) -> list[Callable[[], None]]:
    """Install one handler; without hooks (a remote API server) it is left out, which is logged."""
    if hooks is None:
        log.warning("handler %s is not called: this API server takes no %s handlers", handler, handler.trigger)
        return []
    add = hooks.add_mutator if handler.trigger == "mutate" else hooks.add_validator
    if handler.selects is not None and getattr(hooks, "by_kind", False):
        meant = [kind for kind in operation.engine.kinds if handler.selects(kind)]
        return [add(kind, _admit(operation, handler, kind)) for kind in meant]
    kind = None if handler.cls is None or handler.cls is Resource else kind_of(handler.cls)
    return [add(kind, _admit(operation, handler, kind))]


def install_finalizer(
    operation: Operation, kind: Kind, needed: Callable[[Resource], bool], hooks: object
) -> list[Callable[[], None]]:
    """Give new objects of a kind the operator's finalizer where it is needed, if the hooks can do that."""
    add = getattr(hooks, "add_initializer", None)
    if add is None:
        return []
    finalizer, cls = operation.operator.finalizer, class_of(kind)

    def begin(review: AdmissionReview) -> None:
        tree = review.tree
        there = tree["metadata"].get("finalizers") or []
        if finalizer in there or review.kind.version != kind.version:
            return  # one in another version gets it a moment later
        try:
            wanted = needed(typed(cls, tree, frozen=True))
        except Exception:  # noqa: BLE001 - a filter of the user's: it fails again, and is reported, where handlers are chosen
            return
        if wanted:
            tree["metadata"]["finalizers"] = [*there, finalizer]

    return [add(kind, begin)]


def _admit(operation: Operation, handler: Handler, kind: Kind | None) -> Admit:
    call, matches = Call(handler), compiled(handler)

    async def admit(review: AdmissionReview) -> None:
        if not _wanted(handler, review):
            return
        cls = class_of(kind) if kind is not None else _class_of_tree(review.tree)
        meta = review.tree.setdefault("metadata", {})
        # A handler may change both the typed object and the tree: the object is made of a tree of its own.
        given: Tree = orjson.loads(orjson.dumps(review.tree)) if handler.trigger == "mutate" else review.tree
        obj = typed(cls, given, frozen=True)
        if not matches(obj):
            return
        key = (meta.get("namespace") or "", meta.get("name") or "")
        attempt = Attempt(operation, handler, obj, key=key)
        attempt.review = review
        attempt.old = typed(cls, review.old, frozen=True) if review.old is not None else None
        try:
            result = call.plain(attempt)
            if inspect.isawaitable(result):
                token = TRIGGER.set(Trigger(operation.trigger_name(handler), 0, "admission"))
                try:
                    await result
                finally:
                    TRIGGER.reset(token)
        except Exception as error:  # becomes the API's answer to the writer
            raise _refusal(operation, handler, obj, error) from error
        if handler.trigger == "mutate":
            _take_over(attempt, given, review)

    return admit


def _wanted(handler: Handler, review: AdmissionReview) -> bool:
    """Whether the handler is for this kind of write, and this kind of object."""
    if handler.operations and review.operation not in handler.operations:
        return False
    if handler.subresource != "*" and review.subresource != (handler.subresource or ""):
        return False
    return handler.selects is None or handler.selects(review.kind)


def _take_over(attempt: Attempt, given: Tree, review: AdmissionReview) -> None:
    """What the handler changed on its typed object goes into the tree, which it may also have changed directly.

    Of what it merely read nothing is taken over: `given` is the tree that it was given.
    """
    if len(attempt.obj.__dict__) > 1:
        _change(review.tree, given, tree_of(attempt.obj))
    if attempt.patch is not None:
        _merge(review.tree, attempt.patch)


def _change(tree: Tree, before: Tree, after: Tree) -> None:
    """Make in `tree` what is different between two others."""
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and isinstance(inner := tree.get(name), dict):
            tree[name] = dict(inner)
            _change(tree[name], old, new)
        elif name in after:
            tree[name] = new
        else:
            tree.pop(name, None)


def _merge(tree: Tree, patch: Tree) -> None:
    for name, value in patch.items():
        if value is None:
            tree.pop(name, None)
        elif isinstance(value, dict):
            inner: Any = tree.get(name)
            tree[name] = dict(inner) if isinstance(inner, dict) else {}
            _merge(tree[name], value)
        else:
            tree[name] = value


def _class_of_tree(tree: Tree) -> type[Resource]:
    group, _, version = str(tree.get("apiVersion", "v1")).rpartition("/")
    name = str(tree.get("kind", "Object"))
    return class_of(Kind(group=group, version=version, kind=name, plural=name.lower()))


def _refusal(operation: Operation, handler: Handler, obj: Resource, error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, PermanentError | TemporaryError | ValueError | AssertionError):
        return ForbiddenError(f'admission webhook "{operation.domain}/{handler.name}" denied the request: {error}')
    operation.failed(handler, error, about=obj if obj.name else None, retry_s=None)
    return InternalError(f"handler {handler} failed on this write: {type(error).__name__}: {error}")
