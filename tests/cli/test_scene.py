"""What `up` and `status` make of objects."""

from __future__ import annotations

import pytest

from reconcile.cli.scene import Scene, rollout_of, service_row, why_not_well
from reconcile.errors import Tree


def deployment(replicas: int = 3, generation: int = 1, **status: object) -> Tree:
    return {
        "metadata": {"name": "web", "namespace": "default", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, **status},
    }


@pytest.mark.parametrize(
    ("tree", "done"),
    [
        (deployment(replicas=3, updatedReplicas=3, availableReplicas=3), True),
        (deployment(updatedReplicas=3, availableReplicas=3, generation=2), False),
        (deployment(updatedReplicas=2, availableReplicas=3), False),
        (deployment(updatedReplicas=3, availableReplicas=2), False),
        (
            {
                **deployment(updatedReplicas=3, availableReplicas=3),
                "status": {"observedGeneration": 1, "replicas": 4, "updatedReplicas": 3, "availableReplicas": 3},
            },
            False,
        ),
        (deployment(replicas=0), True),
    ],
)
def test_a_rollout_is_done_when_kubectl_says_so(tree: Tree, done: bool) -> None:
    """`up --wait` and `rollout status` promise the same thing."""
    assert rollout_of(tree).done is done


def test_a_stuck_rollout_says_why() -> None:
    """The reason stands in a condition that nobody reads."""
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}

    assert rollout_of(deployment(updatedReplicas=1, conditions=[condition])).stuck == "timed out"


def pod(**state: object) -> Tree:
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "c", **state}]}}


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (pod(state={"running": {}}), ""),
        (pod(state={"waiting": {"reason": "X", "message": "configmap missing"}}), "c: configmap missing"),
        (
            pod(
                state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container=c pod=p"}},
                lastState={"terminated": {"exitCode": 3}},
            ),
            "c: exited with code 3 (back-off 20s)",
        ),
        (pod(state={"terminated": {"exitCode": 1, "message": "first\nlast words"}}), "c: exited with code 1: last words"),
        (
            {
                "metadata": {"name": "p"},
                "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]},
            },
            "no node",
        ),
    ],
)  # fmt: skip
def test_a_pod_that_is_not_well_says_why_in_a_line(tree: Tree, why: str) -> None:
    """The first question of whoever looks."""
    assert why_not_well(tree) == why


def test_changes_are_told_once() -> None:
    """A line for each thing that happened, none for what did not."""
    scene = Scene()

    said = [
        scene.put("Deployment", deployment(updatedReplicas=0)),
        scene.put("Deployment", deployment(updatedReplicas=0)),
        scene.put("Deployment", deployment(updatedReplicas=3, availableReplicas=1)),
        scene.put("Deployment", deployment(updatedReplicas=3, availableReplicas=3)),
        scene.put("Deployment", deployment(updatedReplicas=3, availableReplicas=3)),
    ]

    assert said == [
        "deployment/web: 0/3 available", "", "deployment/web: 1/3 available",
        "deployment/web is rolled out: 3/3 available", "",
    ]  # fmt: skip


def test_a_warning_that_repeats_is_told_once() -> None:
    """A crash loop must not scroll everything else away."""
    scene = Scene()
    event: Tree = {
        "metadata": {"name": "e", "namespace": "default"}, "type": "Warning", "reason": "Failed", "message": "no", "count": 1,
        "involvedObject": {"kind": "Pod", "name": "p"},
    }  # fmt: skip

    assert scene.put("Event", event) == "pod/p: Failed: no"
    assert scene.put("Event", {**event, "count": 2}) == ""


def test_a_service_counts_the_endpoints_that_are_ready() -> None:
    """An address with nothing behind it looks like a broken app."""
    tree: Tree = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"clusterIP": "127.1.0.1", "ports": [{"port": 80}]}}
    endpoints = [{"conditions": {"ready": True}}, {"conditions": {"ready": False}}, {}]

    row = service_row(tree, [{"endpoints": endpoints}, {"endpoints": None}])

    assert (row.addresses, row.ready) == ("127.1.0.1:80", 2)


@pytest.mark.parametrize(
    ("kind", "spec", "status", "done", "progress"),
    [
        ("StatefulSet", {"replicas": 3}, {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}, False, "1/3 available"),
        ("StatefulSet", {"replicas": 1}, {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, True, "1/1 available"),
        (
            "StatefulSet", {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
            {"replicas": 3, "updatedReplicas": 1, "availableReplicas": 3}, True, "3/3 available",
        ),
        (
            "DaemonSet", {},
            {"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": 1, "numberAvailable": 2},
            False, "2/2 available, 1 new, 1 old",
        ),
        ("Job", {"completions": 4}, {"succeeded": 1}, True, "1/4 succeeded"),
        ("Job", {}, {"conditions": [{"type": "Failed", "status": "True", "message": "too often"}]}, False, "0/1 succeeded"),
    ],
)  # fmt: skip
def test_other_workloads_are_told_by_their_own_counts(kind: str, spec: Tree, status: Tree, done: bool, progress: str) -> None:
    """A Job that runs is well, and one that failed is not."""
    rollout = rollout_of({"metadata": {"name": "x", "namespace": "default"}, "spec": spec, "status": status}, kind)
    assert (rollout.title, rollout.done, rollout.progress) == (f"{kind.lower()}/x", done, progress)
    assert rollout.stuck == ("too often" if kind == "Job" and not done else "")


def test_jobs_of_a_cron_job_are_not_told_one_by_one() -> None:
    """There is one every minute."""
    scene = Scene()
    owned = {"name": "tick-1", "namespace": "default", "ownerReferences": [{"kind": "CronJob", "name": "tick", "uid": "1"}]}
    assert scene.put("Job", {"metadata": owned, "spec": {}, "status": {}}) == ""
    assert scene.rollouts() == []
