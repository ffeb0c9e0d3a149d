"""`reconcile sim`: controllers under every fault, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconcile.cli.main import command

PLANTED = Path(__file__).parents[1] / "simulation" / "planted"


def sim(*words: str | Path) -> Result:
    return CliRunner().invoke(command, ["sim", *map(str, words)])


def test_an_app_without_tests_is_run_under_all_patterns() -> None:
    """Objects are drawn from the schema of its own kinds."""
    done = sim(PLANTED / "careful.py", "--patterns", "sieve,chaos", "--seeds", "5", "--limit", "10")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("without faults: ")
    assert lines[0].endswith("and the same twice")
    assert lines[1].split() == ["PATTERN", "PLANS", "LEFT", "OUT", "UNREACHED", "RESULT"]
    assert [line.split()[0] for line in lines[2:]] == ["intermediate", "stale", "unobserved", "chaos"]
    assert all(line.endswith("ok") for line in lines[2:])
    assert lines[-1].split()[1] == "5"


def test_a_failure_is_explained_and_its_plan_runs_again() -> None:
    """Exit code 1, a report, and a command line that shows the same failure at once."""
    done = sim(PLANTED / "status_first.py")
    assert done.exit_code == 1, done.output
    assert "intermediate   1       0          0           FAILED" in done.output
    assert "does not converge under  crash:status-first:1" in done.output
    again = next(line for line in done.output.splitlines() if line.startswith("again"))
    assert again.endswith("--plan 'crash:status-first:1'")
    repeated = sim(PLANTED / "status_first.py", "--plan", "crash:status-first:1")
    assert repeated.exit_code == 1
    assert 'lost    pods/first-0  {"phase": "Pending"}' in repeated.output
    assert sim(PLANTED / "status_first.py", "--plan", "dup:status-first:1").exit_code == 0


def test_machines_get_json() -> None:
    """For a CI that wants to count."""
    done = sim(PLANTED / "random_names.py", "-o", "json", "--patterns", "intermediate,stale")
    assert done.exit_code == 1
    told = json.loads(done.output)
    assert [one["name"] for one in told["patterns"]] == ["intermediate", "stale"]
    assert [one["converges"] for one in told["patterns"]] == [True, False]
    assert told["failure"]["sort"] == "births"
    assert "pods where the run without faults makes" in told["failure"]["findings"]["made"][0]


def test_a_workload_of_files_is_made_deleted_and_made_again(tmp_path: Path) -> None:
    """The samples of the project, say."""
    manifest = "apiVersion: example.com/v1\nkind: WebApp\nmetadata: {name: shop}\nspec: {replicas: 2}\n"
    (tmp_path / "web.yaml").write_text(manifest)
    done = sim(PLANTED / "by_name.py", "--workload", tmp_path, "--patterns", "stale")
    assert done.exit_code == 1
    assert "configmaps/shop-data" in done.output
    assert f"--workload {tmp_path}" in done.output


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--patterns", "sieves"], 2, "there is no pattern 'sieves'; there are: sieve, intermediate, stale, unobserved, chaos"),
        (["--ignore", "webapps"], 2, "--ignore 'webapps': write KIND:PATH"),
        (["--plan", "crash"], 1, "'crash' is no fault"),
    ],
)
def test_wrong_words_are_refused_with_a_reason(words: list[str], code: int, says: str) -> None:
    """Before anything runs."""
    done = sim(PLANTED / "careful.py", *words)
    assert says in (done.output or str(done.exception)) or says in str(done.exception)
    if code == 2:
        assert done.exit_code == 2


def test_an_app_with_nothing_to_do_is_told_so(tmp_path: Path) -> None:
    """Zero plans that all pass would be a lie."""
    (tmp_path / "idle.py").write_text(
        "from reconcile import on\nfrom reconcile.resources.core import ConfigMap\n\n"
        "@on.event(ConfigMap)\ndef seen(config: ConfigMap) -> None: ...\n"
    )
    done = sim(tmp_path / "idle.py")
    assert done.exit_code == 1
    assert "declares no kind with a spec; give it objects with --workload FILE" in done.output
