"""Server-side apply: a configuration merged into an object, with an owner for each field.

Fields that the manager applied before and applies no longer are removed, unless somebody else owns them. A field that
somebody else owns and that would get another value is a conflict, unless the manager forces it: then it takes the field.
Applying what is there already shares the field.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/, sigs.k8s.io/structured-merge-diff/merge
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from reconcile.clock import timestamp
from reconcile.errors import BadRequestError, Cause, ConflictError, Tree

from . import refusals
from .catalog import Served
from .crossing import Crossing
from .fieldsets import FieldSet, difference, intersection, paths, union
from .ownership import BEFORE_FIRST_APPLY, Owner, all_fields, ownable, owners_of, stripped, with_owners
from .structure import changes, fields_of, merged, removed, rooted

KUBECTL = "kubectl"
"""The manager of `kubectl apply --server-side`."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""What `kubectl apply` on the client's side sent last."""


def check_body(served: Served, name: str, body: Any, subresource: str) -> None:
    """Whether `body` can be applied to the object `name`.

    Raises:
        BadRequestError: it is no object of this kind and name, or has fields that the kind does not have.
    """
    if not isinstance(body, dict):
        raise BadRequestError("error decoding YAML: an applied configuration is an object")
    if not body.get("apiVersion") or not body.get("kind"):
        missing = "kind" if body.get("apiVersion") else "apiVersion"
        raise BadRequestError(
            f"Object '{missing.capitalize()}' is missing: name apiVersion {served.api_version} and kind {served.kind.kind}"
        )
    metadata = {} if body.get("metadata") is None else body["metadata"]
    if not isinstance(metadata, dict):
        raise BadRequestError(f"metadata is {refusals.show(metadata)[:100]}; give an object with a name")
    if metadata.get("name") and metadata["name"] != name:
        raise BadRequestError(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if metadata.get("managedFields"):
        raise BadRequestError("metadata.managedFields must be nil")
    if subresource != "scale":
        from .undeclared import check_declared  # no start needs it

        check_declared(served, body)


async def applied(
    served: Served, live: Tree | None, body: Tree, manager: str, subresource: str, force: bool, now_s: float,
    known: Sequence[Owner] = (),
) -> Tree:  # fmt: skip
    """The object after `manager` applied `body` to it; `live` is None where it does not exist yet.

    `known` are the owners of an object without managedFields, as far as anybody knows them.

    Raises:
        ConversionError: somebody owns fields of another version, into which it cannot be brought.
        ConflictError: fields of other managers would change, and `force` is not given; one cause each.
    """
    schema = rooted(served.schema)
    config = _without_null(_half(body, served, subresource))
    wanted = ownable(fields_of(config, schema), served, subresource)
    now = timestamp(now_s)
    if live is None:
        return with_owners({"metadata": {}, **config}, [Owner(manager, "Apply", served.api_version, subresource, wanted, now)])
    owners = owners_of(live["metadata"])
    if not owners:
        owners = [*known] or [Owner(BEFORE_FIRST_APPLY, "Update", served.api_version, "", all_fields(live, served), now)]
    ours = next((owner for owner in owners if owner.identity == (manager, "Apply", subresource, "")), None)
    result = merged(live, config, schema)
    set_ = ownable(changes(live, result, schema)[0], served, subresource)
    others: list[Owner] = []
    elsewhere: dict[str, FieldSet] = {}
    crossing = Crossing(served, live, result)
    for owner in owners:
        if crossing.crosses(owner.api_version):
            seen = await crossing.changes(owner.api_version)
            if seen is None:  # a version that there is no more: what they own cannot be told
                ours = None if owner is ours else ours
                continue
            elsewhere[owner.api_version] = ownable(seen[0], served, subresource)
        if owner is not ours:
            others.append(owner)
    if manager == KUBECTL and not force:
        forgiven = _applied_by_client(live, served)
        _settle_conflicts(others, intersection(set_, forgiven), {}, force=True)
        set_ = difference(set_, forgiven)
    _settle_conflicts(others, set_, elsewhere, force)
    if ours is not None and elsewhere:
        result = await _pruned_across(crossing, result, ours, others, wanted)
    elif ours is not None:
        theirs: FieldSet = {}
        for owner in others:
            theirs = union(theirs, owner.fields)
        kept = union(theirs, wanted)
        lost = difference(ours.fields, kept)
        if lost:
            result = removed(result, lost, kept, schema)
            result.setdefault("metadata", live["metadata"])
    if manager == KUBECTL:
        result = _last_applied_updated(live, result, body)
    time = ours.time if ours is not None and ours.fields == wanted and result == live else now
    mine = Owner(manager, "Apply", served.api_version, subresource, wanted, time)
    result = with_owners(result, [*others, mine])
    if not body.get("metadata", {}).get("resourceVersion"):
        return result
    return {**result, "metadata": {**result["metadata"], "resourceVersion": body["metadata"]["resourceVersion"]}}


def _applied_by_client(live: Tree, served: Served) -> FieldSet:
    """The fields that `kubectl apply` on the client's side set and that nobody changed since: kubectl may change them now.

    Source: k8s.io/apimachinery/pkg/util/managedfields/internal/lastappliedmanager.go
    """
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        config = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        config = None
    if not isinstance(config, dict):
        return {}
    config, schema = _without_null(config), rooted(served.schema)
    return difference(fields_of(config, schema), changes(live, merged(live, config, schema), schema)[0])


def _last_applied_updated(live: Tree, result: Tree, body: Tree) -> Tree:
    """The annotation of `kubectl apply` kept up, where there is one, so that one can go back to applying on the client's side.

    Source: k8s.io/apimachinery/pkg/util/managedfields/internal/lastappliedupdater.go
    """
    if LAST_APPLIED not in (live["metadata"].get("annotations") or {}):
        return result
    annotations = {**(result["metadata"].get("annotations") or {}), LAST_APPLIED: orjson.dumps(body).decode() + "\n"}
    return {**result, "metadata": {**result["metadata"], "annotations": annotations}}


async def _pruned_across(crossing: Crossing, result: Tree, ours: Owner, others: list[Owner], wanted: FieldSet) -> Tree:
    """Without what `ours` applied before and no longer does, where owners wrote in several versions.

    Fields are taken away in the version that they were applied in. What somebody owns in another version is put back there, and
    no more: on the reference server, a field of that version of which a part went is put back as a whole, whoever owns it.

    Source: sigs.k8s.io/structured-merge-diff/merge/update.go, prune
    """
    served = crossing.served
    managed: dict[str, FieldSet] = {served.api_version: wanted}
    for owner in others:
        managed[owner.api_version] = union(managed.get(owner.api_version, {}), owner.fields)
    kept = managed.get(ours.api_version, {})
    lost = difference(ours.fields, kept)
    there = await crossing.shown(ours.api_version, result)
    if not lost or there is None:
        return result
    pruned = _cut(there, lost, kept, crossing.schema(ours.api_version))
    for version, fields in managed.items():
        whole, rest = await crossing.shown(version, result), await crossing.shown(version, pruned)
        assert whole is not None, "owners of versions that there are no more are left out"
        assert rest is not None, "it is the same version"
        schema = crossing.schema(version)
        theirs = _cut(whole, difference(fields_of(whole, schema), fields), fields, schema)
        pruned = merged(rest, theirs, schema)
    back = await crossing.shown(served.api_version, pruned)
    assert back is not None, "its own version is there"
    return back


def _cut(tree: Tree, lost: FieldSet, kept: FieldSet, schema: Tree) -> Tree:
    """The object without some fields, but never without what says which object it is."""
    made: Tree = removed(tree, stripped(lost), kept, schema)
    return {"apiVersion": tree["apiVersion"], "kind": tree["kind"], "metadata": tree["metadata"], **made}


def _settle_conflicts(others: list[Owner], set_: FieldSet, elsewhere: Mapping[str, FieldSet], force: bool) -> None:
    """Take the fields that change from their owners, or refuse; `elsewhere` are those of other versions than this one."""
    conflicts: list[tuple[str, str]] = []
    for owner in others:
        overlap = intersection(owner.fields, elsewhere.get(owner.api_version, set_))
        if not overlap:
            continue
        if force:
            owner.fields = difference(owner.fields, overlap)
        else:
            conflicts.extend((_named(owner), path) for path in paths(overlap))
    if not conflicts:
        return
    causes = [Cause("FieldManagerConflict", f"conflict with {name}", path) for name, path in conflicts]
    if len(conflicts) == 1:
        text = f"Apply failed with 1 conflict: conflict with {conflicts[0][0]}: {conflicts[0][1]}"
    else:
        lines = []
        for name in sorted({name for name, _ in conflicts}):
            lines.append(f"conflicts with {name}:")
            lines.extend(f"- {path}" for owner_name, path in conflicts if owner_name == name)
        text = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    raise ConflictError(text, causes=causes)


def _named(owner: Owner) -> str:
    name = f'"{owner.manager}"'
    if owner.subresource:
        name += f' with subresource "{owner.subresource}"'
    return f"{name} using {owner.api_version}" if owner.operation == "Update" else name


def _half(body: Tree, served: Served, subresource: str) -> Tree:
    """The part of a configuration that this endpoint writes."""
    if subresource == "status":
        keep = ("apiVersion", "kind", "metadata", "status")
        made = {name: value for name, value in body.items() if name in keep}
        given = body.get("metadata") or {}
        made["metadata"] = {name: value for name, value in given.items() if name in ("name", "namespace")}
        return made
    made = {name: value for name, value in body.items() if name != "status" or not served.kind.status}
    if "resourceVersion" in (made.get("metadata") or {}):
        made["metadata"] = {name: value for name, value in made["metadata"].items() if name != "resourceVersion"}
    return made


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(item) for name, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value
