"""Preemption: a more important Pod takes the place of less important ones, of as few and as unimportant ones as possible."""

from __future__ import annotations

from typing import Any

from reconcile.errors import Tree
from reconcile.resources.core import Pod
from reconcile.resources.policy.budget import PodDisruptionBudget
from reconcile.resources.scheduler import scheduler
from reconcile.resources.scheduler.demand import Demands, PodInfo
from reconcile.resources.scheduler.placement import default_plugins
from reconcile.resources.scheduler.preemption import Choice, Preemption
from reconcile.resources.scheduler.snapshot import ClusterState
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.resources.scheduler.test_scheduler_operator import add_node, node_of


def pod(name: str, cpu: str, priority: int, *, started: str = "", **spec: Any) -> Tree:
    container = {"name": "c", "image": "x:1", "resources": {"requests": {"cpu": cpu}}}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": name[0]}},
        "spec": {"containers": [container], "priority": priority, **spec},
        "status": {"startTime": started},
    }


class Model:
    """Nodes of four CPUs, with Pods on them."""

    def __init__(self, **nodes: list[Tree]) -> None:
        self.demands, self.ending = Demands(), set[str]()
        self.state = ClusterState(lambda: 0.5)
        for name, pods in nodes.items():
            status = {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}
            self.state.set_node({"metadata": {"name": name, "labels": {"node": name}}, "status": status})
            for tree in pods:
                self.state.add_pod(self.demands.read(tree), name)
        self.preemption = Preemption(self.state, default_plugins(), lambda pod: pod.uid in self.ending)

    def choose(self, tree: Tree, *budgets: Tree) -> tuple[str, set[str]] | None:
        before = self._told()
        choice = self.preemption.choose(self.demands.read(tree), budgets)
        assert self._told() == before, "the model is as it was"
        return (choice.node, {victim.name for victim in choice.victims}) if choice else None

    def _told(self) -> Any:
        return {
            name: (node.used_cpu_milli, dict(node.used_scalars), set(node.pods), dict(+node.ports))
            for name, node in self.state.nodes.items()
        }


def budget(app: str, allowed: int) -> Tree:
    spec = {"selector": {"matchLabels": {"app": app}}}
    return {"metadata": {"name": app, "namespace": "default"}, "spec": spec, "status": {"disruptionsAllowed": allowed}}


def test_no_more_pods_end_than_have_to_and_the_important_ones_stay() -> None:
    model = Model(n1=[pod("a", "1", 5), pod("b", "1", 1), pod("c", "1", 3), pod("d", "1", 1, started="2026-01-02")])
    assert model.choose(pod("x", "1", 10)) == ("n1", {"d"}), "of the least important the one that runs for the shortest time"
    assert model.choose(pod("x", "2", 10)) == ("n1", {"b", "d"})
    assert model.choose(pod("x", "3", 10)) == ("n1", {"b", "c", "d"})


def test_who_is_as_important_ends_for_nobody() -> None:
    model = Model(n1=[pod("a", "4", 10)])
    assert model.choose(pod("x", "1", 10)) is None
    assert not model.preemption.can_help(model.demands.read(pod("x", "1", 10)))
    assert model.preemption.can_help(model.demands.read(pod("x", "1", 11)))
    assert not model.preemption.can_help(model.demands.read(pod("x", "1", 11, preemptionPolicy="Never")))


def test_nodes_where_no_end_of_a_pod_helps_are_left_alone() -> None:
    model = Model(n1=[pod("a", "4", 1)], n2=[pod("b", "4", 1)])
    assert model.choose(pod("x", "1", 10, nodeSelector={"node": "n2"})) == ("n2", {"b"})
    assert model.choose(pod("x", "5", 10)) is None


def test_the_node_with_the_least_harm_is_taken() -> None:
    assert Model(n1=[pod("a", "4", 5)], n2=[pod("b", "4", 3)]).choose(pod("x", "4", 10)) == ("n2", {"b"})
    two = [pod("a", "2", 3), pod("c", "2", 3)]
    assert Model(n1=two, n2=[pod("b", "4", 3)]).choose(pod("x", "4", 10)) == ("n2", {"b"})
    older, newer = pod("a", "4", 3, started="2026-01-01"), pod("b", "4", 3, started="2026-01-02")
    assert Model(n1=[older], n2=[newer]).choose(pod("x", "4", 10)) == ("n2", {"b"})


def test_budgets_are_broken_only_where_nothing_else_helps() -> None:
    model = Model(n1=[pod("a", "4", 1)], n2=[pod("b", "4", 5)])
    assert model.choose(pod("x", "4", 10), budget("a", 0)) == ("n2", {"b"})
    assert model.choose(pod("x", "4", 10), budget("a", 1)) == ("n1", {"a"})
    assert model.choose(pod("x", "4", 10), budget("a", 0), budget("b", 0)) == ("n1", {"a"})
    inside = Model(n1=[pod("a", "2", 1), pod("b", "2", 5)])
    assert inside.choose(pod("x", "2", 10), budget("a", 0)) == ("n1", {"b"}), "who is protected stays, though less important"


