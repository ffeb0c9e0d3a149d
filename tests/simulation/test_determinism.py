"""The same plan gives the same trace, letter by letter: in one process, and in another whose hashes are seeded otherwise."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconcile.registry import Operator
from reconcile.resources.core import ConfigMap
from reconcile.runtime.testing.apps import apps_of
from reconcile.runtime.testing.convergence import Convergence, Experiment, NotDeterministicError
from reconcile.runtime.testing.plan import read_plan
from reconcile.testing import World, surroundings

from .builtins import cluster_experiment, rollout

PLAN = "crash:replicaset-controller:3 stale:deployment-controller:9:12 drop:endpoint-slices:5 lag:default-scheduler:2"


def trace_of(plan: str) -> str:
    """A digest of what happens under a plan to the built-in controllers."""
    trace = Convergence(cluster_experiment(rollout)).trace(read_plan(plan))
    assert len(trace) > 200
    return hashlib.sha256("\n".join(trace).encode()).hexdigest()


def test_the_same_plan_gives_the_same_trace() -> None:
    """Or a plan in a report would be worth nothing."""
    assert trace_of(PLAN) == trace_of(PLAN)
    assert trace_of(PLAN) != trace_of("crash:replicaset-controller:4")


@pytest.mark.time_limit_s(120)
def test_another_process_gives_the_same_trace() -> None:
    """`--plan` runs in another process than the one that found the plan: nothing may depend on the order of sets."""
    code = f"from tests.simulation.test_determinism import trace_of; print(trace_of({PLAN!r}))"
    root = Path(__file__).parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=root, check=True,
            capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert digests == {f"{trace_of(PLAN)}\n"}


def test_chance_from_elsewhere_than_the_clock_is_named() -> None:
    """Such an app cannot be tested like this: it is told where the two runs part."""
    runs: list[int] = []

    def moody() -> Operator:
        app = Operator("moody")
        runs.append(1)

        @app.on.startup()
        async def start(cluster: object) -> None:
            await cluster.apply(ConfigMap(name=f"run-{len(runs)}", namespace="default"))  # type: ignore[attr-defined]

        return app

    async def nothing(world: World) -> None:
        await world.settled()

    convergence = Convergence(Experiment(apps_of(moody), nothing, surroundings()))
    with pytest.raises(NotDeterministicError, match=r"step \d+ was '.* ADDED configmaps/run-\d', then '.*run-\d'"):
        _ = convergence.reference
