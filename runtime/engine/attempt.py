"""One run of a handler on one object: what it is given, how it is called, and what it changed on its object."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from reconcile.causality import TRIGGER, Trigger
from reconcile.client import MERGE_PATCH, WHOLE, Patch
from reconcile.conditions import PendingConditions
from reconcile.errors import ConflictError, DeclarationError, TemporaryError, Tree
from reconcile.handling import AdmissionReview, Stopped
from reconcile.kinds import Kind, Resource, typed
from reconcile.registry import OBJECT_NAMES, OF_OPERATORS, Handler
from reconcile.views import read_only, tree_of

from .access import HandlerCluster, Subject
from .dependencies import Read
from .informer import Informer
from .queue import ObjectKey
from .status import merge_patch, replaces_a_list
from .threads import in_thread

if TYPE_CHECKING:
    from .consistency import OwnWrites
    from .operation import Operation
    from .progress import Progress

log = logging.getLogger("reconcile.handler")

Take = Callable[[Any], Awaitable[Any]]
"""Takes what a generator yields, and gives what the yield expression is worth."""


class Attempt(Subject):
    """What one run of a handler can be given; made for the run, each part when it is first asked for."""

    # On the class, because most runs need none of these and every change of an object makes an attempt.
    old: Any = None  # Any: an object, or the value of a field
    new: Any = None  # Any: as `old`
    diff: tuple[Any, ...] = ()  # Any: kopf's diff items
    event = ""
    reason = ""
    review: AdmissionReview | None = None
    stopped: Stopped | None = None
    first_s = 0.0
    patch: Tree | None = None
    said: PendingConditions | None = None

    def __init__(
        self,
        operation: Operation,
        handler: Handler,
        obj: Resource | None = None,
        *,
        key: ObjectKey = ("", ""),
        failures: int = 0,
        writes: OwnWrites | None = None,
        track: Callable[[Informer, Read], None] | None = None,
    ) -> None:
        self.operation, self.handler, self.cached, self.key, self.failures = operation, handler, obj, key, failures
        self.namespace = key[0]
        self.writes, self._track = writes, track
        if obj is not None:
            cls = handler.cls if handler.cls is not None and handler.cls is not Resource else type(obj)
            self.obj: Any = typed(cls, tree_of(obj))  # Any: of the handler's class

    @property
    def kind(self) -> Kind:
        """The kind of the handled object."""
        return type(self.obj).__kind__  # type: ignore[no-any-return]  # obj is a Resource of any class

    @property
    def cluster(self) -> HandlerCluster:
        """Typed access for this attempt."""
        return HandlerCluster(self.operation, self)

    @property
    def conditions(self) -> PendingConditions:
        """What the handler says in conditions."""
        if self.said is None:
            self.said = PendingConditions(self.operation.clock, self.obj.generation)
        return self.said

    def patching(self) -> Tree:
        """The dict that is merged into the object after the handler."""
        if self.patch is None:
            self.patch = {}
        return self.patch

    @property
    def started_s(self) -> float:
        """When the first of the attempts in a row began, in seconds since the epoch."""
        return self.first_s or self.operation.clock.now()

    @property
    def reviewed(self) -> AdmissionReview:
        """The review of an admission handler."""
        if self.review is None:
            raise DeclarationError(
                f"handler {self.handler} takes part of a review, but only mutate and validate handlers have one"
            )
        return self.review

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records name the object and the handler."""
        return logging.LoggerAdapter(log, {"object": "/".join(filter(None, self.key)), "handler": self.handler.name})

    def read(self, informer: Informer, read: Read) -> None:
        """Note what was read."""
        if self._track is not None:
            self._track(informer, read)

    def wrote(self, kind: Kind, tree: Tree) -> None:
        """Note what was written."""
        if self.writes is not None:
            self.writes.wrote(self.key, kind, tree)

    def deleted(self, kind: Kind, target: ObjectKey, uid: str) -> None:
        """Note what was deleted."""
        if self.writes is not None:
            self.writes.deleted(self.key, kind, target, uid)

    async def finish(self, progress: Progress | None = None) -> None:
        """Write what the handler changed (see `left`), and the progress, at once; nothing if nothing changed."""
        await self.write(*self.left(), progress)

    def left(self) -> tuple[Tree, Tree]:
        """What the handler left to be written, as merge patches: the status with its conditions, and the rest of `patch`."""
        before: Tree = tree_of(self.cached) if self.cached is not None else {}
        body, status = dict(self.patch or {}), self._status_patch(before.get("status") or {})
        if isinstance(body.get("status"), dict) and self.kind.status:
            status = {**body.pop("status"), **status}
        return status, body

    async def finish_after(self, error: Exception) -> None:
        """Write what the handler said about its object before it failed: that is worth knowing."""
        try:
            await self.write(*self.left_after(error))
        except Exception as second:  # noqa: BLE001 - the failure itself is reported already
            log.debug("the status of %s could not be written after a failure: %r", self.key, second)

    def left_after(self, error: Exception) -> tuple[Tree, Tree]:
        """What the handler left when it failed. Nothing after a conflict: what it saw is old, and it will say it again."""
        if isinstance(error, ConflictError):
            return {}, {}
        return self.left()

    def _status_patch(self, before: Tree) -> Tree:
        touched = self.obj.__dict__.get("status")
        if touched is None and (self.said is None or not self.said.said):
            return {}
        after = before if touched is None else touched if isinstance(touched, dict) else tree_of(touched)
        if self.said is not None and self.said.said:
            after = {**after, "conditions": self.said.merged(after.get("conditions"))}
        return merge_patch(before, after)

    async def write(self, status: Tree, body: Tree, progress: Progress | None = None) -> Tree | None:
        """Write patches of the object's status and of the rest, and what is new of the progress: in one write, if that can be.

        Returns the object as it is then; None if there was nothing to write.
        """
        new = progress.patch() if progress is not None else None
        noted = _annotated(body, new[0]["metadata"]["annotations"]) if new is not None else None
        body = noted or body
        if not status and not body:
            return None
        if not self.kind.status and status:
            status, body = {}, {**body, "status": status}
        subresource = "" if not status else WHOLE if body else "status"
        tree = await self._write({**body, "status": status} if status else body, subresource)
        if noted is not None and new is not None and progress is not None:
            progress.kept(new[1])
        return tree

    async def _write(self, body: Tree, subresource: str) -> Tree:
        assert self.cached is not None, "what is written about has been read"
        meta = tree_of(self.cached)["metadata"]
        # The uid keeps the patch off an object that took the name since. Lists are replaced as a whole, so a patch with
        # one stands on what was read: the revision makes it fail, and the handler run again, if that is old.
        guard = {"uid": meta["uid"]} if meta.get("uid") else {}
        if replaces_a_list(body):
            guard["resourceVersion"] = meta.get("resourceVersion", "")
        body = {**body, "metadata": {**(body.get("metadata") or {}), **guard}}
        kind = self.kind
        tree = await self.operation.client.patch(
            kind, self.key[1], Patch(MERGE_PATCH, body), self.key[0] if kind.namespaced else "",
            subresource=subresource, field_manager=self.operation.domain,
        )  # fmt: skip
        self.wrote(kind, tree)
        return tree


