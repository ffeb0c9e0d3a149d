"""Deletes the objects of a kind whose definition goes, honouring their finalizers.

Source: k8s.io/apiextensions-apiserver/pkg/controller/finalizer/crd_finalizer.go
"""

from __future__ import annotations

import asyncio

import attrs

from reconcile.client import Client, DeleteOptions
from reconcile.errors import ApiError, ConflictError, NotFoundError, Tree
from reconcile.kinds import Kind

_AT_ONCE_MAX = 64


@attrs.frozen
class Remaining:
    """What is still there, and what went wrong."""

    objects: int
    error: str = ""

    @property
    def condition(self) -> Tree:
        """The same as the condition Terminating."""
        if self.error:
            return _terminating("True", "InstanceDeletionFailed", f"could not delete all instances: {self.error}")
        if self.objects:
            return _terminating("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        return _terminating("False", "InstanceDeletionCompleted", "removed all instances")


async def remove_objects(client: Client, kind: Kind) -> Remaining:
    """Ask for the deletion of every object of a kind. Returns what lingers."""
    try:
        items = (await client.list(kind)).items
    except ApiError as error:
        return Remaining(0, str(error))
    lingering = 0
    for start in range(0, len(items), _AT_ONCE_MAX):
        batch = items[start : start + _AT_ONCE_MAX]
        try:
            lingering += sum(await asyncio.gather(*(_lingers(client, kind, tree) for tree in batch)))
        except ApiError as error:
            return Remaining(len(items), str(error))
    return Remaining(lingering)


async def _lingers(client: Client, kind: Kind, tree: Tree) -> bool:
    """Ask for the deletion of one object; whether it is still there."""
    meta = tree["metadata"]
    if meta.get("deletionTimestamp"):
        return True
    options = DeleteOptions(propagation="Background", uid=meta["uid"])
    try:
        after = await client.delete(kind, meta["name"], meta.get("namespace", ""), options)
    except NotFoundError:
        return False
    except ConflictError:
        return True  # another object has the name by now: the next look sees it
    return bool(after.get("metadata", {}).get("deletionTimestamp"))


def _terminating(status: str, reason: str, message: str) -> Tree:
    return {"type": "Terminating", "status": status, "reason": reason, "message": message}
