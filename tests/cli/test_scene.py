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
