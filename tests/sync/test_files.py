"""Which files of a folder count."""

from __future__ import annotations

import os
from pathlib import Path

from reconcile.runtime.sync.files import scan


def test_manifests_and_programs_are_found_at_any_depth(tmp_path: Path) -> None:
    """Sub-folders are how people keep order."""
    for name in (
        "a.yaml",
        "sub/b.yml",
        "sub/deeper/c.json",
        "d.py",
        "notes.txt",
        ".hidden.yaml",
        "#e.yaml#",
        "e.yaml~",
        ".git/f.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")

    assert list(scan(tmp_path).files) == ["a.yaml", "d.py", "sub/b.yml", "sub/deeper/c.json"]


def test_a_loop_of_links_is_a_problem_and_not_an_endless_walk(tmp_path: Path) -> None:
    """A link to a folder above is easily made."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text("")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)

    found = scan(tmp_path)

    assert list(found.files) == ["sub/a.yaml"]
    (problem,) = found.problems
    assert problem.file == "sub/up"
    assert "leads back" in problem.message


def test_a_link_to_nowhere_is_told(tmp_path: Path) -> None:
    """Its object would silently be missing otherwise."""
    (tmp_path / "a.yaml").symlink_to(tmp_path / "gone.yaml")

    (problem,) = scan(tmp_path).problems

    assert (problem.file, problem.message) == ("a.yaml", "a link that leads nowhere")


def test_an_atomic_save_is_a_change(tmp_path: Path) -> None:
    """Editors write beside and rename: same name, same size, maybe the same second."""
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    before = scan(tmp_path).files
    stamp = file.stat()
    (tmp_path / "a.yaml.tmp").write_text("a: 2")
    os.utime(tmp_path / "a.yaml.tmp", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (tmp_path / "a.yaml.tmp").rename(file)

    assert before != scan(tmp_path).files


def test_a_folder_that_is_gone_is_not_an_empty_folder(tmp_path: Path) -> None:
    """An unmounted disk must not delete a cluster."""
    assert not scan(tmp_path / "gone").present
    assert scan(tmp_path).present
