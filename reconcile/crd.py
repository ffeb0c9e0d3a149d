"""CustomResourceDefinitions from declared kinds: what `reconcile export` prints and `reconcile run --crds` applies.

Classes of one kind in several versions become one definition; the newest stable version is stored, unless a class says
`storage=True`. Where functions convert between them (`@convert`), the definition names the webhook by which an API server
elsewhere asks for it. Columns that are computed in Python have no place in a definition and are left out.

Source: https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .conversion import all_versions, versions_of
from .errors import DeclarationError, Tree
from .kinds import Column, Kind, Resource, Scale

CRD = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False, status=True,
    short_names=("crd", "crds"),
)  # fmt: skip
_NOT_IN_DEFINITIONS = ("x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy", "x-type")
_RANK = {"": 2, "beta": 1, "alpha": 0}


ClientConfig = Callable[[str], Tree]
"""The resource (`carts.shop.example.com`) -> the clientConfig of the webhook that converts its objects."""


def definitions_of(classes: Iterable[type[Resource]], converter: ClientConfig | None = None) -> list[Tree]:
    """One definition for each user-declared kind among `classes`, in their order; built-in kinds are the server's own.

    `converter` says who is asked to convert; without it, kinds that functions convert are refused.

    Raises:
        DeclarationError: objects cannot get from each version of a kind into each other, or nobody can be asked to.
    """
    by_name: dict[tuple[str, str], dict[str, Kind]] = {}
    converted = set()
    for cls in all_versions(classes):
        kind: Kind | None = cls.__kind__
        if kind is not None and not kind.builtin and kind.group:
            by_name.setdefault((kind.group, kind.plural), {})[kind.version] = kind  # two operators may both serve it
            if len(versions_of(cls)) > 1:
                converted.add((kind.group, kind.plural))
    made = []
    for name, versions in by_name.items():
        definition = definition_of(list(versions.values()))
        if name in converted:
            definition["spec"]["conversion"] = conversion_by(definition["metadata"]["name"], converter)
        made.append(definition)
    return made


def conversion_by(resource: str, converter: ClientConfig | None) -> Tree:
    """The `spec.conversion` of a definition whose objects functions convert."""
    if converter is None:
        raise DeclarationError(
            f"the versions of {resource} are converted by functions (@convert), which an API server elsewhere can only call as a "
            f"webhook: run with --webhooks HOST:PORT"
        )
    webhook = {"clientConfig": converter(resource), "conversionReviewVersions": ["v1"]}
    return {"strategy": "Webhook", "webhook": webhook}


def definition_of(kinds: Sequence[Kind]) -> Tree:
    """The definition of one kind, given in each of its versions."""
    newest_first = sorted(kinds, key=lambda kind: version_rank(kind.version), reverse=True)
    first = newest_first[0]
    stored = next((kind.storage_version for kind in kinds if kind.storage_version), first.version)
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
