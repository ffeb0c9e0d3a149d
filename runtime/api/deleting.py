"""Delete: at once, or with grace, finalizers and propagation, until nothing holds the object any more.

An object that is deleted gracefully gets deletionTimestamp (now + grace) and lingers until somebody deletes it with grace 0.
One with finalizers lingers until an update removes the last of them (see `writing`). The grace may only shrink.

Source: k8s.io/apiserver/pkg/registry/rest/delete.go, pkg/registry/generic/registry/store.go
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from reconcile.client import DeleteOptions
from reconcile.clock import Clock, parse_timestamp, timestamp
from reconcile.errors import ApiError, Cause, InvalidError, NotFoundError, Tree
from reconcile.handling import AdmissionReview
from reconcile.identity import Caller
from reconcile.kinds import Kind
from reconcile.runtime.store import Compare, DeleteRange, KeyValue, Put, StoreError, Txn, WatchStore

from . import metadata, refusals
from .admission import Admission
from .catalog import Catalog, Served
from .freshness import is_newest, stands
from .stored import Deleted, Notes, Stored, readable, stored_of
from .transaction import cause_of, encoded, noted
from .writing import ATTEMPTS_MAX

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
"""The garbage collector's finalizers; propagation is asked for by setting one."""
IGNORES_READ_ERROR = "ignoreStoreReadErrorWithClusterBreakingPotential"
_OBJECT_BYTES_MAX = 64 << 20


