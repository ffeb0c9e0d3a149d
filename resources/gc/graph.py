"""Who belongs to whom, kept from every change that is seen. Pure: it decides what is worth a look, and touches nothing.

Every object is a node; a node's `dependents` are the objects whose owner references name its uid, whether the node itself
was ever seen or not. The graph may be behind the server: whoever acts on it asks the server first.

Source: K/pkg/controller/garbagecollector/graph_builder.go
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from reconcile.errors import Tree
from reconcile.kinds import Kind

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_NONE: Sequence[Tree] = ()


@attrs.define(eq=False)
class Node:
    """One object, as last seen: where it is, whom it belongs to, and whether it waits for its dependents to go."""

    uid: str
    kind: Kind
    namespace: str
    name: str
    owners: Sequence[Tree] = _NONE
    deleting: bool = False
    foreground: bool = False
    orphaning: bool = False

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.kind} {self.name}"

    def blocks(self, owner_uid: str) -> bool:
        """Whether the owner's foreground deletion has to wait for this object."""
        return any(ref.get("uid") == owner_uid and ref.get("blockOwnerDeletion") for ref in self.owners)


class Graph:
    """The nodes, by uid, and the index from owner to dependents."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._dependents: dict[str, dict[str, Node]] = {}

    def dependents(self, uid: str) -> Sequence[Node]:
        """The objects that name `uid` as an owner."""
        found = self._dependents.get(uid)
        return tuple(found.values()) if found else ()

    def has_dependents(self, uid: str) -> bool:
        """Whether any object names `uid` as an owner."""
        return bool(self._dependents.get(uid))

    def settled(self, node: Node, owner_uid: str) -> bool:
        """Whether an owner was seen, is where it can own `node`, and does not take its dependents with it."""
        owner = self.nodes.get(owner_uid)
        return owner is not None and not owner.foreground and owner.namespace in ("", node.namespace)

    def saw(self, kind: Kind, tree: Tree) -> Sequence[str]:
        """Take in an object as it is now; O(1) where nothing about ownership changed.

        Returns the uids of nodes that are worth a look.
        """
        meta = tree["metadata"]
        uid = meta.get("uid", "")
        node = self.nodes.get(uid)
        owners = meta.get("ownerReferences") or _NONE
        if node is None:
            node = self.nodes[uid] = Node(uid, kind, meta.get("namespace", ""), meta.get("name", ""))
        elif "deletionTimestamp" not in meta and (owners is node.owners or owners == node.owners):
            return ()
        return tuple(dict.fromkeys((*self._relate(node, owners), *self._note_deletion(node, meta))))

    def _relate(self, node: Node, owners: Sequence[Tree]) -> Iterator[str]:
        if owners == node.owners:
            return
        before = {ref.get("uid", "") for ref in node.owners}
        after = {ref.get("uid", "") for ref in owners}
        node.owners = owners
        for owner in sorted(before - after):
            self._unlink(node, owner)
        for owner in sorted(after):
            self._dependents.setdefault(owner, {})[node.uid] = node
        for owner in dict.fromkeys((*sorted(before), *sorted(after))):
            # A foreground deletion that waited for this object may not have to any more.
            found = self.nodes.get(owner)
            if found is not None and found.foreground:
                yield owner
        if not all(self.settled(node, owner) for owner in after):
            yield node.uid

    def _note_deletion(self, node: Node, meta: Tree) -> Iterator[str]:
        if "deletionTimestamp" not in meta:
            return
        finalizers = meta.get("finalizers") or ()
        node.deleting = True
        if ORPHAN in finalizers:
            if not node.orphaning:
                node.orphaning = True
                yield node.uid
        elif FOREGROUND in finalizers:
            if not node.foreground:
                node.foreground = True
                yield from self._dependents.get(node.uid, ())
            yield node.uid
        else:
            node.foreground = node.orphaning = False

    def lost(self, uid: str) -> Sequence[str]:
        """Forget an object that is gone. Returns the uids of nodes that are worth a look."""
        node = self.nodes.pop(uid, None)
        worth = list(self._dependents.get(uid, ()))
        if node is not None:
            for reference in node.owners:
                owner = reference.get("uid", "")
                self._unlink(node, owner)
                found = self.nodes.get(owner)
                if found is not None and found.foreground:
                    worth.append(owner)
        return worth

    def _unlink(self, node: Node, owner: str) -> None:
        dependents = self._dependents.get(owner)
        if dependents is not None:
            dependents.pop(node.uid, None)
            if not dependents:
                del self._dependents[owner]
