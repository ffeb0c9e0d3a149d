"""Why, trace, why-not and replay, over a whole cluster in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.errors import BadRequestError, NotFoundError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.explain.explaining import Explaining
from reconcile.runtime.explain.pages import Pages
from reconcile.runtime.explain.replaying import replay
from reconcile.testing import World

pytestmark = pytest.mark.apps(cluster=True)
LABELS = {"app": "web"}


def deployment(replicas: int = 2, image: str = "web:1", **pod: Any) -> Tree:
    containers = [{"name": "web", "image": image, **pod}]
    spec = {
        "replicas": replicas, "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": containers}},
    }  # fmt: skip
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def explaining(world: World) -> Explaining:
    engine = world.process("cluster").engine
    assert engine is not None
    return Explaining(world.api, engine)


def kind(world: World, resource: str) -> Kind:
    return next(kind for kind in world.api.stored_kinds() if kind.resource == resource)


def flat(node: Tree) -> list[Tree]:
    return [node, *(deeper for child in node["led to"] for deeper in flat(child))]


async def test_a_running_pod_leads_back_to_what_a_user_wrote(world: World) -> None:
    """The five steps of the main loop, each with the write before it."""
    await world.apply(deployment())
    await world.settled()
    pod = world.list("pods")[0]["metadata"]["name"]
    told = await explaining(world).why(kind(world, "pods"), pod, "default", ".status.phase")
    steps = [(step["by"], step["type"], step["resource"]) for step in told["steps"]]
    assert steps == [
        ("user", "ADDED", "deployments.apps"),
        ("deployment-controller/rollout", "ADDED", "replicasets.apps"),
        ("replicaset-controller/replicas", "ADDED", "pods"),
        ("default-scheduler/bind", "MODIFIED", "pods"),
        ("simulated-nodes/run", "MODIFIED", "pods"),
    ]
    assert told["end"] == ""
    for before, after in zip(told["steps"], told["steps"][1:], strict=False):
        assert after["because"] == before["revision"]
        assert after["time"] >= before["time"]
    assert {"path": "status.phase", "from": "Pending", "to": "Running"} in told["steps"][-1]["changes"]
    assert {"path": "spec.nodeName", "from": None, "to": told["steps"][3]["changes"][0]["to"]} in told["steps"][3]["changes"]


async def test_a_field_leads_to_who_set_it_not_to_who_wrote_last(world: World) -> None:
    """The status is written all the time; the number of replicas was a person's wish."""
    await world.apply(deployment())
    await world.settled()
    await world.patch("deployments/web", spec={"replicas": 3})
    await world.settled()
    told = await explaining(world).why(kind(world, "deployments.apps"), "web", "default", ".spec.replicas")
    assert [(step["by"], step["changes"]) for step in told["steps"]] == [
        ("user", [{"path": "spec.replicas", "from": 2, "to": 3}])
    ]
    with pytest.raises(NotFoundError, match=r"web has never had \.spec\.nothing"):
        await explaining(world).why(kind(world, "deployments.apps"), "web", "default", ".spec.nothing")


async def test_a_trace_holds_all_that_a_write_led_to(world: World) -> None:
    """Down to the last status, and the attempts that wrote nothing are counted."""
    await world.apply(deployment())
    await world.settled()
    root = await explaining(world).root_of(kind(world, "deployments.apps"), "web", "default")
    told = await explaining(world).trace(root)
    nodes = flat(told["tree"])
    assert nodes[0]["by"] == "user"
    assert told["writes"] == len(nodes) - 1
    assert len([node for node in nodes if (node["type"], node["resource"]) == ("ADDED", "pods")]) == 2
    assert all(int(child["revision"]) > int(node["revision"]) for node in nodes for child in node["led to"])
    workloads = ("deployments", "replicasets", "pods")
    made = {h.revision for h in world.mirror.history if h.revision > root and h.kind.plural in workloads}
    assert {int(node["revision"]) for node in nodes[1:]} >= made, "every write of the controllers is there"
    assert told["wroteNothing"] > 0
    assert (told["leftOut"], told["end"]) == (0, "")


async def test_the_collector_acts_because_of_the_owners_end(world: World) -> None:
    """Deletion, too, is explained: a pod went because its set went because its Deployment was deleted."""
    await world.apply(deployment(replicas=1))
    await world.settled()
    pod = world.list("pods")[0]["metadata"]["name"]
    await world.delete("deployments/web")
    await world.settled()
    assert world.list("pods") == []
    told = await explaining(world).why(kind(world, "pods"), pod, "default")
    steps = [(step["by"], step["type"], step["resource"]) for step in told["steps"]]
    assert steps == [
        ("user", "DELETED", "deployments.apps"),
        ("garbage-collector/collect", "DELETED", "replicasets.apps"),
        ("garbage-collector/collect", "MODIFIED", "pods"),
        ("simulated-nodes/run", "DELETED", "pods"),
    ]


