"""Keeps namespaces within their ResourceQuotas: charges each new object before it is stored, and counts again what is there.

A charge is a write of the quota's status that names its resourceVersion, so that of two objects that ask for the last of
something one is refused, whichever server they came through. What was charged and is not stored (yet) is remembered for a
moment; the recount, every few seconds, corrects everything else: what was deleted, finished, or refused after its charge.

Source: K/staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota, K/pkg/controller/resourcequota
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

import attrs

from reconcile.client import Client
from reconcile.errors import ApiError, ConflictError, ForbiddenError, NotFoundError, Tree
from reconcile.handling import AdmissionReview, Cluster, Requeue
from reconcile.kinds import Kind, kind_of
from reconcile.quantities import parse_quantity
from reconcile.registry import Operator
from reconcile.views import tree_of

from .amounts import Amounts, shown
from .resource_quota import ResourceQuota
from .usage import counts, kind_behind, unspecified, usage_of

Find = Callable[[str, str], Kind | None]
"""(group, plural) -> the served kind."""
Gate = Callable[[Kind, Callable[[AdmissionReview], Any]], Callable[[], None]]
"""Has a function see each write of a kind before it is stored; returns what ends this."""
_RECOUNT_S = 2.0
_REMEMBERED_S = 3.0
_ATTEMPTS_MAX = 16


def quotas(find: Find, gate: Gate, *, recounts: bool = True) -> Operator:
    """The operator; it asks to see the writes of those kinds alone that some quota counts.

    Without `recounts` it only charges: somebody else counts what is there.
    """
    app = Operator("resource-quotas")
    keeper = Keeper(find, gate)

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        keeper.begin(cluster)

    @app.on.event(ResourceQuota, inline=True)
    def saw(obj: ResourceQuota, event: str) -> None:
        keeper.saw(tree_of(obj), gone=event == "DELETED")

    @app.on.cleanup()
    def end() -> None:
        keeper.end()

    if not recounts:
        return app

    @app.on.reconcile(ResourceQuota)
    async def recounted(obj: ResourceQuota) -> Requeue:
        await keeper.recount(tree_of(obj))
        return Requeue(_RECOUNT_S)

    return app


@attrs.define(eq=False)
class Keeper:
    """The quotas of each namespace, and what is charged to them."""

    _find: Find
    _gate: Gate
    _by_namespace: dict[str, dict[str, Tree]] = attrs.field(factory=dict)
    _gates: dict[tuple[str, str], Callable[[], None]] = attrs.field(factory=dict)
    _charged: dict[tuple[str, str, str], tuple[float, Kind, Tree]] = attrs.field(factory=dict)
    _cluster: Cluster | None = None

    def begin(self, cluster: Cluster) -> None:
        """Take what the engine gives."""
        self._cluster = cluster

    def end(self) -> None:
        """See no more writes."""
        for remove in self._gates.values():
            remove()
        self._gates.clear()

    @property
    def _client(self) -> Client:
        assert self._cluster is not None, "the operator has not been started"
        return self._cluster.client

    def saw(self, tree: Tree, *, gone: bool) -> None:
        """Take in one change of a quota."""
        namespace, name = tree["metadata"]["namespace"], tree["metadata"]["name"]
        known = self._by_namespace.setdefault(namespace, {})
        if gone:
            known.pop(name, None)
        else:
            known[name] = tree
        if not known:
            del self._by_namespace[namespace]
        wanted = {kind_behind(r) for trees in self._by_namespace.values() for quota in trees.values() for r in _hard(quota)}
        for place in wanted - self._gates.keys():
            kind = self._find(*place)
            if kind is not None:
                self._gates[place] = self._gate(kind, self._admit_as(kind))
        for place in self._gates.keys() - wanted:
            self._gates.pop(place)()

    # Charging

    def _admit_as(self, kind: Kind) -> Callable[[AdmissionReview], Any]:
        async def admit(review: AdmissionReview) -> None:
            if review.operation == "DELETE" or review.subresource:
                return
            known = self._by_namespace.get(review.tree["metadata"].get("namespace") or "")
            for name in sorted(known or ()):
                await self._charge(kind, name, review)

        return admit

    async def _charge(self, kind: Kind, name: str, review: AdmissionReview) -> None:
        namespace = review.tree["metadata"]["namespace"]
        for _ in range(_ATTEMPTS_MAX):
            try:
                quota = await self._client.get(kind_of(ResourceQuota), name, namespace)
            except NotFoundError:
                return
            status = self._charged_status(kind, quota, review)
            if status is None or review.dry_run:
                return
            status = {**status, "used": {**(await self._known_use(quota)), **status["used"]}} if not _counted(quota) else status
            try:
                await self._client.update(
                    kind_of(ResourceQuota), {**quota, "status": status}, namespace, subresource="status"
                )  # fmt: skip
            except ConflictError:
                continue
            meta = review.tree["metadata"]
            assert self._cluster is not None, "it was started"
            at_s = self._cluster.clock.monotonic()
            self._charged[kind.resource, namespace, meta.get("name") or ""] = (at_s, kind, review.tree)
            return
        raise ConflictError(f"the quota {namespace}/{name} changes faster than anything can be charged to it; try again")

    def _charged_status(self, kind: Kind, quota: Tree, review: AdmissionReview) -> Tree | None:
        """The quota's status with the object charged to it; None: it does not count.

        Raises:
            ForbiddenError: it would be too much, or the object does not say how much.
        """
        tree, hard = review.tree, _hard(quota)
        if not counts(quota, kind, tree):
            return None
        wanted = usage_of(kind, tree)
        before = usage_of(kind, review.old) if review.old is not None and counts(quota, kind, review.old) else {}
        delta = {name: wanted[name] - before.get(name, Decimal(0)) for name in wanted.keys() & hard.keys()}
        delta = {name: amount for name, amount in delta.items() if amount > 0}
        name = quota["metadata"]["name"]
        if review.old is None and not kind.group and kind.plural == "pods" and (missing := unspecified(hard, tree)):
            raise _refused(kind, tree, f"failed quota: {name}: must specify {'; '.join(missing)}")
        if not delta:
            return None
        used = _amounts((quota.get("status") or {}).get("used") or {})
        over = sorted(r for r, amount in delta.items() if used.get(r, Decimal(0)) + amount > parse_quantity(hard[r]))
        if over:
            texts = [
                ",".join(f"{r}={shown(r, amounts.get(r, Decimal(0)))}" for r in over)
                for amounts in (delta, used, _amounts(hard))
            ]  # fmt: skip
            raise _refused(kind, tree, f"exceeded quota: {name}, requested: {texts[0]}, used: {texts[1]}, limited: {texts[2]}")
        new = {**used, **{r: used.get(r, Decimal(0)) + amount for r, amount in delta.items()}}
        return {"hard": hard, "used": {r: shown(r, new.get(r, Decimal(0))) for r in sorted(hard)}}

    async def _known_use(self, quota: Tree) -> Tree:
        """What is there already, for a quota that nobody has counted yet."""
        used = await self._count(quota)
        return {name: shown(name, used.get(name, Decimal(0))) for name in sorted(_hard(quota))}

    # Counting

    async def recount(self, quota: Tree) -> None:
        """Make the quota's status say what is used."""
        used = await self._count(quota)
        hard = _hard(quota)
        status = {"hard": hard, "used": {name: shown(name, used.get(name, Decimal(0))) for name in sorted(hard)}}
        if status == quota.get("status"):
            return
        try:
            # On the state that was counted for: a charge meanwhile is not to be undone.
            await self._client.update(
                kind_of(ResourceQuota), {**quota, "status": status}, quota["metadata"]["namespace"], subresource="status"
            )
        except (ConflictError, NotFoundError):
            return  # it changed, and is counted again

    async def _count(self, quota: Tree) -> Amounts:
        namespace, total = quota["metadata"]["namespace"], dict[str, Decimal]()
        for place in sorted({kind_behind(name) for name in _hard(quota)}):
            kind = self._find(*place)
            if kind is None:
                continue
            try:
                trees = list((await self._client.list(kind, namespace)).items)
            except ApiError:
                continue  # not served (now): nothing of it is used
            trees += self._pending(kind, namespace, {tree["metadata"]["name"] for tree in trees})
            for tree in trees:
                if counts(quota, kind, tree):
                    for name, amount in usage_of(kind, tree).items():
                        total[name] = total.get(name, Decimal(0)) + amount
        return total

    def _pending(self, kind: Kind, namespace: str, there: Iterable[str]) -> Iterator[Tree]:
        """What was charged a moment ago and is not stored yet."""
        assert self._cluster is not None, "it was started"
        now_s = self._cluster.clock.monotonic()
        for key, (at_s, charged, tree) in list(self._charged.items()):
            if now_s - at_s > _REMEMBERED_S or ((charged.resource, key[1]) == (kind.resource, namespace) and key[2] in there):
                del self._charged[key]
            elif (charged.resource, key[1]) == (kind.resource, namespace):
                yield tree


def _counted(quota: Tree) -> bool:
    """Whether the status covers every resource of the quota."""
    return _hard(quota).keys() <= ((quota.get("status") or {}).get("used") or {}).keys()


def _hard(quota: Tree) -> Tree:
    return (quota.get("spec") or {}).get("hard") or {}


def _amounts(quantities: Tree) -> Amounts:
    return {name: parse_quantity(value) for name, value in quantities.items()}


def _refused(kind: Kind, tree: Tree, why: str) -> ForbiddenError:
    name = tree["metadata"].get("name") or ""
    details = {"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural}
    return ForbiddenError(f'{kind.resource} "{name}" is forbidden: {why}', details=details)
