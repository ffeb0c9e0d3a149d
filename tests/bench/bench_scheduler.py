"""How long the scheduler takes to decide, without the API: equal Pods (ranked), and Pods that need the plain way.

    python tests/bench/bench_scheduler.py

Printed: microseconds a Pod, and the ratio to the budget of 150 us for 1,000 equal Pods on 100 nodes.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from reconcile.errors import Tree
from reconcile.resources.scheduler.demand import Demands
from reconcile.resources.scheduler.placement import Unschedulable, default_plugins
from reconcile.resources.scheduler.ranking import Rankings
from reconcile.resources.scheduler.snapshot import ClusterState

BUDGET_US = 150.0
ZONE = "topology.kubernetes.io/zone"


def cluster(nodes: int) -> ClusterState:
    """An empty cluster in three zones."""
    state = ClusterState(random.Random(0).random)
    for number in range(nodes):
        labels = {"kubernetes.io/hostname": f"n{number}", ZONE: f"z{number % 3}"}
        allocatable = {"cpu": "32", "memory": "256Gi", "pods": "110"}
        state.set_node({"metadata": {"name": f"n{number}", "labels": labels}, "status": {"allocatable": allocatable}})
    return state


def pod(number: int, **spec: Any) -> Tree:
    """One replica."""
    container = {"name": "c", "image": "x:1", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}
    owner = {"uid": "rs", "controller": True}
    meta = {"name": f"p{number}", "namespace": "default", "uid": f"u{number}", "labels": {"app": "x"}, "ownerReferences": [owner]}
    return {"metadata": meta, "spec": {"containers": [container], **spec}}


def measure(nodes: int, pods: int, **spec: Any) -> float:
    """Microseconds a Pod: read, choose, assume."""
    state, demands = cluster(nodes), Demands()
    rankings = Rankings(state, default_plugins())
    trees = [pod(number, **spec) for number in range(pods)]
    began = time.perf_counter()
    for tree in trees:
        info = demands.read(tree)
        answer = rankings.choose(info)
        assert not isinstance(answer, Unschedulable), answer
        state.assume(info, answer)
    return (time.perf_counter() - began) / pods * 1e6


def main() -> None:
    """Run all cases and print."""
    spread = {
        "topologyKey": ZONE,
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }
    cases: list[tuple[str, int, int, dict[str, Any]]] = [
        ("equal pods", 100, 1000, {}),
        ("equal pods", 1000, 5000, {}),
        ("equal pods", 5000, 5000, {}),
        ("hard zone spread (plain way)", 100, 300, {"topologySpreadConstraints": [spread]}),
        ("hard zone spread (plain way)", 1000, 100, {"topologySpreadConstraints": [spread]}),
    ]
    for name, nodes, pods, spec in cases:
        took_us = measure(nodes, pods, **spec)
        sys.stdout.write(
            f"{name:30} {nodes:5} nodes {pods:5} pods {took_us:9.1f} us a pod ({BUDGET_US / took_us:.2f} of budget)\n"
        )


if __name__ == "__main__":
    main()
