"""A client that notes which rights its user takes: verbs by group and resource, as RBAC has them.

What was noted is kept in a file that several runs and tests add to; `reconcile export --observed` compares it with what is read
from the handlers' declarations and source.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from reconcile.client import APPLY_PATCH, WHOLE, Client, DeleteOptions, Page, Patch, WatchEvent, begun_with
from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.permissions import Permissions, permissions_from, permissions_tree

_DEFAULT_OPTIONS = DeleteOptions()


class RecordingClient:
    """A `Client` whose calls are noted in `seen`; all else is the client's behind."""

    def __init__(self, client: Client, seen: Permissions) -> None:
        self._client, self.seen = client, seen

    def _note(self, kind: Kind, *verbs: str, part: str = "") -> None:
        self.seen.grant(kind.group, f"{kind.plural}/{part}" if part else kind.plural, *verbs)

    def begin_with(self, kind: Kind, finalizer: str) -> Callable[[], None]:
        """As the client behind does, if it can. It is nothing that a patch by itself would not have to be allowed for."""
        self._note(kind, "patch")
        return begun_with(self._client, kind, finalizer)

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        """Note `get`."""
        self._note(kind, "get")
        return await self._client.get(kind, name, namespace)

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page:
        """Note `list`."""
        self._note(kind, "list")
        return await self._client.list(kind, namespace, labels=labels, fields=fields, limit=limit, continue_token=continue_token)

    def watch(
        self, kind: Kind, namespace: str = "", *, since: int = 0, labels: str = "", fields: str = "", initial: bool = False
    ) -> AsyncIterator[WatchEvent]:
        """Note `watch`."""
        self._note(kind, "watch")
        return self._client.watch(kind, namespace, since=since, labels=labels, fields=fields, initial=initial)

    async def create(
        self, kind: Kind, tree: Tree, namespace: str = "", *, field_manager: str = "", dry_run: bool = False
    ) -> Tree:
        """Note `create`."""
        self._note(kind, "create")
        return await self._client.create(kind, tree, namespace, field_manager=field_manager, dry_run=dry_run)

    async def update(
        self, kind: Kind, tree: Tree, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", dry_run: bool = False,
    ) -> Tree:  # fmt: skip
        """Note `update`."""
        self._note(kind, "update", part=subresource)
        return await self._client.update(
            kind, tree, namespace, subresource=subresource, field_manager=field_manager, dry_run=dry_run
        )

    async def patch(
        self, kind: Kind, name: str, patch: Patch, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", force: bool = False, dry_run: bool = False, strict: bool = False,
    ) -> Tree:  # fmt: skip
        """Note `patch`; an apply may create, and takes the right to."""
        applies = patch.media_type == APPLY_PATCH and not subresource
        for part in ("", "status") if subresource == WHOLE else (subresource,):
            self._note(kind, *(("create", "patch") if applies else ("patch",)), part=part)
        return await self._client.patch(
            kind, name, patch, namespace, subresource=subresource, field_manager=field_manager, force=force, dry_run=dry_run,
            strict=strict,
        )  # fmt: skip

    async def delete(self, kind: Kind, name: str, namespace: str = "", options: DeleteOptions = _DEFAULT_OPTIONS) -> Tree:
        """Note `delete`."""
        self._note(kind, "delete")
        return await self._client.delete(kind, name, namespace, options)

    async def act(self, kind: Kind, name: str, action: str, body: Tree, namespace: str = "") -> Tree:
        """Note `create` of the subresource."""
        self._note(kind, "create", part=action)
        return await self._client.act(kind, name, action, body, namespace)

    async def kinds(self) -> Sequence[Kind]:
        """Discovery takes no right that not everybody has."""
        return await self._client.kinds()


def add_to(file: Path, seen: Permissions) -> None:
    """Add what was seen to a file, which others may add to at the same time.

    Raises:
        ValueError: the file holds something else.
    """
    if not seen.verbs:
        return
    with file.open("a+") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        opened.seek(0)
        text = opened.read()
        merged = permissions_from(json.loads(text)) if text.strip() else Permissions()
        for (group, resource), verbs in seen.verbs.items():
            merged.grant(group, resource, *verbs)
        opened.seek(0)
        opened.truncate()
        opened.write(json.dumps(permissions_tree(merged), indent=1) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
