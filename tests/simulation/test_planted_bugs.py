"""Four bugs that controllers have in real life, planted: each is found, shrunk to its cause, and explained."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from reconcile.runtime.testing.convergence import Convergence, Explored
from reconcile.runtime.testing.plan import SIEVE, chaos, plan_text, read_plan
from reconcile.runtime.testing.report import report
from reconcile.testing import World

from .conftest import come_again, go_slowly, grow_and_shrink

Make = Callable[[str, Callable[[World], Awaitable[None]]], Convergence]
INTERMEDIATE, STALE, UNOBSERVED = SIEVE


def told(explored: Explored) -> str:
    assert explored.failure is not None
    return report(explored.failure, "pytest ...", [explored])


def test_a_status_written_before_the_pods_is_found_by_a_crash(experiment: Make) -> None:
    """After the crash the status says that all is done, so nothing is ever done again."""
    convergence = experiment("status_first", grow_and_shrink)
    found = convergence.explore(INTERMEDIATE)
    assert found.failure is not None
    assert plan_text(found.failure.plan) == "crash:status-first:1"
    text = told(found)
    assert text.startswith("does not converge under  crash:status-first:1\n  (status-first is killed right after its 1st write)")
    assert 'lost    pods/shop-0  {"phase": "Pending"}' in text
    assert 'status-first.reconcile.local/status_first changed webapps/shop status nothing -> {"replicas": 2}' in text
    assert "after the restart  status_first (status_first.py:27) ran on webapps/shop: done; wrote nothing" in text
    assert "again   pytest ..." in text
    assert "seen    1 intermediate plans; 0 unreached faults" in text


def test_children_told_by_name_are_found_by_a_stale_read(experiment: Make) -> None:
    """Seeing the first shop's end late, it deletes the data of the second; crashes and missed events do not show it."""
    convergence = experiment("by_name", come_again)
    assert convergence.explore(INTERMEDIATE).failure is None
    assert convergence.explore(UNOBSERVED).failure is None
    found = convergence.explore(STALE)
    assert found.failure is not None
    assert found.failure.plan[0].kind == "stale"
    assert "configmaps/shop-data" in told(found)
    # And the plan of the worst outcome: the second shop is there, its data is not.
    worst = convergence.check(read_plan("stale:by-name:6:8"))
    assert worst is not None
    assert worst.difference is not None
    assert list(worst.difference.lost) == ["configmaps/shop-data"]
    assert worst.rest == 3


def test_a_cleanup_that_must_see_the_deletion_is_found_by_hiding_it(experiment: Make) -> None:
    """What is missed while a watch is broken is missed for ever."""
    convergence = experiment("needs_to_see", go_slowly)
    assert convergence.explore(INTERMEDIATE).failure is None
    found = convergence.explore(UNOBSERVED)
    assert found.failure is not None
    assert found.failure.plan[0].kind == "drop"
    text = told(found)
    assert "gained  configmaps/shop-data" in text
    assert "rev 7  user changed webapps/shop metadata.deletionGracePeriodSeconds nothing -> 0, metadata.deletionTimestamp" in text
    assert "then  drop strikes needs-to-see at MODIFIED webapps/shop" in text


def test_pods_counted_from_a_stale_cache_are_found_by_counting_births(experiment: Make) -> None:
    """The end is right, so the state says nothing; but far more pods were born than needed."""
    convergence = experiment("random_names", grow_and_shrink)
    assert convergence.explore(INTERMEDIATE).failure is None
    found = convergence.explore(UNOBSERVED)
    assert found.failure is not None
    assert found.failure.sort == "births"
    wanted, made = found.failure.births["pods"]
    assert wanted == 5
    assert made > 2 * wanted
    assert f"made    {made} pods where the run without faults makes 5" in told(found)


@pytest.mark.parametrize("workload", [grow_and_shrink, come_again])
def test_a_careful_controller_passes_every_plan(experiment: Make, workload: Any) -> None:
    """An alarm about a controller that is right would teach people to ignore alarms."""
    convergence = experiment("careful", workload)
    seen = [convergence.explore(pattern) for pattern in (*SIEVE, *chaos(seeds=8, faults=6))]
    assert [one.failure for one in seen] == [None] * 4
    assert sum(one.plans for one in seen) > 30
    assert sum(one.unreached for one in seen[:3]) == 0, "every plan of Sieve's patterns came to its fault"


def test_many_faults_shrink_to_the_one_that_matters(experiment: Make) -> None:
    """Nobody can read a plan of six faults."""
    convergence = experiment("status_first", grow_and_shrink)
    many = "dup:status-first:3 410:status-first:6 slow:status-first:2 crash:status-first:4 delay:status-first:2"
    failure = convergence.check(read_plan(many))
    assert failure is not None
    assert plan_text(convergence.shrink(failure).plan) == "crash:status-first:4"
