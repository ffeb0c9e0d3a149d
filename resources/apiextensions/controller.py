"""The controller of CustomResourceDefinitions: gives them their names, has their kinds served, and empties those that go.

Who serves kinds is no handler: the composer hands in `serve` and `withdraw`. A kind is served before its definition says
Established, and what is established when the operator starts is served before any other handler runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import orjson

from reconcile.conditions import is_true, with_condition
from reconcile.errors import BadRequestError, Tree
from reconcile.expressions.rules import why_not_evaluated
from reconcile.handling import AdmissionReview, Cluster, Requeue
from reconcile.kinds import Kind, kind_of
from reconcile.paths import getter
from reconcile.registry import Operator

from .acceptance import accepted_names, established, rules_enforced, taken_names
from .declared import declared_kinds, stored_kind
from .definition import FINALIZER, CustomResourceDefinition
from .removal import Remaining, remove_objects
from .structural import unevaluated_rules, unknown_keywords

Serve = Callable[[Kind], Any]
_LOOK_S_FIRST, _LOOK_S_MAX = 0.05, 2.0
_ENFORCED = "reconcile.dev/RulesEnforced"


def custom_resources(serve: Serve, withdraw: Serve) -> Operator:
    """The operator that has the kinds of CustomResourceDefinitions served, through the two functions that it is given."""
    app = Operator("custom-resources")
    definitions = Definitions(ServedDefinitions(serve, withdraw))

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        await definitions.begin(cluster)

    @app.on.validate(CustomResourceDefinition)
    def warn(review: AdmissionReview) -> None:
        if review.operation != "DELETE" and (review.old is None or review.old.get("spec") != review.tree.get("spec")):
            review.warnings.extend(_warnings(review.tree))

    # One after the other: who asks for a name first has it.
    @app.on.reconcile(CustomResourceDefinition, while_deleting=True, workers=1)
    async def definition(obj: CustomResourceDefinition, cluster: Cluster, memo: dict[str, Any]) -> Requeue | None:
        # The newest state, which shows the names that the last run gave away.
        page = await cluster.client.list(kind_of(CustomResourceDefinition))
        tree = next((item for item in page.items if item["metadata"]["uid"] == obj.uid), None)
        if tree is None or _emptied(tree):
            freed = definitions.forget(obj)
        elif obj.deleting:
            if not await definitions.emptied(obj, tree, cluster):
                memo["look_s"] = min(memo.get("look_s", _LOOK_S_FIRST / 2) * 2, _LOOK_S_MAX)
                return Requeue(memo["look_s"])
            freed = definitions.forget(obj)
        else:
            await definitions.accept(obj, tree, page.items, cluster)
            return None
        for name in freed:
            cluster.enqueue(definition, "", name)
        return None

    return app


@attrs.define
class Definitions:
    """What is done for each definition."""

    _served: ServedDefinitions
    _refused: set[str] = attrs.field(factory=set)

    async def begin(self, cluster: Cluster) -> None:
        """Have everything served that was established before."""
        page = await cluster.client.list(kind_of(CustomResourceDefinition))
        for tree in page.items:
            if _established(tree) and not _emptied(tree):
                self._served.serve(tree, tree["status"]["acceptedNames"])

    async def accept(self, obj: CustomResourceDefinition, tree: Tree, all_: Sequence[Tree], cluster: Cluster) -> None:
        """Give the definition its names, have its kinds served, and tell so."""
        spec = tree["spec"]
        taken = taken_names(obj.name, spec["group"], spec["names"]["plural"], all_, await cluster.client.kinds())
        names, accepted = accepted_names(tree, taken)
        is_established = established(tree, accepted)
        if is_established["status"] == "True":
            self._served.serve(tree, names)
        await _tell(obj, tree, cluster, [accepted, is_established], names)
        if accepted["status"] == "True":
            self._refused.discard(obj.name)
        else:
            self._refused.add(obj.name)

    async def emptied(self, obj: CustomResourceDefinition, tree: Tree, cluster: Cluster) -> bool:
        """Delete the objects of a definition that goes, and let it go when they are gone; whether they are."""
        remaining = Remaining(0)
        if _established(tree):
            kinds = self._served.serve(tree, tree["status"]["acceptedNames"], going=True)
            if not await _declared_by_class(cluster, kinds[0]):
                remaining = await remove_objects(cluster.client, stored_kind(kinds))
        await _tell(obj, tree, cluster, [remaining.condition], None)
        if remaining.objects or remaining.error:
            return False
        left = [name for name in tree["metadata"]["finalizers"] if name != FINALIZER]
        await cluster.patch(obj, {"metadata": {"uid": obj.uid, "finalizers": left or None}})
        return True

    def forget(self, obj: CustomResourceDefinition) -> list[str]:
        """Have nothing of a definition served any more. Returns the definitions that may have their names now."""
        self._served.forget(obj.uid)
        self._refused.discard(obj.name)
        return list(self._refused)


@attrs.define
class ServedDefinitions:
    """Which kinds are served for which definition (by uid), so that only what changed is served anew."""

    _serve: Serve
    _withdraw: Serve
    _kinds: dict[str, dict[str, tuple[bytes, Kind]]] = attrs.field(factory=dict)
    _seen: dict[str, bytes] = attrs.field(factory=dict)

    def serve(self, tree: Tree, names: Tree, *, going: bool = False) -> list[Kind]:
        """Have the kinds of a definition served, and what it no longer names withdrawn. Returns them."""
        uid = tree["metadata"]["uid"]
        seen = orjson.dumps([tree["metadata"].get("generation"), names, going])
        before = self._kinds.get(uid, {})
        if self._seen.get(uid) == seen:
            return [kind for _, kind in before.values()]
        wanted = declared_kinds({**tree, "spec": {**tree["spec"], "names": names}}, going=going)
        after = {}
        for version, (digest, kind) in wanted.items():
            known = before.get(version)
            if known is not None and known[0] == digest:
                after[version] = known
                continue
            after[version] = (digest, kind)
            self._serve(kind)
        for version, (_, kind) in before.items():
            if version not in after:
                self._withdraw(kind)
        self._kinds[uid], self._seen[uid] = after, seen
        return [kind for _, kind in after.values()]

    def forget(self, uid: str) -> None:
        """Have nothing of a definition served any more."""
        self._seen.pop(uid, None)
        for _, kind in self._kinds.pop(uid, {}).values():
            self._withdraw(kind)


async def _declared_by_class(cluster: Cluster, kind: Kind) -> bool:
    """Whether a class declares the same kind: then its objects are not the definition's to delete."""
    served = await cluster.client.kinds()
    return any(k.cls is not None and (k.group, k.plural) == (kind.group, kind.plural) for k in served)


