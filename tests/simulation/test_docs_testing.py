"""docs/testing.md holds what it says: its files are written, its commands run, and the report is the one that it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reconcile.runtime.testing.plan import KINDS, read_plan

TEXT = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.time_limit_s(120)
def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    """A reader copies the two files and types the commands."""
    for source in blocks("python"):
        name = source.split("\n", 1)[0].removeprefix("# ")
        (tmp_path / name).write_text(source)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(tmp_path),
        "PY_COLORS": "0",
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
    }
    script = "set -eu\n" + "\n".join(blocks("sh"))
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 failed, 2 passed" in done.stdout, done.stdout
    (report,) = [block for block in blocks("text") if block.startswith("does not converge")]
    for line in report.splitlines():
        assert line in done.stdout, f"the page says {line!r}; the run said:\n{done.stdout}"
    assert "does not converge under  crash:webapp:1" in done.stdout.split("without faults: ")[1], "reconcile sim finds it, too"


def test_every_kind_of_fault_is_told_and_every_plan_can_be_read() -> None:
    """A page that lies about the syntax is worse than none."""
    kinds = "|".join(KINDS)
    plans = re.findall(rf"`((?:{kinds}):[\w-]+:\d+(?::[\d.]+)?)`", TEXT)
    assert {read_plan(plan)[0].kind for plan in plans} == set(KINDS)
