"""Gives new Pods the priority that their class says, and keeps the default class one.

Source: K/plugin/pkg/admission/priority/admission.go
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import attrs

from reconcile.client import Client
from reconcile.errors import AlreadyExistsError, ForbiddenError, NotFoundError, Tree
from reconcile.handling import AdmissionReview, Cluster
from reconcile.kinds import Kind, kind_of
from reconcile.registry import Operator
from reconcile.resources.core import Pod
from reconcile.views import tree_of

from .priority_class import PREEMPTS, SYSTEM, PriorityClass, system_classes


@attrs.define
class Classes:
    """The classes of a cluster by name, kept by watch events."""

    by_name: dict[str, Tree] = attrs.field(factory=dict)

    def saw(self, tree: Tree, *, gone: bool) -> None:
        """Take in one change."""
        name = tree["metadata"]["name"]
        if gone:
            self.by_name.pop(name, None)
        else:
            self.by_name[name] = tree

    @property
    def default(self) -> Tree | None:
        """The class of Pods that name none: of several (made at the same moment) the least important."""
        return min((tree for tree in self.by_name.values() if tree.get("globalDefault")), key=_value, default=None)


def priorities(classes: Classes) -> Operator:
    """The operator that keeps `classes`, and lets no second default in."""
    app = Operator("priorities")

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        await asyncio.gather(*(_ensure(cluster.client, tree) for tree in system_classes()))

    @app.on.event(PriorityClass, inline=True)
    def saw(obj: PriorityClass, event: str) -> None:
        classes.saw(tree_of(obj), gone=event == "DELETED")

    @app.on.validate(PriorityClass)
    def one_default(review: AdmissionReview) -> None:
        if review.operation == "DELETE" or not review.tree.get("globalDefault"):
            return
        name, known = review.tree["metadata"].get("name"), classes.default
        if known is not None and known["metadata"]["name"] != name:
            other = known["metadata"]["name"]
            why = f"PriorityClass {other} is already marked as default. Only one default can exist"
            raise _forbidden(kind_of(PriorityClass), name or "", why)

    return app


@attrs.frozen
class PodPriorities:
    """Admits new Pods. What it adds is complete: no defaults are missing in it."""

    classes: Classes
    find: Callable[[Kind, str, str], Tree | None]

    def admit(self, review: AdmissionReview) -> None:
        """Resolve the class of a Pod that is about to be created.

        Raises:
            ForbiddenError: there is no such class, or the Pod says another number than its class.
        """
        spec = review.tree.get("spec")
        if not isinstance(spec, dict):
            return  # the schema's rules say so
        named = bool(spec.get("priorityClassName"))
        chosen = self._class(review.tree, spec)
        value = _value(chosen) if chosen is not None else 0
        policy = (chosen or {}).get("preemptionPolicy") or PREEMPTS
        for part, computed, shown in (("priority", value, "integer"), ("preemptionPolicy", policy, "string")):
            given = spec.get(part)
            # A Pod that names no class has got what those without any have; its default class may say otherwise.
            if given not in (None, computed) and (named or given not in (0, PREEMPTS)):
                what = "priority" if part == "priority" else "PreemptionPolicy"
                raise _forbidden(
                    kind_of(Pod), review.tree["metadata"].get("name") or "",
                    f"the {shown} value of {what} ({given}) must not be provided in pod spec; priority admission controller "
                    f"computed {computed} from the given PriorityClass name",
                )  # fmt: skip
            spec[part] = computed

    def _class(self, pod: Tree, spec: Tree) -> Tree | None:
        name = spec.get("priorityClassName") or ""
        if not name:
            chosen = self.classes.default
            if chosen is not None:
                spec["priorityClassName"] = chosen["metadata"]["name"]
            return chosen
        chosen = self.find(kind_of(PriorityClass), name, "")
        if chosen is None and name in SYSTEM:
            return {"value": SYSTEM[name]}
        if chosen is None:
            raise _forbidden(kind_of(Pod), pod["metadata"].get("name") or "", f"no PriorityClass with name {name} was found")
        return chosen


async def _ensure(client: Client, tree: Tree) -> None:
    kind = kind_of(PriorityClass)
    try:
        await client.get(kind, tree["metadata"]["name"])
    except NotFoundError:
        with contextlib.suppress(AlreadyExistsError):  # another server of this store was faster
            await client.create(kind, tree, field_manager="bootstrap")


def _value(tree: Tree) -> int:
    return int(tree.get("value") or 0)


def _forbidden(kind: Kind, name: str, why: str) -> ForbiddenError:
    details = {"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural}
    return ForbiddenError(f'{kind.resource} "{name}" is forbidden: {why}', details=details)
