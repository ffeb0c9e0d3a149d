"""A cluster that is not ours in the place of a control plane: `RECONCILE_TEST_CLUSTER=KUBECONFIG pytest tests/running`.

The tests of the toolkit, the commands and the clients then speak to the API server of that kubeconfig (as an administrator; it
ought to be one that nobody needs). What only a control plane of ours can do is skipped. What a folder declares is applied.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from tests.plane import COMMAND, Plane

CLUSTER = os.environ.get("RECONCILE_TEST_CLUSTER", "")


def a_plane(folder: Path, data_dir: Path, *options: str) -> Plane:
    """A control plane of ours that is to be started; the cluster of `RECONCILE_TEST_CLUSTER`, where there is one."""
    return Foreign(folder, data_dir, CLUSTER) if CLUSTER else Plane(folder, data_dir, *options)


class Foreign(Plane):
    """Somebody else's cluster: it runs already, and goes on when we are through."""

    def __init__(self, folder: Path, data_dir: Path, kubeconfig: str) -> None:
        super().__init__(folder, data_dir)
        self._kubeconfig = kubeconfig

    def start(self, *options: str, listening: bool = True) -> Self:
        """Take its kubeconfig, and apply what the folder declares."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._kubeconfig, self.data_dir / "kubeconfig")
        self.env["KUBECONFIG"] = str(self.data_dir / "kubeconfig")
        kubectl = str(Path(sys.executable).with_name("kubectl"))
        for file in sorted(self.folder.iterdir()):
            text = file.read_text()
            if file.suffix == ".py":
                text = _run([*COMMAND, "export", "--only", "crds", str(file)], "", self.env)
            _run([kubectl, "apply", "-f", "-"], text, self.env)
        return self

    def stop(self, timeout_s: float = 40.0) -> int:
        """It goes on."""
        self.forget_connection()
        return 0

    def kill(self) -> None:
        """Not that of others."""
        pytest.skip("what a killed control plane leaves is tried with one of ours")

    def bury(self) -> None:
        """It goes on."""
        self.forget_connection()

    def wait_line(self, pattern: str, timeout_s: float = 15.0) -> str:
        """It prints nothing for us."""
        return pattern

    def run(self, *arguments: str, stdin: str = "", timeout_s: float = 40.0) -> subprocess.CompletedProcess[str]:
        """Run a `reconcile` command against it."""
        return subprocess.run(
            [*COMMAND, *arguments], check=False, capture_output=True, text=True, input=stdin, env=self.env, timeout=timeout_s
        )


def _run(argv: list[str], stdin: str, env: dict[str, Any]) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, input=stdin, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
