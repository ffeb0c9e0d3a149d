"""The API as one process of a simulation sees it: the real one in process, with the faults of a plan between.

Writes are counted when they are asked for, events when they are about to be heard. A killed process's client answers nothing
more: whatever is still running in its name is cancelled at its next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from reconcile.client import APPLY_PATCH, DeleteOptions, Page, Patch, WatchEvent
from reconcile.errors import ConflictError, ExpiredError, InternalError, NotFoundError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient

from .names import UNCOUNTED, object_name

if TYPE_CHECKING:
    from .process import Process

HIDDEN_S_MAX = 30.0
LAG_S = 5.0
_DEFAULT_OPTIONS = DeleteOptions()


class FaultyClient:
    """Implements `reconcile.client.Client` for one life of a process.

    `past` is the revision at which it sees the API until `thaws_at` (0: it sees the present).
    """

    def __init__(self, process: Process, api: ApiServer, *, past: int = 0, thaws_at: float = 0.0) -> None:
        self.process, self.api = process, api
        self.dead = False
        self._inner = InProcessClient(api)
        self._past, self._thaws_at = past, thaws_at

    @property
    def past(self) -> int:
        """The revision that is shown instead of the present; 0: none."""
        return self._past if self._past and self.process.clock.monotonic() < self._thaws_at else 0

    async def thawed(self) -> None:
        """Wait until the present is shown again."""
        if self.past:
            await self.process.clock.sleep(self._thaws_at - self.process.clock.monotonic())

    def check(self) -> None:
        """A dead process does nothing more; one that never stops writing is stopped, so that time can go on."""
        if self.dead:
            raise asyncio.CancelledError("the process was killed")

    # Reading

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        """The newest state of one object, or as it was."""
        self.check()
        if not self.past:
            return await self._inner.get(kind, name, namespace)
        found = await self._listed(kind, namespace, "", f"metadata.name={name}")
        if not found.items:
            raise NotFoundError(f'{kind.resource} "{name}" not found')
        return found.items[0]

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page:
        """The objects of a kind, now or as they were."""
        self.check()
        if not self.past:
            return await self._inner.list(
                kind, namespace, labels=labels, fields=fields, limit=limit, continue_token=continue_token
            )
        return await self._listed(kind, namespace, labels, fields)

    async def _listed(self, kind: Kind, namespace: str, labels: str, fields: str) -> Page:
        at = str(self.past)
        found = await self.api.list(kind, namespace, labels=labels, fields=fields, resource_version=at, match="Exact")
        return Page([stored.tree for stored in found.items], found.revision)

    def watch(
        self, kind: Kind, namespace: str = "", *, since: int = 0, labels: str = "", fields: str = "", initial: bool = False
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `since`, with the faults of the plan."""
        self.check()
        inner = self._inner.watch(kind, namespace, since=since, labels=labels, fields=fields, initial=initial)
        return _FaultyEvents(self, kind, inner)

    async def kinds(self) -> Sequence[Kind]:
        """What is served."""
        self.check()
        return await self._inner.kinds()

    # Writing

    async def create(
        self, kind: Kind, tree: Tree, namespace: str = "", *, field_manager: str = "", dry_run: bool = False
    ) -> Tree:
        """Create."""
        name = tree["metadata"].get("name", "")
        space = namespace or tree["metadata"].get("namespace", "")
        return await self._write(
            "create", kind, name, space, dry_run,
            lambda: self._inner.create(kind, tree, namespace, field_manager=field_manager, dry_run=dry_run),
        )  # fmt: skip

    async def update(
        self, kind: Kind, tree: Tree, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", dry_run: bool = False,
    ) -> Tree:  # fmt: skip
        """Replace."""
        name = tree["metadata"].get("name", "")
        space = namespace or tree["metadata"].get("namespace", "")
        return await self._write(
            "update", kind, name, space, dry_run,
            lambda: self._inner.update(
                kind, tree, namespace, subresource=subresource, field_manager=field_manager, dry_run=dry_run
            ),
        )  # fmt: skip

    async def patch(
        self, kind: Kind, name: str, patch: Patch, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", force: bool = False, dry_run: bool = False, strict: bool = False,
    ) -> Tree:  # fmt: skip
        """Change part of an object, or apply it."""
        return await self._write(
            "apply" if patch.media_type == APPLY_PATCH else "patch", kind, name, namespace, dry_run,
            lambda: self._inner.patch(
                kind, name, patch, namespace, subresource=subresource, field_manager=field_manager, force=force,
                dry_run=dry_run, strict=strict,
            ),
        )  # fmt: skip

    async def delete(self, kind: Kind, name: str, namespace: str = "", options: DeleteOptions = _DEFAULT_OPTIONS) -> Tree:
        """Delete."""
        return await self._write(
            "delete", kind, name, namespace, options.dry_run, lambda: self._inner.delete(kind, name, namespace, options)
        )

    async def act(self, kind: Kind, name: str, action: str, body: Tree, namespace: str = "") -> Tree:
        """Write a further subresource."""
        return await self._write(
            action, kind, name, namespace, False, lambda: self._inner.act(kind, name, action, body, namespace)
        )

    async def _write(
        self, verb: str, kind: Kind, name: str, namespace: str, dry_run: bool, call: Callable[[], Awaitable[Tree]]
    ) -> Tree:
        self.check()
        await self.process.world.held_back(self.process)
        if dry_run or kind.plural in UNCOUNTED:
            return await call()
        process = self.process
        nth = process.next_write()
        faults = {fault.kind: fault for fault in process.faults_at(nth, writing=True)}
        for fault in faults.values():
            process.struck.append((fault, process.world.mirror.revision, f"{verb} {object_name(kind, namespace, name or '?')}"))
        if "conflict" in faults and verb != "create":
            raise ConflictError(f'{kind.resource} "{name}": the object has been modified (a fault of the simulation)')
        if "conflict" in faults or ("500" in faults and not faults["500"].argument):
            raise InternalError(f"{verb} {kind.resource} {name}: not done (a fault of the simulation)")
        before = process.world.mirror.revision
        tree = await call()
        meta = tree.get("metadata") or {}
        made = int(meta.get("resourceVersion") or 0)
        key = object_name(kind, meta.get("namespace", namespace), meta.get("name", name))
        process.wrote(nth, verb, key, self._made(verb, key, made, before))
        if "crash" in faults:
            process.crash()
        self.check()
        if "slow" in faults:
            await process.clock.sleep(faults["slow"].argument)
            self.check()
        if "500" in faults:
            raise InternalError(f"{verb} {kind.resource} {name}: done, but the answer is lost (a fault of the simulation)")
        return tree

    def _made(self, verb: str, key: str, made: int, before: int) -> int:
        """The revision that the write made; 0: it changed nothing."""
        if made > before:
            return made
        mirror = self.process.world.mirror
        return mirror.revision if verb == "delete" and key not in mirror.objects else 0