class Deleting:
    """The delete path."""

    def __init__(self, store: WatchStore, clock: Clock, catalog: Catalog, admission: Admission) -> None:
        self._store = store
        self._clock = clock
        self._catalog = catalog
        self._admission = admission

    async def delete(
        self, kind: Kind, name: str, namespace: str, options: DeleteOptions, caller: Caller, notes: Notes | None
    ) -> Deleted:
        """See ApiServer.delete."""
        served = self._catalog.stored(kind)
        key = served.key(namespace, name)
        for _ in range(ATTEMPTS_MAX):
            kv = self._store.get(key)
            try:
                if kv is None:
                    raise refusals.not_found(kind, name)
                if options.ignores_read_error:
                    done = await self._remove(served, kv, name, namespace, options, caller)
                else:
                    stored = await served.shown(stored_of(kv, served.kind))
                    done = await self._try(served, key, stored, options, caller, notes)
            except ApiError as error:
                if await stands(error, self._store, key, kv):
                    raise
                continue  # it was judged by an old state
            if done is not None and (done.gone or done.stored is not stored or await is_newest(self._store, key, kv)):
                return done
        raise refusals.conflict(kind, name)

    async def delete_all(
        self, kind: Kind, items: Sequence[Stored], options: DeleteOptions, caller: Caller, notes: Notes | None
    ) -> list[Deleted]:
        """Delete each of `items`; one that is gone meanwhile is skipped. The first refusal ends it."""
        done = []
        for item in items:
            try:
                done.append(await self.delete(kind, item.name, item.namespace, options, caller, notes))
            except NotFoundError:
                continue
        return done

    async def _try(
        self, served: Served, key: bytes, stored: Stored, options: DeleteOptions, caller: Caller, notes: Notes | None
    ) -> Deleted | None:
        """One attempt; None: the object changed meanwhile."""
        kind, tree = served.kind, stored.tree
        _check_preconditions(kind, stored, options)
        warnings = await self._admission.validate(
            kind, lambda: AdmissionReview("DELETE", tree, tree, "", options.dry_run, caller, kind=kind)
        )
        if notes is not None:
            notes.warnings.extend(warnings)
        if options.propagation is None and (told := kind.hooks.keeps_dependents) is not None and not _is_decided(tree):
            options = attrs.evolve(options, propagation="Orphan")
            if told and notes is not None and told not in notes.warnings:
                notes.warnings.append(told)
        meta = self._marked(kind, tree, options)
        if meta is None:
            return Deleted(stored, gone=False)
        cause = cause_of(caller, "")
        compare = (Compare.mod_is(key, stored.revision),)
        if not metadata.lingers(kind, tree, meta):
            if options.dry_run:
                return Deleted(stored, gone=True)
            answered = await self._run(Txn(compare, (DeleteRange(key),)), cause)
            return Deleted(stored, gone=True) if answered else None
        made = await served.made(_ending(kind, {**tree, "metadata": meta}), lambda marked: encoded(marked, _OBJECT_BYTES_MAX))
        if options.dry_run:
            return Deleted(await served.shown(made), gone=False)
        revision = await self._run(Txn(compare, (Put(key, made.value, attachment=made),)), cause)
        if not revision:
            return None
        return Deleted(await served.shown(made if made.revision else made.settle(revision)), gone=False)

    async def _remove(
        self, served: Served, kv: KeyValue, name: str, namespace: str, options: DeleteOptions, caller: Caller
    ) -> Deleted | None:  # fmt: skip
        """Delete what is no object, without looking at finalizers and owners, which nobody can read.

        Source: k8s.io/apiserver/pkg/registry/generic/registry/corrupt_obj_deleter.go
        """
        kind = served.kind
        if readable(kv, kind) is not None:
            why = "Invalid value: true: is exclusively used to delete corrupt object(s), try again by removing this option"
            raise InvalidError(
                f'{kind.resource} "{name}" is invalid: {IGNORES_READ_ERROR}: {why}',
                details={"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural},
                causes=[Cause("FieldValueInvalid", why, IGNORES_READ_ERROR)],
            )
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        tree: Tree = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
        await self._admission.validate(
            kind, lambda: AdmissionReview("DELETE", tree, tree, "", options.dry_run, caller, kind=kind)
        )
        if not options.dry_run:
            compare = (Compare.mod_is(kv.key, kv.mod_revision),)
            if not await self._run(Txn(compare, (DeleteRange(kv.key),)), cause_of(caller, "")):
                return None
        return Deleted(Stored(kind, tree), gone=True)

    async def _run(self, txn: Txn, cause: str) -> int:
        """The revision of the transaction; 0: its compare failed."""
        try:
            answer = await self._store.txn(txn, cause)
        except StoreError as error:
            raise refusals.of_store(error) from error
        if not answer.succeeded:
            return 0
        noted(answer.revision)
        return answer.revision

    def _marked(self, kind: Kind, tree: Tree, options: DeleteOptions) -> Tree | None:
        """The metadata of the object under deletion; None: it is marked like this already."""
        meta = dict(tree["metadata"])
        finalizers = _finalizers(meta.get("finalizers") or [], options)
        changed = finalizers != (meta.get("finalizers") or [])
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        now_s = self._clock.now()
        if "deletionTimestamp" in meta:
            grace_s = meta.get("deletionGracePeriodSeconds") or 0
            asked_s = options.grace_s
            if asked_s is not None and kind.hooks.grace_s is not None:
                asked_s = max(0, kind.hooks.grace_s(tree, asked_s))
            if asked_s is not None and 0 <= asked_s < grace_s:
                # Shrinking counts from when the deletion was asked for first.
                asked_at_s = parse_timestamp(meta["deletionTimestamp"]) - grace_s
                meta["deletionGracePeriodSeconds"] = asked_s
                meta["deletionTimestamp"] = timestamp(asked_at_s + asked_s)
                return meta
            if not metadata.lingers(kind, tree, meta):
                return meta
            return meta if changed else None
        hook = kind.hooks.grace_s
        grace_s = max(0, hook(tree, options.grace_s)) if hook is not None else 0
        meta["deletionTimestamp"] = timestamp(now_s + grace_s)
        if kind.hooks.held is None:
            meta["deletionGracePeriodSeconds"] = grace_s
        if kind.has_generation and meta.get("generation"):
            meta["generation"] += 1
        return meta


def _ending(kind: Kind, tree: Tree) -> Tree:
    """What the kind says of an object whose deletion has begun."""
    return kind.hooks.ending(tree) if kind.hooks.ending is not None else tree


def _check_preconditions(kind: Kind, stored: Stored, options: DeleteOptions) -> None:
    meta = stored.tree["metadata"]
    if options.uid and options.uid != meta.get("uid"):
        raise refusals.precondition(kind, stored.name, "UID", options.uid, meta.get("uid", ""))
    if options.resource_version and options.resource_version != meta.get("resourceVersion"):
        raise refusals.precondition(
            kind, stored.name, "ResourceVersion", options.resource_version, meta.get("resourceVersion", "")
        )


def _is_decided(tree: Tree) -> bool:
    """Whether somebody has said already what becomes of an object's dependents."""
    meta = tree["metadata"]
    return "deletionTimestamp" in meta or not {ORPHAN, FOREGROUND}.isdisjoint(meta.get("finalizers") or ())


def _finalizers(finalizers: list[str], options: DeleteOptions) -> list[str]:
    """The finalizers that ask the garbage collector for the wanted propagation."""
    if options.propagation is None:
        return finalizers
    kept = [finalizer for finalizer in finalizers if finalizer not in (ORPHAN, FOREGROUND)]
    if options.propagation == "Orphan":
        return [*kept, ORPHAN]
    return [*kept, FOREGROUND] if options.propagation == "Foreground" else kept