def test_room_that_is_being_made_is_used() -> None:
    model = Model(n1=[pod("a", "2", 1), pod("b", "2", 1)])
    model.ending.add("a")
    assert model.choose(pod("x", "2", 10)) == ("n1", set())


def test_harm_is_compared_in_the_order_of_the_reference() -> None:
    def choice(violations: int, *priorities: int) -> Choice:
        demands = Demands()
        victims = tuple[PodInfo, ...](demands.read(pod(f"p{at}", "1", priority)) for at, priority in enumerate(priorities))
        return Choice("n", victims, violations)

    ordered = [choice(0), choice(0, 1), choice(0, 1, 1), choice(0, 2), choice(1, 1)]
    assert sorted(ordered, key=lambda found: found.harm) == ordered


def wanting(name: str, cpu: str, priority_class: str) -> Tree:
    tree = pod(name, cpu, 0, priorityClassName=priority_class, terminationGracePeriodSeconds=30)
    del tree["spec"]["priority"], tree["status"], tree["metadata"]["uid"]
    return tree


HIGH, HIGHER = "system-cluster-critical", "system-node-critical"


@virtual
async def test_a_victim_is_told_why_and_the_place_is_kept_for_whom_it_was_made(clock: VirtualClock, control_plane: Any) -> None:
    """Also from one that comes while the victim still runs; and what was decided outlives the scheduler."""
    async with control_plane(clock, scheduler()) as plane:
        await add_node(plane, "n1")
        await plane.create(Pod, wanting("low", "3", ""))
        await plane.until(lambda: node_of(plane, "low"), "bound")
        await plane.create(Pod, wanting("high", "3", HIGH))

        async def going() -> Any:
            return (await plane.get(Pod, "low"))["metadata"].get("deletionTimestamp")

        await plane.until(going, "the victim is asked to go")
        low, high = await plane.get(Pod, "low"), await plane.get(Pod, "high")
        (why,) = [c for c in low["status"]["conditions"] if c["type"] == "DisruptionTarget"]
        assert (why["reason"], why["status"]) == ("PreemptionByScheduler", "True")
        assert high["status"]["nominatedNodeName"] == "n1"
        assert ("Preempted", f"Preempted by pod {high['metadata']['uid']} on node n1") in await plane.events("low")

        await plane.create(Pod, wanting("late", "3", ""))
        await clock.sleep(20)
        await plane.delete(Pod, "low", 0)
        await plane.until(lambda: node_of(plane, "high"), "bound")
        await clock.sleep(20)
        assert await node_of(plane, "late") == ""
        assert "nominatedNodeName" not in (await plane.get(Pod, "high"))["status"]


@virtual
async def test_room_that_is_kept_is_no_room_for_the_less_important(clock: VirtualClock, control_plane: Any) -> None:
    """One of two victims went: what it left is not for others."""
    async with control_plane(clock, scheduler()) as plane:
        await add_node(plane, "n1")
        for name in ("low-1", "low-2"):
            await plane.create(Pod, wanting(name, "2", ""))
            await plane.until(lambda name=name: node_of(plane, name), "bound")
        await plane.create(Pod, wanting("high", "4", HIGH))

        async def going() -> bool:
            return sum("deletionTimestamp" in tree["metadata"] for tree in await plane.all(Pod)) == 2

        await plane.until(going, "both victims are asked to go")
        await plane.delete(Pod, "low-1", 0)
        await plane.create(Pod, wanting("small", "1", ""))
        await clock.sleep(15)
        assert await node_of(plane, "small") == ""
        await plane.create(Pod, wanting("highest", "1", HIGHER))
        await plane.until(lambda: node_of(plane, "highest"), "who is more important does not wait")
        await plane.delete(Pod, "low-2", 0)
        await clock.sleep(15)
        assert await node_of(plane, "high") == "", "3 of 4 are free"
        await plane.delete(Pod, "highest", 0)
        await plane.until(lambda: node_of(plane, "high"), "bound at last")


@virtual
async def test_a_budget_decides_between_two_nodes(clock: VirtualClock, control_plane: Any) -> None:
    async with control_plane(clock, scheduler()) as plane:
        for number in ("1", "2"):
            await add_node(plane, f"n{number}")
            tree = wanting(f"{'ab'[int(number) - 1]}{number}", "4", "")
            await plane.create(Pod, {**tree, "spec": {**tree["spec"], "nodeName": f"n{number}"}})
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
        await plane.create(PodDisruptionBudget, {"metadata": {"name": "keep-a"}, "spec": spec})
        await plane.create(Pod, wanting("high", "4", HIGH))
        await clock.sleep(5)
        going = {tree["metadata"]["name"] for tree in await plane.all(Pod) if "deletionTimestamp" in tree["metadata"]}
        assert going == {"b2"}
