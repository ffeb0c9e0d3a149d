"""Living through an incident again: what `reconcile incident` exported, done in a world, under the faults that it names."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconcile.errors import NotFoundError, ReconcileError, Tree

from .names import NAMESPACE
from .plan import read_plan

if TYPE_CHECKING:
    from .universe import World

LONG_S = 65.0
"""After a wait as long as this, everything should have come to rest before the next step."""
PAUSE_S_MAX = 3600.0
"""A longer wait between two writes is cut to this: nothing more happens in it."""


class IncidentError(ReconcileError):
    """A file is no incident; the message says how to export one."""


def read_incident(file: Path) -> Tree:
    """Read what was exported.

    Raises:
        IncidentError: it cannot be read, or is something else.
    """
    try:
        tree: Any = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise IncidentError(f"{file}: {error}") from error
    if not isinstance(tree, dict) or tree.get("kind") != "Incident":
        raise IncidentError(f"{file} is no incident; `reconcile incident KIND/NAME -o {file.name}` exports one")
    read_plan(str(tree.get("plan") or ""))
    return tree


def plan_given(text: str) -> str:
    """The plan that `--plan` gives: faults, or those of an exported incident.

    Raises:
        IncidentError: the file is no incident.
    """
    return str(read_incident(Path(text)).get("plan") or "") if text.endswith(".json") else text


def reliving(incident: Tree) -> Callable[[World], Awaitable[None]]:
    """The workload of an incident."""

    async def workload(world: World) -> None:
        await relive(world, incident)

    return workload


async def relive(world: World, incident: Tree) -> None:
    """Make the objects that were there, then do what people did, as long after each other as they did."""
    for tree in incident.get("objects") or ():
        await _in_its_namespace(world, tree)
        await world.apply(tree)
    await world.settled()
    for step in incident.get("steps") or ():
        after_s = min(float(step.get("after_s") or 0.0), PAUSE_S_MAX)
        await world.advance(after_s)
        if after_s >= LONG_S:
            await world.settled()  # a state to compare: what is wrong now may be mended by the next step
        tree = step["object"]
        await _in_its_namespace(world, tree)
        if step["do"] == "apply":
            await world.apply(tree)
        elif step["do"] == "status":
            await world.patch(_name(world, tree), status=tree.get("status"))
        else:
            await world.delete(_name(world, tree))
    await world.settled()


async def _in_its_namespace(world: World, tree: Tree) -> None:
    """Objects of another namespace than `default` need it to be there, where namespaces are served."""
    namespace = tree["metadata"].get("namespace") or NAMESPACE
    if namespace == NAMESPACE or not any(kind.kind == "Namespace" for kind in world.api.stored_kinds()):
        return
    if world.find(f"namespaces/{namespace}") is None:
        await world.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})


def _name(world: World, tree: Tree) -> str:
    wanted = tree.get("apiVersion"), tree.get("kind")
    for kind in world.api.stored_kinds():
        if (kind.api_version, kind.kind) == wanted:
            namespace = tree["metadata"].get("namespace") or NAMESPACE
            return f"{namespace}/{kind.plural}/{tree['metadata']['name']}"
    raise NotFoundError(f"no kind {wanted[1]} of {wanted[0]} is served; is the app that declares it among the apps?")
