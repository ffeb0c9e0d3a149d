"""What ships is what stands in the four folders, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"reconcile": "reconcile", "resources": "reconcile/resources", "runtime": "reconcile/runtime", "cli": "reconcile/cli"}


@pytest.mark.time_limit_s(120)
def test_the_wheel_holds_every_module_under_one_import_package(tmp_path: Path) -> None:
    """A nested package that setuptools overlooks is missing for users only."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    # Built from a copy: setuptools writes into the tree that it builds.
    source = tmp_path / "source"
    for name in listed:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]

    (wheel,) = tmp_path.glob("*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".py", ".json", "py.typed"))}
    wanted = {
        f"{FOLDERS[top]}/{rest}"
        for top, _, rest in (name.partition("/") for name in listed if name.endswith((".py", ".json", "py.typed")))
        if top in FOLDERS
    }
    assert shipped == wanted
