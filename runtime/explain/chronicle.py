"""What revisions did: which object, what changed in it, by whom, because of which other revision."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

import attrs

from reconcile.causality import Cause
from reconcile.clock import timestamp_micro
from reconcile.differences import changes
from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.stored import stored_of
from reconcile.runtime.store import FROM_KEY, CompactedError, Event, EventKind

_REGISTRY = b"/registry/"
_READ_S_MAX = 5.0
_CHANGES_MAX = 50


@attrs.frozen
class Step:
    """One change of one object. `cause` is None where nobody noted one."""

    revision: int
    time_s: float | None
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    kind: Kind
    tree: Tree
    before: Tree | None
    cause: Cause | None

    def told(self) -> Tree:
        """As JSON."""
        cause, meta = self.cause, self.tree["metadata"]
        found: list[Tree] = []
        if self.type == "MODIFIED" and self.before is not None:
            differing = changes(self.before, self.tree)
            found = [{"path": path, "from": old, "to": new} for path, old, new in differing][:_CHANGES_MAX]
        return {
            "revision": str(self.revision), "time": timestamp_micro(self.time_s) if self.time_s is not None else None,
            "type": self.type, "resource": self.kind.resource, "kind": self.kind.kind,
            "namespace": meta.get("namespace", ""), "name": meta["name"], "changes": found,
            "by": cause.handler if cause else None, "reason": cause.reason if cause else "",
            "because": str(cause.revision) if cause and cause.revision else "", "merged": cause.merged if cause else 1,
            "attempt": cause.attempt if cause else 0, "source": cause.source if cause else "",
            "trace": cause.trace if cause else "",
        }  # fmt: skip


class Chronicle:
    """Reads steps from the store."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api

    async def at(self, revision: int) -> list[Step]:
        """What one revision did; nothing, if it is compacted away."""
        return await self.between(revision, revision)

    async def between(self, first: int, last: int, only: frozenset[int] | None = None) -> list[Step]:
        """What the revisions first..last did (of them only some), as far as they are kept."""
        store = self.api.store
        last = min(last, store.revision)
        first = max(first, store.compacted, 1)
        if first > last:
            return []
        causes = {revision: (time_s, text) for revision, time_s, text in await store.causes(first, last)}
        steps: list[Step] = []
        for revision, events in await self._events(first, last):
            if only is None or revision in only:
                time_s, text = causes.get(revision, (None, None))
                if time_s is None:
                    time_s = await store.time_of(revision)
                cause = Cause.decode(text)
                steps.extend(step for event in events if (step := self._step(revision, time_s, event, cause)) is not None)
        return steps

    async def _events(self, first: int, last: int) -> list[tuple[int, Sequence[Event]]]:
        found: list[tuple[int, Sequence[Event]]] = []
        watch = self.api.store.watch(FROM_KEY, FROM_KEY, first, prev_kv=True)
        try:
            async with asyncio.timeout(_READ_S_MAX):
                async for batch in watch:
                    if batch.events and batch.revision <= last:
                        found.append((batch.revision, batch.events))
                    if batch.revision >= last:
                        break
        except (CompactedError, TimeoutError):
            return found  # compacted meanwhile: what is there is told
        finally:
            watch.cancel()
        return found

    def _step(self, revision: int, time_s: float | None, event: Event, cause: Cause | None) -> Step | None:
        kind = self._kind(event.kv.key)
        kept = event.prev_kv if event.kind is EventKind.DELETE else event.kv
        if kind is None or kept is None:
            return None
        tree = stored_of(kept, kind).tree
        before = stored_of(event.prev_kv, kind).tree if event.prev_kv is not None else None
        if event.kind is EventKind.DELETE:
            return Step(revision, time_s, "DELETED", kind, tree, before, cause)
        return Step(revision, time_s, "ADDED" if event.kv.version == 1 else "MODIFIED", kind, tree, before, cause)

    def _kind(self, key: bytes) -> Kind | None:
        if not key.startswith(_REGISTRY):
            return None
        resource = key[len(_REGISTRY) :].split(b"/", 1)[0].decode()
        return next((kind for kind in self.api.stored_kinds() if kind.resource == resource), None)
