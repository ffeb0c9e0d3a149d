"""An incident is exported from one control plane, and lived through again in another: same deeds, same faults, same end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconcile.causality import Cause
from reconcile.cli.sim import command
from reconcile.errors import BadRequestError, NotFoundError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.explain.chronicle import Step
from reconcile.runtime.explain.incident import incident, restarts
from reconcile.runtime.testing.apps import apps_of
from reconcile.runtime.testing.convergence import Convergence, Experiment
from reconcile.runtime.testing.incident import IncidentError, plan_given, read_incident, reliving
from reconcile.runtime.testing.plan import SIEVE, PlanError, plan_text, read_plan
from reconcile.runtime.testing.virtual import VirtualClock, run_virtual, virtual
from reconcile.testing import World, surroundings
from tests.simulation.conftest import PLANTED, grow_and_shrink, shop


def webapps(world: World) -> Kind:
    return next(kind for kind in world.api.stored_kinds() if kind.plural == "webapps")


async def exported(clock: VirtualClock, app: str, plan: str) -> Tree:
    """What is exported of a world in which `app` suffered a plan."""
    async with World(clock, apps_of(PLANTED / f"{app}.py"), surroundings(), plan=read_plan(plan)) as world:
        await grow_and_shrink(world)
        return json.loads(json.dumps(await incident(world.api, webapps(world), "shop", "default", 0, 0)))  # type: ignore[no-any-return]


@virtual
async def test_a_restart_is_seen_where_attempts_are_numbered_anew(clock: VirtualClock) -> None:
    """The plan is in the history already; the deeds are those that people did."""
    told = await exported(clock, "careful", "crash:careful:2")
    assert told["plan"] == "crash:careful:2"
    assert [(step["do"], step["object"]["spec"]["replicas"]) for step in told["steps"]] == [
        ("apply", 2), ("apply", 5), ("apply", 3),
    ]  # fmt: skip
    assert (await exported(clock, "careful", ""))["plan"] == ""


def test_an_incident_is_lived_through_again_and_shows_the_bug_with_its_crash() -> None:
    """The whole way: what went wrong in production is a test an hour later."""
    told = run_virtual(lambda clock: exported(clock, "status_first", "crash:status-first:1"))
    again = Convergence(Experiment(apps_of(PLANTED / "status_first.py"), reliving(told), surroundings()))
    assert len(again.reference.rests) >= 3, "after each of three things that people did"
    found = again.explore(SIEVE[0]).failure
    assert found is not None
    assert plan_text(found.plan) == "crash:status-first:1"
    careful = Convergence(Experiment(apps_of(PLANTED / "careful.py"), reliving(told), surroundings()))
    assert careful.check(read_plan("crash:careful:1")) is None


def step(revision: int, attempt: int, because: int) -> Step:
    kind = Kind("example.com", "v1", "WebApp", "webapps")
    cause = Cause("shop.example.com/grow", because, "change", attempt)
    return Step(revision, None, "MODIFIED", kind, {"metadata": {"name": "shop"}}, None, cause)


@pytest.mark.parametrize(
    ("attempts", "plan"),
    [
        ([(1, 1), (1, 1), (2, 3)], []),
        ([(1, 1), (3, 4), (2, 2), (4, 9)], []),  # workers overtake each other
        ([(1, 1), (2, 2), (1, 9)], ["crash:shop:2"]),
        ([(1, 1), (2, 2), (4, 3), (1, 8), (2, 9)], ["crash:shop:3"]),
        ([(2, 1), (5, 2), (1, 8), (2, 9)], ["crash:shop:2"]),  # the first write of the new life tells nothing yet
        ([(1, 1), (1, 5), (1, 9)], ["crash:shop:1", "crash:shop:2"]),
    ],
)
def test_overtaking_is_no_restart_and_each_restart_is_one_crash(attempts: list[tuple[int, int]], plan: list[str]) -> None:
    """A crash that never was would send people looking in the wrong place."""
    assert restarts(step(n, attempt, because) for n, (attempt, because) in enumerate(attempts, 1)) == plan


@virtual
async def test_what_people_did_is_told_in_order_and_without_what_operators_keep(clock: VirtualClock) -> None:
    """Deeds, not states: what the operator did, it will do again."""
    async with World(clock, apps_of(PLANTED / "by_name.py"), surroundings()) as world:
        await world.apply({**shop(1), "metadata": {"name": "other"}})
        await world.apply(shop(2, labels={"a": "b"}))
        await world.settled()
        begins = world.api.store.revision
        await world.patch("webapps/shop", spec={"replicas": 5})
        await world.advance(90)
        await world.patch("webapps/shop", metadata={"labels": {"a": "c"}})
        await world.delete("webapps/shop")
        await world.settled()
        told = await incident(world.api, webapps(world), "shop", "default", begins, 0)
        whole = await incident(world.api, webapps(world), "shop", "default", 0, 0)
        with pytest.raises(NotFoundError, match="was not there"):
            await incident(world.api, webapps(world), "never", "default", 0, 0)
        with pytest.raises(BadRequestError, match="history goes from 1"):
            await incident(world.api, webapps(world), "shop", "default", 5, 3)
    assert [tree["metadata"] for tree in told["objects"]] == [{"name": "shop", "namespace": "default", "labels": {"a": "b"}}], (
        "without the operator's finalizer and annotation"
    )
    assert [(step["do"], step["object"]["spec"]["replicas"], step["by"]) for step in told["steps"]] == [
        ("apply", 5, "user"), ("apply", 5, "user"), ("delete", 5, "user"),
    ]  # fmt: skip
    assert told["steps"][1]["after_s"] == pytest.approx(90, abs=1)
    assert told["steps"][1]["object"]["metadata"]["labels"] == {"a": "c"}
    assert told["plan"] == ""
    assert (whole["objects"], [step["do"] for step in whole["steps"]]) == ([], ["apply", "apply", "apply", "delete"])


def test_a_file_that_is_no_incident_is_refused_with_how_to_get_one(tmp_path: Path) -> None:
    """A typo must not run without faults and be taken for a proof."""
    with pytest.raises(IncidentError, match="No such file"):
        plan_given(str(tmp_path / "none.json"))
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(IncidentError, match="exports one"):
        read_incident(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps({"kind": "Incident", "plan": "crush:a:1"}))
    with pytest.raises(PlanError, match="is no fault"):
        plan_given(str(tmp_path / "a.json"))
    assert plan_given("crash:a:1") == "crash:a:1"


TEST = """
from reconcile.testing import converges


