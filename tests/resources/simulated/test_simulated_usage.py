"""What simulated nodes and their Pods use."""

from __future__ import annotations

from typing import Any

from reconcile.cli.node import NODE_METRICS, POD_METRICS
from reconcile.cli.simulated_meters import serve_simulated
from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources.core import Node, Pod
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.testing.virtual import VirtualClock, virtual


def pod(name: str, annotations: dict[str, str] | None = None, **requests: str) -> Tree:
    resources = {"resources": {"requests": requests}} if requests else {}
    return {
        "metadata": {"name": name, "annotations": annotations or {}, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "x", **resources}]},
    }


@virtual
async def test_top_has_figures_of_simulated_nodes(clock: VirtualClock, control_plane: Any) -> None:
    """What is said, else what is asked for, else next to nothing; a node has the sum of its Pods, and who waits has none."""
    async with control_plane(clock, scheduler(), simulated_nodes(2)) as plane:
        serve_simulated(plane.client.api, clock)
        said = {"reconcile.dev/sim-cpu": "250m", "reconcile.dev/sim-memory": "64Mi"}
        await plane.create(Pod, pod("said", said, cpu="1"))
        await plane.create(Pod, pod("asks", cpu="1500m", memory="1Gi"))
        await plane.create(Pod, pod("modest", {"reconcile.dev/sim-cpu": "much"}))
        await plane.create(Pod, pod("waits", cpu="500"))

        async def running() -> bool:
            return [(p.get("status") or {}).get("phase") for p in await plane.all(Pod)].count("Running") == 3

        await plane.until(running, "three run")
        found = {tree["metadata"]["name"]: tree for tree in (await plane.client.list(POD_METRICS, "default")).items}
        usages = {name: tree["containers"][0]["usage"] for name, tree in found.items()}
        assert usages == {
            "said": {"cpu": "250000000n", "memory": "65536Ki"}, "asks": {"cpu": "1500000000n", "memory": "1048576Ki"},
            "modest": {"cpu": "1000000n", "memory": "1024Ki"},
        }  # fmt: skip
        only = (await plane.client.list(POD_METRICS, "default", labels="app=said")).items
        assert [tree["metadata"]["name"] for tree in only] == ["said"]
        assert (await plane.client.get(POD_METRICS, "said", "default"))["containers"][0]["name"] == "main"
        nodes = (await plane.client.list(NODE_METRICS)).items
        assert {tree["metadata"]["name"] for tree in nodes} == {tree["metadata"]["name"] for tree in await plane.all(Node)}
        assert sum(int(tree["usage"]["cpu"][:-1]) for tree in nodes) == 1_751_000_000
        assert sum(int(tree["usage"]["memory"][:-2]) for tree in nodes) == 65536 + 1048576 + 1024
        assert kind_of(Node).plural == NODE_METRICS.plural  # `kubectl top node` joins the two by name
