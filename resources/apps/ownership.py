"""Who belongs to whom: adopting objects that match a controller's selector, releasing those that no longer do.

`claim` decides, `settle` writes. What could be adopted is found by `orphans`.

Source: k8s.io/kubernetes/pkg/controller/controller_ref_manager.go
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import attrs

from reconcile.errors import ConflictError, NotFoundError, TemporaryError, Tree
from reconcile.handling import Cluster
from reconcile.kinds import Resource, typed
from reconcile.selectors import LabelSelector, label_selector
from reconcile.views import tree_of

from .pod_state import controller_of

R = TypeVar("R", bound=Resource)


@attrs.frozen
class Claim:
    """What becomes of the objects that a controller looked at."""

    kept: list[Tree]
    adopted: list[Tree]
    released: list[Tree]


def claim(owner: Tree, selector: LabelSelector, owned: Iterable[Tree], orphans: Iterable[Tree]) -> Claim:
    """Sort objects: kept (ours and matching, even while we are being deleted), to adopt, to release."""
    going = bool(owner["metadata"].get("deletionTimestamp"))
    uid = owner["metadata"]["uid"]
    kept, released = [], []
    for obj in owned:
        if (controller_of(obj) or {}).get("uid") != uid:
            continue
        if selector.matches(obj["metadata"].get("labels")):
            kept.append(obj)
        elif not going:
            released.append(obj)
    adopted = [] if going else [obj for obj in orphans if is_adoptable(obj, selector)]
    return Claim(kept, adopted, released)


def selector_of(owner: Tree) -> LabelSelector:
    """A controller's selector; that of a ReplicationController is a plain map of labels."""
    selector = (owner.get("spec") or {}).get("selector") or {}
    plain = any(isinstance(value, str) for value in selector.values())
    return label_selector({"matchLabels": selector} if plain else selector)


def is_adoptable(obj: Tree, selector: LabelSelector) -> bool:
    """Whether an object that nobody controls, and that is not on its way out, matches."""
    meta = obj["metadata"]
    return not meta.get("deletionTimestamp") and controller_of(obj) is None and selector.matches(meta.get("labels"))


async def settle(cluster: Cluster, cls: type[R], owner: Resource, found: Claim, finalizer: str = "") -> list[Tree]:
    """Carry out a claim; returns what the owner controls now. An object that is gone meanwhile is left out.

    What is adopted gets `finalizer`, and what is released loses it.

    Raises:
        ConflictError: an object changed under us; the caller tries again on newer state.
    """
    members = list(found.kept)
    # The owner is read from the server before it adopts: one that is being deleted, or was replaced by another of its
    # name, must not take hold of anything.
    if found.adopted and await is_still_there(cluster, owner):
        for obj in found.adopted:
            references = [*(obj["metadata"].get("ownerReferences") or ()), tree_of(owner.owner_reference())]
            held = [*_other_finalizers(obj, finalizer), *([finalizer] if finalizer else [])]
            adopted = await _own(cluster, cls, obj, references, held)
            if adopted is not None:
                members.append(adopted)
    for obj in found.released:
        references = [ref for ref in obj["metadata"].get("ownerReferences") or () if ref.get("uid") != owner.uid]
        await _own(cluster, cls, obj, references, _other_finalizers(obj, finalizer))
    return members


async def is_still_there(cluster: Cluster, owner: Resource) -> bool:
    """Ask the server, not the cache, whether an owner lives: before it takes hold of anything, or replaces what vanished.

    News of its end may come later than news of what it owned, which the garbage collector has deleted for just that reason.
    """
    try:
        newest = await cluster.fresh(type(owner), owner.name, owner.namespace)
    except NotFoundError:
        return False
    return newest.uid == owner.uid and not newest.deleting


async def ensure_there(cluster: Cluster, owner: Resource) -> None:
    """Before what vanished is replaced: see that the owner itself is still there.

    Raises:
        TemporaryError: it is gone or going; the cache will show it.
    """
    if not await is_still_there(cluster, owner):
        raise TemporaryError(f"{type(owner).__kind__.kind} {owner.name} is gone, though the cache does not show it yet")


def _other_finalizers(obj: Tree, finalizer: str) -> list[str]:
    return [name for name in obj["metadata"].get("finalizers") or () if name != finalizer]


async def _own(cluster: Cluster, cls: type[R], obj: Tree, references: list[Tree], finalizers: list[str]) -> Tree | None:
    changed = {**obj, "metadata": {**obj["metadata"], "ownerReferences": references, "finalizers": finalizers}}
    try:
        return tree_of(await cluster.update(typed(cls, changed)))
    except NotFoundError:
        return None
    except ConflictError as error:
        if "uid" in error.message.lower() and "precondition" in error.message.lower():
            return None  # another object of the same name: the one we saw is gone
        raise