def _annotated(body: Tree, notes: Tree) -> Tree | None:
    """The merge patch with these annotations; None where it takes all of them away, so that they are to be written after it."""
    meta = body.get("metadata", {})
    known = meta.get("annotations", {}) if isinstance(meta, dict) else None
    if not isinstance(known, dict):
        return None
    return {**body, "metadata": {**meta, "annotations": {**known, **notes}}}


def _part(name: str) -> Callable[[Attempt], Any]:
    """`spec` and `status`: typed where the class knows them, plain where only discovery does."""

    def read(attempt: Attempt) -> Any:
        obj = attempt.obj
        try:
            return getattr(obj, name)
        except AttributeError:
            return tree_of(obj).get(name) or {}

    return read


_GETTERS: dict[str, Callable[[Attempt], Any]] = {
    "obj": lambda a: a.obj,
    "spec": _part("spec"),
    "status": _part("status"),
    "meta": lambda a: a.obj.metadata,
    "name": lambda a: a.key[1],
    "namespace": lambda a: a.key[0],
    "uid": lambda a: a.obj.uid,
    "labels": lambda a: a.obj.labels,
    "annotations": lambda a: a.obj.annotations,
    "cluster": lambda a: a.cluster,
    "conditions": lambda a: a.conditions,
    "events": lambda a: a.operation.recorder_for(a.obj if a.cached is not None else None),
    "clock": lambda a: a.operation.clock,
    "log": lambda a: a.log,
    "logger": lambda a: a.log,
    "body": lambda a: read_only(a.obj.tree),
    "resource": lambda a: a.kind,
    "attempt": lambda a: a.failures,
    "retry": lambda a: a.failures,
    "started": lambda a: datetime.fromtimestamp(a.started_s, UTC),
    "runtime": lambda a: timedelta(seconds=a.operation.clock.now() - a.started_s),
    "param": lambda a: a.handler.param,
    "reason": lambda a: a.reason,
    "type": lambda a: a.event,
    "indexes": lambda a: a.operation.indexes,
    "stopped": lambda a: a.stopped,
    "operation": lambda a: a.reviewed.operation,
    "subresource": lambda a: a.reviewed.subresource,
    "dryrun": lambda a: a.reviewed.dry_run,
    "userinfo": lambda a: a.reviewed.caller.tree(),
    "warnings": lambda a: a.reviewed.warnings,
    "old": lambda a: a.old,
    "new": lambda a: a.new if a.handler.field else a.obj,
    "diff": lambda a: a.diff,
    "event": lambda a: a.event,
    "review": lambda a: a.review,
    "patch": lambda a: a.patching(),
    "memo": lambda a: a.operation.memo(a.obj if a.cached is not None else None),
}
assert set(_GETTERS) == OBJECT_NAMES, "what handlers can be given is declared in the registry"
_NEED_NO_OBJECT = {
    "cluster", "clock", "log", "logger", "memo", "events", "patch", "review", "attempt", "retry", "started", "runtime", "param",
    "indexes", "event", "type", "reason", "stopped",
}  # fmt: skip
_REVIEWS = {"operation", "subresource", "dryrun", "userinfo", "warnings"}


