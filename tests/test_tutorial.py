"""The tutorial's word: its files are written, its commands run as they stand, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
pytestmark = pytest.mark.xdist_group("processes")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_each_block_of_the_tutorial_runs(tmp_path: Path) -> None:
    """A new user types them; what fails here would be the end of it for them."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    home = tmp_path / "home"
    home.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KUBECONFIG", "RECONCILE_", "PYTEST_"))}
    environment = {**kept, "PATH": path, "HOME": str(home), "RECONCILE_HOME": str(tmp_path / "state")}
    said: list[str] = []
    (tmp_path / "site").mkdir()
    try:
        for language, text in BLOCK.findall(TEXT):
            if language in ("python", "yaml"):
                name = text.splitlines()[0].removeprefix("# ")
                (tmp_path / name).write_text(text)
            elif language == "sh":
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", text], check=False, capture_output=True, text=True, cwd=tmp_path,
                    env=environment, timeout=120,
                )  # fmt: skip
                assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
                said.append(done.stdout + done.stderr)
    finally:
        down = [sys.executable, "-m", "reconcile.cli", "down"]
        subprocess.run(down, env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    everything = "\n".join(said)
    assert re.search(r"website\.example\.com/home|home +2 ", everything)
    assert "http://home.default" in everything
    assert "How many servers." in everything
    assert "refused, as it should be" in everything
    assert re.search(r"\d+ passed", everything)


def test_the_lines_of_user_code_are_counted() -> None:
    """The table is believed because of this."""
    source = next(text for language, text in BLOCK.findall(TEXT) if language == "python")
    lines = [line for line in source.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    match = re.search(r"`website.py` \| (\d+) \|", TEXT)
    assert match is not None
    assert int(match[1]) == len(lines)
