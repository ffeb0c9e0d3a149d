"""CustomResourceDefinitions from declared kinds: what `reconcile export` prints and `reconcile run --crds` applies.

Classes of one kind in several versions become one definition; the newest stable version is stored, unless a kind names another
(`storage_version`). Columns that are computed in Python have no place in a definition and are left out.

Source: https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from .errors import Tree
from .kinds import Column, Kind, Resource, Scale

CRD = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False, status=True,
    short_names=("crd", "crds"),
)  # fmt: skip
_NOT_IN_DEFINITIONS = ("x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy", "x-type")
_RANK = {"": 2, "beta": 1, "alpha": 0}


def definitions_of(classes: Iterable[type[Resource]]) -> list[Tree]:
    """One definition for each user-declared kind among `classes`, in their order; built-in kinds are the server's own."""
    by_name: dict[tuple[str, str], dict[str, Kind]] = {}
    for cls in classes:
        kind: Kind | None = cls.__kind__
        if kind is not None and not kind.builtin and kind.group:
            by_name.setdefault((kind.group, kind.plural), {})[kind.version] = kind  # two operators may both serve it
    return [definition_of(list(versions.values())) for versions in by_name.values()]


def definition_of(kinds: Sequence[Kind]) -> Tree:
    """The definition of one kind, given in each of its versions."""
    newest_first = sorted(kinds, key=lambda kind: version_rank(kind.version), reverse=True)
    first = newest_first[0]
    stored = first.storage_version or first.version
    names: Tree = {"plural": first.plural, "singular": first.singular or first.kind.lower(), "kind": first.kind}
    names["listKind"] = f"{first.kind}List"
    if first.short_names:
        names["shortNames"] = list(first.short_names)
    if first.categories:
        names["categories"] = list(first.categories)
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.kind,
        "metadata": {"name": first.resource},
        "spec": {
            "group": first.group,
            "scope": "Namespaced" if first.namespaced else "Cluster",
            "names": names,
            "versions": [_version(kind, kind.version == stored) for kind in newest_first],
        },
    }


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Orders versions as Kubernetes prefers them: v2 > v1 > v1beta2 > v1beta1 > v1alpha1 > others.

    Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/
    """
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (-1, 0, 0, version)
    major, stage, minor = match.groups()
    return (_RANK[stage or ""], int(major), int(minor or 0), "")


def _version(kind: Kind, storage: bool) -> Tree:
    made: Tree = {"name": kind.version, "served": True, "storage": storage}
    if kind.deprecation:
        made["deprecated"] = True
        made["deprecationWarning"] = kind.deprecation
    made["schema"] = {"openAPIV3Schema": _structural(kind.schema)}
    parts: Tree = {}
    if kind.status:
        parts["status"] = {}
    if kind.scale is not None:
        parts["scale"] = _scale(kind.scale)
    if parts:
        made["subresources"] = parts
    if columns := [_column(column) for column in kind.columns if column.path]:
        made["additionalPrinterColumns"] = columns
    if kind.selectable:
        made["selectableFields"] = [{"jsonPath": f".{path}"} for path in kind.selectable]
    return made


def _scale(scale: Scale) -> Tree:
    made = {"specReplicasPath": scale.replicas, "statusReplicasPath": scale.status_replicas}
    return {**made, **({"labelSelectorPath": scale.selector} if scale.selector else {})}


def _column(column: Column) -> Tree:
    made: Tree = {"name": column.name, "type": column.type, "jsonPath": column.path}
    for name, value in (("format", column.format), ("priority", column.priority), ("description", column.doc)):
        if value:
            made[name] = value
    return made


def _structural(node: Any) -> Any:
    """A copy of a schema without the words that only built-in kinds may use."""
    if isinstance(node, dict):
        return {name: _structural(value) for name, value in node.items() if name not in _NOT_IN_DEFINITIONS}
    if isinstance(node, list):
        return [_structural(item) for item in node]
    return node
