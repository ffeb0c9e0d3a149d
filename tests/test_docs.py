"""The README's word: its shell blocks run, its commands exist, its Python loads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds
from reconcile.runtime.sync.programs import is_program, load_program

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
KUBECTL_CLI = Path(sys.executable).parent / "kubectl"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.xdist_group("processes")
def test_the_shell_blocks_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    """A newcomer types them one after the other."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    script = "set -euo pipefail\n" + "\n".join(blocks("sh"))
    if not KUBECTL_CLI.exists() and shutil.which("kubectl") is None:
        script = re.sub(r"^.* kubectl .*$", "", script, flags=re.MULTILINE)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "RECONCILE_HOME": str(tmp_path / "home")}
    environment.pop("KUBECONFIG", None)
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
    finally:
        down = [sys.executable, "-m", "reconcile.cli", "down"]
        subprocess.run(down, env=environment, capture_output=True, check=False, timeout=60)

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "all is well" in done.stdout
    assert "successfully rolled out" in done.stdout


def test_the_two_commands_of_the_readme_are_targets_of_make() -> None:
    """They are the first thing that anybody tries."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_controller_of_the_readme_loads(tmp_path: Path) -> None:
    """It is copied before it is understood."""
    (source,) = blocks("python")

    assert is_program(source.encode())
    (operator,) = load_program(tmp_path, "greeting.py", source.encode()).operators
    assert [handler.name for handler in operator.handlers] == ["greet"]


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\breconcile ([a-z][a-z-]+)\b", "\n".join(blocks("sh"))))))
def test_each_command_has_a_help_text(command: str) -> None:
    """`--help` must work without a control plane."""
    done = subprocess.run([sys.executable, "-m", "reconcile.cli", command, "--help"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_every_built_in_kind_is_in_the_table_of_kinds() -> None:
    """Somebody who finds a kind served wants to know whether anything acts on it."""
    table = (ROOT / "docs" / "kinds.md").read_text()
    named = set(re.findall(r"\b[A-Z]\w+\b", table))
    assert {kind_of(cls).kind for cls in builtin_kinds()} <= named
