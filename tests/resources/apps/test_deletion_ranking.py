"""Which Pods a shrinking ReplicaSet lets go first."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.clock import timestamp
from reconcile.resources.apps.deletion_ranking import deletion_cost, pods_to_delete, ranked

NOW_S = 1_700_000_000.0


def pod(
    name: str, *, node: str = "n1", phase: str = "Running", ready_for_s: float | None = 1000, cost: str = "",
    restarts: int = 0, age_s: float = 5000, uid: str = "",
) -> dict[str, Any]:  # fmt: skip
    """A Pod, healthy unless told otherwise."""
    conditions = []
    if ready_for_s is not None:
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": timestamp(NOW_S - ready_for_s)})
    annotations = {"controller.kubernetes.io/pod-deletion-cost": cost} if cost else {}
    return {
        "metadata": {
            "name": name, "uid": uid or name, "annotations": annotations, "creationTimestamp": timestamp(NOW_S - age_s),
        },
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": [{"name": "c", "restartCount": restarts}]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"node": ""}, {"phase": "Pending", "ready_for_s": None}, id="unassigned before assigned"),
        pytest.param({"phase": "Pending", "ready_for_s": None}, {"phase": "Unknown"}, id="Pending before Unknown"),
        pytest.param({"phase": "Unknown"}, {"phase": "Running", "ready_for_s": None}, id="Unknown before Running"),
        pytest.param({"ready_for_s": None, "cost": "100"}, {"cost": "-1"}, id="not ready before ready, whatever the cost"),
        pytest.param({"cost": "-5", "ready_for_s": 4000}, {"cost": "3", "ready_for_s": 10}, id="cheaper first"),
        pytest.param({"ready_for_s": 10}, {"ready_for_s": 4000, "restarts": 9}, id="ready for less time first"),
        pytest.param({"restarts": 3}, {"restarts": 1, "age_s": 1500}, id="more restarts first"),
        pytest.param({"age_s": 1100}, {"age_s": 90_000}, id="newer first"),
        pytest.param({"ready_for_s": 1000, "uid": "a"}, {"ready_for_s": 900, "uid": "b"}, id="like ages: by uid"),
    ],
)
def test_the_first_difference_decides(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Users count on healthy, old, costly Pods to stay; each rule only speaks where those above are silent."""
    a, b = pod("a", **first), pod("b", **second)
    for order in ([a, b], [b, a]):
        assert [p["metadata"]["name"] for p in ranked(order, order, NOW_S)] == ["a", "b"]


def test_a_pod_with_more_siblings_on_its_node_goes_first() -> None:
    """Otherwise scaling down could leave all replicas on one machine."""
    crowded, alone, sibling = pod("crowded", node="n1"), pod("alone", node="n2"), pod("sibling", node="n1")
    assert ranked([alone, crowded], [alone, crowded, sibling], NOW_S)[0]["metadata"]["name"] == "crowded"


def test_all_go_without_ordering_when_all_must_go() -> None:
    """Deleting a thousand of a thousand needs no comparison."""
    pods = [pod(str(n)) for n in range(3)]
    assert pods_to_delete(pods, pods, 3, NOW_S) == pods
    assert len(pods_to_delete(pods, pods, 2, NOW_S)) == 2


@pytest.mark.parametrize(("text", "cost"), [("7", 7), ("-7", -7), ("+7", 0), ("07", 0), ("x", 0), ("99999999999", 0)])
def test_a_cost_that_is_no_plain_number_of_32_bits_counts_as_none(text: str, cost: int) -> None:
    """The reference server refuses these spellings; a typing error must not make a Pod precious."""
    assert deletion_cost(pod("a", cost=text)) == cost
