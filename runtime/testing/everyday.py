"""The workload for apps that have no tests: what users do every day with what the app declares.

Objects are made, changed to specs drawn from their schema, deleted, and made again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from reconcile.errors import InvalidError, Tree
from reconcile.kinds import Kind, Resource, kind_of
from reconcile.runtime.sync.manifests import read_manifests

from .names import NAMESPACE, object_name
from .process import App
from .universe import World
from .walk import specs


def everyday(apps: Sequence[App], manifests: Sequence[Path], steps: int) -> Callable[[World], Awaitable[None]]:
    """The workload: of `manifests`, and of each kind with a spec that the apps declare and no manifest shows."""
    shown = [manifest.tree for file in manifests for manifest in read_manifests(file.name, file.read_bytes())]
    declared = [kind for kind in declared_by(apps) if not any(_is_of(tree, kind) for tree in shown)]

    async def workload(world: World) -> None:
        for file in manifests:
            await world.apply(file)
        for kind in declared:
            await world.walk(kind.resource, steps=1, name="first")
        await world.settled()
        for kind, namespace, name in _made(world, shown, declared):
            await _change(world, kind, namespace, name, steps)
        await world.settled()
        names = [object_name(kind, namespace, name) for kind, namespace, name in _made(world, shown, declared)]
        for name in names:
            await world.delete(name)
        await world.settled()
        for file in manifests:
            await world.apply(file)
        for kind in declared:
            await world.walk(kind.resource, steps=1, name="first")
        await world.settled()

    return workload


def declared_by(apps: Sequence[App]) -> list[Kind]:
    """The kinds that the apps' handlers are for, as far as they have a spec of their own."""
    found: dict[str, Kind] = {}
    for app in apps:
        for operator in app.make():
            for handler in operator.handlers:
                if handler.cls in (None, Resource):
                    continue
                kind = kind_of(handler.cls)
                if not kind.builtin and "spec" in (kind.schema.get("properties") or {}):
                    found.setdefault(kind.resource, kind)
    return list(found.values())


def _is_of(tree: Tree, kind: Kind) -> bool:
    return (tree.get("apiVersion"), tree.get("kind")) == (kind.api_version, kind.kind)


def _made(world: World, shown: Sequence[Tree], declared: Sequence[Kind]) -> list[tuple[Kind, str, str]]:
    """What this workload made, as kind, namespace and name."""
    found: list[tuple[Kind, str, str]] = []
    for tree in shown:
        kind = next((kind for kind in world.api.stored_kinds() if _is_of(tree, kind)), None)
        if kind is not None and kind.kind != "Namespace":
            meta = tree["metadata"]
            found.append((kind, (meta.get("namespace") or NAMESPACE) if kind.namespaced else "", meta["name"]))
    return [*found, *((kind, NAMESPACE if kind.namespaced else "", "first") for kind in declared)]


async def _change(world: World, kind: Kind, namespace: str, name: str, steps: int) -> None:
    """Specs from the schema, for kinds of the app's own; what the rules refuse is passed over."""
    if kind.builtin:
        return
    for spec in specs(kind.schema, f"{kind.resource} {name}", steps):
        try:
            await world.patch(object_name(kind, namespace, name), spec=spec)
        except InvalidError:
            continue
        await world.settled()
