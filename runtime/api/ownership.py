"""managedFields: who owns which field of an object.

They are kept only for objects that have some (see `writing`): an object gets its first ones when it is first applied, and
then those that its history tells (see `recollection`).

Source: k8s.io/apimachinery/pkg/util/managedfields
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import attrs
import orjson

from reconcile.clock import timestamp
from reconcile.errors import ConversionError, Tree

from .catalog import Served
from .crossing import Crossing
from .fieldsets import FieldSet, difference, union, without
from .structure import changes, fields_of, rooted

BEFORE_FIRST_APPLY = "before-first-apply"
_SHARED_MAX = 256
_UNOWNED: FieldSet = {
    "f:apiVersion": {}, "f:kind": {},
    "f:metadata": {
        f"f:{name}": {} for name in (
            "name", "namespace", "uid", "selfLink", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
            "generation", "managedFields", "resourceVersion",
        )
    },
}  # fmt: skip


@attrs.define
class Owner:
    """One entry of managedFields."""

    manager: str
    operation: Literal["Apply", "Update"]
    api_version: str
    subresource: str
    fields: FieldSet
    time: str = ""
    read: FieldSet | None = None
    """The fields as they were read, in their order already."""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes two entries the same owner. Who updates in two versions is two; who applies moves on to the new one."""
        return self.manager, self.operation, self.subresource, self.api_version if self.operation == "Update" else ""

    def tree(self) -> Tree:
        """The entry as it stands in metadata."""
        tree: Tree = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            tree["time"] = self.time
        tree.update(fieldsType="FieldsV1", fieldsV1=self.fields if self.fields is self.read else _in_order(self.fields))
        return {**tree, "subresource": self.subresource} if self.subresource else tree


def owners_of(metadata: Tree) -> list[Owner]:
    """The entries of an object's managedFields; what cannot be read is left out."""
    found = []
    for entry in metadata.get("managedFields") or ():
        fields = entry.get("fieldsV1")
        if entry.get("operation") in ("Apply", "Update") and isinstance(fields, dict):
            found.append(
                Owner(
                    str(entry.get("manager", "")),
                    entry["operation"],
                    str(entry.get("apiVersion", "")),
                    str(entry.get("subresource", "")),
                    fields,
                    str(entry.get("time", "")),
                    fields,
                )
            )
    return found


def with_owners(tree: Tree, owners: list[Owner]) -> Tree:
    """The object with these entries; applied ones first, then by time and name, as the reference server sorts them."""
    ordered = sorted(
        (owner for owner in owners if owner.fields), key=lambda o: (o.operation != "Apply", o.time, o.manager, o.subresource)
    )
    metadata = {name: value for name, value in tree["metadata"].items() if name != "managedFields"}
    if ordered:
        metadata["managedFields"] = [owner.tree() for owner in ordered]
    return {**tree, "metadata": metadata}


def ownable(fields: FieldSet, served: Served, subresource: str) -> FieldSet:
    """Without what nobody owns: names, server-owned metadata, and the half of the object that is written elsewhere."""
    if subresource == "status":
        return {name: node for name, node in fields.items() if name == "f:status"}
    fields = stripped(fields)
    if served.kind.status:
        fields = {name: node for name, node in fields.items() if name != "f:status"}
    return fields


def stripped(fields: FieldSet) -> FieldSet:
    """Without names and server-owned metadata."""
    made = without(fields, _UNOWNED)
    inside = made.get("f:metadata")
    if inside is not None and "." in inside:  # metadata as a whole is nobody's either
        rest = {name: node for name, node in inside.items() if name != "."}
        made = {name: node for name, node in made.items() if name != "f:metadata"}
        return {"f:metadata": rest, **made} if rest else made
    return made


def all_fields(tree: Tree, served: Served) -> FieldSet:
    """Everything that an object has now and somebody can own, its status included."""
    return stripped(fields_of(tree, rooted(served.schema)))


async def track(served: Served, before: Tree | None, tree: Tree, manager: str, subresource: str, now_s: float) -> Tree:
    """The object with managedFields brought up to date after a write that was no apply.

    Whoever sets a field to another value owns it, alone; what is gone is owned by nobody. Who wrote in another version of the
    kind owns fields of that version.
    """
    owners = owners_of(tree["metadata"])
    old = {name: value for name, value in (before or {}).items() if name != "managedFields"}
    schema = rooted(served.schema)
    set_, gone = changes(old, tree, schema)
    set_ = stripped(set_)
    if subresource != "status" and served.kind.status and "f:status" in set_:
        # Whoever creates an object owns nothing of what its status begins with: that is written elsewhere.
        set_ = {name: node for name, node in set_.items() if name != "f:status"}
    if before is None:
        for owner in owners:
            set_ = difference(set_, owner.fields)
    if not set_ and not gone:
        return tree
    kept: list[Owner] = []
    ours: Owner | None = None
    crossing = Crossing(served, before, tree) if before is not None else None
    for owner in owners:
        theirs_set, theirs_gone = set_, gone
        if crossing is not None and crossing.crosses(owner.api_version):
            try:
                seen = await crossing.changes(owner.api_version)
            except ConversionError:
                # Nobody can tell what they own now; an update does not fail for that, on the reference server neither.
                kept.append(owner)
                continue
            if seen is None:
                continue  # a version that there is no more: what they own cannot be told
            theirs_set, theirs_gone = seen
        fields = without(owner.fields, theirs_gone) if theirs_gone else owner.fields
        if owner.identity == (manager, "Update", subresource, served.api_version):
            ours = owner
            owner.fields = fields
        else:
            owner.fields = difference(fields, theirs_set)
        kept.append(owner)
    if set_:
        if ours is None:
            kept.append(Owner(manager, "Update", served.api_version, subresource, set_, timestamp(now_s)))
        else:
            grown = union(ours.fields, set_)
            if grown != ours.fields:
                ours.fields, ours.time = grown, timestamp(now_s)
    return with_owners(tree, kept)


def _in_order(fields: FieldSet) -> FieldSet:
    """The set as clients in Go read it, which keep its text as it comes: `.` first, then by name."""
    return _shared(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))


@lru_cache(maxsize=_SHARED_MAX)
def _shared(text: bytes) -> FieldSet:
    """Objects that one client makes from one template have equal field sets: kept once, they take half of the memory."""
    fields: FieldSet = orjson.loads(text)
    return fields


def same_entries(left: Any, right: Any) -> bool:
    """Whether two managedFields say the same, whatever their times."""
    strip = [[{k: v for k, v in entry.items() if k != "time"} for entry in entries or ()] for entries in (left, right)]
    return bool(strip[0] == strip[1])
