"""How fast a Deployment of 1,000 replicas runs on 100 simulated nodes: the whole control plane in one process.

    python tests/bench/bench_deploy.py [--replicas 1000] [--nodes 100] [--memory] [--profile FILE]

Store on disk (with every fsync), API server, engine, all controllers, scheduler, simulated nodes.
Printed: pods a second from the Deployment's creation to all bound and Running, and the ratio to the target of 500.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import logging
import pstats
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reconcile.cli.guarding import Guards
from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources import bootstrap_objects, builtin_kinds, controllers
from reconcile.resources.apps import Deployment
from reconcile.resources.core import Namespace, Node, Pod
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.front import Front
from reconcile.runtime.store import Store

TARGET_PODS_PER_S = 500


def deployment(replicas: int) -> Tree:
    """A Deployment such as people write."""
    container = {"name": "web", "image": "web:1", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    }


async def measure(place: Any, options: argparse.Namespace) -> dict[str, float]:
    """Start everything, create the Deployment, wait until it is complete."""
    clock = SystemClock()
    store = await Store.open(place, clock)
    api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
    for cls in builtin_kinds():
        api.serve(kind_of(cls))
    client = InProcessClient(api)
    for tree in bootstrap_objects():
        await client.create(kind_of(Namespace), tree)
    engine = Engine(client, clock, admission=api)
    operators = [*controllers("127.9.0.0/20"), scheduler(), simulated_nodes(options.nodes, stop_s=0.0)]
    if not options.bare:
        # As `up` has it: policy, service accounts, priorities, limits, quotas.
        guards = Guards(clock)
        guards.connect(api, Front("127.0.0.1", 0, b"CA", Path("unused")))
        operators[:0] = guards.operators()
    for operator in operators:
        await engine.start(operator)
    while len((await client.list(kind_of(Node))).items) < options.nodes:
        await clock.sleep(0.01)
    await engine.settled()
    profiler = cProfile.Profile() if options.profile else None
    if profiler:
        profiler.enable()
    began, cpu_began, revision_began = time.perf_counter(), time.process_time(), store.revision
    await client.create(kind_of(Deployment), deployment(options.replicas), "default")
    took: dict[str, float] = {}
    since = revision_began
    seen: dict[str, set[str]] = {"created": set(), "bound": set(), "running": set()}
    async for change in client.watch(kind_of(Pod), since=since):
        name, spec, status = change.object["metadata"]["name"], change.object["spec"], change.object.get("status") or {}
        seen["created"].add(name)
        if spec.get("nodeName"):
            seen["bound"].add(name)
        if status.get("phase") == "Running":
            seen["running"].add(name)
        for stage, names in seen.items():
            if len(names) >= options.replicas:
                took.setdefault(stage, time.perf_counter() - began)
        if "running" in took:
            break
    while True:
        status = (await client.get(kind_of(Deployment), "web", "default")).get("status") or {}
        if status.get("availableReplicas") == options.replicas:
            break
        await clock.sleep(0.005)
    took["complete"] = time.perf_counter() - began
    if profiler:
        profiler.disable()
        pstats.Stats(profiler).dump_stats(options.profile)
    took["cpu"] = time.process_time() - cpu_began
    took["revisions"] = store.revision - revision_began
    took["gone"] = await _delete(client, clock)
    await engine.close()
    await store.close()
    return took


async def _delete(client: InProcessClient, clock: SystemClock) -> float:
    """Delete the Deployment; seconds until the garbage collector and the nodes have made all Pods go."""
    began = time.perf_counter()
    await client.delete(kind_of(Deployment), "web", "default")
    while (await client.list(kind_of(Pod), limit=1)).items:
        await clock.sleep(0.01)
    return time.perf_counter() - began


def main() -> None:
    """Run once and print."""
    logging.basicConfig(level=logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--memory", action="store_true", help="keep the store in memory, not on disk")
    parser.add_argument("--bare", action="store_true", help="without the admission of Pods and the policy that `up` has")
    parser.add_argument("--profile", default="", help="write a cProfile dump to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        took = asyncio.run(measure(":memory:" if options.memory else Path(folder), options))
    rate = options.replicas / took["running"]
    out = sys.stdout.write
    out(f"{options.replicas} replicas on {options.nodes} nodes, store {'in memory' if options.memory else 'on disk'}\n")
    for stage in ("created", "bound", "running", "complete"):
        out(f"  all {stage:9} after {took[stage]:6.2f} s\n")
    out(f"  {rate:.0f} pods/s to Running ({rate / TARGET_PODS_PER_S:.2f} of the target of {TARGET_PODS_PER_S})\n")
    out(f"  all gone {took['gone']:.2f} s after the Deployment was deleted ({options.replicas / took['gone']:.0f} pods/s)\n")
    out(f"  {took['cpu']:.2f} s of CPU, {took['revisions'] / options.replicas:.2f} revisions a pod\n")


if __name__ == "__main__":
    main()
