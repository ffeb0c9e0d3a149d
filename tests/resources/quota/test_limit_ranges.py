"""LimitRanges: what they fill in, and what they refuse, in the reference server's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from reconcile.errors import ForbiddenError, InvalidError, Tree
from reconcile.kinds import Kind, kind_of
from reconcile.resources import builtin_kinds
from reconcile.resources.core import Pod
from reconcile.resources.quota import LimitRange
from reconcile.resources.quota.amounts import of_pod, shown
from reconcile.resources.quota.limiting import LimitedPods, Limits, check_claim, limit_ranger
from reconcile.runtime.testing.virtual import VirtualClock, virtual

CLAIMS: Kind = next(kind for kind in map(kind_of, builtin_kinds()) if kind.plural == "persistentvolumeclaims")


def container(name: str = "a", requests: Tree | None = None, limits: Tree | None = None, **more: Any) -> Tree:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    return {"name": name, "image": "x", **({"resources": resources} if resources else {}), **more}


def pod(*containers: Tree, name: str = "p", **spec: Any) -> Tree:
    return {"metadata": {"name": name}, "spec": {"containers": list(containers) or [container()], **spec}}


def limits_of(*items: Tree, name: str = "l") -> Tree:
    return {"metadata": {"name": name}, "spec": {"limits": list(items)}}


@asynccontextmanager
async def limited(clock: VirtualClock, control_plane: Any, *items: Tree) -> AsyncIterator[Any]:
    limits = Limits()
    async with control_plane(clock, limit_ranger(limits)) as plane:
        plane.client.api.add_initializer(kind_of(Pod), LimitedPods(limits).admit)
        plane.client.api.add_validator(CLAIMS, lambda review: check_claim(limits, review))
        await plane.create(LimitRange, limits_of(*items))
        await plane.engine.settled()
        yield plane


@virtual
async def test_what_a_container_leaves_out_is_filled_in(clock: VirtualClock, control_plane: Any) -> None:
    """And told in an annotation, so that nobody wonders where it came from."""
    item = {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    async with limited(clock, control_plane, item) as plane:
        made = await plane.create(Pod, pod(container(), container("b", {"memory": "2Gi"}, {"memory": "2Gi", "cpu": "1"})))
        a, b = (c["resources"] for c in made["spec"]["containers"])
        assert a == {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "1Gi"}}
        assert b == {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"memory": "2Gi", "cpu": "1"}}
        assert made["metadata"]["annotations"] == {
            "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu, memory request for container a; cpu, memory limit for "
            "container a"
        }
        assert made["status"]["qosClass"] == "Burstable"
        # Nothing that it added lacks a default: writing it back as it is changes nothing.
        assert (await plane.client.update(kind_of(Pod), made, "default"))["metadata"] == made["metadata"]


@pytest.mark.parametrize(
    ("item", "containers", "says"),
    [
        ({"max": {"cpu": "2"}}, [container(limits={"cpu": "3"})], "maximum cpu usage per Container is 2, but limit is 3"),
        (
            {"min": {"cpu": "100m"}}, [container(requests={"cpu": "50m"})],
            "minimum cpu usage per Container is 100m, but request is 50m",
        ),
        (
            {"min": {"memory": "1Gi"}}, [container(requests={"memory": "512Mi"})],
            "minimum memory usage per Container is 1Gi, but request is",
        ),
        ({"type": "Pod", "max": {"memory": "1Gi"}}, [container()], "maximum memory usage per Pod is 1Gi.  No limit is specified"),
        ({"type": "Pod", "min": {"cpu": "1"}}, [container()], "minimum cpu usage per Pod is 1.  No request is specified"),
        (
            {"type": "Pod", "max": {"cpu": "1"}}, [container(limits={"cpu": "600m"}), container("b", limits={"cpu": "600m"})],
            "maximum cpu usage per Pod is 1, but limit is 1200m",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}}, [container(requests={"cpu": "100m"}, limits={"cpu": "300m"})],
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            {"max": {"cpu": "1", "memory": "1Gi"}}, [container(limits={"cpu": "2", "memory": "2Gi"})],
            "[maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Container is 1Gi, but limit is 2Gi]",
        ),
    ],
)  # fmt: skip
@virtual
async def test_too_much_and_too_little_are_refused(
    clock: VirtualClock, control_plane: Any, item: Tree, containers: list[Tree], says: str
) -> None:
    """With what is allowed and what was asked for."""
    async with limited(clock, control_plane, {"type": "Container", **item}) as plane:
        with pytest.raises(ForbiddenError) as refused:
            await plane.create(Pod, pod(*containers))
        assert f'pods "p" is forbidden: {says}' in str(refused.value)


@virtual
async def test_limits_hold_in_their_namespace_while_they_are_there(clock: VirtualClock, control_plane: Any) -> None:
    """They are no law of the cluster."""
    async with limited(clock, control_plane, {"type": "Container", "max": {"cpu": "1"}}) as plane:
        big = pod(container(limits={"cpu": "2"}))
        await plane.client.create(kind_of(Pod), big, "kube-system")
        await plane.delete(LimitRange, "l")
        await plane.engine.settled()
        await plane.create(Pod, big)


@virtual
async def test_claims_are_bound_in_size(clock: VirtualClock, control_plane: Any) -> None:
    """Storage costs money as well."""
    item = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}}
    async with limited(clock, control_plane, item) as plane:

        async def claim(size: str) -> None:
            spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
            await plane.client.create(CLAIMS, {"metadata": {"generateName": "c-"}, "spec": spec}, "default")

        await claim("2Gi")
        with pytest.raises(ForbiddenError, match="maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi"):
            await claim("6Gi")
        with pytest.raises(ForbiddenError, match="minimum storage usage per PersistentVolumeClaim is 1Gi, but request is"):
            await claim("500Mi")


@pytest.mark.parametrize(
    ("item", "wrong"),
    [
        ({}, "spec.limits[0].type: Required value"),
        (
            {"type": "Pod", "default": {"cpu": "1"}},
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
        ),
        ({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}, "min value 2 is greater than max value 1"),
        (
            {"type": "Container", "min": {"cpu": "1"}, "default": {"cpu": "500m"}},
            "min value 1 is greater than default",
        ),
        ({"type": "Container", "default": {"cpu": "2"}, "max": {"cpu": "1"}}, "default value 2 is greater than max value 1"),
        ({"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}}, "ratio 500m is less than 1"),
        ({"type": "Container", "max": {"cpu": "much"}}, "spec.limits[0].max.cpu: Invalid value"),
        ({"type": "PersistentVolumeClaim"}, "either minimum or maximum storage value is required"),
    ],
)
@virtual
async def test_limits_that_cannot_hold_are_refused(clock: VirtualClock, control_plane: Any, item: Tree, wrong: str) -> None:
    """No Pod could ever be created under them."""
    async with control_plane(clock) as plane:
        with pytest.raises(InvalidError) as refused:
            await plane.create(LimitRange, limits_of(item))
        assert wrong in str(refused.value)


def test_a_pod_needs_what_its_containers_need_at_the_worst_moment() -> None:
    """Init containers run before the others, sidecars beside them."""
    spec = {
        "containers": [container("a", {"cpu": "1"}), container("b", {"cpu": "500m", "memory": "1Gi"})],
        "initContainers": [
            container("side", {"cpu": "250m"}, restartPolicy="Always"), container("init", {"cpu": "2", "memory": "512Mi"}),
        ],
        "overhead": {"cpu": "10m"},
    }  # fmt: skip
    assert of_pod(spec, "requests") == {"cpu": Decimal("2.26"), "memory": Decimal(2**30)}


@pytest.mark.parametrize(
    ("name", "amount", "text"),
    [
        ("cpu", "0.5", "500m"), ("cpu", "2", "2"), ("requests.memory", str(2**31), "2Gi"), ("memory", "1000", "1000"),
        ("pods", "3", "3"),
        ("requests.storage", str(5 * 2**30), "5Gi"), ("limits.memory", "0", "0"),
    ],
)  # fmt: skip
def test_amounts_are_shown_in_the_units_that_people_use(name: str, amount: str, text: str) -> None:
    """Nobody reads 2147483648."""
    assert shown(name, Decimal(amount)) == text
