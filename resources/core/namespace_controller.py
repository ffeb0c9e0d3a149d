"""The namespace controller: empties a namespace that is going away, Pods first, then lets it go.

What it cannot delete, and what lingers because of finalizers, it tells in the namespace's conditions.

Source: K/pkg/controller/namespace/deletion/namespaced_resources_deleter.go
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from reconcile.client import Client, DeleteOptions
from reconcile.conditions import with_condition
from reconcile.errors import ApiError, ConflictError, ForbiddenError, MethodNotAllowedError, NotFoundError, Tree
from reconcile.handling import AdmissionReview, Cluster, Requeue
from reconcile.kinds import Kind, kind_of
from reconcile.registry import Operator
from reconcile.views import tree_of

from .namespace import FINALIZER, Namespace
from .pod import Pod

_KEPT = frozenset({"default", "kube-public", "kube-system"})
_AT_ONCE_MAX = 64
_LOOK_S_FIRST, _LOOK_S_MAX = 0.05, 2.0


@attrs.define
class Remains:
    """What a namespace still holds: objects by kind, objects by finalizer, and what went wrong."""

    objects: Counter[str] = attrs.field(factory=Counter)
    finalizers: Counter[str] = attrs.field(factory=Counter)
    errors: list[str] = attrs.field(factory=list)

    @property
    def nothing(self) -> bool:
        """Whether the namespace is empty, as far as can be told."""
        return not self.objects and not self.errors

    def conditions(self) -> Iterable[Tree]:
        """The same as conditions."""
        yield _condition(
            "NamespaceDeletionContentFailure", "ContentDeletionFailed", "ContentDeleted",
            f"Failed to delete all resource types, {len(self.errors)} remaining: {', '.join(self.errors)}" if self.errors else "",
            "All content successfully deleted, may be waiting on finalization",
        )  # fmt: skip
        counted = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(self.objects.items()))
        yield _condition(
            "NamespaceContentRemaining", "SomeResourcesRemain", "ContentRemoved",
            f"Some resources are remaining: {counted}" if counted else "", "All content successfully removed",
        )  # fmt: skip
        held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(self.finalizers.items()))
        yield _condition(
            "NamespaceFinalizersRemaining", "SomeFinalizersRemain", "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {held}" if held else "",
            "All content-preserving finalizers finished",
        )  # fmt: skip


def keep_for_good(review: AdmissionReview) -> None:
    """Admission: the namespaces that every cluster begins with cannot be deleted.

    Source: k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle

    Raises:
        ForbiddenError: somebody tries.
    """
    name = review.tree["metadata"]["name"]
    if review.operation == "DELETE" and name in _KEPT:
        details = {"name": name, "kind": kind_of(Namespace).plural}
        raise ForbiddenError(f'namespaces "{name}" is forbidden: this namespace may not be deleted', details=details)


def namespace_controller() -> Operator:
    """The operator that empties namespaces that are going away."""
    app = Operator("namespace-controller")

    @app.on.reconcile(Namespace, while_deleting=True, workers=10)
    async def namespace(obj: Namespace, cluster: Cluster, memo: dict[str, Any]) -> Requeue | None:
        if not obj.deleting:
            return None
        if FINALIZER in obj.spec.finalizers:
            remains = await _emptied(cluster.client, obj.name)
            await _tell(obj, cluster, remains)
            if not remains.nothing:
                memo["look_s"] = min(memo.get("look_s", _LOOK_S_FIRST / 2) * 2, _LOOK_S_MAX)
                return Requeue(memo["look_s"])
            left = [name for name in obj.spec.finalizers if name != FINALIZER]
            await cluster.act(obj, "finalize", {"metadata": {"name": obj.name}, "spec": {"finalizers": left}})
        elif not obj.spec.finalizers:
            await cluster.delete(obj)  # somebody took the last one away before it was deleted
        return None

    return app


async def _emptied(client: Client, namespace: str) -> Remains:
    """Ask for the deletion of everything in the namespace. Returns what was still there."""
    remains = Remains()
    kinds = [kind for kind in await client.kinds() if kind.namespaced]
    pods = kind_of(Pod)
    await _delete_all(client, [kind for kind in kinds if _same(kind, pods)], namespace, remains)
    if not remains.objects:
        # Pods may still need their Secrets, Services and ConfigMaps while they stop: the rest goes after them.
        await _delete_all(client, [kind for kind in kinds if not _same(kind, pods)], namespace, remains)
    return remains


def _same(one: Kind, other: Kind) -> bool:
    return (one.group, one.kind) == (other.group, other.kind)


async def _delete_all(client: Client, kinds: Sequence[Kind], namespace: str, remains: Remains) -> None:
    for kind in kinds:
        try:
            page = await client.list(kind, namespace)
        except (MethodNotAllowedError, NotFoundError):
            continue  # nothing of it is stored, or it is not served any more
        except ApiError as error:
            remains.errors.append(f"{kind.resource}: {error}")
            continue
        for start in range(0, len(page.items), _AT_ONCE_MAX):
            batch = page.items[start : start + _AT_ONCE_MAX]
            for tree, lingers in zip(
                batch, await asyncio.gather(*(_deleted(client, kind, t, remains) for t in batch)), strict=True
            ):
                if lingers:
                    remains.objects[kind.resource] += 1
                    remains.finalizers.update(tree["metadata"].get("finalizers") or ())


async def _deleted(client: Client, kind: Kind, tree: Tree, remains: Remains) -> bool:
    """Ask for the deletion of one object; whether it lingers."""
    meta = tree["metadata"]
    if meta.get("deletionTimestamp"):
        return True
    options = DeleteOptions(propagation="Background", uid=meta.get("uid", ""))
    try:
        after = await client.delete(kind, meta["name"], meta.get("namespace", ""), options)
    except (MethodNotAllowedError, NotFoundError):
        return False
    except ConflictError:
        return True  # another object has the name by now: the next look sees it
    except ApiError as error:
        remains.errors.append(f"{kind.resource} {meta['name']}: {error}")
        return True
    return bool(after.get("metadata", {}).get("deletionTimestamp"))


async def _tell(obj: Namespace, cluster: Cluster, remains: Remains) -> None:
    """Write phase and conditions, if they say anything new."""
    status = tree_of(obj).get("status") or {}
    conditions = status.get("conditions") or []
    for condition in remains.conditions():
        known = next((c for c in conditions if c.get("type") == condition["type"]), None)
        if known is None or any(known.get(name) != value for name, value in condition.items()):
            conditions = with_condition(conditions, condition, cluster.clock.now())
    told = {**status, "phase": "Terminating", "conditions": conditions}
    if told != status:
        await cluster.patch(obj, {"status": told}, subresource="status")


def _condition(type_: str, bad: str, good: str, wrong: str, right: str) -> Tree:
    return {"type": type_, "status": "True" if wrong else "False", "reason": bad if wrong else good, "message": wrong or right}
