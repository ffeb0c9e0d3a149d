"""Create, update, patch and act: the one way of every write into the store.

A change goes: shape -> defaults and pruning -> the kind's default hook -> mutators -> what the server keeps -> the kind's
prepare hook -> rules -> validators -> managed fields -> one transaction that compares the revision it was made on.
A write that changes nothing writes nothing. A patch that lost a race is made again on the newest state, boundedly.

managedFields cost as much as a small object itself. So only objects that have some keep them up: those whose creator asked for
it (who comes over HTTP does), and from their first apply on all others, whose history tells who set what (`recollection`).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

from reconcile.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, WHOLE, Patch
from reconcile.clock import Clock, timestamp
from reconcile.errors import (
    AlreadyExistsError,
    ApiError,
    BadRequestError,
    ConflictError,
    Tree,
    UnsupportedMediaTypeError,
)
from reconcile.handling import AdmissionReview
from reconcile.identity import Caller
from reconcile.kinds import Hooks, Kind
from reconcile.runtime.store import Compare, DeleteRange, KeyValue, Put, StoreError, Txn, WatchStore

from . import apply, metadata, ownership, refusals, scale
from .admission import Admission
from .catalog import Catalog, Served
from .defaulting import defaulted
from .freshness import is_newest, newest, stands
from .jsonpatch import apply_json_patch
from .judging import judge, judged_if_stumbling, readable
from .mergepatch import apply_merge_patch
from .recollection import recalled
from .sharing import own_copy, relinked
from .stored import Notes, Stored, is_going, stored_of
from .strategic import apply_strategic_patch
from .transaction import cause_of, encoded, noted

ATTEMPTS_MAX = 100
"""How often a write without a precondition is made again after losing a race."""
_NAMES_TRIED_MAX = 8
_OWN = ("apiVersion", "kind", "metadata", "status")
_OWN_WITHOUT_STATUS = _OWN[:3]
Operation = Literal["CREATE", "UPDATE"]
Changing = Callable[[Stored], Tree | Awaitable[Tree]]


class Write:
    """One write in progress: who asks, and how."""

    __slots__ = (
        "applies", "caller", "dry_run", "field_validation", "manager", "may_create", "notes", "patches", "subresource", "tracked",
        "whole",
    )  # fmt: skip

    def __init__(
        self, caller: Caller, manager: str, dry_run: bool, field_validation: str, notes: Notes | None, subresource: str
    ) -> None:
        self.caller = caller
        self.manager = manager
        self.dry_run = dry_run
        self.field_validation = field_validation
        self.notes = notes
        self.subresource = subresource
        self.whole = self.applies = self.patches = False
        self.may_create: Callable[[], None] | None = None
        self.tracked = False

    def warn(self, warnings: Iterable[str]) -> None:
        """Tell the client, if it wants to know."""
        if self.notes is not None:
            self.notes.warnings.extend(warnings)


class Writing:
    """The write path."""

    def __init__(
        self, store: WatchStore, clock: Clock, catalog: Catalog, admission: Admission, namespace_kind: Kind | None, bytes_max: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._catalog = catalog
        self._admission = admission
        self._namespace_kind = namespace_kind
        self._bytes_max = bytes_max

    # What clients ask for

    async def create(
        self, kind: Kind, tree: Tree, namespace: str, caller: Caller, manager: str, dry_run: bool, field_validation: str,
        notes: Notes | None, tracked: bool,
    ) -> Stored:  # fmt: skip
        """See ApiServer.create."""
        served = self._catalog.stored(kind)
        write = Write(caller, manager, dry_run, field_validation, notes, "")
        write.tracked = tracked
        generates = isinstance(tree.get("metadata"), dict) and not tree["metadata"].get("name")
        for attempt in range(_NAMES_TRIED_MAX):
            try:
                return await self._create(served, tree, namespace, "", write)
            except AlreadyExistsError:
                if not generates or attempt == _NAMES_TRIED_MAX - 1:
                    raise
        raise AssertionError("the loop returns or raises")

    async def update(
        self, kind: Kind, tree: Tree, namespace: str, name: str, subresource: str, caller: Caller, manager: str, dry_run: bool,
        field_validation: str, notes: Notes | None,
    ) -> Stored:  # fmt: skip
        """See ApiServer.update."""
        served = self._catalog.stored(kind)
        self._has(served, subresource)
        write = Write(caller, manager, dry_run, field_validation, notes, subresource)
        name = name or _said(tree, "name")
        namespace = namespace or (_said(tree, "namespace") if kind.namespaced else "")
        if not name:
            raise refusals.invalid(kind, "", [refusals.value_required("metadata.name", "name must be provided")])
        if subresource == "scale":
            changed = await self._change(
                served, name, namespace, write, lambda old: scale.scaled_tree(served.kind, old.tree, tree)
            )
            return scale.scale_of(kind, changed)
        return await self._change(served, name, namespace, write, lambda _: tree)

    async def patch(
        self, kind: Kind, name: str, patch: Patch, namespace: str, subresource: str, caller: Caller, manager: str, force: bool,
        dry_run: bool, field_validation: str, notes: Notes | None, may_create: Callable[[], None] | None,
    ) -> Stored:  # fmt: skip
        """See ApiServer.patch."""
        served = self._catalog.stored(kind)
        whole = subresource == WHOLE and patch.media_type == MERGE_PATCH
        subresource = "" if whole else subresource
        self._has(served, subresource)
        write = Write(caller, manager, dry_run, field_validation, notes, subresource)
        write.may_create = may_create
        write.whole = whole and served.kind.status
        if patch.media_type == APPLY_PATCH:
            return await self._apply(served, name, patch.body, namespace, write, force)
        change, write.patches = self._patcher(served, patch), True
        if subresource == "scale":

            def rescale(old: Stored) -> Tree:
                return scale.scaled_tree(served.kind, old.tree, change(scale.scale_of(kind, old).tree))

            return scale.scale_of(kind, await self._change(served, name, namespace, write, rescale))
        return await self._change(served, name, namespace, write, lambda old: change(old.tree))

    async def act(
        self, kind: Kind, name: str, action: str, body: Tree, namespace: str, caller: Caller, manager: str, dry_run: bool,
        notes: Notes | None,
    ) -> Stored:  # fmt: skip
        """See ApiServer.act."""
        served = self._catalog.stored(kind)
        run = kind.hooks.actions.get(action) or served.kind.hooks.actions.get(action)
        if run is None:
            raise refusals.no_such_resource()
        given = {} if body.get("metadata") is None else body["metadata"]
        if type(given) is not dict:
            raise BadRequestError(f"metadata is {refusals.show(given)[:100]}; give an object")
        if "creationTimestamp" not in given:
            # Hooks have no clock: an action learns the time from its body, an object of its own that begins now.
            body = {**body, "metadata": {**given, "creationTimestamp": timestamp(self._clock.now())}}
        write = Write(caller, manager, dry_run, "Ignore", notes, action)

        def acted(old: Stored) -> Tree:
            try:
                return run(own_copy(old.tree), body)
            except (TypeError, AttributeError, LookupError) as error:
                # An action's body has no schema to be judged by: what its hook stumbles over is the client's mistake.
                raise BadRequestError(f"the body for {action} cannot be read: {type(error).__name__}: {error}") from error

        return await self._change(served, name, namespace, write, acted)

    # Create

    async def _create(self, served: Served, given: Tree, namespace: str, name: str, write: Write) -> Stored:
        kind, unknown = served.kind, list[str]()
        tree, meta = metadata.shaped(served, given, unknown)
        metadata.place(kind, meta, namespace, name)
        metadata.begin(kind, meta, self._clock)
        await self._in_namespace(kind, meta)
        if kind.status and not kind.hooks.keeps_status:
            tree.pop("status", None)
        tree = served.complete(tree, None, unknown)
        if unknown:
            refusals.tell_unknown(kind, unknown, write.field_validation, write.notes)
        with judged_if_stumbling(served, tree, None, name):
            tree = await self._completed(served, tree, write)
        meta = tree["metadata"]
        causes = metadata.check_new(kind, meta, kind is self._namespace_kind)
        judge(served, tree, None, meta.get("name", ""), causes)
        write.warn(await self._admission.validate(kind, lambda: _review("CREATE", kind, tree, None, write)))
        return await self._insert(served, tree, write)

    async def _completed(self, served: Served, tree: Tree, write: Write) -> Tree:
        """A new object with all that the server adds to it."""
        kind = served.kind
        # What mutators and the kind's prepare hook add is nobody's, as on the reference server: who applies the object later
        # without these fields does not take them away.
        tree = await self._owned(served, None, defaulted(kind, tree, None), write)
        tree = await self._mutated("CREATE", served, tree, None, write)
        own = kind.hooks.default is not None  # that hook has had a copy made already, which is this one
        if kind.hooks.prepare is not None:
            tree, own = tree if own else own_copy(tree), True
            kind.hooks.prepare(tree, None)
        if self._admission.initializes(kind):
            tree = tree if own else own_copy(tree)
            await self._admission.initialize(kind, _review("CREATE", kind, tree, None, write))
        return tree

    async def _insert(self, served: Served, tree: Tree, write: Write) -> Stored:
        meta = tree["metadata"]
        key = served.key(meta.get("namespace", ""), meta["name"])
        made = await served.made(tree, self._encoded)
        if write.notes is not None:
            write.notes.created = True
        if write.dry_run:
            if self._store.get(key) is not None:
                raise refusals.already_exists(served.kind, meta["name"])
            return await served.shown(made)
        txn = Txn((Compare.missing(key),), (Put(key, made.value, attachment=made),))
        try:
            answer = await self._store.txn(txn, cause_of(write.caller, write.manager))
        except StoreError as error:
            raise refusals.of_store(error) from error
        if not answer.succeeded:
            raise refusals.already_exists(served.kind, meta["name"], going=is_going(self._store.get(key), served.kind))
        noted(answer.revision)
        return await served.shown(made if made.revision else made.settle(answer.revision))

    async def _in_namespace(self, kind: Kind, meta: Tree) -> None:
        """Refuse to create in a namespace that is not there or going away."""
        if self._namespace_kind is None or not kind.namespaced:
            return
        namespaces = self._catalog.of(self._namespace_kind)
        key = namespaces.key("", meta["namespace"])
        while True:
            kv = await newest(self._store, key)
            if kv is None:
                raise refusals.not_found(namespaces.kind, meta["namespace"])
            if "deletionTimestamp" not in stored_of(kv, namespaces.kind).tree["metadata"]:
                return
            if await is_newest(self._store, key, kv):
                raise refusals.terminating(kind, meta.get("name", ""), meta["namespace"])

    # Change

    async def _change(self, served: Served, name: str, namespace: str, write: Write, change: Changing) -> Stored:
        """Make `change` on the newest state until nobody was faster."""
        kind = served.kind
        key = served.key(namespace, name)
        for _ in range(ATTEMPTS_MAX):
            kv = self._store.get(key)
            try:
                if kv is None:
                    raise refusals.not_found(kind, name)
                done = await self._changed(served, key, kv, namespace, name, write, change)
            except ApiError as error:
                if await stands(error, self._store, key, kv):
                    raise
                continue
            if done is not None and (done.revision != kv.mod_revision or await is_newest(self._store, key, kv)):
                return done
            # A write that named a resourceVersion now meets a newer one, and is refused when it is made again.
        raise refusals.conflict(kind, name)

    async def _changed(
        self, served: Served, key: bytes, kv: KeyValue, namespace: str, name: str, write: Write, change: Changing
    ) -> Stored | None:
        """One attempt; the object as it was where nothing changes, None where somebody was faster."""
        kind = served.kind
        stored = stored_of(kv, kind)
        old = await served.shown(stored)
        given = change(old)
        if type(given) is not dict and inspect.isawaitable(given):
            given = await given
        if given is old.tree and served.is_stored_as(stored):
            return old
        prepared = self._prepared_whole if write.whole else self._prepared
        with readable(given if write.patches else None):
            new = await prepared(served, old, given, namespace, name, write)
        if new is None:
            if served.is_stored_as(stored):
                return old
            new = old.tree  # it changes nothing but the version that it is stored in
        if write.dry_run:
            return Stored(kind, new)
        return await self._replace(served, key, old, new, write)

    async def _prepared_whole(
        self, served: Served, old: Stored, given: Tree, namespace: str, name: str, write: Write
    ) -> Tree | None:
        """As if the status were written, and then the rest; each judged by what holds for it. None: nothing changes."""
        write.subresource = "status"
        first = await self._prepared(served, old, given, namespace, name, write)
        write.subresource = ""
        if first is None:
            return await self._prepared(served, old, given, namespace, name, write)
        owners = first["metadata"].get("managedFields")
        if owners is not None:
            given = {**given, "metadata": {**given["metadata"], "managedFields": owners}}
        then = await self._prepared(served, Stored(served.kind, first), given, namespace, name, write)
        return first if then is None else then

    async def _prepared(self, served: Served, old: Stored, given: Tree, namespace: str, name: str, write: Write) -> Tree | None:
        """The object as it shall be stored; None: nothing changes."""
        kind, before, unknown = served.kind, old.tree, list[str]()
        tree, meta = metadata.shaped(served, given, unknown)
        metadata.place(kind, meta, namespace, name)
        metadata.carry_over(kind, meta, before["metadata"])
        tree = self._separated(served, tree, before, write.subresource)
        meta = tree["metadata"]
        tree = served.complete(tree, before, unknown)
        if unknown:
            refusals.tell_unknown(kind, unknown, write.field_validation, write.notes)
        hooks = kind.hooks
        with judged_if_stumbling(served, tree, before, name):
            tree = await self._mutated("UPDATE", served, defaulted(kind, tree, before), before, write)
            if hooks.prepare is not None and write.subresource not in hooks.actions and _prepares(hooks, tree, before):
                tree = own_copy(tree)
                hooks.prepare(tree, before)
        tree = relinked(tree, before)
        if tree == before:
            return None
        meta = tree["metadata"]
        own = _OWN if kind.status else _OWN_WITHOUT_STATUS
        # What an action does is the server's own (a Pod gets its node): nobody has wished for anything else than before.
        wished = kind.has_generation and write.subresource not in hooks.actions
        if wished and any(tree.get(k) is not before.get(k) for k in (tree.keys() | before.keys()) if k not in own):
            meta = tree["metadata"] = {**meta, "generation": meta.get("generation", 0) + 1}
        causes = metadata.check_changed(meta, before["metadata"])
        judge(served, tree, before, name, causes, kind.hooks.part_rules.get(write.subresource))
        write.warn(await self._admission.validate(kind, lambda: _review("UPDATE", kind, tree, before, write)))
        return await self._owned(served, before, tree, write)

    def _separated(self, served: Served, tree: Tree, before: Tree, subresource: str) -> Tree:
        """Status and the rest are written separately: put back what this write may not touch.

        Who writes a part of a built-in kind may annotate the object with it, as on the reference server; of other kinds not.
        """
        kind = served.kind
        if kind.has_part(subresource):
            meta = tree["metadata"]
            if not kind.builtin:
                own = {"managedFields": meta["managedFields"]} if "managedFields" in meta else {}
                meta = {**before["metadata"], **own}
            if subresource == "status":
                changed = {"status": tree["status"]} if "status" in tree else {}
                return {**{name: value for name, value in before.items() if name != "status"}, "metadata": meta, **changed}
            return {**before, "metadata": meta, **kind.hooks.parts[subresource](tree, before)}
        if not kind.status or subresource not in ("", "scale"):
            return tree
        if "status" in before:
            tree["status"] = before["status"]
        else:
            tree.pop("status", None)
        return tree

    async def _replace(self, served: Served, key: bytes, old: Stored, new: Tree, write: Write) -> Stored | None:
        """Store `new` in place of `old`, or delete where nothing holds the object any more; None: somebody was faster."""
        meta = new["metadata"]
        cause = cause_of(write.caller, write.manager)
        compare = (Compare.mod_is(key, old.revision),)
        gone = "deletionTimestamp" in meta and not metadata.lingers(served.kind, new, meta)
        made = await served.made(new, self._encoded)
        operation = DeleteRange(key) if gone else Put(key, made.value, attachment=made)
        try:
            answer = await self._store.txn(Txn(compare, (operation,)), cause)
        except StoreError as error:
            raise refusals.of_store(error) from error
        if not answer.succeeded:
            return None
        noted(answer.revision)
        return await served.shown(made if made.revision else made.settle(answer.revision))

    # Apply

    async def _apply(self, served: Served, name: str, body: Any, namespace: str, write: Write, force: bool) -> Stored:
        """Server-side apply; creates the object where it is absent."""
        kind = served.kind
        if not write.manager:
            raise BadRequestError("fieldManager is required for apply patch")
        apply.check_body(served, name, body, write.subresource)
        now = self._clock.now()
        write.applies = True
        for _ in range(ATTEMPTS_MAX):
            if write.subresource or await newest(self._store, served.key(namespace, name)) is not None:

                async def merge(old: Stored) -> Tree:
                    known = await recalled(self._store, served, old)
                    return await apply.applied(served, old.tree, body, write.manager, write.subresource, force, now, known)

                return await self._change(served, name, namespace, write, merge)
            if _said(body, "uid") or _said(body, "resourceVersion"):
                raise refusals.conflict(kind, name)
            if write.may_create is not None:
                write.may_create()
            try:
                fresh = await apply.applied(served, None, body, write.manager, write.subresource, force, now)
                return await self._create(served, fresh, namespace, name, write)
            except AlreadyExistsError:
                continue  # somebody created it meanwhile: merge into that
        raise ConflictError(f'{kind.resource} "{name}" appeared and vanished {ATTEMPTS_MAX} times; apply again')

    # Parts of both

    def _encoded(self, tree: Tree) -> bytes:
        return encoded(tree, self._bytes_max)

    async def _owned(self, served: Served, before: Tree | None, tree: Tree, write: Write) -> Tree:
        """Keep managedFields up where there are some; an apply has done so already."""
        if write.applies or not (write.tracked or tree["metadata"].get("managedFields")):
            return tree
        manager = write.manager or write.caller.user
        return await ownership.track(served, before, tree, manager, write.subresource, self._clock.now())

    def _has(self, served: Served, subresource: str) -> None:
        kind = served.kind
        if subresource and not (kind.has_part(subresource) or (subresource == "scale" and kind.scale is not None)):
            raise refusals.no_such_resource()

    def _patcher(self, served: Served, patch: Patch) -> Callable[[Tree], Tree]:
        body = patch.body
        if patch.media_type == JSON_PATCH:
            return lambda tree: apply_json_patch(tree, body)
        if patch.media_type == MERGE_PATCH:
            if not isinstance(body, dict):
                raise BadRequestError("a merge patch of an object is an object")
            return lambda tree: apply_merge_patch(tree, body)
        if patch.media_type == STRATEGIC_PATCH and served.strategic:
            return lambda tree: apply_strategic_patch(tree, body, served.schema)
        supported = [JSON_PATCH, MERGE_PATCH, *([STRATEGIC_PATCH] if served.strategic else []), APPLY_PATCH]
        raise UnsupportedMediaTypeError(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(supported)}"
        )

    async def _mutated(self, operation: Operation, served: Served, tree: Tree, before: Tree | None, write: Write) -> Tree:
        """The mutators' changes, then all defaults for what these left out."""
        kind = served.kind
        if not self._admission.mutates(kind):
            return tree
        review = _review(operation, kind, own_copy(tree), before, write)
        kept = tree["metadata"]
        await self._admission.mutate(kind, review)
        write.warn(review.warnings)
        made, meta = metadata.shaped(served, review.tree, [])
        # Nobody who sees a write of one part changes another one: status and the rest are written separately.
        if before is not None or (kind.status and not kind.hooks.keeps_status):
            made = self._separated(served, made, tree, write.subresource)
        tree, meta = made, made["metadata"]
        for name in ("name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation"):
            if name in kept:
                meta[name] = kept[name]
        return defaulted(kind, served.complete(tree, before, []), before)


def _prepares(hooks: Hooks, tree: Tree, before: Tree) -> bool:
    which = hooks.prepares_changes
    return which if isinstance(which, bool) else which(tree, before)


def _said(tree: Tree, name: str) -> str:
    """A text in the metadata that a client sent; what has another type there is refused when the object is read."""
    metadata = tree.get("metadata")
    value = metadata.get(name) if type(metadata) is dict else None
    return value if type(value) is str else ""


def _review(operation: Operation, kind: Kind, tree: Tree, before: Tree | None, write: Write) -> AdmissionReview:
    return AdmissionReview(operation, tree, before, write.subresource, write.dry_run, write.caller, kind=kind)
