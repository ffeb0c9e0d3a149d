"""Simulated nodes: what their Pods do, on the real API and engine in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.clock import parse_timestamp
from reconcile.errors import NotFoundError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.coordination import Lease
from reconcile.resources.core import Node, Pod
from reconcile.resources.kubelet.simulated import Faults, simulated_nodes
from reconcile.runtime.testing.virtual import VirtualClock, virtual


def pod(name: str, node: str = "sim-0", policy: str = "Always", **annotations: str) -> Tree:
    """A Pod that is bound already; annotations without their prefix."""
    told = {f"reconcile.dev/sim-{key.replace('_', '-')}": value for key, value in annotations.items()}
    spec = {"nodeName": node, "restartPolicy": policy, "containers": [{"name": "c", "image": "x:1"}]}
    return {"metadata": {"name": name, "annotations": told}, "spec": spec}


def ready(tree: Tree) -> str:
    """The status of the Ready condition."""
    return next((str(c["status"]) for c in tree["status"].get("conditions") or () if c["type"] == "Ready"), "")


async def phase(plane: Any, name: str, wanted: str, limit_s: float = 60.0) -> Tree:
    """Wait for a Pod's phase; returns the Pod."""

    async def fact() -> Tree | None:
        tree: Tree = await plane.get(Pod, name)
        return tree if tree["status"]["phase"] == wanted else None

    tree: Tree = await plane.until(fact, f"{name} {wanted}", limit_s)
    return tree


@virtual
async def test_nodes_register_and_renew_their_leases(clock: VirtualClock, control_plane: Any) -> None:
    """The scheduler needs what they offer, a node controller needs their leases."""
    async with control_plane(clock, simulated_nodes(4, zones=2, cpu="8")) as plane:
        await clock.sleep(1)
        nodes = await plane.all(Node)
        assert [node["metadata"]["name"] for node in nodes] == ["sim-0", "sim-1", "sim-2", "sim-3"]
        assert {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes} == {"zone-0", "zone-1"}
        assert all(node["status"]["allocatable"]["cpu"] == "8" and ready(node) == "True" for node in nodes)
        for _ in range(20):
            await clock.sleep(13)
            for lease in await plane.all(Lease):
                assert clock.now() - parse_timestamp(lease["spec"]["renewTime"]) < lease["spec"]["leaseDurationSeconds"]
        uids = {node["metadata"]["name"]: node["metadata"]["uid"] for node in nodes}
        for lease in (await plane.client.list(kind_of(Lease), "kube-node-lease")).items:
            (owner,) = lease["metadata"]["ownerReferences"]
            assert (owner["kind"], owner["uid"]) == ("Node", uids[owner["name"]]), "it goes with its Node"


@virtual
async def test_a_pod_becomes_ready_in_one_write_with_an_address_of_its_own(clock: VirtualClock, control_plane: Any) -> None:
    """One write is what makes thousands of Pods cheap."""
    async with control_plane(clock, simulated_nodes(2)) as plane:
        made = [await plane.create(Pod, pod(f"p{n}", f"sim-{n % 2}")) for n in range(6)]
        trees = [await phase(plane, tree["metadata"]["name"], "Running") for tree in made]
        assert {ready(tree) for tree in trees} == {"True"}
        conditions = [c for tree in trees for c in tree["status"]["conditions"]]
        assert {c["observedGeneration"] for c in conditions} == {1}, "who waits for a change asks whether it was seen"
        assert len({tree["status"]["podIP"] for tree in trees}) == 6
        assert len({tree["status"]["hostIP"] for tree in trees}) == 2


@virtual
async def test_starting_takes_as_long_as_told(clock: VirtualClock, control_plane: Any) -> None:
    """By setting, with jitter, and by annotation."""
    async with control_plane(clock, simulated_nodes(1, start_s=2, start_jitter_s=4)) as plane:
        began_s = clock.now()
        await plane.create(Pod, pod("usual"))
        await plane.create(Pod, pod("slow", start_s="30"))
        await phase(plane, "usual", "Running")
        assert 2 <= clock.now() - began_s <= 6.1
        await phase(plane, "slow", "Running")
        assert 30 <= clock.now() - began_s <= 30.1


