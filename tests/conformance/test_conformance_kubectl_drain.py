"""kubectl and PodDisruptionBudgets: created, shown, and what a drain makes of them."""

from __future__ import annotations

import json

from tests.conformance.kubectl import WEB, Kubectl
from tests.plane import Plane, wait_until


def test_a_budget_is_created_and_shown(kubectl: Kubectl) -> None:
    """`create` sends protobuf."""
    kubectl("create", "pdb", "one", "--selector=app=web", "--min-available=1")
    kubectl("create", "poddisruptionbudget", "half", "--selector=app=web", "--max-unavailable=50%")
    assert "must be specified" in kubectl("create", "pdb", "none", "--selector=app=web", code=1)
    rows = [line.split()[:3] for line in kubectl("get", "pdb").splitlines()]
    assert rows[1:] == [["half", "N/A", "50%"], ["one", "1", "N/A"]]
    assert "Min available:  1" in kubectl("describe", "pdb", "one")
    assert "unhealthyPodEvictionPolicy" in kubectl("explain", "pdb.spec")


def test_a_drain_evicts_as_far_as_the_budget_allows(kubectl: Kubectl, plane: Plane, namespace: str) -> None:
    """The refused Pod stays; once the budget is gone, it goes."""
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=20s")
    kubectl("create", "pdb", "web", "--selector=app=web", "--min-available=1")
    wait_until("the budget is counted", lambda: _counted(kubectl), 20)
    pod = json.loads(kubectl("get", "pods", "-o", "json"))["items"][0]
    node = pod["spec"]["nodeName"]
    options = ("--pod-selector=app=web", "--disable-eviction=false")
    try:
        refused = kubectl("drain", node, *options, "--timeout=1s", code=1)
        assert "Cannot evict pod as it would violate the pod's disruption budget." in refused
        assert kubectl("get", "pod", pod["metadata"]["name"], "-o", "name")
        kubectl("delete", "pdb", "web")
        assert f"pod/{pod['metadata']['name']} evicted" in kubectl("drain", node, *options, "--timeout=20s")
    finally:
        kubectl("uncordon", node)


def _counted(kubectl: Kubectl) -> bool:
    status = json.loads(kubectl("get", "pdb", "web", "-o", "json")).get("status", {})
    return bool(status.get("currentHealthy") == 1 and status.get("disruptionsAllowed") == 0)
