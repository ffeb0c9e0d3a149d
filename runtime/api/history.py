"""The past of objects: every state that one was in, and which revision was when, as far back as history is kept.

Reading a list at an old revision is `Reading`'s; this is what Kubernetes' API has no words for.
"""

from __future__ import annotations

from typing import Literal

import attrs

from reconcile.errors import BadRequestError
from reconcile.kinds import Kind
from reconcile.runtime.store import DELETE, Change, CompactedError, FutureRevisionError, Store, StoreError, WatchStore

from . import errors, refusals
from .catalog import Catalog, Served
from .stored import Stored, stored_of


@attrs.frozen
class Moment:
    """A revision, and when it was made (None: not known)."""

    revision: int
    time_s: float | None


@attrs.frozen
class Span:
    """Where history begins and ends, and the moment in it that was asked for (None: it is before the beginning)."""

    oldest: Moment
    newest: Moment
    at: Moment | None = None


@attrs.frozen
class PastState:
    """One change of an object: when, why (None: no cause was given), and what it then was (DELETED: what it last was)."""

    moment: Moment
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    cause: str | None
    stored: Stored | None
    before: Stored | None
    """What it was before; None if there was nothing, or that is forgotten."""


class ObjectHistory:
    """Tells the past."""

    def __init__(self, store: WatchStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def of(self, kind: Kind, name: str, namespace: str, first: int, last: int, limit: int) -> list[PastState]:
        """See ApiServer.history."""
        served = self._catalog.of(kind)
        if served.provider is not None:
            raise BadRequestError(f"{kind.resource} are computed when they are asked for: they have no history")
        key = served.key(namespace, name)
        try:
            changes = await self._store.history(key, first=first, last=last, limit=limit)
        except CompactedError as error:
            raise refusals.expired_list() from error
        except FutureRevisionError as error:
            raise errors.FutureRevisionError(error.revision, error.newest) from error
        except StoreError as error:
            raise refusals.of_store(error) from error
        if not changes:
            raise refusals.not_found(kind, name)
        return [await _state(change, served) for change in changes]

    async def span(self, at_s: float | None) -> Span:
        """See ApiServer.span."""
        store = self._store
        try:
            newest, oldest = self._store.revision, max(1, self._store.compacted)
            at = await store.revision_at(at_s) if at_s is not None else None
            return Span(
                Moment(oldest, await store.time_of(oldest)),
                Moment(newest, await store.time_of(newest)),
                Moment(at, await store.time_of(at)) if at is not None else None,
            )
        except StoreError as error:
            raise refusals.of_store(error) from error

    async def forget(self, keep: int) -> Span:
        """See ApiServer.forget."""
        store, revision = self._store, self._store.revision - keep
        try:
            if revision > max(1, store.compacted):
                await store.compact(revision, physical=True)
            if isinstance(store, Store):  # a cluster's members are defragmented by whoever looks after them
                await store.defragment()
        except CompactedError:
            pass  # somebody compacted meanwhile, as far or further
        except StoreError as error:
            raise refusals.of_store(error) from error
        return await self.span(None)


async def _state(change: Change, served: Served) -> PastState:
    event = change.event
    before = await served.shown(stored_of(event.prev_kv, served.kind)) if event.prev_kv is not None else None
    moment = Moment(change.revision, change.time_s)
    if event.kind is DELETE:
        return PastState(moment, "DELETED", change.cause, before.at(change.revision) if before else None, before)
    type_: Literal["ADDED", "MODIFIED"] = "ADDED" if event.kv.version == 1 else "MODIFIED"
    return PastState(moment, type_, change.cause, await served.shown(stored_of(event.kv, served.kind)), before)
