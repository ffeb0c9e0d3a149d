"""Garbage collection and the end of namespaces, on the real store, API server and engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconcile.client import DeleteOptions
from reconcile.errors import NotFoundError, Tree
from reconcile.kinds import Kind, Resource, kind_of
from reconcile.resources.apps import ReplicaSet
from reconcile.resources.core import ConfigMap, Event, Namespace, Pod, Secret
from reconcile.resources.core.namespace_controller import namespace_controller
from reconcile.resources.gc import garbage_collector
from reconcile.resources.gc.graph import Graph
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]


def owned(name: str, *owners: Tree, block: bool = False, namespace: str = "") -> Tree:
    references = [
        {
            "apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"],
            **({"blockOwnerDeletion": True} if block else {}),
        }
        for o in owners
    ]  # fmt: skip
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {}), "ownerReferences": references}}


async def names(plane: Any, cls: type[Resource]) -> set[str]:
    return {tree["metadata"]["name"] for tree in await plane.all(cls)}


async def delete(plane: Any, name: str, propagation: Any) -> None:
    await plane.client.delete(kind_of(ConfigMap), name, "default", DeleteOptions(propagation=propagation))


@virtual
async def test_a_whole_tree_of_dependents_goes_after_its_root(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Deleting a Deployment takes its ReplicaSets and their Pods with it, whatever their kinds are."""
    async with control_plane(clock, garbage_collector()) as plane:
        root = await plane.create(ConfigMap, {"metadata": {"name": "root"}})
        middle = await plane.create(ConfigMap, owned("middle", root))
        for number in range(50):
            await plane.create(Secret, owned(f"leaf-{number}", middle))
        await plane.create(ConfigMap, {"metadata": {"name": "other"}})
        await clock.sleep(5)
        assert await names(plane, ConfigMap) == {"root", "middle", "other"}
        await delete(plane, "root", "Background")

        async def gone() -> bool:
            return not await names(plane, Secret) and await names(plane, ConfigMap) == {"other"}

        await plane.until(gone, "the tree is gone")


