"""The plugin as users meet it: their own pytest, a failing test, its report, and the plan run again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLANTED = Path(__file__).parent / "planted"
TESTS = '''
import pytest
from reconcile.testing import SIEVE, World, converges
import status_first

SHOP = """
apiVersion: example.com/v1
kind: WebApp
metadata: {name: shop}
spec: {replicas: 2}
"""

@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "shop.yaml").write_text(SHOP)
    return tmp_path / "shop.yaml"

@converges(status_first, patterns=SIEVE)
async def test_grows(world: World, manifest) -> None:
    await world.apply(manifest)

@converges(status_first, plan="crash:status-first:3")
async def test_issue_41(world: World) -> None:
    await world.settled()

async def test_by_hand(world: World, manifest) -> None:
    await world.apply(manifest)
    await world.settled()
    assert len(world.list("pods")) == 2

def test_plain() -> None:
    assert True
'''


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PLANTED), "PY_COLORS": "0", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.time_limit_s(120)
def test_a_failing_test_tells_why_and_how_to_run_it_again(tmp_path: Path) -> None:
    """No conftest, no configuration: the plugin comes with the package."""
    (tmp_path / "test_shop.py").write_text(TESTS)
    done = run(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 5 passed" in done.stdout, done.stdout
    assert "does not converge under  crash:status-first:1" in done.stdout
    assert "again   pytest 'test_shop.py::test_grows[intermediate]' --plan 'crash:status-first:1'" in done.stdout
    assert "user created webapps/shop" in done.stdout
    assert "Traceback" not in done.stdout, "the report is the message"
    assert "reconcile: 4 tests of convergence, " in done.stdout
    assert "1 faults never due" in done.stdout
    assert "these faults were never due: crash:status-first:3" in done.stdout, "a kept plan that hits nothing tests nothing"

    again = run(tmp_path, "test_shop.py::test_grows[intermediate]", "--plan", "crash:status-first:1")
    assert again.returncode == 1
    assert "does not converge under  crash:status-first:1" in again.stdout
    other = run(tmp_path, "test_shop.py::test_grows[intermediate]", "--plan", "dup:status-first:1")
    assert other.returncode == 0, other.stdout


@pytest.mark.time_limit_s(120)
def test_the_plugin_costs_other_tests_nothing() -> None:
    """Whoever has the package installed has the plugin loaded in every test run."""
    code = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import reconcile.testing, reconcile.testing.plugin\n"
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('reconcile') or m.count('.') > 2))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded == "[]\n"
