"""Who set which field of an object that was never applied: told by its history when it is first applied.

What controllers create and change carries no managedFields, so that a Pod's status costs nothing for them. The history of the
object has all its states and who wrote each of them: from these follow the owners that would stand on it, had they been kept
up. What history no longer reaches back to belongs to "before-first-apply", as on the reference server to an object older than
the feature. Which fields mutators and a kind's hooks have added to a new object is not in its history: they are its creator's.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.causality import Cause
from reconcile.clock import timestamp
from reconcile.errors import Tree
from reconcile.runtime.store import DELETE, Change, CompactedError, KeyValue, StoreError, WatchStore

from .catalog import Served
from .ownership import BEFORE_FIRST_APPLY, Owner, all_fields, owners_of, track, with_owners
from .stored import Stored, stored_of

CHANGES_MAX = 200
"""How far back is looked: each change takes a comparison of two states."""


async def recalled(store: WatchStore, served: Served, live: Stored) -> list[Owner]:
    """The owners of an object; none where it has managedFields already, or where there is no history."""
    if live.tree["metadata"].get("managedFields"):
        return []
    key = served.key(live.namespace, live.name)
    kv = store.get(key)
    if kv is None or kv.mod_revision != live.revision:
        return []  # somebody was faster: what is made of this state is not stored
    try:
        changes = await _history(store, key, kv)
    except StoreError:
        return []  # who applies is not refused for it
    before: Tree | None = None
    tree: Tree = {"metadata": {}}
    for change in changes:
        found = change.event.kv
        if change.event.kind is DELETE or found.create_revision != kv.create_revision or found.mod_revision > live.revision:
            continue
        state = (await served.shown(stored_of(found, served.kind))).tree
        at_s = change.time_s or 0.0
        if before is None and found.version != 1:
            tree = with_owners(state, [_before(state, served, at_s)])
        else:
            tree = await _tracked(served, before, tree, state, _manager(change.cause), at_s)
        before = state
    return owners_of(tree["metadata"])


async def _history(store: WatchStore, key: bytes, kv: KeyValue) -> Sequence[Change]:
    try:
        return await store.history(key, first=kv.create_revision, limit=CHANGES_MAX)
    except CompactedError:
        return await store.history(key, limit=CHANGES_MAX)


def _before(state: Tree, served: Served, at_s: float) -> Owner:
    return Owner(BEFORE_FIRST_APPLY, "Update", served.api_version, "", all_fields(state, served), timestamp(at_s))


async def _tracked(served: Served, before: Tree | None, known: Tree, state: Tree, manager: str, at_s: float) -> Tree:
    """The next state with its owners."""
    if before is None:
        # A status that is there from the beginning is the server's own.
        new = {name: value for name, value in state.items() if name != "status"} if served.kind.status else state
        return await track(served, None, new, manager, "", at_s)
    entries = known["metadata"].get("managedFields")
    metadata = {**state["metadata"], "managedFields": entries} if entries else state["metadata"]
    part = "status" if served.kind.status and _only_status(before, state) else ""
    return await track(served, before, {**state, "metadata": metadata}, manager, part, at_s)


def _only_status(before: Tree, after: Tree) -> bool:
    return all(before.get(name) == after.get(name) for name in before.keys() | after.keys() if name not in ("status", "metadata"))


def _manager(cause: str | None) -> str:
    """The operator, or client, whose handler wrote."""
    found = Cause.decode(cause)
    return found.handler.partition("/")[0] if found is not None else BEFORE_FIRST_APPLY
