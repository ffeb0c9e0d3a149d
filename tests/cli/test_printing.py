"""Tables, times and exit codes: what scripts and eyes rely on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconcile.cli.errors import EXIT_REFUSED, EXIT_UNREACHABLE, exit_code_of
from reconcile.cli.locate import data_dir_for, find_data_dir, last_used, note_used, take
from reconcile.cli.printing import duration, table
from reconcile.errors import NotFoundError, UnavailableError


def test_columns_are_aligned_as_kubectl_aligns_them() -> None:
    """Three spaces, upper-case headings, `<none>` for nothing."""
    assert table(["Name", "Ready", "Note"], [["web", "1/1", None], ["a-longer-name", "0/1", "x"]]) == (
        "NAME            READY   NOTE\n"
        "web             1/1     <none>\n"
        "a-longer-name   0/1     x"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (192, "3m12s"), (600, "10m"), (10_800, "3h"), (14_700, "4h5m"), (100_000, "27h"),
        (172_800, "2d"), (180_000, "2d2h"), (800_000, "9d"), (63_072_000, "2y"), (63_200_000, "2y1d"), (-5, "0s"),
    ],
)  # fmt: skip
def test_a_span_of_time_is_written_as_kubectl_writes_it(seconds: float, text: str) -> None:
    """People compare the two side by side."""
    assert duration(seconds) == text


def test_an_error_has_an_exit_code_and_words() -> None:
    """Scripts branch on the one, people read the other; only our own mistakes show a traceback."""
    assert exit_code_of(NotFoundError('pods "x" not found')) == (EXIT_REFUSED, 'Error from server (NotFound): pods "x" not found')
    assert exit_code_of(UnavailableError("nothing answers"))[0] == EXIT_UNREACHABLE
    assert exit_code_of(ZeroDivisionError())[1] == ""


def test_the_state_lies_beside_the_folder_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder inside the watched one would be watched."""
    monkeypatch.delenv("RECONCILE_HOME")
    assert data_dir_for(tmp_path / "app", None) == tmp_path / ".reconcile" / "app"
    monkeypatch.setenv("RECONCILE_HOME", str(tmp_path / "home"))
    assert data_dir_for(tmp_path / "app", None) == tmp_path / "home" / "app"
    assert data_dir_for(tmp_path / "app", str(tmp_path / "given")) == tmp_path / "given"


def test_commands_find_the_state_from_below_and_else_the_last_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`reconcile get pods` must work where `up` was typed, and in the folder itself."""
    monkeypatch.delenv("RECONCILE_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("app", "other"):
        (tmp_path / "work" / ".reconcile" / name).mkdir(parents=True)
        (tmp_path / "work" / ".reconcile" / name / "kubeconfig").touch()
        (tmp_path / "work" / name).mkdir()
    monkeypatch.chdir(tmp_path / "work" / "app")
    assert find_data_dir() == tmp_path / "work" / ".reconcile" / "app"
    monkeypatch.chdir(tmp_path / "work" / "other")
    assert find_data_dir() == tmp_path / "work" / ".reconcile" / "other"

    monkeypatch.chdir(tmp_path / "work")
    lock = take(tmp_path / "work" / ".reconcile" / "app")
    assert lock is not None
    assert find_data_dir() == tmp_path / "work" / ".reconcile" / "app"
    os.close(lock)

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert last_used() is None
    note_used(tmp_path / "work" / ".reconcile" / "app")
    assert find_data_dir() == tmp_path / "work" / ".reconcile" / "app"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "reconcile.cli", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["get", "pods"], 3, "start one with `reconcile up FOLDER`"),
        (["gett"], 2, "Did you mean `reconcile get`?"),
        (["up", "no-such-folder"], 2, "does not exist"),
        (["scale", "deploy/web"], 2, "--replicas"),
        (["down"], 3, "no control plane runs"),
        (["kubeconfig"], 3, "no kubeconfig"),
    ],
)
def test_a_command_that_cannot_do_its_work_says_so_with_its_exit_code(arguments: list[str], code: int, says: str) -> None:
    """No traceback, ever, for what a person did."""
    done = run(*arguments)

    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fast_command_imports_nothing_heavy() -> None:
    """`get` answers in 150 ms because it loads neither the engine nor HTTP libraries."""
    code = "import sys, reconcile.cli.get; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert not loaded & {
        "aiohttp",
        "rich",
        "yaml",
        "cryptography",
        "asyncio",
        "watchfiles",
        "aiosqlite",
        "psutil",
        "grpc",
        "attrs",
    }
