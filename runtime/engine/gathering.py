"""What the handlers of one pass over an object leave to be written, gathered into as few writes as that takes.

Each handler is shown the status as those before it left it. When all are through, their statuses, their patches and the progress
go out together (`Attempt.write`: one write in process and to servers of ours, two to others). What is refused together is
written for each handler by itself, as if each had written when it returned: so one's mistake, or one's conflict, is its own.
No handler keeps back for long what those before it left: after `FLUSH_S` that is written while it runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from reconcile.causality import TRIGGER
from reconcile.errors import Tree
from reconcile.kinds import Resource, typed
from reconcile.runtime.api.mergepatch import apply_merge_patch
from reconcile.views import tree_of

from .attempt import Attempt
from .journal import Attempted
from .progress import Progress
from .status import merge_patch

if TYPE_CHECKING:
    from .operation import Operation

FLUSH_S = 0.05
log = logging.getLogger(__name__)


def _nothing() -> None: ...


def _told(error: Exception) -> None:
    log.debug("what a handler left when it failed could not be written: %r", error)


@attrs.frozen(eq=False)
class Part:
    """What one handler left, and whom to tell whether it was written. By default nobody: the handler had failed anyway."""

    attempt: Attempt
    noted: Attempted
    status: Tree
    body: Tree
    done: Callable[[], None] = _nothing
    failed: Callable[[Exception], None] = _told


class Gathering:
    """The gathered work of one pass; `keeper` stands for the object, `progress` is written along."""

    def __init__(self, operation: Operation, keeper: Attempt, progress: Progress) -> None:
        self._operation, self._keeper, self._progress = operation, keeper, progress
        self._parts: list[Part] = []
        self._flying: list[Part] = []
        self._turn: asyncio.Lock | None = None

    def shown(self) -> Resource:
        """The object as the next handler shall see it."""
        obj = self._keeper.cached
        assert obj is not None, "a pass is over an object"
        parts = [part for part in (*self._flying, *self._parts) if part.status]
        if not parts:
            return obj
        tree = tree_of(obj)
        return typed(type(obj), {**tree, "status": _status(tree, parts)}, frozen=True)

    async def add(self, part: Part) -> None:
        """Take in what a handler left; it may be that something is written at once."""
        if self._parts and _both(_body(self._parts), part.body) is None:
            await self.write()
        self._parts.append(part)

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Within it a handler runs, which what was gathered before does not wait for if it takes long."""
        if not self._parts:
            yield
            return
        over = False

        def late() -> None:
            if not over:
                self._operation.tasks.spawn(self._flush(), "slow handler")

        self._operation.alarm.after(FLUSH_S, late)
        try:
            yield
        finally:
            over = True

    async def write(self) -> None:
        """Write all that was gathered since the last time. Raises what does not concern one handler."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            parts = self._flying = self._parts
            self._parts = []
            try:
                if parts:
                    await self._written(parts)
            finally:
                self._flying = []

    async def _flush(self) -> None:
        try:
            await self.write()
        except Exception as error:  # noqa: BLE001 - the progress alone is left, which the end of the pass writes
            log.debug("what was gathered could not be written early: %r", error)

    async def _written(self, parts: list[Part]) -> None:
        keeper, trigger = self._keeper, parts[-1].noted.trigger
        assert keeper.cached is not None, "a pass is over an object"
        tree = tree_of(keeper.cached)
        status = merge_patch(tree.get("status") or {}, _status(tree, parts))
        token, count = TRIGGER.set(trigger), len(trigger.wrote)
        try:
            made = await keeper.write(status, _body(parts), self._progress)
        except Exception as error:  # noqa: BLE001 - it is found out whose mistake it is
            if len(parts) == 1 and self._progress.patch() is None:
                parts[0].failed(error)
            else:
                await self._one_by_one(parts)
        else:
            for part in parts:
                if part.noted.trigger is not trigger:
                    part.noted.trigger.wrote.extend(trigger.wrote[count:])
                part.done()
            if made is not None:  # whatever handler comes next stands on what is stored now
                keeper.cached = typed(type(keeper.cached), made, frozen=True)
        finally:
            TRIGGER.reset(token)

    async def _one_by_one(self, parts: list[Part]) -> None:
        for part in parts:
            TRIGGER.set(part.noted.trigger)
            try:
                await part.attempt.write(part.status, part.body)
            except Exception as error:  # noqa: BLE001 - judged like one of the handler itself
                part.failed(error)
            else:
                part.done()


def _status(tree: Tree, parts: Iterable[Part]) -> Tree:
    """The status of an object with what the parts change of it."""
    status: Tree = tree.get("status") or {}
    for part in parts:
        status = apply_merge_patch(status, part.status)
    return status


def _body(parts: Iterable[Part]) -> Tree:
    body: Tree = {}
    for part in parts:
        body = _both(body, part.body) or {}
    return body


def _both(first: Tree, second: Tree) -> Tree | None:
    """The merge patch that does what two do one after the other; None: there is none."""
    made = dict(first)
    for name, value in second.items():
        if isinstance(value, dict) and name in made:
            inner: Any = made[name]
            value = _both(inner, value) if isinstance(inner, dict) else None
            if value is None:
                return None  # the first takes away, or replaces, what the second merges into
        made[name] = value
    return made
