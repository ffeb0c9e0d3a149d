"""`Kind`s from a server's discovery documents: names and scope, no schema, no columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconcile.errors import Tree
from reconcile.kinds import Kind, Scale

ACCEPT = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


def kinds_of_discovery(tree: Tree) -> list[Kind]:
    """The kinds of an APIGroupDiscoveryList, each in its preferred version (the first one that has it)."""
    kinds: dict[tuple[str, str], Kind] = {}
    for item in tree.get("items") or ():
        group = (item.get("metadata") or {}).get("name") or ""
        for entry in item.get("versions") or ():
            for resource in entry.get("resources") or ():
                if not {"list", "watch"} <= set(resource.get("verbs", ())) or (group, resource["resource"]) in kinds:
                    continue
                kinds[group, resource["resource"]] = _kind(
                    group, entry["version"], resource["resource"], resource["responseKind"]["kind"],
                    namespaced=resource.get("scope") == "Namespaced", singular=resource.get("singularResource") or "",
                    short_names=resource.get("shortNames") or (), categories=resource.get("categories") or (),
                    parts={part["subresource"] for part in resource.get("subresources") or ()},
                )  # fmt: skip
    return list(kinds.values())


def kinds_of_resources(group: str, versions: Sequence[str], lists: Sequence[Tree]) -> list[Kind]:
    """The kinds of one group's APIResourceLists, one list a version, the preferred version first."""
    kinds: dict[str, Kind] = {}
    for version, tree in zip(versions, lists, strict=True):
        resources = tree.get("resources") or ()
        for resource in resources:
            name = resource["name"]
            if "/" in name or name in kinds or not {"list", "watch"} <= set(resource.get("verbs", ())):
                continue
            parts = {r["name"].partition("/")[2] for r in resources if r["name"].startswith(f"{name}/")}
            kinds[name] = _kind(
                group, version, name, resource["kind"], namespaced=bool(resource.get("namespaced")),
                singular=resource.get("singularName") or "", short_names=resource.get("shortNames") or (),
                categories=resource.get("categories") or (), parts=parts,
            )  # fmt: skip
    return list(kinds.values())


def _kind(
    group: str, version: str, plural: str, kind: str, *, namespaced: bool, singular: str, short_names: Iterable[str],
    categories: Iterable[str], parts: set[str],
) -> Kind:  # fmt: skip
    return Kind(
        group=group, version=version, kind=kind, plural=plural, namespaced=namespaced, singular=singular or kind.lower(),
        short_names=tuple(short_names), categories=tuple(categories), status="status" in parts,
        scale=Scale() if "scale" in parts else None,
    )  # fmt: skip


def preferred_first(group: Tree) -> list[str]:
    """The versions of a group, as discovery tells them, the preferred one first."""
    preferred = (group.get("preferredVersion") or {}).get("version")
    versions = [str(entry["version"]) for entry in group.get("versions") or ()]
    return sorted(versions, key=lambda version: version != preferred)
