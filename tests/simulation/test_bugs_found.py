"""The bugs that the simulation found in this project, each with the plan that found it; docs/testing.md tells of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from reconcile.runtime.testing.convergence import Convergence
from reconcile.runtime.testing.plan import read_plan
from reconcile.testing import World

from .builtins import cluster_experiment, everywhere, members, rollout, work
from .conftest import grow_and_shrink

Make = Callable[[str, Callable[[World], Awaitable[None]]], Convergence]


async def grow_and_close(world: World) -> None:
    await grow_and_shrink(world)
    await world.delete("webapps/shop")
    await world.settled()


def test_a_child_that_vanished_is_not_made_again_for_an_owner_that_is_gone(experiment: Make) -> None:
    """Hearing late that the owner is gone, the engine made its children anew as fast as the collector deleted them: 35 for 5."""
    convergence = experiment("careful", grow_and_close)
    deleted = [e for e in convergence.reference.events if (e.type, e.key) == ("DELETED", "webapps/shop")]
    assert convergence.check(read_plan(f"delay:careful:{deleted[0].nth}")) is None


def test_a_refused_delete_of_an_object_that_is_still_there_is_tried_again(experiment: Make) -> None:
    """Any conflict was taken to mean that the object is another by now; the handler then waited for ever for its end."""
    convergence = experiment("random_names", grow_and_shrink)
    deleted = [w for w in convergence.reference.writes if w.verb == "delete"]
    assert convergence.check(read_plan(f"conflict:random-names:{deleted[0].nth}")) is None


def built_in(workload: Callable[[World], Awaitable[None]]) -> Convergence:
    return Convergence(cluster_experiment(workload))


def last_heard(convergence: Convergence, process: str, type_: str, plural: str) -> int:
    """The number of the last such event of a process."""
    return [e.nth for e in convergence.reference.events if (e.process, e.type) == (process, type_) and f"{plural}/" in e.key][-1]


def test_a_deployment_whose_end_is_heard_late_makes_nothing_anew() -> None:
    """It made 12 ReplicaSets and 36 Pods where 2 and 6 were needed, against the garbage collector, for ten seconds."""
    convergence = built_in(rollout)
    nth = last_heard(convergence, "deployment-controller", "DELETED", "deployments")
    assert convergence.check(read_plan(f"delay:deployment-controller:{nth}:10")) is None


def test_a_replica_set_whose_end_is_missed_makes_no_pods_anew() -> None:
    """It made 96 Pods where 6 were needed."""
    convergence = built_in(rollout)
    nth = last_heard(convergence, "replicaset-controller", "DELETED", "replicasets")
    assert convergence.check(read_plan(f"delay:replicaset-controller:{nth}:10")) is None
    assert convergence.check(read_plan(f"drop:replicaset-controller:{nth}")) is None


@pytest.mark.parametrize(
    ("workload", "process", "plural"),
    [(members, "statefulset-controller", "statefulsets"), (everywhere, "daemonset-controller", "daemonsets")],
)
def test_members_and_daemons_of_a_set_whose_end_is_missed_are_not_made_anew(workload: Any, process: str, plural: str) -> None:
    """It made 36 Pods and 32 ControllerRevisions where 6 and 2 were needed."""
    convergence = built_in(workload)
    nth = last_heard(convergence, process, "DELETED", plural)
    assert convergence.check(read_plan(f"drop:{process}:{nth}")) is None
    assert convergence.check(read_plan(f"delay:{process}:{nth}:10")) is None


def test_simulated_nodes_that_see_the_past_do_not_bring_a_finished_pod_back() -> None:
    """A restarted fleet wrote Running over Succeeded, without looking which state, or which Pod, it wrote over."""
    convergence = built_in(work)
    finished = [e for e in convergence.reference.events if e.process == "simulated-nodes" and e.key.startswith("pods/")]
    assert convergence.check(read_plan(f"stale:simulated-nodes:{finished[-1].nth}:{finished[0].revision}")) is None
    assert convergence.check(read_plan(f"stale:simulated-nodes:{finished[3].nth}:{finished[0].revision}")) is None


def test_a_simulated_node_that_is_refused_once_registers_again() -> None:
    """One refused write at the start, and the node was missing (or without a status) for ever."""
    convergence = built_in(rollout)
    for write in [w for w in convergence.reference.writes if w.process == "simulated-nodes" and w.key == "nodes/sim-0"]:
        for plan in (f"500:simulated-nodes:{write.nth}", f"500:simulated-nodes:{write.nth}:1"):
            assert convergence.check(read_plan(plan)) is None, plan
