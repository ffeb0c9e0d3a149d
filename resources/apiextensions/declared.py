"""A CustomResourceDefinition as the `Kind` values that the API server serves: one for each served version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from reconcile.errors import BadRequestError, MethodNotAllowedError, Tree
from reconcile.kinds import Column, Family, Hooks, Kind, Scale
from reconcile.paths import getter

_META = {
    "apiVersion": "APIVersion defines which version of its kind's schema this object is written in.",
    "kind": "Kind names what this object is, in CamelCase; it cannot be changed.",
}


def declared_kinds(definition: Tree, *, going: bool = False) -> dict[str, tuple[bytes, Kind]]:
    """The kinds of a definition by version, each with a digest by which a change of it is told.

    `going`: the definition is being deleted. Then objects can be read and deleted, in the storage version at least, and none
    be created.
    """
    spec = definition["spec"]
    stored = next((v["name"] for v in spec["versions"] if v.get("storage")), "")
    conversion = spec.get("conversion") or {}
    family: Family | None = None
    shared: list[Any] = []
    if len(spec["versions"]) > 1:
        schemas = {version["name"]: _schema(version["schema"]["openAPIV3Schema"]) for version in spec["versions"]}
        webhook = conversion.get("webhook") if conversion.get("strategy") == "Webhook" else None
        family, shared = Family(schemas, webhook), [schemas, webhook]
    made = {}
    for version in spec["versions"]:
        if version.get("served") or (going and version["name"] == stored):
            # A change of one version is one of all: each shows what was stored in the others.
            digest = orjson.dumps([spec["group"], spec["names"], spec["scope"], stored, going, version, shared])
            made[version["name"]] = (digest, _kind(spec, version, stored, going, family))
    return made


def stored_kind(kinds: Sequence[Kind]) -> Kind:
    """Of the kinds of a definition, the one in whose version objects are stored, so that reading needs no conversion."""
    return next((kind for kind in kinds if kind.version == kind.storage_version), kinds[0])


def _kind(spec: Tree, version: Tree, stored: str, going: bool, family: Family | None) -> Kind:
    names, parts = spec["names"], version.get("subresources") or {}
    group, name = spec["group"], version["name"]
    warning = version.get("deprecationWarning") or f"{group}/{name} {names['kind']} is deprecated"
    return Kind(
        group=group, version=name, kind=names["kind"], plural=names["plural"], singular=names.get("singular") or "",
        namespaced=spec["scope"] == "Namespaced", short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        columns=tuple(_column(column) for column in version.get("additionalPrinterColumns") or ()),
        status=parts.get("status") is not None, scale=_scale(parts.get("scale")),
        selectable=tuple(f["jsonPath"].removeprefix(".") for f in version.get("selectableFields") or ()),
        schema_given=_schema(version["schema"]["openAPIV3Schema"]), storage_version=stored, family=family, needs_revision=True,
        deprecation=warning if version.get("deprecated") else "", hooks=Hooks(prepare=_refuse_new) if going else Hooks(),
    )  # fmt: skip


def _schema(schema: Tree) -> Tree:
    """The schema with the fields that every object has."""
    properties = dict(schema.get("properties") or {})
    for name, text in _META.items():
        properties[name] = {"type": "string", "description": text}
    properties["metadata"] = {"type": "object"}
    return {**schema, "properties": properties}


def _column(column: Tree) -> Column:
    path = column["jsonPath"]
    cell = None
    try:
        getter(path)
    except BadRequestError:
        cell = _nothing  # a path that is understood elsewhere only must not cost the other columns
    return Column(
        column["name"], path, column["type"], cell=cell, priority=column.get("priority") or 0,
        format=column.get("format") or "", doc=column.get("description") or "",
    )  # fmt: skip


def _nothing(_tree: Tree, _now_s: float) -> Any:
    return None


def _scale(scale: Tree | None) -> Scale | None:
    if scale is None:
        return None
    return Scale(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or "")


def _refuse_new(_tree: Tree, old: Tree | None) -> None:
    if old is None:
        raise MethodNotAllowedError("create not allowed while custom resource definition is terminating")
