"""Controllers, scheduler and nodes that stop and start at random moments: the workload must still come out right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconcile.errors import Tree
from reconcile.registry import Operator
from reconcile.resources.apps import Deployment, ReplicaSet
from reconcile.resources.apps.deployment_controller import deployment_controller
from reconcile.resources.apps.replicaset_controller import replicaset_controller
from reconcile.resources.core import Pod
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.testing.virtual import VirtualClock, run_virtual

MAKERS: tuple[Callable[[], Operator], ...] = (
    deployment_controller, replicaset_controller, scheduler, lambda: simulated_nodes(4, start_s=0.1, start_jitter_s=1.0),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_every_part_may_be_restarted_at_any_moment(seed: int, control_plane: Any, deployment_tree: Callable[..., Tree]) -> None:
    """Nothing may live in memory alone: after changes and crashes there are the right Pods of the right version, once."""

    async def scenario(clock: VirtualClock) -> None:
        async with control_plane(clock) as plane:
            running = [make() for make in MAKERS]
            for operator in running:
                await plane.engine.start(operator)
            await plane.create(Deployment, deployment_tree(5))
            version, replicas = 1, 5
            for _ in range(25):
                await clock.sleep(clock.random.uniform(0, 0.7))
                which = clock.random.randrange(len(MAKERS))
                await plane.engine.stop(running[which])
                await clock.sleep(clock.random.choice([0.0, 0.5]))
                # The same operator is started again at times, a new one at others: both happen.
                if clock.random.random() < 0.5:
                    running[which] = MAKERS[which]()
                await plane.engine.start(running[which])
                if clock.random.random() < 0.3:
                    version, replicas = version + 1, clock.random.randint(1, 9)
                    container = {"name": "web", "image": f"web:{version}"}
                    spec = {"replicas": replicas, "template": {"spec": {"containers": [container]}}}
                    await plane.patch(Deployment, "web", {"spec": spec})
                pods = await plane.all(Pod)
                if pods and clock.random.random() < 0.2:
                    await plane.delete(Pod, clock.random.choice(pods)["metadata"]["name"], 0)
            await plane.complete("web", 300)
            await clock.sleep(60)
            pods = await plane.all(Pod)
            assert [pod["spec"]["containers"][0]["image"] for pod in pods] == [f"web:{version}"] * replicas
            assert {pod["status"]["phase"] for pod in pods} == {"Running"}
            assert len({pod["status"]["podIP"] for pod in pods}) == replicas
            sets = await plane.all(ReplicaSet)
            assert sorted(rs["spec"]["replicas"] for rs in sets)[:-1] == [0] * (len(sets) - 1)
            failures = [str(report) for report in plane.engine.reports]
            assert not failures, failures

    run_virtual(scenario, seed=seed)
