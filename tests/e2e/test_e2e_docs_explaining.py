"""docs/explaining.md runs as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "explaining.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.xdist_group("processes")
@pytest.mark.time_limit_s(120)
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    """And say what the page shows, but for names and numbers."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "RECONCILE_HOME": str(tmp_path / "home")}
    script = "set -euo pipefail\n" + "\n".join(blocks("sh"))
    try:
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    finally:
        down = [sys.executable, "-m", "reconcile.cli", "down"]
        subprocess.run(down, cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (shown,) = blocks("text")
    for line in shown.splitlines():
        who = re.search(r"  ([\w.-]+/(?:rollout|replicas|bind))  (created|changed) (\w+)/", line)
        if who is not None:
            assert re.search(rf"{re.escape(who[1])}  {who[2]} {who[3]}/", done.stdout), line
    assert re.search(r"\d+ writes, \d+ ms; \d+ attempts? wrote nothing", done.stdout)


def test_the_python_of_the_page_is_python() -> None:
    """It is copied."""
    (source,) = blocks("python")
    namespace: dict[str, object] = {}
    exec(compile(source, "explaining.md", "exec"), namespace)
    assert callable(namespace["bind"])
