"""ResourceQuotas: what is counted, what is refused, and what comes free again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from reconcile.errors import ForbiddenError, Tree
from reconcile.kinds import Kind
from reconcile.resources.apps import Deployment
from reconcile.resources.core import ConfigMap, Pod, Service
from reconcile.resources.quota import ResourceQuota
from reconcile.resources.quota.quotas import quotas
from reconcile.runtime.testing.virtual import VirtualClock, virtual


def pod(name: str, cpu: str = "", **spec: Any) -> Tree:
    resources = {"resources": {"requests": {"cpu": cpu}}} if cpu else {}
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "x", **resources}], **spec}}


def config(name: str) -> Tree:
    return {"metadata": {"name": name}}


@asynccontextmanager
async def counted(clock: VirtualClock, control_plane: Any, hard: Tree, **spec: Any) -> AsyncIterator[Any]:
    serving: list[Any] = []

    def find(group: str, plural: str) -> Kind | None:
        return next((k for k in serving[0].stored_kinds() if (k.group, k.plural) == (group, plural)), None)

    def gate(kind: Kind, see: Any) -> Any:
        return serving[0].add_validator(kind, see)

    async with control_plane(clock) as plane:
        serving.append(plane.client.api)
        await plane.engine.start(quotas(find, gate))
        await plane.create(ResourceQuota, {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}})
        await plane.engine.settled()
        yield plane


async def used(plane: Any) -> Tree:
    status: Tree = (await plane.get(ResourceQuota, "q")).get("status") or {}
    found: Tree = status.get("used") or {}
    return found


@virtual
async def test_what_is_there_is_counted_and_what_is_too_much_refused(clock: VirtualClock, control_plane: Any) -> None:
    """At the very write that asks for it, with all three numbers."""
    async with counted(clock, control_plane, {"pods": "2", "requests.cpu": "1"}) as plane:
        assert await used(plane) == {"pods": "0", "requests.cpu": "0"}
        await plane.create(Pod, pod("a", "400m"))
        assert await used(plane) == {"pods": "1", "requests.cpu": "400m"}
        with pytest.raises(ForbiddenError) as refused:
            await plane.create(Pod, pod("b", "700m"))
        assert str(refused.value) == (
            'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, limited: '
            "requests.cpu=1"
        )
        await plane.create(Pod, pod("b", "600m"))
        with pytest.raises(ForbiddenError, match="exceeded quota: q, requested: pods=1"):
            await plane.create(Pod, pod("c", "1m"))


@virtual
async def test_of_many_at_once_no_more_than_allowed_get_in(clock: VirtualClock, control_plane: Any) -> None:
    """A ReplicaSet creates in parallel; counting before and writing after would let them all in."""
    async with counted(clock, control_plane, {"count/configmaps": "3"}) as plane:
        done = await asyncio.gather(*(plane.create(ConfigMap, config(f"c{n}")) for n in range(8)), return_exceptions=True)
        assert sum(isinstance(answer, dict) for answer in done) == 3
        assert all(isinstance(answer, dict | ForbiddenError) for answer in done)
        assert await used(plane) == {"count/configmaps": "3"}


@virtual
async def test_what_is_deleted_or_finished_comes_free_again(clock: VirtualClock, control_plane: Any) -> None:
    """Within seconds."""
    async with counted(clock, control_plane, {"pods": "1", "services": "1"}) as plane:
        await plane.create(Pod, pod("a"))
        await plane.patch(Pod, "a", {"status": {"phase": "Succeeded"}}, "status")
        await clock.sleep(5)
        assert (await used(plane))["pods"] == "0"
        await plane.create(Pod, pod("b"))
        await plane.delete(Pod, "b", grace_s=0)
        await clock.sleep(5)
        await plane.create(Pod, pod("c"))
        assert (await used(plane))["pods"] == "1"


@virtual
async def test_a_refused_write_costs_nothing_for_long(clock: VirtualClock, control_plane: Any) -> None:
    """It was charged before it failed; the recount finds nothing of it."""
    async with counted(clock, control_plane, {"count/configmaps": "5"}) as plane:
        await plane.create(ConfigMap, config("a"))
        with pytest.raises(Exception, match="already exists"):
            await plane.create(ConfigMap, config("a"))
        await clock.sleep(20)
        assert await used(plane) == {"count/configmaps": "1"}


@virtual
async def test_a_pod_that_does_not_say_what_it_needs_is_refused_where_that_is_counted(
    clock: VirtualClock, control_plane: Any
) -> None:
    """Otherwise the quota would be got round by silence."""
    async with counted(clock, control_plane, {"limits.memory": "1Gi", "cpu": "1"}) as plane:
        with pytest.raises(ForbiddenError) as refused:
            await plane.create(Pod, pod("a"))
        assert str(refused.value) == ('pods "a" is forbidden: failed quota: q: must specify cpu for: a; limits.memory for: a')


@virtual
async def test_a_quota_with_scopes_counts_some_pods_only(clock: VirtualClock, control_plane: Any) -> None:
    """Those that end, or those of a class."""
    async with counted(clock, control_plane, {"pods": "1"}, scopes=["Terminating"]) as plane:
        for name in ("a", "b"):
            await plane.create(Pod, pod(name))
        await plane.create(Pod, pod("c", activeDeadlineSeconds=60))
        with pytest.raises(ForbiddenError, match="exceeded quota"):
            await plane.create(Pod, pod("d", activeDeadlineSeconds=60))


@virtual
async def test_any_kind_can_be_counted(clock: VirtualClock, control_plane: Any) -> None:
    """By its plural and group; and Services by what they take of the nodes."""
    hard = {"count/deployments.apps": "1", "services.nodeports": "2", "services": "3"}
    async with counted(clock, control_plane, hard) as plane:
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
        spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        await plane.create(Deployment, {"metadata": {"name": "d"}, "spec": spec})
        with pytest.raises(ForbiddenError, match=r'deployments.apps "e" is forbidden: exceeded quota: q'):
            await plane.create(Deployment, {"metadata": {"name": "e"}, "spec": spec})
        ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
        await plane.create(Service, {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": ports}})
        with pytest.raises(ForbiddenError, match=r"requested: services.nodeports=2, used: services.nodeports=2"):
            await plane.create(Service, {"metadata": {"name": "t"}, "spec": {"type": "NodePort", "ports": ports}})
        # A change that asks for more is charged like a new object.
        await plane.create(Service, {"metadata": {"name": "u"}, "spec": {"ports": ports}})
        with pytest.raises(ForbiddenError, match="exceeded quota"):
            await plane.patch(Service, "u", {"spec": {"type": "NodePort"}})


@virtual
async def test_without_a_quota_nobody_looks_at_writes(clock: VirtualClock, control_plane: Any) -> None:
    """Most namespaces have none, and their writes are to cost nothing for it."""
    async with counted(clock, control_plane, {"pods": "1"}) as plane:
        admission = plane.client.api._admission
        assert list(admission._validators) == [("", "pods")]
        await plane.delete(ResourceQuota, "q")
        await plane.engine.settled()
        assert not admission._validators