class _FaultyEvents:
    """The events of one watch, as the process hears them."""

    def __init__(self, client: FaultyClient, kind: Kind, inner: Any) -> None:
        self._client, self._kind, self._inner = client, kind, inner
        self._again: WatchEvent | None = None

    def __aiter__(self) -> _FaultyEvents:
        return self

    async def __anext__(self) -> WatchEvent:
        client, process = self._client, self._client.process
        again, self._again = self._again, None
        if again is not None:
            return again
        event: WatchEvent = await self._inner.__anext__()
        await client.thawed()
        client.check()
        if event.type == "BOOKMARK" or self._kind.plural in UNCOUNTED:
            return event
        await process.caught_up(event.revision)
        nth = process.heard(event.type, self._named(event), event.revision)
        for fault in process.faults_at(nth, writing=False):
            process.struck.append((fault, event.revision, f"{event.type} {self._named(event)}"))
            await self._suffer(fault.kind, fault.argument, event)
        client.check()
        return event

    async def _suffer(self, kind: str, argument: float, event: WatchEvent) -> None:
        process = self._client.process
        if kind == "stale":
            process.crash(past=int(argument))
        elif kind == "lag":
            process.lags(argument, LAG_S)
        elif kind == "delay":
            await process.clock.sleep(argument)
        elif kind == "dup":
            self._again = event
        elif kind == "410":
            raise ExpiredError(f"too old resource version: {event.revision} (a fault of the simulation)")
        elif kind == "drop":
            await self._hide(self._named(event))

    async def _hide(self, name: str) -> None:
        """Hear nothing until the object has changed again; then the watch is of no use any more."""
        try:
            async with asyncio.timeout(HIDDEN_S_MAX):
                while True:
                    event: WatchEvent = await self._inner.__anext__()
                    if event.type != "BOOKMARK" and self._named(event) == name:
                        break
        except (TimeoutError, StopAsyncIteration):
            pass  # it never changed again: the process hears of it when it lists
        raise ExpiredError(f"{name} changed unseen: list again (a fault of the simulation)")

    def _named(self, event: WatchEvent) -> str:
        meta = event.object["metadata"]
        return object_name(self._kind, meta.get("namespace", ""), meta["name"])

    async def aclose(self) -> None:
        """End the watch."""
        await self._inner.aclose()
