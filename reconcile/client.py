"""The client seam: the API as everybody in this project sees it, in process or over HTTP.

A `Client` speaks plain trees and `Kind` declarations; typed, cached, tracked access for handlers is built on it
(`reconcile.handling.Cluster`). Two implementations: `reconcile.runtime.client.InProcessClient` (same process, no bytes)
and `reconcile.runtime.client.HttpClient` (any Kubernetes API server). Both answer with the same errors
(`reconcile.errors.ApiError`).

Trees that come back are shared and read-only: change a copy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, Protocol

import attrs

from .errors import Tree
from .kinds import Kind

Propagation = Literal["Background", "Foreground", "Orphan"]
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
WHOLE = "*"
"""In place of a subresource, for a merge patch: the status and all else at once.

That is one write where a server of ours makes it. Others are asked for two, the status first.
"""
WHOLE_HEADER = "Reconcile-Whole"
"""The HTTP header by which a server of ours says that it does so, and a client of ours that it wants it."""
BATCH_PATH, BATCH_MEDIA, BATCH_HEADER = "/batch", "application/vnd.reconcile.batch", "Reconcile-Batch"
"""Where a server of ours takes several patches in one request, in which media type, and the header by which it says so."""
BATCH_PATCHES_MAX = 100
"""How many patches it takes in one."""
FINALIZERS_HEADER = "Reconcile-Finalizers"
"""The header by which a watch says that new objects are to be created with these finalizers (a list, with commas), while it is
open: its client has something to do before they go. Servers of ours heed it, where the client may patch what it watches."""


@attrs.frozen
class Patch:
    """A change to an object: its media type (one of the *_PATCH constants) and the body (a list for JSON patch)."""

    media_type: str
    body: Any  # Any: a tree, or a list of JSON patch operations


@attrs.frozen
class DeleteOptions:
    """How to delete. None leaves the choice to the kind; `uid` and `resource_version` are preconditions.

    `ignores_read_error`: only what cannot be read is deleted, whatever held it; nothing else of this counts then.
    """

    grace_s: int | None = None
    propagation: Propagation | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False
    ignores_read_error: bool = False


@attrs.frozen
class Page:
    """One answer of a list: read-only trees, the revision they were read at, and how to get the rest."""

    items: Sequence[Tree]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@attrs.frozen
class WatchEvent:
    """One change. BOOKMARK carries no object but promises that everything up to `revision` was delivered.

    With `initial=True` the current state comes first as ADDED, closed by one BOOKMARK with `initial_end` set.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Tree
    revision: int
    initial_end: bool = False


class Client(Protocol):
    """The Kubernetes API. Every method raises `ApiError` subclasses; a namespaced kind needs `namespace` to write."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        """The newest state of one object."""

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page:
        """The objects of a kind (of all namespaces where `namespace` is empty), at one consistent revision."""

    def watch(
        self, kind: Kind, namespace: str = "", *, since: int = 0, labels: str = "", fields: str = "", initial: bool = False
    ) -> AsyncIterator[WatchEvent]:
        """Changes after revision `since`, in order, none lost; `initial=True` starts with the current state instead.

        The iterator ends when the server ends the watch; call again from the last revision. It raises ExpiredError when
        `since` is compacted. An object that stops matching the selectors is DELETED, one that starts is ADDED.
        """

    async def create(
        self, kind: Kind, tree: Tree, namespace: str = "", *, field_manager: str = "", dry_run: bool = False
    ) -> Tree:
        """Create; metadata.generateName is honoured."""

    async def update(
        self, kind: Kind, tree: Tree, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", dry_run: bool = False,
    ) -> Tree:  # fmt: skip
        """Replace. A resourceVersion in the tree is a precondition; without one the last writer wins.

        A change that changes nothing writes nothing.
        """

    async def patch(
        self, kind: Kind, name: str, patch: Patch, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", force: bool = False, dry_run: bool = False, strict: bool = False,
    ) -> Tree:  # fmt: skip
        """Change part of an object; APPLY_PATCH creates it where it is absent (`field_manager` is then mandatory).

        With `subresource=WHOLE` a MERGE_PATCH may change the status and all else, in as few writes as the server makes it.
        `strict` refuses fields that the kind does not have, instead of dropping them (fieldValidation=Strict).
        """

    async def delete(self, kind: Kind, name: str, namespace: str = "", options: DeleteOptions = DeleteOptions()) -> Tree:
        """Delete. Returns the object as it lingers (finalizers, grace), or its last state where it is gone."""

    async def act(self, kind: Kind, name: str, action: str, body: Tree, namespace: str = "") -> Tree:
        """Write one of the kind's further subresources (`Hooks.actions`), e.g. a Pod's `binding`."""

    async def kinds(self) -> Sequence[Kind]:
        """What is served now and can be watched (the preferred version of each)."""


def begun_with(client: object, kind: Kind, finalizer: str) -> Callable[[], None]:
    """Have a client ask for new objects that have a finalizer, if it can; returns what ends that."""
    begin_with = getattr(client, "begin_with", None)
    if begin_with is None:
        return lambda: None
    ended: Callable[[], None] = begin_with(kind, finalizer)
    return ended