async def test_why_not_tells_of_attempts_conditions_and_events(world: World) -> None:
    """A Pod that fits nowhere: the scheduler's words, and every handler's last attempt on the set."""
    await world.apply(deployment(replicas=1, resources={"requests": {"cpu": "900"}}))
    await world.settled()
    pod = world.list("pods")[0]["metadata"]["name"]
    told = await explaining(world).why_not(kind(world, "pods"), pod, "default", ".spec.nodeName")
    assert told["value"] is None
    (condition,) = told["conditions"]
    assert condition["reason"] == "Unschedulable"
    assert "Insufficient cpu" in condition["message"]
    assert any(event["reason"] == "FailedScheduling" for event in told["events"])
    assert any(handler["by"] == "default-scheduler/saw_pod" for handler in told["handlers"])
    about = await explaining(world).why_not(kind(world, "deployments.apps"), "web", "default")
    (rollout,) = [handler for handler in about["handlers"] if handler["by"] == "deployment-controller/rollout"]
    assert rollout["last"]["outcome"] in ("done", "again")
    assert rollout["where"].startswith("deployment_controller.py:")
    assert int(rollout["last"]["because"]) > 0


async def test_what_is_compacted_is_said_so(world: World) -> None:
    """A chain must not just end."""
    await world.apply(deployment(replicas=1))
    await world.settled()
    pod = world.list("pods")[0]["metadata"]["name"]
    before = world.store.revision
    await world.store.compact(before, physical=True)
    told = await explaining(world).why(kind(world, "pods"), pod, "default")
    assert "is compacted: history begins at" in told["end"]
    with pytest.raises(BadRequestError, match="revision 5 is compacted"):
        await explaining(world).trace(5)
    with pytest.raises(BadRequestError, match="is not there yet"):
        await explaining(world).trace(before + 1000)


async def test_replay_shows_what_todays_handler_would_write_and_writes_nothing(world: World) -> None:
    """The state of the moment when the Deployment had just been made, and today's controller on it."""
    await world.apply(deployment())
    await world.settled()
    engine = world.process("cluster").engine
    assert engine is not None
    root = await explaining(world).root_of(kind(world, "deployments.apps"), "web", "default")
    before = world.store.revision
    told = await replay(world.api, engine, world.clock, root, "rollout", kind(world, "deployments.apps"), "web", "default")
    assert told["by"] == "deployment-controller/rollout"
    assert [(write["type"], write["resource"]) for write in told["writes"]][:1] == [("ADDED", "replicasets.apps")]
    now = await replay(world.api, engine, world.clock, before, "rollout", kind(world, "deployments.apps"), "web", "default")
    assert now["writes"] == [], "all is done: today's handler would write nothing"
    assert [attempt["outcome"] for attempt in now["attempts"]] == ["done"]
    assert world.store.revision == before
    with pytest.raises(NotFoundError, match=r"no handler called 'nobody' is for deployments\.apps; there are: deployment-con"):
        await replay(world.api, engine, world.clock, root, "nobody", kind(world, "deployments.apps"), "web", "default")
    with pytest.raises(NotFoundError):
        await replay(world.api, engine, world.clock, root - 1, "rollout", kind(world, "deployments.apps"), "web", "default")


async def test_pages_answer_and_refuse(world: World) -> None:
    """What commands ask over HTTP."""
    await world.apply(deployment(replicas=1))
    await world.settled()
    engine = world.process("cluster").engine
    assert engine is not None
    pages = Pages(world.api, engine)
    query = {"resource": "deployments.apps", "name": "web", "namespace": "default"}
    assert (await pages.answer("why", query))["kind"] == "Why"
    assert (await pages.answer("trace", query))["kind"] == "Trace"
    attempts = (await pages.answer("attempts", query))["items"]
    assert {attempt["by"] for attempt in attempts} == {"deployment-controller/rollout"}
    assert all(attempt["ended"] for attempt in attempts)
    with pytest.raises(NotFoundError, match="there are: why, trace"):
        await pages.answer("whence", query)
    with pytest.raises(BadRequestError, match="names no object"):
        await pages.answer("why", {"resource": "shoes", "name": "x"})
    with pytest.raises(BadRequestError, match="takes a whole number"):
        await pages.answer("trace", {"revision": "x"})
