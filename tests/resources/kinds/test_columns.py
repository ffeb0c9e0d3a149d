"""The cells of `get`: what people look at all day, and scripts cut to pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds
from reconcile.resources.core.age import age

NOW_S = parse_timestamp("2026-01-01T01:00:00Z")


def row(kind_name: str, tree: Tree) -> dict[str, Any]:
    kind = next(kind_of(cls) for cls in builtin_kinds() if kind_of(cls).kind == kind_name)
    tree = {**tree, "metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z", **tree.get("metadata", {})}}
    return {column.name: column.cell(tree, NOW_S) for column in kind.columns if column.cell is not None}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"), (10799, "179m"),
        (10800, "3h"), (3 * 3600 + 120, "3h2m"), (28800, "8h"), (47 * 3600, "47h"), (48 * 3600, "2d"), (50 * 3600, "2d2h"),
        (8 * 86400, "8d"), (729 * 86400, "729d"), (730 * 86400, "2y"), (740 * 86400, "2y10d"), (8 * 365 * 86400, "8y"),
    ],
)  # fmt: skip
def test_ages_are_written_as_kubectl_writes_them(seconds: int, text: str) -> None:
    """Scripts parse this column."""
    assert age(seconds) == text


def state(kind: str, **values: Any) -> Tree:
    return {kind: values}


@pytest.mark.parametrize(
    ("tree", "shown"),
    [
        ({"status": {"phase": "Pending"}}, ("0/1", "Pending", "0")),
        (
            {"status": {"phase": "Running", "containerStatuses": [{"name": "a", "ready": True, "state": state("running")}]}},
            ("1/1", "Running", "0"),
        ),
        (
            {
                "status": {
                    "phase": "Running",
                    "containerStatuses": [
                        {
                            "name": "a", "restartCount": 3, "state": state("waiting", reason="CrashLoopBackOff"),
                            "lastState": state("terminated", finishedAt="2026-01-01T00:57:55Z", exitCode=1),
                        }
                    ],
                }
            },
            ("0/1", "CrashLoopBackOff", "3 (2m5s ago)"),
        ),
        (
            {"status": {"phase": "Succeeded", "containerStatuses": [{"state": state("terminated", reason="Completed")}]}},
            ("0/1", "Completed", "0"),
        ),
        (
            {"status": {"phase": "Failed", "containerStatuses": [{"name": "a", "state": state("terminated", exitCode=3)}]}},
            ("0/1", "ExitCode:3", "0"),
        ),
        (
            {
                "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]},
                "status": {
                    "phase": "Pending",
                    "initContainerStatuses": [
                        {"name": "i", "state": state("terminated", exitCode=0)}, {"name": "j", "state": state("running")},
                    ],
                },
            },
            ("0/1", "Init:1/2", "0"),
        ),
        (
            {"metadata": {"deletionTimestamp": "2026-01-01T00:59:00Z"}, "status": {"phase": "Running"}},
            ("0/1", "Terminating", "0"),
        ),
        ({"status": {"phase": "Failed", "reason": "Evicted"}}, ("0/1", "Evicted", "0")),
        (
            {"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}},
            ("0/1", "SchedulingGated", "0"),
        ),
    ],
)  # fmt: skip
def test_a_pods_row_says_in_one_word_how_it_is(tree: Tree, shown: tuple[str, str, str]) -> None:
    """A crash loop that reads Running is an outage that nobody sees."""
    cells = row("Pod", {"spec": {"containers": [{"name": "a"}]}, **tree})
    assert (cells["Ready"], cells["Status"], cells["Restarts"]) == shown


def test_a_nodes_row_shows_its_state_roles_and_cordon() -> None:
    """`kubectl get nodes` is the first look at a cluster."""
    labels = {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
    cells = row("Node", {"metadata": {"labels": labels}, "spec": {"unschedulable": True}, "status": ready})
    assert cells["Status"] == "Ready,SchedulingDisabled"
    assert cells["Roles"] == "control-plane,worker"
    assert cells["Internal-IP"] == "127.0.0.1"
    assert row("Node", {})["Status"] == "Unknown"
    assert row("Node", {})["Roles"] == "<none>"


def test_services_deployments_events_and_slices_read_as_in_kubectl() -> None:
    """People compare these lines with what they know."""
    service = row(
        "Service",
        {"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "selector": {"b": "2", "a": "1"},
                  "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}},
    )  # fmt: skip
    assert (service["Cluster-IP"], service["External-IP"], service["Port(s)"]) == ("10.0.0.1", "<none>", "80:30080/TCP,53/UDP")
    assert service["Selector"] == "a=1,b=2"
    deployment = row(
        "Deployment",
        {"spec": {"replicas": 3, "selector": {"matchLabels": {"app": "w"}},
                  "template": {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b"}]}}},
         "status": {"readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}},
    )  # fmt: skip
    assert (deployment["Ready"], deployment["Up-to-date"], deployment["Available"]) == ("2/3", 1, 2)
    assert (deployment["Containers"], deployment["Selector"]) == ("a,b", "app=w")
    event = row(
        "Event",
        {"involvedObject": {"kind": "Pod", "name": "w"}, "lastTimestamp": "2026-01-01T00:59:00Z", "count": 4, "message": " m\n",
         "source": {"component": "kubelet", "host": "n1"}},
    )  # fmt: skip
    assert (event["Last Seen"], event["Object"], event["Message"]) == ("60s", "pod/w", "m")
    assert (event["Count"], event["Source"]) == (4, "kubelet, n1")
    endpoints = [{"addresses": [f"10.0.0.{n}"]} for n in range(5)]
    slice_row = row("EndpointSlice", {"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": endpoints})
    assert slice_row["Endpoints"] == "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more..."


def test_the_columns_are_those_of_a_real_server() -> None:
    """Names, order, types and priorities were read from a Kubernetes 1.36 server."""
    recorded = json.loads((Path(__file__).parent / "columns-of-a-real-server.json").read_text())
    for cls in builtin_kinds():
        kind = kind_of(cls)
        ours = [(c.name, c.type, c.format, c.priority) for c in kind.columns]
        if not any(column[2] == "name" for column in ours):
            ours.insert(0, ("Name", "string", "name", 0))  # the server puts it in front
        assert ours == [tuple(column) for column in recorded[f"{kind.api_version}/{kind.plural}"]], str(kind)
