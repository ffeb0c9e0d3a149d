"""What makes a CustomResourceDefinition valid, in the reference server's words.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from reconcile.conditions import is_true
from reconcile.errors import BadRequestError, Cause, Tree
from reconcile.paths import getter, split
from reconcile.resources.client_config import broken_bundle, broken_client_config
from reconcile.resources.core.names import (
    duplicate,
    forbidden,
    immutable,
    invalid,
    is_service_name,
    is_subdomain,
    required,
    unsupported,
)

from .structural import broken_schema

APPROVED = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_SCOPES = ("Cluster", "Namespaced")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SELECTABLE_MAX = 8
_WARNING_LENGTH_MAX = 256
_REVIEWS = ("v1", "v1beta1")
_NOT_ASKED = "should not be set when strategy is not set to Webhook"


def broken_rules(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Everything that is wrong with a definition."""
    spec = tree.get("spec") or {}
    before = (old or {}).get("spec") or {}
    yield from _stored(tree)
    if old is not None and spec == before:
        return  # a write of the status need not pay for the rules of its schemas
    names = spec.get("names") or {}
    wanted = f"{names.get('plural', '')}.{spec.get('group', '')}"
    if tree["metadata"].get("name") != wanted:
        yield invalid("metadata.name", tree["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group')
    yield from _group(tree, spec, old)
    scope = spec.get("scope")
    if not scope:
        yield required("spec.scope")
    elif scope not in _SCOPES:
        yield unsupported("spec.scope", scope, _SCOPES)
    yield from _versions(spec)
    yield from _names(names)
    yield from _conversion(spec, old)
    if spec.get("preserveUnknownFields"):
        yield invalid(
            "spec.preserveUnknownFields", True,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        )  # fmt: skip
    if old is not None:
        yield from _changes(spec, old)


def _group(tree: Tree, spec: Tree, old: Tree | None) -> Iterator[Cause]:
    group = spec.get("group") or ""
    if not group:
        yield required("spec.group")
        return
    yield from is_subdomain(group, "spec.group")
    if "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")
    annotations = tree["metadata"].get("annotations") or {}
    if old is None and any(group == end or group.endswith(f".{end}") for end in _PROTECTED) and not annotations.get(APPROVED):
        yield required(
            f"metadata.annotations[{APPROVED}]",
            f'protected groups must have approval annotation "{APPROVED}", '
            f"see https://github.com/kubernetes/enhancements/pull/1111",
        )


def _versions(spec: Tree) -> Iterator[Cause]:
    versions = spec.get("versions") or []
    if not versions:
        yield required("spec.versions", "must have exactly one version marked as storage version")
        return
    for at, version in enumerate(versions):
        yield from _version(version, f"spec.versions[{at}]")
    shown = [{name: v.get(name) for name in ("name", "served", "storage")} for v in versions]
    if any(count > 1 for count in Counter(v.get("name") for v in versions).values()):
        yield invalid("spec.versions", shown, "must contain unique version names")
    if sum(bool(v.get("storage")) for v in versions) != 1:
        yield invalid("spec.versions", shown, "must have exactly one version marked as storage version")


def _version(version: Tree, path: str) -> Iterator[Cause]:
    yield from is_service_name(version.get("name") or "", f"{path}.name")
    warning = version.get("deprecationWarning")
    if warning is not None:
        if not version.get("deprecated"):
            yield invalid(f"{path}.deprecationWarning", warning, "can only be set for deprecated versions")
        if not warning or len(warning) > _WARNING_LENGTH_MAX or not warning.isprintable():
            yield invalid(f"{path}.deprecationWarning", warning, f"must be 1 to {_WARNING_LENGTH_MAX} printable characters")
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        yield required(f"{path}.schema.openAPIV3Schema", "schemas are required")
    else:
        yield from broken_schema(schema, f"{path}.schema.openAPIV3Schema")
    for at, column in enumerate(version.get("additionalPrinterColumns") or ()):
        yield from _column(column, f"{path}.additionalPrinterColumns[{at}]")
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        yield from _scale(scale, f"{path}.subresources.scale")
    yield from _selectable(version.get("selectableFields") or [], f"{path}.selectableFields")


def _column(column: Tree, path: str) -> Iterator[Cause]:
    for name in ("name", "type"):
        if not column.get(name):
            yield required(f"{path}.{name}")
    if column.get("type") and column["type"] not in _COLUMN_TYPES:
        yield unsupported(f"{path}.type", column["type"], _COLUMN_TYPES)
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        yield unsupported(f"{path}.format", column["format"], _COLUMN_FORMATS)
    if not column.get("jsonPath"):
        yield required(f"{path}.jsonPath")


def _scale(scale: Tree, path: str) -> Iterator[Cause]:
    for name, roots, why in (
        ("specReplicasPath", (".spec.",), "should be a json path under .spec"),
        ("statusReplicasPath", (".status.",), "should be a json path under .status"),
        ("labelSelectorPath", (".spec.", ".status."), "should be a json path under either .spec or .status"),
    ):
        value = scale.get(name)
        if not value:
            if name != "labelSelectorPath":
                yield required(f"{path}.{name}")
        elif (fault := _not_plain(value)) is not None:
            yield invalid(f"{path}.{name}", value, fault)
        elif not value.startswith(roots):
            yield invalid(f"{path}.{name}", value, why)


def _not_plain(path: str) -> str | None:
    """Why this is no path of keys alone, or None."""
    if "[" in path or "*" in path:
        return "path must be a json path without array notation"
    try:
        getter(path)
    except BadRequestError as error:
        return str(error)
    return None


def _selectable(fields: list[Tree], path: str) -> Iterator[Cause]:
    if len(fields) > _SELECTABLE_MAX:
        yield Cause("FieldValueTooMany", f"Too many: {len(fields)}: must have at most {_SELECTABLE_MAX} items", path)
    seen = set()
    for at, selectable in enumerate(fields):
        value = selectable.get("jsonPath") or ""
        where = f"{path}[{at}].jsonPath"
        if not value:
            yield required(where)
        elif not value.startswith(".") or (fault := _not_plain(value)) is not None:
            yield invalid(where, value, f"is an invalid path: {fault if value.startswith('.') else 'it must begin with a dot'}")
        elif split(value)[0] == "metadata":
            yield invalid(where, value, "must not point to fields in metadata")
        elif value in seen:
            yield duplicate(where, value)
        seen.add(value)


def _names(names: Tree) -> Iterator[Cause]:
    for name in ("plural", "singular"):
        value = names.get(name) or ""
        if not value:
            yield required(f"spec.names.{name}")
        else:
            yield from is_service_name(value, f"spec.names.{name}")
    for name in ("kind", "listKind"):
        value = names.get(name) or ""
        if not value:
            yield required(f"spec.names.{name}")
        for cause in is_service_name(value.lower(), f"spec.names.{name}") if value else ():
            why = cause.message.split(": ", 2)[2]
            yield invalid(cause.field, value, f"may have mixed case, but should otherwise match: {why}")
    for name in ("shortNames", "categories"):
        for at, value in enumerate(names.get(name) or ()):
            yield from is_service_name(value, f"spec.names.{name}[{at}]")
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")


def _conversion(spec: Tree, old: Tree | None) -> Iterator[Cause]:
    """What is wrong with how versions are converted; paths as the reference server has them, which are older than v1's."""
    conversion = spec.get("conversion") or {}
    strategy, webhook = conversion.get("strategy"), conversion.get("webhook")
    if not strategy:
        yield required("spec.conversion.strategy")
    elif strategy not in ("None", "Webhook"):
        yield unsupported("spec.conversion.strategy", strategy, ("None", "Webhook"))
    if strategy != "Webhook":
        if (webhook or {}).get("clientConfig") is not None:
            yield forbidden("spec.conversion.webhookClientConfig", _NOT_ASKED)
        if (webhook or {}).get("conversionReviewVersions"):
            yield forbidden("spec.conversion.conversionReviewVersions", _NOT_ASKED)
        return
    client = (webhook or {}).get("clientConfig")
    path = "spec.conversion.webhookClientConfig"
    if client is None:
        yield required(path, "required when strategy is set to Webhook")
    else:
        yield from broken_client_config(client, path)
        if client.get("caBundle") and not _may_break_bundle(old):
            yield from broken_bundle(client["caBundle"], f"{path}.caBundle")
    yield from _review_versions((webhook or {}).get("conversionReviewVersions") or [])


def _may_break_bundle(old: Tree | None) -> bool:
    """A bundle that is no certificate is let pass where nobody relies on it yet: others fill it in later."""
    if not is_true(((old or {}).get("status") or {}).get("conditions"), "Established"):
        return True
    webhook = ((old or {})["spec"].get("conversion") or {}).get("webhook") or {}
    before = str((webhook.get("clientConfig") or {}).get("caBundle") or "")
    return bool(before) and any(broken_bundle(before, ""))


def _review_versions(versions: list[str]) -> Iterator[Cause]:
    path = "spec.conversion.conversionReviewVersions"
    if not versions:
        yield required(path)
        return
    for at, name in enumerate(versions):
        if name in versions[:at]:
            yield invalid(f"{path}[{at}]", name, "duplicate version")
        else:
            yield from is_service_name(name, f"{path}[{at}]")
    if not set(versions) & set(_REVIEWS):
        yield invalid(path, versions, f"must include at least one of {', '.join(_REVIEWS)}")


def _changes(spec: Tree, old: Tree) -> Iterator[Cause]:
    """What may not change once the kind is served."""
    if not is_true((old.get("status") or {}).get("conditions"), "Established"):
        return
    before = old.get("spec") or {}
    fixed: list[tuple[str, Any, Any]] = [
        ("spec.scope", spec.get("scope"), before.get("scope")),
        ("spec.names.kind", (spec.get("names") or {}).get("kind"), (before.get("names") or {}).get("kind")),
    ]
    for path, value, was in fixed:
        if value != was:
            yield immutable(path, value)


def _stored(tree: Tree) -> Iterator[Cause]:
    """A version that objects may be stored in cannot go."""
    spec = tree.get("spec") or {}
    here = {version.get("name") for version in spec.get("versions") or ()}
    for at, name in enumerate((tree.get("status") or {}).get("storedVersions") or ()):
        if name not in here:
            yield invalid(
                f"status.storedVersions[{at}]", name,
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a "
                f"storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions",
            )  # fmt: skip
