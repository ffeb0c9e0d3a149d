"""What of a running Pod changes through subresources: ephemeral containers are added, resources are resized; all else stays."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.client import MERGE_PATCH, STRATEGIC_PATCH, Patch
from reconcile.errors import InvalidError, NotFoundError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.core import Pod
from reconcile.runtime.testing.virtual import VirtualClock, virtual

POD: Tree = {
    "metadata": {"name": "p", "labels": {"a": "b"}},
    "spec": {"containers": [{"name": "main", "image": "x", "resources": {"requests": {"cpu": "1", "example.com/gpu": "1"}}}]},
}


async def patched(plane: Any, subresource: str, body: Tree, media: str = STRATEGIC_PATCH) -> Tree:
    made: Tree = await plane.client.patch(kind_of(Pod), "p", Patch(media, body), "default", subresource=subresource)
    return made


def looking(name: str = "look", **more: Any) -> Tree:
    return {"spec": {"ephemeralContainers": [{"name": name, "image": "y", **more}]}}


@virtual
async def test_ephemeral_containers_are_added_through_their_subresource_alone(clock: VirtualClock, control_plane: Any) -> None:
    """What else such a request says of the Pod is not taken."""
    async with control_plane(clock) as plane:
        await plane.create(Pod, POD)
        made = await patched(plane, "ephemeralcontainers", {**looking(), "metadata": {"labels": {"a": "other"}}})
        assert [c["name"] for c in made["spec"]["ephemeralContainers"]] == ["look"]
        assert made["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"] == "File"
        assert made["metadata"]["labels"] == {"a": "b"}
        made = await patched(plane, "ephemeralcontainers", looking("again", targetContainerName="main"))
        assert [c["name"] for c in made["spec"]["ephemeralContainers"]] == ["again", "look"]
        with pytest.raises(InvalidError, match="pod updates may not change fields"):
            await patched(plane, "", looking("third"))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (looking("main"), 'Duplicate value: "main"'),
        (looking(ports=[{"containerPort": 1}]), "ports: Forbidden: cannot be set for an Ephemeral Container"),
        (looking(targetContainerName="nosuch"), 'targetContainerName: Not found: "nosuch"'),
        (looking("Upper"), "spec.ephemeralContainers"),
    ],
)  # fmt: skip
@virtual
async def test_an_ephemeral_container_that_makes_no_sense_is_refused(
    clock: VirtualClock, control_plane: Any, body: Tree, why: str
) -> None:
    async with control_plane(clock) as plane:
        await plane.create(Pod, POD)
        with pytest.raises(InvalidError, match=why):
            await patched(plane, "ephemeralcontainers", body)


@virtual
async def test_ephemeral_containers_never_change_or_go(clock: VirtualClock, control_plane: Any) -> None:
    async with control_plane(clock) as plane:
        with pytest.raises(InvalidError, match="cannot be set on create"):
            await plane.create(Pod, {**POD, "spec": {**POD["spec"], **looking()["spec"]}})
        await plane.create(Pod, POD)
        await patched(plane, "ephemeralcontainers", looking())
        with pytest.raises(InvalidError, match='"look" may not be changed'):
            await patched(plane, "ephemeralcontainers", looking(command=["sh"]))
        with pytest.raises(InvalidError, match='"look" may not be removed'):
            await patched(plane, "ephemeralcontainers", {"spec": {"ephemeralContainers": []}}, MERGE_PATCH)


@virtual
async def test_resources_are_resized_through_their_subresource_alone(clock: VirtualClock, control_plane: Any) -> None:
    def sized(name: str, amount: str) -> Tree:
        return {"spec": {"containers": [{"name": "main", "image": "z", "resources": {"requests": {name: amount}}}]}}

    async with control_plane(clock) as plane:
        await plane.create(Pod, POD)
        made = await patched(plane, "resize", sized("cpu", "2"))
        (container,) = made["spec"]["containers"]
        assert container["resources"]["requests"] == {"cpu": "2", "example.com/gpu": "1"}
        assert container["image"] == "x"
        assert made["metadata"]["generation"] == 2
        with pytest.raises(InvalidError, match="only cpu and memory resources are mutable"):
            await patched(plane, "resize", sized("example.com/gpu", "2"))
        empty = {"spec": {"containers": [{"name": "main", "resources": None}]}}
        with pytest.raises(InvalidError, match="QOS Class may not change"):
            await patched(plane, "resize", empty)
        with pytest.raises(InvalidError, match="pod updates may not change fields"):
            await patched(plane, "", sized("cpu", "3"))
        assert (await plane.client.get(kind_of(Pod), "p", "default"))["spec"]["containers"][0]["resources"] == container[
            "resources"
        ]
        with pytest.raises(NotFoundError):
            await patched(plane, "nosuch", {})
