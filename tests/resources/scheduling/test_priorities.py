"""Priorities: what a Pod gets from its class, and which classes there may be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from reconcile.errors import ForbiddenError, InvalidError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.core import Pod
from reconcile.resources.scheduling import PriorityClass
from reconcile.resources.scheduling.admission import Classes, PodPriorities, priorities
from reconcile.runtime.testing.virtual import VirtualClock, virtual


def pod(name: str = "p", **spec: Any) -> Tree:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "x"}], **spec}}


def klass(name: str, value: int, **parts: Any) -> Tree:
    return {"metadata": {"name": name}, "value": value, **parts}


@asynccontextmanager
async def ranked(clock: VirtualClock, control_plane: Any) -> AsyncIterator[Any]:
    classes = Classes()
    async with control_plane(clock, priorities(classes)) as plane:
        plane.client.api.add_initializer(kind_of(Pod), PodPriorities(classes, plane.client.api.peek).admit)
        yield plane


async def rank(plane: Any, name: str = "p", **spec: Any) -> tuple[str, int, str]:
    made = (await plane.create(Pod, pod(name, **spec)))["spec"]
    return made.get("priorityClassName", ""), made["priority"], made["preemptionPolicy"]


@virtual
async def test_a_pod_is_as_important_as_its_class_says(clock: VirtualClock, control_plane: Any) -> None:
    """The scheduler knows numbers alone."""
    async with ranked(clock, control_plane) as plane:
        assert await rank(plane) == ("", 0, "PreemptLowerPriority")
        await plane.create(PriorityClass, klass("high", 1000))
        await plane.create(PriorityClass, klass("shy", 500, preemptionPolicy="Never"))
        # Also with the next write after the class: what is stored counts, not what a cache knows.
        assert await rank(plane, "a", priorityClassName="high") == ("high", 1000, "PreemptLowerPriority")
        assert await rank(plane, "b", priorityClassName="shy") == ("shy", 500, "Never")
        assert await rank(plane, "c", priorityClassName="system-node-critical") == (
            "system-node-critical", 2_000_001_000, "PreemptLowerPriority"
        )  # fmt: skip


@virtual
async def test_pods_without_a_class_get_the_default_one(clock: VirtualClock, control_plane: Any) -> None:
    """And there is only one default."""
    async with ranked(clock, control_plane) as plane:
        await plane.create(PriorityClass, klass("usual", 7, globalDefault=True))
        await plane.engine.settled()
        assert await rank(plane) == ("usual", 7, "PreemptLowerPriority")
        with pytest.raises(ForbiddenError) as refused:
            await plane.create(PriorityClass, klass("other", 8, globalDefault=True))
        assert str(refused.value).endswith("PriorityClass usual is already marked as default. Only one default can exist")
        await plane.patch(PriorityClass, "usual", {"globalDefault": False})
        await plane.engine.settled()
        assert await rank(plane, "q") == ("", 0, "PreemptLowerPriority")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"priorityClassName": "none"}, 'pods "p" is forbidden: no PriorityClass with name none was found'),
        (
            {"priorityClassName": "high", "priority": 5},
            (
                'pods "p" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission '
                "controller computed 1000 from the given PriorityClass name"
            ),
        ),
        ({"priority": 5}, "the integer value of priority (5) must not be provided in pod spec"),
        ({"priorityClassName": "high", "preemptionPolicy": "Never"}, "the string value of PreemptionPolicy (Never)"),
    ],
)
@virtual
async def test_a_pod_does_not_say_itself_how_important_it_is(
    clock: VirtualClock, control_plane: Any, spec: Tree, says: str
) -> None:
    """Everybody would be the most important."""
    async with ranked(clock, control_plane) as plane:
        await plane.create(PriorityClass, klass("high", 1000))
        with pytest.raises(ForbiddenError) as refused:
            await plane.create(Pod, pod(**spec))
        assert says in str(refused.value)


@virtual
async def test_the_system_has_its_two_classes_and_its_names(clock: VirtualClock, control_plane: Any) -> None:
    """A class of a user's must not outrank what the cluster needs to run."""
    async with ranked(clock, control_plane) as plane:
        values = {tree["metadata"]["name"]: tree["value"] for tree in await plane.all(PriorityClass)}
        assert values == {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
        for tree, wrong in (
            (klass("system-mine", 1), "metadata.name: Forbidden: priority class names with 'system-' prefix"),
            (klass("big", 1_000_000_001), "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
            (klass("odd", 1, preemptionPolicy="Maybe"), 'preemptionPolicy: Unsupported value: "Maybe"'),
        ):
            with pytest.raises(InvalidError) as refused:
                await plane.create(PriorityClass, tree)
            assert wrong in str(refused.value)
        await plane.create(PriorityClass, klass("fixed", 1))
        with pytest.raises(InvalidError, match="value: Forbidden: may not be changed in an update"):
            await plane.patch(PriorityClass, "fixed", {"value": 2})
        with pytest.raises(InvalidError, match="preemptionPolicy"):
            await plane.patch(PriorityClass, "fixed", {"preemptionPolicy": "Never"})
