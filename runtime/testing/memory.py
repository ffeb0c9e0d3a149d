"""An API in a dictionary: a `Client` without a server, for testing controllers alone and under faults.

It keeps what controllers rely on: dense revisions, conflicts, uids, generations, finalizers, status apart from spec, watches
that lose nothing, writes that change nothing write nothing, expiry after compaction. It knows no schemas, no admission, no
field ownership between managers, no garbage collection: for those there is the real in-process API.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, NamedTuple

from reconcile.client import APPLY_PATCH, MERGE_PATCH, DeleteOptions, Page, Patch, WatchEvent
from reconcile.clock import Clock, timestamp
from reconcile.errors import (
    AlreadyExistsError,
    BadRequestError,
    ConflictError,
    ExpiredError,
    MethodNotAllowedError,
    NotFoundError,
    Tree,
)
from reconcile.kinds import Kind, Resource, kind_of
from reconcile.selectors import parse_fields, parse_labels

_DEFAULT_OPTIONS = DeleteOptions()

Home = tuple[str, str, str]
Name = tuple[Home, str, str]


class Request(NamedTuple):
    """A call that the client got: the method, the kind, the object."""

    method: str
    kind: str
    namespace: str
    name: str


class Change(NamedTuple):
    """One revision."""

    revision: int
    home: Home
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    tree: Tree


class MemoryClient:
    """Objects in memory. `requests` holds every call; `before` is called with each and may raise (or sleep, to be slow)."""

    def __init__(self, clock: Clock, *classes: type[Resource] | Kind) -> None:
        self.requests: list[Request] = []
        self.before: Callable[[Request], Any] = lambda _: None  # Any: None, or something to await
        self.revision = 0
        self.compacted = 0
        self._clock = clock
        self._kinds: dict[Home, Kind] = {}
        self._objects: dict[Name, Tree] = {}
        self._applied: dict[tuple[Name, str], Tree] = {}
        self._changes: list[Change] = []
        self._news = asyncio.Event()
        self._breaking: BaseException | None = None
        self._broken = 0
        self.serve(*classes)

    def serve(self, *classes: type[Resource] | Kind) -> None:
        """Serve kinds from now on."""
        for cls in classes:
            kind = kind_of(cls)
            self._kinds[_home(kind)] = kind

    def withdraw(self, cls: type[Resource] | Kind) -> None:
        """Serve a kind no more: its objects go, its watches end."""
        home = _home(kind_of(cls))
        self._kinds.pop(home, None)
        for name in [name for name in self._objects if name[0] == home]:
            self._remove(name)
        self.end_watches()

    def end_watches(self, error: BaseException | None = None) -> None:
        """End all open watches, with an error or (as servers do every few minutes) without."""
        self._breaking = error
        self._broken += 1
        self._wake()

    def compact(self) -> None:
        """Forget history: watches from before now are answered with 410."""
        self.compacted = self.revision
        self._changes.clear()

    def count(self, method: str, kind: str = "") -> int:
        """How many calls of a method (and of a kind) there were."""
        return sum(1 for r in self.requests if r.method == method and (not kind or r.kind == kind))

    async def _ask(self, method: str, kind: Kind, namespace: str = "", name: str = "") -> Name:
        request = Request(method, kind.kind, namespace, name)
        self.requests.append(request)
        waited = self.before(request)
        if waited is not None:
            await waited
        if _home(kind) not in self._kinds:
            raise NotFoundError("the server could not find the requested resource")
        return _home(kind), namespace if kind.namespaced else "", name

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        """The newest state of one object."""
        return self._found(await self._ask("get", kind, namespace, name))

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page:
        """The objects of a kind, in one page."""
        home, space, _ = await self._ask("list", kind, namespace)
        by_label, by_field = parse_labels(labels), parse_fields(fields)
        found = [
            tree
            for name, tree in sorted(self._objects.items())
            if name[0] == home
            and (not space or name[1] == space)
            and by_label.matches(tree["metadata"].get("labels"))
            and by_field.matches(tree)
        ]
        return Page(found, self.revision)

    async def watch(
        self, kind: Kind, namespace: str = "", *, since: int = 0, labels: str = "", fields: str = "", initial: bool = False
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `since`. Selectors and `initial` are the real API's business."""
        if labels or fields or initial:
            raise BadRequestError("this client in memory watches whole kinds from a revision only")
        home, space, _ = await self._ask("watch", kind, namespace)
        if since < self.compacted:
            raise ExpiredError(f"too old resource version: {since} ({self.compacted})")
        broken = self._broken
        while True:
            for change in [c for c in self._changes if c.revision > since and c.home == home]:
                if not space or change.tree["metadata"].get("namespace") == space:
                    yield WatchEvent(change.type, change.tree, change.revision)
                since = change.revision
            if self._broken != broken:
                if self._breaking is not None:
                    raise self._breaking
                return
            if not self._changes or self._changes[-1].revision <= since or self._up_to_date(home, since):
                await self._news.wait()

    async def create(
        self, kind: Kind, tree: Tree, namespace: str = "", *, field_manager: str = "", dry_run: bool = False
    ) -> Tree:
        """Create."""
        given = tree["metadata"].get("name") or f"{tree['metadata'].get('generateName', '')}{self._clock.uid()[:5]}"
        name = await self._ask("create", kind, namespace or tree["metadata"].get("namespace", ""), given)
        if name in self._objects:
            raise AlreadyExistsError(f'{kind.resource} "{given}" already exists')
        made = copy.deepcopy(tree)
        if kind.status:
            made.pop("status", None)
        made["metadata"] |= {
            "name": given,
            "uid": self._clock.uid(),
            "creationTimestamp": timestamp(self._clock.now()),
            "generation": 1,
        }
        if kind.namespaced:
            made["metadata"]["namespace"] = name[1]
        return self._put(name, made, "ADDED")

    async def update(
        self, kind: Kind, tree: Tree, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", dry_run: bool = False,
    ) -> Tree:  # fmt: skip
        """Replace."""
        space = namespace or tree["metadata"].get("namespace", "")
        name = await self._ask("update", kind, space, tree["metadata"]["name"])
        return self._change(kind, name, copy.deepcopy(tree), subresource)

    async def patch(
        self, kind: Kind, name: str, patch: Patch, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", force: bool = False, dry_run: bool = False, strict: bool = False,
    ) -> Tree:  # fmt: skip
        """Merge patch, and server-side apply without field ownership between managers."""
        at = await self._ask("apply" if patch.media_type == APPLY_PATCH else "patch", kind, namespace, name)
        body = copy.deepcopy(patch.body)
        if patch.media_type == MERGE_PATCH:
            changed = copy.deepcopy(self._found(at))
            if "resourceVersion" not in (body.get("metadata") or {}):
                changed["metadata"].pop("resourceVersion")
            _merge(changed, body)
            return self._change(kind, at, changed, subresource)
        if patch.media_type != APPLY_PATCH:
            raise BadRequestError(f"this client in memory does not know {patch.media_type}")
        before = self._applied.get((at, field_manager), {})
        self._applied[at, field_manager] = body
        if at not in self._objects:
            self.requests.pop()  # told as the create that it is
            return await self.create(kind, body, namespace, field_manager=field_manager)
        changed = copy.deepcopy(self._found(at))
        changed["metadata"].pop("resourceVersion")
        _withdraw(changed, before, body)
        owners = {r["uid"]: r for r in changed["metadata"].get("ownerReferences") or ()}
        owners |= {r["uid"]: r for r in body["metadata"].get("ownerReferences") or ()}
        _merge(changed, body)
        if owners:
            changed["metadata"]["ownerReferences"] = list(owners.values())
        return self._change(kind, at, changed, subresource)

    async def delete(self, kind: Kind, name: str, namespace: str = "", options: DeleteOptions = _DEFAULT_OPTIONS) -> Tree:
        """Delete; finalizers hold the object."""
        at = await self._ask("delete", kind, namespace, name)
        tree = self._found(at)
        meta = tree["metadata"]
        if options.uid and options.uid != meta["uid"]:
            raise ConflictError(f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {meta['uid']}")
        if not meta.get("finalizers"):
            return self._remove(at)
        if meta.get("deletionTimestamp"):
            return tree
        lingering = {**tree, "metadata": {**meta, "deletionTimestamp": timestamp(self._clock.now())}}
        return self._put(at, lingering, "MODIFIED")

    async def act(self, kind: Kind, name: str, action: str, body: Tree, namespace: str = "") -> Tree:
        """A further subresource, by the kind's own hook."""
        at = await self._ask(action, kind, namespace, name)
        hook = kind.hooks.actions.get(action)
        if hook is None:
            raise MethodNotAllowedError(f"{kind.kind} has no subresource {action}")
        return self._change(kind, at, hook(copy.deepcopy(self._found(at)), body), action)

    async def kinds(self) -> Sequence[Kind]:
        """What is served now."""
        return tuple(self._kinds.values())

    def _found(self, name: Name) -> Tree:
        tree = self._objects.get(name)
        if tree is None:
            raise NotFoundError(f'{self._kinds[name[0]].resource} "{name[2]}" not found')
        return tree

    def _change(self, kind: Kind, name: Name, changed: Tree, subresource: str) -> Tree:
        old = self._found(name)
        before, meta = old["metadata"], changed["metadata"]
        for guard in ("resourceVersion", "uid"):
            if meta.get(guard) and meta[guard] != before[guard]:
                raise ConflictError(f'Operation cannot be fulfilled on {kind.resource} "{name[2]}": the object has been modified')
        if subresource == "status":
            changed = {**old, "status": changed.get("status", {})}
        elif not subresource and kind.status:
            changed.pop("status", None)
            changed |= {"status": old["status"]} if "status" in old else {}
        meta = {**changed["metadata"], "uid": before["uid"], "creationTimestamp": before["creationTimestamp"]}
        if "deletionTimestamp" in before:
            meta["deletionTimestamp"] = before["deletionTimestamp"]
        meta["generation"] = before["generation"] + (_wanted(old) != _wanted(changed))
        changed = {**changed, "metadata": {**meta, "resourceVersion": before["resourceVersion"]}}
        if changed == old:
            return old
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            return self._remove(name)
        return self._put(name, changed, "MODIFIED")

    def _put(self, name: Name, tree: Tree, type_: Literal["ADDED", "MODIFIED"]) -> Tree:
        self.revision += 1
        stored = {**tree, "metadata": {**tree["metadata"], "resourceVersion": str(self.revision)}}
        self._objects[name] = stored
        self._changes.append(Change(self.revision, name[0], type_, stored))
        self._wake()
        return stored

    def _remove(self, name: Name) -> Tree:
        self.revision += 1
        tree = self._objects.pop(name)
        for applied in [a for a in self._applied if a[0] == name]:
            del self._applied[applied]
        self._changes.append(Change(self.revision, name[0], "DELETED", tree))
        self._wake()
        return tree

    def _up_to_date(self, home: Home, since: int) -> bool:
        return not any(c.home == home and c.revision > since for c in self._changes)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _home(kind: Kind) -> Home:
    return kind.group, kind.version, kind.plural


def _wanted(tree: Tree) -> Tree:
    return {name: value for name, value in tree.items() if name not in ("metadata", "status")}


def _merge(tree: Tree, patch: Tree) -> None:
    for name, value in patch.items():
        if value is None:
            tree.pop(name, None)
        elif isinstance(value, dict):
            inner = tree.get(name)
            tree[name] = inner if isinstance(inner, dict) else {}
            _merge(tree[name], value)
        else:
            tree[name] = value


def _withdraw(tree: Tree, before: Tree, now: Tree) -> None:
    """Remove what was applied before and is applied no more."""
    for name, value in before.items():
        if name not in now:
            tree.pop(name, None)
        elif isinstance(value, dict) and isinstance(now[name], dict) and isinstance(tree.get(name), dict):
            _withdraw(tree[name], value, now[name])