def _established(tree: Tree) -> bool:
    return is_true((tree.get("status") or {}).get("conditions"), "Established")


def _emptied(tree: Tree) -> bool:
    """Whether a definition is going away, and its objects are gone."""
    meta = tree["metadata"]
    return "deletionTimestamp" in meta and FINALIZER not in (meta.get("finalizers") or ())


async def _tell(
    obj: CustomResourceDefinition, tree: Tree, cluster: Cluster, conditions: list[Tree], names: Tree | None
) -> None:  # fmt: skip
    """Write conditions and names, if they say anything new."""
    status = tree.get("status") or {}
    merged = status.get("conditions") or []
    if names is not None:
        unevaluated = [rule for version in tree["spec"]["versions"] for rule in _unevaluated(version)]
        if enforced := rules_enforced(list(dict.fromkeys(unevaluated))):
            conditions = [*conditions, enforced]
        else:
            merged = [known for known in merged if known.get("type") != _ENFORCED]
    for new in conditions:
        known = next((c for c in merged if c.get("type") == new["type"]), None)
        if known is None or any(known.get(name) != value for name, value in new.items()):
            merged = with_condition(merged, new, cluster.clock.now())
    change: Tree = {}
    if merged != (status.get("conditions") or []):
        change["conditions"] = merged
    before = status.get("acceptedNames") or {}
    if names is not None and names != before:
        change["acceptedNames"] = {**{name: None for name in before if name not in names}, **names}
    if change:
        await cluster.patch(obj, {"metadata": {"uid": obj.uid}, "status": change}, subresource="status")


def _unevaluated(version: Tree) -> list[str]:
    return list(unevaluated_rules((version.get("schema") or {}).get("openAPIV3Schema") or {}))


def _warnings(tree: Tree) -> list[str]:
    """What a definition asks for and does not get."""
    warnings = []
    for at, version in enumerate((tree.get("spec") or {}).get("versions") or ()):
        path = f"spec.versions[{at}]"
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        rules = list(unevaluated_rules(schema))
        if rules:
            warnings.append(
                f"{path}.schema.openAPIV3Schema: {len(rules)} x-kubernetes-validations not evaluated here "
                f"({why_not_evaluated()}): {'; '.join(rules[:3])}"
            )
        warnings += [f'unknown field "{where}"' for where in unknown_keywords(schema, f"{path}.schema.openAPIV3Schema")]
        for number, column in enumerate(version.get("additionalPrinterColumns") or ()):
            try:
                getter(column["jsonPath"])
            except BadRequestError as error:
                warnings.append(f"{path}.additionalPrinterColumns[{number}].jsonPath: the column stays empty: {error}")
    return warnings
