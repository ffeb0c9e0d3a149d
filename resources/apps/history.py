"""The past templates of a StatefulSet or DaemonSet, kept in ControllerRevisions.

A revision holds a patch that brings its template back, which is what `kubectl rollout undo` sends. Two templates are the same
when they mean the same; the name's hash only keeps names apart.

Source: k8s.io/kubernetes/pkg/controller/history/controller_history.go
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from reconcile.errors import AlreadyExistsError, Tree
from reconcile.handling import Cluster
from reconcile.kinds import Resource, typed
from reconcile.views import tree_of

from .controller_revision import ControllerRevision
from .ownership import ensure_there
from .pod_state import controller_of
from .revisions import same_template, template_hash

HASH_LABEL = "controller-revision-hash"
_COLLISIONS_MAX = 20


@attrs.frozen
class History:
    """An owner's revisions, oldest first, and the one that holds its present template."""

    revisions: list[Tree]
    update: Tree

    def named(self, name: str | None) -> Tree | None:
        """The revision of that name, or None."""
        return next((revision for revision in self.revisions if revision["metadata"]["name"] == name), None)


def template_of(revision: Tree) -> Tree:
    """The template that a revision holds."""
    template: Tree = ((revision.get("data") or {}).get("spec") or {}).get("template") or {}
    return {name: value for name, value in template.items() if name != "$patch"}


async def history_of(owner: Resource, cluster: Cluster) -> History:
    """Find the revision of the owner's template among its revisions; make it, or bring it to the front, where need be."""
    tree = tree_of(owner)
    template = tree["spec"]["template"]
    found = [tree_of(r) for r in await cluster.list(ControllerRevision, owner.namespace, owner=owner)]
    found.sort(key=lambda revision: (revision.get("revision", 0), revision["metadata"]["name"]))
    equal = [revision for revision in found if same_template(template_of(revision), template)]
    newest = found[-1].get("revision", 0) if found else 0
    if not equal:
        if (tree.get("status") or {}).get("observedGeneration"):
            await ensure_there(cluster, owner)
        made = await _create(owner, tree, newest + 1, cluster)
        return History([*found, made], made)
    update = equal[-1]
    if update is not found[-1]:
        # It was rolled back to: its number says that it is the newest again.
        await cluster.patch(typed(ControllerRevision, update), {"revision": newest + 1})
        update = {**update, "revision": newest + 1}
        found = [revision for revision in found if revision["metadata"]["name"] != update["metadata"]["name"]] + [update]
    return History(found, update)


async def _create(owner: Resource, tree: Tree, number: int, cluster: Cluster) -> Tree:
    template = tree["spec"]["template"]
    collisions = (tree.get("status") or {}).get("collisionCount")
    for more in range(_COLLISIONS_MAX):
        hash_ = template_hash(template, collisions if not more else (collisions or 0) + more)
        labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: hash_}
        made: Tree = {
            "metadata": {
                "name": f"{owner.name[:223]}-{hash_}", "namespace": owner.namespace, "labels": labels,
                "ownerReferences": [tree_of(owner.owner_reference())],
            },
            "data": _ordered({"spec": {"template": {"$patch": "replace", **template}}}),
            "revision": number,
        }  # fmt: skip
        try:
            return tree_of(await cluster.create(typed(ControllerRevision, made)))
        except AlreadyExistsError:
            there = tree_of(await cluster.fresh(ControllerRevision, str(made["metadata"]["name"]), owner.namespace))
            if same_template(template_of(there), template) and (mine := await _taken(there, owner, cluster)):
                return mine
    raise AlreadyExistsError(f"{owner.name}: no free name for a ControllerRevision in {_COLLISIONS_MAX} tries")


def _ordered(value: Any) -> Any:  # Any: JSON values
    """The same with its keys in order: clients compare the text of a revision with the one that they make of a template."""
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


async def _taken(revision: Tree, owner: Resource, cluster: Cluster) -> Tree | None:
    """The revision as the owner's own; one that nobody controls is adopted. None: it is somebody else's."""
    controller = controller_of(revision)
    if controller is not None:
        return revision if controller["uid"] == owner.uid else None
    references = [*(revision["metadata"].get("ownerReferences") or ()), tree_of(owner.owner_reference())]
    adopted = {**revision, "metadata": {**revision["metadata"], "ownerReferences": references}}
    return tree_of(await cluster.update(typed(ControllerRevision, adopted)))


async def forget(history: History, live: Iterable[str | None], limit: int, cluster: Cluster) -> None:
    """Delete the oldest revisions that nothing uses, beyond `limit`."""
    used = {history.update["metadata"]["name"], *live}
    unused = [revision for revision in history.revisions if revision["metadata"]["name"] not in used]
    for revision in unused[: max(len(unused) - limit, 0)]:
        await cluster.delete(typed(ControllerRevision, revision))