@virtual
async def test_readiness_follows_annotation_and_gates(clock: VirtualClock, control_plane: Any) -> None:
    """Tests of rollouts turn it off and on again."""
    async with control_plane(clock, simulated_nodes(1)) as plane:
        gated = pod("gated")
        gated["spec"]["readinessGates"] = [{"conditionType": "example.com/warm"}]
        await plane.create(Pod, gated)
        await plane.create(Pod, pod("sick", ready="false"))
        trees = [await phase(plane, name, "Running") for name in ("gated", "sick")]
        assert [ready(tree) for tree in trees] == ["False", "False"]
        conditions = [*trees[0]["status"]["conditions"], {"type": "example.com/warm", "status": "True"}]
        await plane.patch(Pod, "gated", {"status": {"conditions": conditions}}, "status")
        await plane.patch(Pod, "sick", {"metadata": {"annotations": None}})

        async def both() -> bool:
            return [ready(tree) for tree in await plane.all(Pod)] == ["True", "True"]

        await plane.until(both, "ready")
        assert {tree["status"]["containerStatuses"][0]["restartCount"] for tree in await plane.all(Pod)} == {0}


@virtual
async def test_pods_end_as_their_annotations_and_restart_policy_say(clock: VirtualClock, control_plane: Any) -> None:
    """Jobs, failures, and crash loops with growing delays."""
    async with control_plane(clock, simulated_nodes(1)) as plane:
        await plane.create(Pod, pod("job", policy="Never", run_s="5", exit_code="0"))
        await plane.create(Pod, pod("broken", policy="Never", exit_code="3"))
        await plane.create(Pod, pod("looping", policy="OnFailure", run_s="1", exit_code="1"))
        job = await phase(plane, "job", "Succeeded")
        assert ready(job) == "False"
        broken = await phase(plane, "broken", "Failed")
        assert broken["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
        await clock.sleep(40)
        looping = await plane.get(Pod, "looping")
        assert looping["status"]["phase"] == "Running"
        assert looping["status"]["containerStatuses"][0]["restartCount"] == 3
        assert looping["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"


@virtual
async def test_deletion_waits_for_the_pod_to_stop_but_not_beyond_its_grace(clock: VirtualClock, control_plane: Any) -> None:
    """A deleted Pod lingers while it stops, is not ready twice, and is gone then."""
    async with control_plane(clock, simulated_nodes(1, stop_s=20)) as plane:
        for name, grace_s, expected_s in (("a", None, 20), ("b", 5, 5)):
            await plane.create(Pod, pod(name))
            await phase(plane, name, "Running")
            began_s = clock.now()
            await plane.delete(Pod, name, grace_s)
            assert (await plane.get(Pod, name))["metadata"]["deletionTimestamp"]
            await plane.until(lambda name=name: gone(plane, name), f"{name} gone")
            assert expected_s <= clock.now() - began_s <= expected_s + 0.1


@virtual
async def test_a_running_pod_is_seen_terminating_before_it_goes(clock: VirtualClock, control_plane: Any) -> None:
    """Who looks after a graceful deletion finds the Pod; forced, unstarted and finished ones have nothing to end."""
    async with control_plane(clock, simulated_nodes(1)) as plane:

        async def lives_s(name: str, grace_s: int | None = None) -> float:
            began_s = clock.now()
            await plane.delete(Pod, name, grace_s)
            await plane.until(lambda: gone(plane, name), f"{name} gone")
            return clock.now() - began_s

        for name in ("usual", "forced", "quick", "slow"):
            told = {"quick": {"stop_s": "0"}, "slow": {"stop_s": "20"}}.get(name, {})
            await plane.create(Pod, pod(name, **told))
            await phase(plane, name, "Running")
        await plane.create(Pod, pod("unstarted", start_s="60"))
        await plane.create(Pod, pod("done", policy="Never", exit_code="0"))
        await phase(plane, "done", "Succeeded")
        await plane.delete(Pod, "usual", 60)
        terminating = await plane.get(Pod, "usual")
        assert terminating["metadata"]["deletionTimestamp"]
        assert terminating["metadata"]["generation"] == 2
        assert 0.4 < await lives_s("usual") < 0.6
        for name, grace_s in (("forced", 0), ("quick", None), ("unstarted", None), ("done", None)):
            assert await lives_s(name, grace_s) < 0.1, name
        assert 19.9 < await lives_s("slow") < 20.1


@virtual
async def test_a_grace_that_gets_shorter_ends_a_pod_earlier(clock: VirtualClock, control_plane: Any) -> None:
    """Who lost patience need not wait for what was agreed before."""
    async with control_plane(clock, simulated_nodes(1)) as plane:
        await plane.create(Pod, pod("slow", stop_s="25"))
        await phase(plane, "slow", "Running")
        began_s = clock.now()
        await plane.delete(Pod, "slow")
        await clock.sleep(5)
        await plane.delete(Pod, "slow", 3)
        await plane.until(lambda: gone(plane, "slow"), "slow gone")
        assert 7.9 < clock.now() - began_s < 8.1


async def gone(plane: Any, name: str) -> bool:
    """Whether there is no such Pod (any more)."""
    try:
        await plane.get(Pod, name)
    except NotFoundError:
        return True
    return False


@virtual
async def test_a_restarted_fleet_takes_over_what_runs(clock: VirtualClock, control_plane: Any) -> None:
    """No Pod is started again, no address given out twice."""
    async with control_plane(clock) as plane:
        first = simulated_nodes(1)
        await plane.engine.start(first)
        await plane.create(Pod, pod("a"))
        before = await phase(plane, "a", "Running")
        await plane.engine.stop(first)
        await plane.create(Pod, pod("b"))
        await plane.engine.start(simulated_nodes(1))
        b = await phase(plane, "b", "Running")
        assert (await plane.get(Pod, "a")) == before
        assert b["status"]["podIP"] != before["status"]["podIP"]
        await plane.delete(Pod, "a", 1)
        await plane.until(lambda: _none(plane, "a"), "a gone")


async def _none(plane: Any, name: str) -> bool:
    return name not in {tree["metadata"]["name"] for tree in await plane.all(Pod)}


@virtual
async def test_faults_happen_as_often_as_told(clock: VirtualClock, control_plane: Any) -> None:
    """What the simulation is for."""
    faults = Faults(failed_start_share=0.5, slow_start_share=0.5, slow_start_s=100, silent_nodes=frozenset(["sim-1"]))
    async with control_plane(clock, simulated_nodes(2, faults=faults)) as plane:
        for number in range(40):
            await plane.create(Pod, pod(f"p{number}"))
        await plane.create(Pod, pod("lost", "sim-1"))
        await clock.sleep(50)
        early = [tree["status"]["phase"] for tree in await plane.all(Pod)]
        assert 10 <= early.count("Pending") <= 30
        await clock.sleep(100)
        late = {tree["metadata"]["name"]: tree["status"]["phase"] for tree in await plane.all(Pod)}
        assert late.pop("lost") == "Pending"
        assert 10 <= list(late.values()).count("Failed") <= 30
        lease = await plane.client.get(kind_of(Lease), "sim-1", "kube-node-lease")
        assert clock.now() - parse_timestamp(lease["spec"]["renewTime"]) > 100


@virtual
async def test_a_pod_that_is_active_for_too_long_fails(clock: VirtualClock, control_plane: Any) -> None:
    """Whether it had its deadline from the first, or was given an earlier one while it ran."""
    async with control_plane(clock, simulated_nodes(1)) as plane:
        for name, limit_s in (("first", 20), ("later", 500)):
            tree = pod(name)
            tree["spec"]["activeDeadlineSeconds"] = limit_s
            await plane.create(Pod, tree)
            await phase(plane, name, "Running")
        await clock.sleep(10)
        await plane.patch(Pod, "later", {"spec": {"activeDeadlineSeconds": 30}})
        began_s = clock.now()
        first = await phase(plane, "first", "Failed")
        assert 8.9 < clock.now() - began_s < 10.1
        assert first["status"]["reason"] == "DeadlineExceeded"
        assert ready(first) == "False"
        await phase(plane, "later", "Failed")
        assert 18.9 < clock.now() - began_s < 20.1


@virtual
async def test_an_image_that_nobody_has_keeps_a_pod_waiting(clock: VirtualClock, control_plane: Any) -> None:
    """A rollout that must not finish needs one; with another image the Pod starts."""
    async with control_plane(clock, simulated_nodes(1)) as plane:
        tree = pod("lost")
        tree["spec"]["containers"][0]["image"] = "foo:non-existent"
        await plane.create(Pod, tree)
        await clock.sleep(5)
        lost = await plane.get(Pod, "lost")
        assert lost["status"]["phase"] == "Pending"
        assert lost["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
        assert ready(lost) == "False"
        await plane.patch(Pod, "lost", {"spec": {"containers": [{"name": "c", "image": "foo:1"}]}})
        assert ready(await phase(plane, "lost", "Running")) == "True"


@virtual
async def test_containers_beside_the_main_ones_have_a_status(clock: VirtualClock, control_plane: Any) -> None:
    """`kubectl debug` waits for its container to run, and a Job's Pods with a sidecar tell of both."""
    async with control_plane(clock, simulated_nodes(1)) as plane:
        tree, ends = pod("p"), pod("q", policy="Never", exit_code="0", run_s="5")
        tree["spec"]["initContainers"] = [
            {"name": "first", "image": "i:1"}, {"name": "side", "image": "s:1", "restartPolicy": "Always"},
        ]  # fmt: skip
        ends["spec"]["initContainers"] = tree["spec"]["initContainers"]
        for each in (tree, ends):
            await plane.create(Pod, each)
        status = (await phase(plane, "p", "Running"))["status"]
        turns = {c["name"]: (next(iter(c["state"])), c["ready"], c["started"]) for c in status["initContainerStatuses"]}
        assert turns == {"first": ("terminated", True, False), "side": ("running", True, True)}
        assert "ephemeralContainerStatuses" not in status
        assert "resources" not in status["containerStatuses"][0]
        more = {"spec": {"containers": [{"name": "c", "image": "x:1", "resources": {"requests": {"cpu": "2"}}}]}}
        await plane.create(Pod, {**pod("r"), "spec": {**pod("r")["spec"], **more["spec"]}})
        (given,) = (await phase(plane, "r", "Running"))["status"]["containerStatuses"]
        assert (given["resources"], given["allocatedResources"]) == ({"requests": {"cpu": "2"}}, {"cpu": "2"})
        await plane.patch(Pod, "p", {"spec": {"ephemeralContainers": [{"name": "look", "image": "e:1"}]}}, "ephemeralcontainers")

        async def looks() -> list[Tree]:
            found: list[Tree] = (await plane.get(Pod, "p"))["status"].get("ephemeralContainerStatuses") or []
            return found

        (look,) = await plane.until(looks, "the ephemeral container runs")
        assert (look["name"], "running" in look["state"], look["ready"]) == ("look", True, False)
        ended = (await phase(plane, "q", "Succeeded"))["status"]
        assert ["terminated" in c["state"] for c in ended["initContainerStatuses"]] == [True, True]


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("told", [{}, {"run_s": "0.01"}, {"start_s": "0.01"}, {"stop_s": "0"}], ids=str)
@virtual
async def test_a_pod_that_is_deleted_while_it_is_written_goes(
    told: dict[str, str], heard: bool, clock: VirtualClock, control_plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is refused, for the Pod has changed; to try it again must not take the place of the end."""
    async with control_plane(clock, simulated_nodes(1)) as plane:
        await clock.sleep(1)
        write, deleted = plane.client.patch, set()

        async def patch(kind: Any, name: str, body: Any, namespace: str = "", **options: Any) -> Tree:
            if kind is kind_of(Pod) and name not in deleted:
                deleted.add(name)
                await plane.delete(Pod, name)
                if heard:
                    await clock.sleep(0.001)
            made: Tree = await write(kind, name, body, namespace, **options)
            return made

        monkeypatch.setattr(plane.client, "patch", patch)
        for name in ("taken", "refused"):
            tree = pod(name, **told)
            tree["spec"]["activeDeadlineSeconds"] = 1
            tree["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80}]
            await plane.create(Pod, tree)

        async def empty() -> bool:
            return not await plane.all(Pod)

        await plane.until(empty, "all Pods gone", 5.0)
        assert deleted == {"taken", "refused"}
