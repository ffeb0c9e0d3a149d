"""Writes the status of a workload: what changed of it, and nothing of anybody else's.

A status belongs to its controller but for the conditions, of which others may set their own. Conditions are one list in a
merge patch, so that a write of them holds only for the state that it was made from.
"""

from __future__ import annotations

from collections.abc import Collection

from reconcile.errors import Tree
from reconcile.handling import Cluster
from reconcile.kinds import Resource
from reconcile.views import tree_of


async def write_status(cluster: Cluster, owner: Resource, status: Tree, *, unless_zero: Collection[str] = ()) -> None:
    """Store what a status says anew; a count in `unless_zero` is left out where it is 0, as on the reference server.

    Raises:
        ConflictError: the conditions are to change, and the object has changed since; the caller tries again on newer state.
    """
    tree = tree_of(owner)
    change = status_change(tree.get("status") or {}, status, unless_zero)
    if not change:
        return
    guard = {"metadata": {"resourceVersion": tree["metadata"]["resourceVersion"]}} if "conditions" in change else {}
    await cluster.patch(owner, {**guard, "status": change}, subresource="status")


def status_change(before: Tree, status: Tree, unless_zero: Collection[str] = ()) -> Tree:
    """The fields of a status that say anything else than before, as a merge patch has them."""
    change = {}
    for name, value in status.items():
        told = None if value == 0 and name in unless_zero else value
        if told != before.get(name) and (told or before.get(name) or name not in before):
            change[name] = told
    return {name: value for name, value in change.items() if value is not None or name in before}