@virtual
async def test_an_object_with_another_owner_stays_and_forgets_the_one_that_went(
    clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """Shared things belong to whoever is left."""
    async with control_plane(clock, garbage_collector()) as plane:
        one = await plane.create(ConfigMap, {"metadata": {"name": "one"}})
        two = await plane.create(ConfigMap, {"metadata": {"name": "two"}})
        await plane.create(Secret, owned("shared", one, two))
        await delete(plane, "one", "Background")

        async def forgot() -> bool:
            references = (await plane.get(Secret, "shared"))["metadata"]["ownerReferences"]
            return [ref["name"] for ref in references] == ["two"]

        await plane.until(forgot, "only the second owner is named")


@virtual
async def test_a_dependent_made_while_the_collector_was_away_is_collected(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A control plane that was down when an owner went must not keep its dependents for ever."""
    async with control_plane(clock) as plane:
        owner = await plane.create(ConfigMap, {"metadata": {"name": "owner"}})
        await plane.create(Secret, owned("left", owner))
        await delete(plane, "owner", None)
        await plane.create(ConfigMap, {"metadata": {"name": "owner"}})  # of the same name, but another
        await plane.engine.start(garbage_collector())

        async def gone() -> bool:
            return not await names(plane, Secret)

        await plane.until(gone, "the leftover is gone")
        assert await names(plane, ConfigMap) == {"owner"}


@virtual
async def test_a_foreground_deletion_waits_for_the_dependents_that_block_it(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """`kubectl delete --cascade=foreground` returns when everything is really gone."""
    async with control_plane(clock, garbage_collector()) as plane:
        root = await plane.create(ConfigMap, {"metadata": {"name": "root"}})
        middle = owned("middle", root, block=True)
        middle["metadata"]["finalizers"] = ["example.com/hold"]
        middle = await plane.create(ConfigMap, middle)
        await plane.create(Secret, owned("leaf", middle, block=True))
        await plane.create(Secret, owned("loose", root))
        await delete(plane, "root", "Foreground")

        async def leaves_gone() -> bool:
            return not await names(plane, Secret)

        await plane.until(leaves_gone, "the leaves are gone")
        await clock.sleep(5)
        assert await names(plane, ConfigMap) == {"root", "middle"}
        await plane.patch(ConfigMap, "middle", {"metadata": {"finalizers": None}})

        async def all_gone() -> bool:
            return not await names(plane, ConfigMap)

        await plane.until(all_gone, "root goes last")


@virtual
async def test_two_that_own_each_other_do_not_wait_for_ever(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A cycle of blocking owners would otherwise never end."""
    async with control_plane(clock, garbage_collector()) as plane:
        one = await plane.create(ConfigMap, {"metadata": {"name": "one"}})
        two = await plane.create(ConfigMap, owned("two", one, block=True))
        references = owned("one", two, block=True)["metadata"]["ownerReferences"]
        await plane.patch(ConfigMap, "one", {"metadata": {"ownerReferences": references}})
        await clock.sleep(3)
        await delete(plane, "one", "Foreground")

        async def gone() -> bool:
            return not await names(plane, ConfigMap)

        await plane.until(gone, "both are gone")


@virtual
async def test_orphans_stay_and_belong_to_nobody(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """`--cascade=orphan` is how people move Pods from one controller to another."""
    async with control_plane(clock, garbage_collector()) as plane:
        owner = await plane.create(ConfigMap, {"metadata": {"name": "owner"}})
        await plane.create(Secret, owned("kept", owner))
        await clock.sleep(3)
        await delete(plane, "owner", "Orphan")

        async def gone() -> bool:
            return not await names(plane, ConfigMap)

        await plane.until(gone, "the owner is gone")
        await clock.sleep(5)
        assert "ownerReferences" not in (await plane.get(Secret, "kept"))["metadata"]


@virtual
async def test_an_owner_in_another_namespace_means_nothing_and_is_told(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Nobody may get things deleted, or kept, across namespaces."""
    async with control_plane(clock, garbage_collector()) as plane:
        foreign = await plane.client.create(kind_of(ConfigMap), {"metadata": {"name": "far"}}, "kube-system")
        await plane.create(Secret, owned("near", foreign))
        await clock.sleep(5)
        await plane.client.delete(kind_of(ConfigMap), "far", "kube-system", DeleteOptions(propagation="Foreground"))
        await clock.sleep(5)
        assert await names(plane, Secret) == {"near"}
        assert "OwnerRefInvalidNamespace" in {e["reason"] for e in await plane.all(Event)}


@virtual
async def test_an_owner_of_a_kind_that_is_not_served_proves_nothing(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A kind that is withdrawn for a moment (a file of controllers reloads) must not take its dependents with it."""
    async with control_plane(clock, garbage_collector()) as plane:
        reference = {"apiVersion": "example.com/v1", "kind": "Site", "name": "s", "uid": "no-such-uid"}
        await plane.create(Secret, {"metadata": {"name": "page", "ownerReferences": [reference]}})
        await clock.sleep(100)
        assert await names(plane, Secret) == {"page"}


@virtual
async def test_an_owner_whose_kind_is_withdrawn_keeps_its_dependents(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The informer of a withdrawn kind reports all its objects as deleted; they are not."""
    async with control_plane(clock, garbage_collector()) as plane:
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "command": ["x"]}]}}
        spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        owner = await plane.create(ReplicaSet, {"metadata": {"name": "rs"}, "spec": spec})
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": owner["metadata"]["uid"]}
        await plane.create(Secret, {"metadata": {"name": "kept", "ownerReferences": [reference]}})
        await clock.sleep(3)
        kind: Kind = kind_of(ReplicaSet)
        plane.client.api.withdraw(kind)
        plane.engine.kinds_changed()
        await clock.sleep(60)
        plane.client.api.serve(kind)
        plane.engine.kinds_changed()
        await clock.sleep(60)
        assert await names(plane, Secret) == {"kept"}


@virtual
async def test_a_namespace_is_emptied_pods_first_and_then_goes(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Pods may need their ConfigMaps and Secrets while they stop."""
    async with control_plane(clock, garbage_collector(), namespace_controller()) as plane:
        client = plane.client
        await plane.create(Namespace, {"metadata": {"name": "team"}})
        pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "command": ["x"]}]}}
        await client.create(kind_of(Pod), pod, "team")
        held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
        await client.create(kind_of(ConfigMap), held, "team")
        await client.create(kind_of(Secret), {"metadata": {"name": "s"}}, "team")
        await plane.delete(Namespace, "team")
        await clock.sleep(5)
        status = (await plane.get(Namespace, "team"))["status"]
        assert status["phase"] == "Terminating"
        remaining = next(c for c in status["conditions"] if c["type"] == "NamespaceContentRemaining")
        assert remaining["message"] == "Some resources are remaining: pods has 1 resource instances"
        assert len((await client.list(kind_of(Secret), "team")).items) == 1
        await client.delete(kind_of(Pod), "p", "team", DeleteOptions(grace_s=0))
        await clock.sleep(10)
        assert len((await client.list(kind_of(Secret), "team")).items) == 0
        status = (await plane.get(Namespace, "team"))["status"]
        finalizers = next(c for c in status["conditions"] if c["type"] == "NamespaceFinalizersRemaining")
        assert "example.com/hold in 1 resource instances" in finalizers["message"]
        after = await client.get(kind_of(ConfigMap), "held", "team")
        await client.update(kind_of(ConfigMap), {**after, "metadata": {**after["metadata"], "finalizers": []}}, "team")

        async def gone() -> bool:
            try:
                await plane.get(Namespace, "team")
            except NotFoundError:
                return True
            return False

        await plane.until(gone, "the namespace is gone")


def test_a_change_that_says_nothing_about_ownership_is_worth_no_look() -> None:
    """A thousand Pods change status several times each while they start."""
    graph, kind = Graph(), kind_of(Pod)
    references = [{"uid": "owner", "kind": "ReplicaSet", "name": "r", "apiVersion": "apps/v1"}]
    assert graph.saw(kind_of(ReplicaSet), {"metadata": {"uid": "owner", "name": "r"}}) == ()
    assert graph.saw(kind, {"metadata": {"uid": "p", "name": "p", "ownerReferences": references}}) == ()
    assert graph.saw(kind, {"metadata": {"uid": "p", "name": "p", "ownerReferences": references}, "status": {}}) == ()
    assert [node.name for node in graph.dependents("owner")] == ["p"]
    assert list(graph.lost("owner")) == ["p"]
    graph.lost("p")
    assert (graph.nodes, graph.has_dependents("owner")) == ({}, False)
