"""Who belongs to whom: adopting objects that match a controller's selector, releasing those that no longer do.

`Orphans` keeps, from events, the few objects of a kind that no controller owns, so that a controller with a thousand Pods
looks at its own (by index) and at these, and at nothing else. `claim` decides; `adopt` and `release` write.

Source: k8s.io/kubernetes/pkg/controller/controller_ref_manager.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import attrs

from reconcile.errors import ConflictError, NotFoundError, TemporaryError, Tree
from reconcile.handling import Cluster, Key
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


async def settle(cluster: Cluster, cls: type[R], owner: Resource, found: Claim) -> list[Tree]:
    """Carry out a claim; returns what the owner controls now. An object that is gone meanwhile is left out.

    Raises:
        ConflictError: an object changed under us; the caller tries again on newer state.
    """
    members = list(found.kept)
    # The owner is read from the server before it adopts: one that is being deleted, or was replaced by another of its
    # name, must not take hold of anything.
    if found.adopted and await is_still_there(cluster, owner):
        for obj in found.adopted:
            references = [*(obj["metadata"].get("ownerReferences") or ()), tree_of(owner.owner_reference())]
            adopted = await _own(cluster, cls, obj, references)
            if adopted is not None:
                members.append(adopted)
    for obj in found.released:
        references = [ref for ref in obj["metadata"].get("ownerReferences") or () if ref.get("uid") != owner.uid]
        await _own(cluster, cls, obj, references)
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


async def _own(cluster: Cluster, cls: type[R], obj: Tree, references: list[Tree]) -> Tree | None:
    changed = {**obj, "metadata": {**obj["metadata"], "ownerReferences": references}}
    try:
        return tree_of(await cluster.update(typed(cls, changed)))
    except NotFoundError:
        return None
    except ConflictError as error:
        if "uid" in error.message.lower() and "precondition" in error.message.lower():
            return None  # another object of the same name: the one we saw is gone
        raise


class Orphans:
    """The uncontrolled objects of one kind and the selectors that might want them, kept up to date by events."""

    def __init__(self) -> None:
        self._orphans: dict[str, dict[str, Tree]] = {}
        self._selectors: dict[str, dict[str, LabelSelector]] = {}

    def clear(self) -> None:
        """Forget everything: the events start anew."""
        self._orphans.clear()
        self._selectors.clear()

    def saw_object(self, obj: Tree, gone: bool) -> None:
        """Note one change of an object that could be adopted. O(1)."""
        meta = obj["metadata"]
        inside = self._orphans.get(meta.get("namespace", ""))
        if gone or meta.get("deletionTimestamp") or controller_of(obj) is not None:
            if inside is not None:
                inside.pop(meta["name"], None)
            return
        self._orphans.setdefault(meta.get("namespace", ""), {})[meta["name"]] = obj

    def saw_owner(self, owner: Tree, gone: bool) -> None:
        """Note one change of a controller with a spec.selector."""
        meta = owner["metadata"]
        inside = self._selectors.setdefault(meta.get("namespace", ""), {})
        if gone:
            inside.pop(meta["name"], None)
        else:
            inside[meta["name"]] = selector_of(owner)

    def matching(self, namespace: str, selector: LabelSelector) -> list[Tree]:
        """The orphans of a namespace that a selector matches. O(orphans there)."""
        if selector.empty:
            return []
        found = self._orphans.get(namespace)
        return [obj for obj in found.values() if selector.matches(obj["metadata"].get("labels"))] if found else []

    def wanted_by(self, obj: Tree) -> Iterator[Key]:
        """The controllers whose selector matches an uncontrolled object; nobody's business if it has a controller."""
        meta = obj["metadata"]
        if meta.get("deletionTimestamp") or controller_of(obj) is not None:
            return
        namespace = meta.get("namespace", "")
        for name, selector in (self._selectors.get(namespace) or {}).items():
            if not selector.empty and selector.matches(meta.get("labels")):
                yield Key(namespace, name)
