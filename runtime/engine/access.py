"""The `Cluster` that handlers get: tracked reads from informers' caches, attributed writes to the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from reconcile.client import APPLY_PATCH, MERGE_PATCH, DeleteOptions, Patch, Propagation
from reconcile.errors import ConflictError, NotFoundError, Tree
from reconcile.kinds import Kind, Resource, kind_of, typed
from reconcile.paths import split
from reconcile.selectors import label_selector
from reconcile.views import tree_of

from .dependencies import OneObject, Read, Selection
from .informer import Informer
from .queue import ObjectKey

if TYPE_CHECKING:
    from .operation import Operation

R = TypeVar("R", bound=Resource)
_APPLIED_META = ("name", "namespace", "labels", "annotations", "ownerReferences", "finalizers")


class Subject:
    """What a cluster is used for: nothing in particular. Attempts on an object note what it reads and writes."""

    namespace = ""

    def read(self, informer: Informer, read: Read) -> None:
        """Something was read from a cache."""

    def wrote(self, kind: Kind, tree: Tree) -> None:
        """Something was written."""

    def deleted(self, kind: Kind, target: ObjectKey, uid: str) -> None:
        """Something was deleted."""


def apply_tree(obj: Resource) -> Tree:
    """What server-side apply sends: the desired fields, without status and what the server keeps."""
    tree = {name: value for name, value in obj.tree.items() if name != "status"}
    meta = tree.get("metadata") or {}
    tree["metadata"] = {name: meta[name] for name in _APPLIED_META if meta.get(name)}
    return tree


class HandlerCluster:
    """Implements `reconcile.handling.Cluster` for one operator and one subject."""

    def __init__(self, operation: Operation, subject: Subject) -> None:
        self._operation, self._subject = operation, subject
        self.client = operation.client
        self.clock = operation.clock

    async def get(self, cls: type[R], name: str, namespace: str | None = None) -> R:
        """One object from the cache. Raises NotFoundError."""
        found = await self.find(cls, name, namespace)
        if found is None:
            raise _not_found(kind_of(cls), name)
        return found

    async def find(self, cls: type[R], name: str, namespace: str | None = None) -> R | None:
        """One object from the cache, or None."""
        informer = await self._operation.reading(cls)
        key = (self._namespace(informer.kind, namespace), name)
        self._subject.read(informer, OneObject(key))
        obj = informer.cache.objects.get(key)
        return None if obj is None else as_class(obj, cls)

    async def list(
        self,
        cls: type[R],
        namespace: str | None = None,
        *,
        labels: str | Mapping[str, str] | None = None,
        owner: Resource | None = None,
        index: tuple[str, str] | None = None,
    ) -> list[R]:
        """Objects from the cache; see `reconcile.handling.Cluster`."""
        informer = await self._operation.reading(cls)
        space = (namespace or "") if informer.kind.namespaced else ""
        selector = label_selector(labels) if labels else None
        uid = owner.uid if owner is not None else ""
        path, value = (split(index[0]), index[1]) if index is not None else ((), "")
        if owner is not None and not uid:
            return []  # an object that was never written owns nothing
        self._subject.read(informer, Selection(space, str(selector) if selector else "", uid, path, value))
        if path:
            found = [
                obj
                for key, obj in informer.cache.where(path, value).items()
                if (not space or key[0] == space)
                and (selector is None or selector.matches(tree_of(obj)["metadata"].get("labels")))
                and (not uid or key in informer.cache.owned(uid))
            ]
        else:
            found = informer.cache.select(space, selector, uid)
        if informer.cls is cls:
            return cast("list[R]", found)
        return [as_class(obj, cls) for obj in found]

    async def fresh(self, cls: type[R], name: str, namespace: str | None = None) -> R:
        """One object from the server itself, not the cache. Raises NotFoundError."""
        kind = kind_of(cls)
        return typed(cls, await self.client.get(kind, name, self._namespace(kind, namespace)), frozen=True)

    async def create(self, obj: R) -> R:
        """Create. Raises AlreadyExistsError, InvalidError, ..."""
        kind, namespace = self._home(obj)
        tree = await self.client.create(kind, obj.tree, namespace, field_manager=self._operation.domain)
        return self._written(type(obj), kind, tree)

    async def update(self, obj: R) -> R:
        """Replace everything but the status; the object's resourceVersion is a precondition. Raises ConflictError."""
        kind, namespace = self._home(obj)
        tree = await self.client.update(kind, obj.tree, namespace, field_manager=self._operation.domain)
        return self._written(type(obj), kind, tree)

    async def update_status(self, obj: R) -> R:
        """Replace the status. Raises ConflictError where the object's resourceVersion is stale."""
        kind, namespace = self._home(obj)
        tree = await self.client.update(kind, obj.tree, namespace, subresource="status", field_manager=self._operation.domain)
        return self._written(type(obj), kind, tree)

    async def apply(self, obj: R) -> R:
        """Server-side apply with the operator's field manager, forced: these fields are ours."""
        kind, namespace = self._home(obj)
        return self._written(type(obj), kind, await self.apply_plain(kind, apply_tree(obj), namespace))

    async def apply_plain(self, kind: Kind, tree: Tree, namespace: str) -> Tree:
        """Apply a tree that is ready to be sent."""
        return await self.client.patch(
            kind, tree["metadata"]["name"], Patch(APPLY_PATCH, tree), namespace,
            field_manager=self._operation.domain, force=True,
        )  # fmt: skip

    async def patch(self, obj: Resource, merge: Tree, *, subresource: str = "") -> None:
        """A JSON merge patch, without precondition."""
        kind, namespace = self._home(obj)
        tree = await self.client.patch(
            kind, obj.name, Patch(MERGE_PATCH, merge), namespace, subresource=subresource,
            field_manager=self._operation.domain,
        )  # fmt: skip
        self._subject.wrote(kind, tree)

    async def delete(
        self, obj: Resource, *, grace_s: int | None = None, propagation: Propagation | None = None, precondition: bool = True
    ) -> None:
        """Delete this very object (its uid is a precondition unless told otherwise). One that is gone already is fine."""
        kind, namespace = self._home(obj)
        uid = obj.uid if precondition else ""
        try:
            tree = await self.client.delete(
                kind, obj.name, namespace, DeleteOptions(grace_s=grace_s, propagation=propagation, uid=uid)
            )
        except NotFoundError:
            tree = {}
        except ConflictError:
            if not uid or await self.is_there(kind, namespace, obj.name, uid):
                raise
            tree = {}  # another object has the name by now: ours is gone
        if (tree.get("metadata") or {}).get("deletionTimestamp"):
            self._subject.wrote(kind, tree)
        self._subject.deleted(kind, (namespace, obj.name), obj.uid)

    async def is_there(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        """Whether the server still has this very object."""
        try:
            tree = await self.client.get(kind, name, namespace)
        except NotFoundError:
            return False
        return bool(tree["metadata"].get("uid") == uid)

    async def act(self, obj: Resource, action: str, body: Tree) -> None:
        """Write one of the kind's further subresources, e.g. a Pod's `binding`."""
        kind, namespace = self._home(obj)
        self._subject.wrote(kind, await self.client.act(kind, obj.name, action, body, namespace))

    def enqueue(self, handler: Callable[..., Any], namespace: str, name: str, *, after_s: float = 0.0) -> None:
        """Run a reconcile handler of this operator for an object, as if it had changed. For news from outside the store."""
        self._operation.enqueue(handler, (namespace, name), after_s)

    def spawn(self, coroutine: Any, name: str) -> None:
        """Run a coroutine as part of the operator; an error in it is logged and reported, its end is not awaited."""
        self._operation.spawn_reported(coroutine, name)

    def _namespace(self, kind: Kind, namespace: str | None) -> str:
        if not kind.namespaced:
            return ""
        return self._subject.namespace if namespace is None else namespace

    def _home(self, obj: Resource) -> tuple[Kind, str]:
        kind = type(obj).__kind__
        return kind, (obj.namespace or self._subject.namespace) if kind.namespaced else ""

    def _written(self, cls: type[R], kind: Kind, tree: Tree) -> R:
        self._subject.wrote(kind, tree)
        return typed(cls, tree, frozen=True)


def as_class(obj: Resource, cls: type[R]) -> R:
    """The object as a view of `cls`: itself, where the cache holds it so."""
    return obj if type(obj) is cls else typed(cls, tree_of(obj), frozen=True)


def _not_found(kind: Kind, name: str) -> NotFoundError:
    return NotFoundError(f'{kind.resource} "{name}" not found', details={"name": name, "group": kind.group, "kind": kind.plural})
