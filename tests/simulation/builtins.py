"""The built-in controllers as apps under test, each a process of its own, and what users do to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from reconcile.errors import Tree
from reconcile.registry import Operator
from reconcile.resources import bootstrap_objects, builtin_kinds
from reconcile.resources.apps.daemonset_controller import daemonset_controller
from reconcile.resources.apps.deployment_controller import deployment_controller
from reconcile.resources.apps.replicaset_controller import replicaset_controller
from reconcile.resources.apps.statefulset_controller import statefulset_controller
from reconcile.resources.batch.job_controller import job_controller
from reconcile.resources.core import Namespace
from reconcile.resources.core.namespace_controller import namespace_controller
from reconcile.resources.core.pod_gc import pod_garbage_collector
from reconcile.resources.gc import garbage_collector
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.resources.services import endpoint_slices, service_addresses
from reconcile.runtime.cluster import Parts
from reconcile.runtime.testing.apps import apps_of
from reconcile.runtime.testing.convergence import Experiment
from reconcile.testing import World
from reconcile.testing.ground import CHANCE

SERVICE_CIDR = "10.96.0.0/16"


def nodes() -> Operator:
    return simulated_nodes(2)


def addresses() -> Operator:
    return service_addresses(SERVICE_CIDR)


CLUSTER: Sequence[Callable[[], Operator]] = (
    deployment_controller, replicaset_controller, scheduler, nodes, garbage_collector, endpoint_slices, addresses,
    namespace_controller, pod_garbage_collector, statefulset_controller, daemonset_controller, job_controller,
)  # fmt: skip


def cluster_experiment(workload: Callable[[World], Awaitable[None]], apps: Sequence[Any] = CLUSTER) -> Experiment:
    """Apps of the built-in controllers under test; the others of them run around, without faults."""

    def parts() -> Parts:
        around = [make() for make in CLUSTER if make not in apps]
        return Parts(builtin_kinds(), Namespace, bootstrap_objects(), around)

    return Experiment(apps_of(list(apps)), workload, parts, ignore=CHANCE)


def deployment(image: str = "web:1", replicas: int = 3) -> Tree:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}},
        },
    }  # fmt: skip


def service() -> Tree:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


async def rollout(world: World) -> None:
    """A Deployment and a Service come, change, grow, and go."""
    await world.apply([deployment(), service()])
    await world.settled()
    await world.apply(deployment("web:2"))
    await world.settled()
    await world.delete("deployments/web")
    await world.settled()


async def scale(world: World) -> None:
    """Up and down, and up again before it has come to rest."""
    await world.apply([deployment(replicas=2), service()])
    await world.settled()
    await world.apply(deployment(replicas=5))
    await world.settled()
    await world.apply(deployment(replicas=1))
    await world.settled()


async def namespace(world: World) -> None:
    """A namespace with everything in it goes."""
    await world.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    for tree in (deployment(replicas=2), service()):
        await world.apply({**tree, "metadata": {"name": "web", "namespace": "shop"}})
    await world.settled()
    await world.delete("namespaces/shop")
    await world.settled()


def _set(kind: str, image: str, **spec: Any) -> Tree:
    labels = {"app": "db"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "db", "image": image}]}}
    wanted = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "db"}, "spec": wanted}


async def members(world: World) -> None:
    """A StatefulSet comes, changes, shrinks, and goes."""
    await world.apply(_set("StatefulSet", "db:1", replicas=3, serviceName="db"))
    await world.settled()
    await world.apply(_set("StatefulSet", "db:2", replicas=3, serviceName="db"))
    await world.settled()
    await world.apply(_set("StatefulSet", "db:2", replicas=1, serviceName="db"))
    await world.settled()
    await world.delete("statefulsets/db")
    await world.settled()


async def everywhere(world: World) -> None:
    """A DaemonSet comes, changes, and goes."""
    await world.apply(_set("DaemonSet", "db:1"))
    await world.settled()
    await world.apply(_set("DaemonSet", "db:2"))
    await world.settled()
    await world.delete("daemonsets/db")
    await world.settled()


async def work(world: World) -> None:
    """A Job of three Pods, two at a time, runs to its end, and is deleted."""
    template = {
        "metadata": {"annotations": {"reconcile.dev/sim-run-s": "5", "reconcile.dev/sim-exit-code": "0"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "work", "image": "work:1"}]},
    }
    spec = {"completions": 3, "parallelism": 2, "template": template}
    await world.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": spec})
    await world.settled()
    await world.delete("jobs/work")
    await world.settled()
