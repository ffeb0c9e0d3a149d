"""Python files as programs: one module and one operator each, whatever they are called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reconcile.runtime.sync.problems import SourceError
from reconcile.runtime.sync.programs import is_program, load_program, module_name

DECLARES = b"""
from reconcile import Resource, kind, on

@kind("test.example.com", "v1")
class Made(Resource):
    "A kind."

@on.reconcile(Made)
def made(obj: Made) -> None:
    return None
"""


def test_files_of_like_names_are_modules_and_operators_of_their_own(tmp_path: Path) -> None:
    """`a-b.py`, `a_b.py` and `a/b.py` once shared an operator, and unloaded each other's handlers."""
    files = ["a-b.py", "a_b.py", "a/b.py", "A_b.py", "\u00fcber.py"]

    programs = [load_program(tmp_path, file, DECLARES) for file in files]

    assert len({program.module.__name__ for program in programs}) == len(files)
    assert len({program.operators[0].domain for program in programs}) == len(files)
    assert module_name("web_site.py") == "reconcile_folder.web_site"


def test_a_failed_reload_leaves_the_running_version_as_it_is(tmp_path: Path) -> None:
    """It clears neither the handlers of the operator that runs nor the module that they live in."""
    first = load_program(tmp_path, "app.py", DECLARES)

    with pytest.raises(SourceError):
        load_program(tmp_path, "app.py", DECLARES + b"\nraise RuntimeError('no')\n")

    assert [handler.name for handler in first.operators[0].handlers] == ["made"]
    assert sys.modules[first.module.__name__] is first.module


@pytest.mark.parametrize(
    ("source", "ours"),
    [
        (b"import reconcile\n", True),
        (b"from reconcile import on\n", True),
        (b"from reconcile.resources.core import Pod\n", True),
        (b"import reconciled\n", False),
        (b"# reconcile\nimport os\n", False),
        (b"from reconcile import (\n", True),
        (b"this is no Python\n", False),
    ],
)
def test_a_file_is_a_program_if_it_imports_us(source: bytes, ours: bool) -> None:
    """An app's own code must not be executed by the control plane."""
    assert is_program(source) is ours
