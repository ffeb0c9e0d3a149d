"""A client that writes only while its replica may: what makes of a lost Lease a certainty, whatever handlers still do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from reconcile.client import Client, DeleteOptions, Page, Patch, WatchEvent, begun_with
from reconcile.errors import Tree, UnavailableError
from reconcile.kinds import Kind

_DEFAULT_OPTIONS = DeleteOptions()


class NotLeaderError(UnavailableError):
    """A write by a replica that does not (any more) hold its Lease; nothing was sent, or nobody waits for it."""


class Tenure(Protocol):
    """The right to write that a Lease gives."""

    namespace: str
    name: str
    identity: str

    @property
    def left_s(self) -> float:
        """For how long this replica may still write; 0 if it may not."""


class FencedClient:
    """A `Client` that writes only while the Lease is held; reading is always allowed."""

    def __init__(self, client: Client, tenure: Tenure) -> None:
        self._client, self._tenure = client, tenure

    @contextlib.asynccontextmanager
    async def _fence(self) -> AsyncIterator[None]:
        left_s = self._tenure.left_s
        if left_s <= 0:
            raise self._refusal("nothing was written")
        limit = asyncio.timeout(left_s)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._refusal("what became of the write is not known") from error

    def _refusal(self, what: str) -> NotLeaderError:
        held = self._tenure
        return NotLeaderError(f"{held.identity} does not hold the lease {held.namespace}/{held.name}: {what}")

    def begin_with(self, kind: Kind, finalizer: str) -> Callable[[], None]:
        """As the client behind does, if it can: it is the same finalizer, whoever leads."""
        return begun_with(self._client, kind, finalizer)

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        """As of the client behind."""
        return await self._client.get(kind, name, namespace)

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page:
        """As of the client behind."""
        return await self._client.list(kind, namespace, labels=labels, fields=fields, limit=limit, continue_token=continue_token)

    def watch(
        self, kind: Kind, namespace: str = "", *, since: int = 0, labels: str = "", fields: str = "", initial: bool = False
    ) -> AsyncIterator[WatchEvent]:
        """As of the client behind."""
        return self._client.watch(kind, namespace, since=since, labels=labels, fields=fields, initial=initial)

    async def create(
        self, kind: Kind, tree: Tree, namespace: str = "", *, field_manager: str = "", dry_run: bool = False
    ) -> Tree:
        """Create, if this replica may."""
        async with self._fence():
            return await self._client.create(kind, tree, namespace, field_manager=field_manager, dry_run=dry_run)

    async def update(
        self, kind: Kind, tree: Tree, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", dry_run: bool = False,
    ) -> Tree:  # fmt: skip
        """Replace, if this replica may."""
        async with self._fence():
            return await self._client.update(
                kind, tree, namespace, subresource=subresource, field_manager=field_manager, dry_run=dry_run
            )

    async def patch(
        self, kind: Kind, name: str, patch: Patch, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", force: bool = False, dry_run: bool = False, strict: bool = False,
    ) -> Tree:  # fmt: skip
        """Change, if this replica may."""
        async with self._fence():
            return await self._client.patch(
                kind, name, patch, namespace, subresource=subresource, field_manager=field_manager, force=force,
                dry_run=dry_run, strict=strict,
            )  # fmt: skip

    async def delete(self, kind: Kind, name: str, namespace: str = "", options: DeleteOptions = _DEFAULT_OPTIONS) -> Tree:
        """Delete, if this replica may."""
        async with self._fence():
            return await self._client.delete(kind, name, namespace, options)

    async def act(self, kind: Kind, name: str, action: str, body: Tree, namespace: str = "") -> Tree:
        """Write a further subresource, if this replica may."""
        async with self._fence():
            return await self._client.act(kind, name, action, body, namespace)

    async def kinds(self) -> Sequence[Kind]:
        """As of the client behind."""
        return await self._client.kinds()
