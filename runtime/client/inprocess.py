"""The `Client` of controllers that run in the API server's own process: same semantics, no HTTP, no bytes.

Trees are handed through as they are: shared and read-only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from reconcile.client import DeleteOptions, Page, Patch, WatchEvent
from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.runtime.api import SYSTEM, ApiServer, Caller, Following
from reconcile.runtime.api.versions import version_rank

_NO_OBJECT: Tree = {}
_DEFAULT_OPTIONS = DeleteOptions()


class InProcessClient:
    """Implements `reconcile.client.Client` over an `ApiServer`, as one caller."""

    def __init__(self, api: ApiServer, caller: Caller = SYSTEM) -> None:
        self.api = api
        self.caller = caller

    def as_caller(self, caller: Caller) -> InProcessClient:
        """The same server under another identity."""
        return InProcessClient(self.api, caller)

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        """The newest state of one object."""
        return (await self.api.get(kind, name, namespace, caller=self.caller)).tree

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page:
        """The objects of a kind (of all namespaces where `namespace` is empty), at one consistent revision."""
        found = await self.api.list(
            kind, namespace, labels=labels, fields=fields, limit=limit, continue_token=continue_token, caller=self.caller
        )
        return Page([stored.tree for stored in found.items], found.revision, found.continue_token, found.remaining)

    def watch(
        self, kind: Kind, namespace: str = "", *, since: int = 0, labels: str = "", fields: str = "", initial: bool = False
    ) -> AsyncIterator[WatchEvent]:
        """Changes after revision `since`, in order, none lost; see `reconcile.client.Client.watch`.

        It counts from this call on, not from the first step of the iteration.
        """
        changes = self.api.watch(kind, namespace, since=since, labels=labels, fields=fields, initial=initial, caller=self.caller)
        return _Events(changes)

    async def create(
        self, kind: Kind, tree: Tree, namespace: str = "", *, field_manager: str = "", dry_run: bool = False
    ) -> Tree:
        """Create; metadata.generateName is honoured."""
        made = await self.api.create(kind, tree, namespace, caller=self.caller, field_manager=field_manager, dry_run=dry_run)
        return made.tree

    async def update(
        self, kind: Kind, tree: Tree, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", dry_run: bool = False,
    ) -> Tree:  # fmt: skip
        """Replace. A resourceVersion in the tree is a precondition."""
        made = await self.api.update(
            kind, tree, namespace, subresource=subresource, caller=self.caller, field_manager=field_manager, dry_run=dry_run
        )
        return made.tree

    async def patch(
        self, kind: Kind, name: str, patch: Patch, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", force: bool = False, dry_run: bool = False, strict: bool = False,
    ) -> Tree:  # fmt: skip
        """Change part of an object; APPLY_PATCH creates it where it is absent."""
        made = await self.api.patch(
            kind, name, patch, namespace, subresource=subresource, caller=self.caller, field_manager=field_manager,
            force=force, dry_run=dry_run, field_validation="Strict" if strict else "Ignore",
        )  # fmt: skip
        return made.tree

    async def delete(self, kind: Kind, name: str, namespace: str = "", options: DeleteOptions = _DEFAULT_OPTIONS) -> Tree:
        """Delete. Returns the object as it lingers, or its last state where it is gone."""
        return (await self.api.delete(kind, name, namespace, options, caller=self.caller)).stored.tree

    async def act(self, kind: Kind, name: str, action: str, body: Tree, namespace: str = "") -> Tree:
        """Write one of the kind's further subresources."""
        return (await self.api.act(kind, name, action, body, namespace, caller=self.caller)).tree

    async def kinds(self) -> Sequence[Kind]:
        """What is served now and can be watched: of each resource, the preferred version."""
        preferred: dict[tuple[str, str], Kind] = {}
        for kind in self.api.stored_kinds():
            known = preferred.setdefault((kind.group, kind.plural), kind)
            if known is not kind and version_rank(kind.version) > version_rank(known.version):
                preferred[kind.group, kind.plural] = kind
        return tuple(preferred.values())


class _Events:
    """The changes of a watch as the protocol's events. No generator: it costs half as much per event."""

    def __init__(self, changes: Following) -> None:
        self._changes = changes

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> WatchEvent:
        change = await self._changes.__anext__()
        tree = change.stored.tree if change.stored is not None else _NO_OBJECT
        return WatchEvent(change.type, tree, change.revision, change.initial_end)

    async def aclose(self) -> None:
        """End the watch."""
        await self._changes.aclose()