@converges("status_first.py")
async def test_issue_41(world):
    await world.relive("issue-41.json")
"""


def test_an_exported_incident_is_run_by_sim_and_by_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one file, by those who have tests and by those who have none."""
    told = run_virtual(lambda clock: exported(clock, "status_first", "crash:status-first:1"))
    (tmp_path / "status_first.py").write_text((PLANTED / "status_first.py").read_text())
    (tmp_path / "test_issue.py").write_text(TEST)
    (tmp_path / "issue-41.json").write_text(json.dumps(told))

    monkeypatch.chdir(tmp_path)
    sim = CliRunner()
    done = sim.invoke(command, ["status_first.py", "--patterns", "intermediate", "--plan", "issue-41.json"])
    assert done.exit_code == 1, done.output
    assert "does not converge under  crash:status-first:1" in done.output
    (tmp_path / "issue-41.json").write_text(json.dumps({**told, "plan": "crash:status-first:1"}))
    done = sim.invoke(command, ["status_first.py", "--plan", "issue-41.json"])
    assert "does not converge under  crash:status-first:1" in done.output
    assert "--workload issue-41.json --steps 3 --plan 'crash:status-first:1'" in done.output, "how to run it again"
    done = sim.invoke(command, ["status_first.py", "--plan", "issue-41.json", "-w", "status_first.py"])
    assert "give no other --workload with it" in done.output
    words = ["pytest", "-q", "-p", "no:cacheprovider", "--plan", "issue-41.json", "test_issue.py"]
    tested = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    assert tested.returncode == 1
    assert "does not converge under  crash:status-first:1" in tested.stdout
