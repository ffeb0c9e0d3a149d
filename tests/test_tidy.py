"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("reconcile", "runtime", "resources", "cli")
LINES_MAX = 500
FUNCTION_LINES_MAX = 60
BANNED_NAMES = {"utils.py", "util.py", "helpers.py", "common.py", "base.py", "manager.py", "misc.py"}
# Who may speak to the machine itself: the seams' implementations, and the processes that live outside the engine.
SEAMS = {
    "time": (
        "runtime/clock.py",
        "resources/kubelet/process/",
        "cli/",
        "runtime/client/blocking.py",
        "runtime/client/resources.py",
        "runtime/client/execplugin.py",
        "runtime/testing/",
    ),
    "random": ("runtime/clock.py", "reconcile/clock.py", "resources/kubelet/process/", "runtime/testing/"),
    "uuid": ("runtime/clock.py", "runtime/testing/"),
    "sqlite3": ("runtime/store/",),
    "aiosqlite": ("runtime/store/",),
}


def modules() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return [Path(name) for name in listed if name.split("/")[0] in ROOMS and (ROOT / name).exists()]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


@pytest.mark.parametrize("module", modules(), ids=str)
def test_a_module_is_small_named_for_what_it_is_and_keeps_to_the_seams(module: Path) -> None:
    """Small pieces stay readable; seams make the whole testable in virtual time."""
    text = (ROOT / module).read_text()
    tree = ast.parse(text)

    assert len(text.splitlines()) <= LINES_MAX
    assert module.name not in BANNED_NAMES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, f"{node.name} is longer than a screen"
    for name in imports(tree):
        top = name.partition(".")[0]
        assert top not in ("runtime", "resources", "cli"), f"say reconcile.{name}: the bare name loads a second copy"
        allowed = SEAMS.get(top)
        assert allowed is None or str(module).startswith(allowed), f"{name} is used beside its seam"


@pytest.mark.parametrize("module", modules(), ids=str)
def test_a_docstring_begins_with_a_sentence(module: Path) -> None:
    """The first line is what most readers read."""
    tree = ast.parse((ROOT / module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node)
            if doc:
                first = doc.strip().split("\n\n")[0].strip()
                assert re.search(r"[.:?!)`\"]$", first), f"{getattr(node, 'name', module)}: {first!r} is no sentence"


def test_nothing_is_left_to_do_without_saying_where() -> None:
    """A TODO without an issue is a promise to nobody."""
    for module in modules():
        for number, line in enumerate((ROOT / module).read_text().splitlines(), 1):
            assert not re.search(r"\b(TODO|FIXME|XXX)\b(?!.*#\d+)", line), f"{module}:{number}: {line.strip()}"


def test_links_in_the_documents_lead_somewhere() -> None:
    """A newcomer follows them."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    for name in listed:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / name).read_text()):
            assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"
