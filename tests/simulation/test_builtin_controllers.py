"""The built-in controllers under Sieve's patterns and chaos: a short sample here, all of it in `make sim`.

Deployment and ReplicaSet controller, scheduler, simulated kubelets, garbage collector, Services: each is a process of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import pytest

from reconcile.runtime.testing.convergence import Convergence
from reconcile.runtime.testing.plan import Chaos, Pattern, chaos, plan_text, sieve
from reconcile.runtime.testing.report import report
from reconcile.testing import World

from .builtins import cluster_experiment, everywhere, members, namespace, rollout, scale, work

Workload = Callable[[World], Awaitable[None]]
SHORT = (*sieve(limit=3), *chaos(seeds=3, faults=4))
WORKLOADS = (rollout, scale, namespace, members, everywhere, work)


@pytest.fixture(scope="module")
def convergences() -> dict[str, Convergence]:
    """One run without faults for all patterns of a workload."""
    return {}


@pytest.mark.parametrize("pattern", SHORT, ids=lambda pattern: pattern.name)
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.__name__)
def test_the_built_in_controllers_converge(
    workload: Workload, pattern: Pattern, convergences: dict[str, Convergence], pytestconfig: pytest.Config
) -> None:
    """Whatever dies, lags or is missed: the same end, no more births than needed, and then quiet."""
    if workload is work and pattern.name in ("stale", "chaos"):
        pytest.skip("a Job whose controller sees the past runs a Pod too many, as Kubernetes says it may")
    convergence = convergences.setdefault(workload.__name__, Convergence(cluster_experiment(workload)))
    seeds = pytestconfig.getoption("--sim-seeds")
    if seeds:
        pattern = attrs.evolve(pattern, limit=seeds)
    explored = convergence.explore(pattern)
    if explored.failure is not None:
        again = f"tests/simulation/test_bugs_found.py: check({workload.__name__}, {plan_text(explored.failure.plan)!r})"
        pytest.fail(report(explored.failure, again, [explored]), pytrace=False)
    assert explored.plans >= 3
    if not isinstance(pattern, Chaos):
        assert explored.unreached == 0, "a single fault is always due: the run is the reference's up to it"