class Given(Mapping[str, Any]):
    """What a handler is given, by name, each made when it is asked for: the one argument of a lazy handler."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    def __getitem__(self, name: str) -> Any:
        getter = _GETTERS.get(name)
        return getter(self.attempt) if getter is not None else self.attempt.operation.indexes[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*_GETTERS, *self.attempt.operation.indexes])

    def __len__(self) -> int:
        return len(_GETTERS) + len(self.attempt.operation.indexes)


def _index_named(name: str) -> Callable[[Attempt], Any]:
    return lambda attempt: attempt.operation.indexes[name]


class Call:
    """A handler, compiled: which arguments it takes and how its result comes."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        names = handler.parameters
        if handler.takes_all:
            allowed = set(_NEED_NO_OBJECT) if handler.trigger in OF_OPERATORS else set(OBJECT_NAMES)
            names = tuple(sorted(allowed if handler.trigger in ("mutate", "validate") else allowed - _REVIEWS))
        self._getters = tuple((name, _GETTERS.get(name) or _index_named(name)) for name in names)
        self._positional = bool(handler.object_parameter)
        self._generator = inspect.isgeneratorfunction(handler.fn)
        self._async_generator = inspect.isasyncgenfunction(handler.fn)
        self.yields = self._generator or self._async_generator

    def plain(self, attempt: Attempt) -> Any:
        """Call the function, no more."""
        if self.handler.lazy:
            return self.handler.fn(Given(attempt))
        arguments = {name: getter(attempt) for name, getter in self._getters}
        if self._positional:
            return self.handler.fn(attempt.obj, **arguments)
        return self.handler.fn(**arguments)

    async def run(self, attempt: Attempt, trigger: Trigger, take: Take | None = None) -> Any:
        """Call the handler to its end, within its time, as the cause of whatever is written meanwhile.

        Raises:
            TemporaryError: it took longer than `timeout_s`, and was cancelled.
        """
        token = TRIGGER.set(trigger)
        try:
            if self.handler.timeout_s <= 0:
                return await self._run(attempt, take)
            limit = asyncio.timeout(self.handler.timeout_s)
            try:
                async with limit:
                    return await self._run(attempt, take)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise TemporaryError(f"cancelled: it took longer than timeout_s={self.handler.timeout_s:g}") from error
        finally:
            TRIGGER.reset(token)

    async def _run(self, attempt: Attempt, take: Take | None) -> Any:
        if self.handler.threaded:
            return await in_thread(self.plain, attempt)
        result = self.plain(attempt)
        if self._generator and take is not None:
            return await _drive(result, take)
        if self._async_generator and take is not None:
            return await _drive_async(result, take)
        if inspect.isawaitable(result):
            result = await result
        if inspect.isgenerator(result) and take is not None:
            return await _drive(result, take)
        return result


async def _drive(generator: Any, take: Take) -> Any:
    """Run a generator; what cannot be taken is raised at its yield, where the user's traceback should point."""
    try:
        item = next(generator)
        while True:
            try:
                got = await take(item)
            except Exception as error:  # noqa: BLE001 - raised again where the user yielded
                item = generator.throw(error)
            else:
                item = generator.send(got)
    except StopIteration as stop:
        return stop.value
    finally:
        generator.close()


async def _drive_async(generator: Any, take: Take) -> None:
    try:
        item = await anext(generator)
        while True:
            try:
                got = await take(item)
            except Exception as error:  # noqa: BLE001 - raised again where the user yielded
                item = await generator.athrow(error)
            else:
                item = await generator.asend(got)
    except StopAsyncIteration:
        return
    finally:
        await generator.aclose()
