"""kopf's own examples, fetched from the registry when they are needed: nothing of them is kept here."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.foreign import a_plane
from tests.plane import Plane
from tests.running.conftest import Running

KEPT = Path(sys.prefix) / "kopf-examples"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With xdist, one worker runs all of these: they share a control plane."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("kopf"))


def fetched(wanted: str) -> Path:
    """The examples of that version of kopf; downloaded once for an environment."""
    folder = KEPT / wanted
    folder.mkdir(parents=True, exist_ok=True)
    with open(KEPT / f"{wanted}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of one run all come here
        return _examples_in(folder, wanted)


def _examples_in(folder: Path, wanted: str) -> Path:
    if not (folder / "examples").is_dir():
        argv = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            "kopf",
            f"kopf=={wanted}",
            "-d",
            str(folder),
        ]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=170)
        archives = list(folder.glob("kopf-*.tar.gz"))
        if done.returncode or not archives:
            pytest.skip(f"kopf's source package cannot be had: {done.stderr.strip().splitlines()[-1:]}")
        with tarfile.open(archives[0]) as archive:
            shutil.rmtree(folder / "unpacked", ignore_errors=True)  # of a run that was cut off
            archive.extractall(folder / "unpacked", filter="data")
        (folder / "unpacked" / f"kopf-{wanted}" / "examples").rename(folder / "examples")
        shutil.rmtree(folder / "unpacked")
    return folder / "examples"


def ported(source: str) -> str:
    """An example with the one line changed, and nothing else."""
    changed, count = re.subn(r"^import kopf$", "import reconcile.kopf as kopf", source, flags=re.MULTILINE)
    assert count == 1, "kopf is imported otherwise than it was"
    return changed


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, each with its import changed."""
    source, target = fetched(version("kopf")), tmp_path_factory.mktemp("kopf")
    for folder in sorted(source.glob("[0-9]*")):
        (target / folder.name).mkdir()
        (target / folder.name / "example.py").write_text(ported((folder / "example.py").read_text()))
    for file in ("crd.yaml", "obj.yaml"):
        shutil.copy(source / file, target / file)
    return target


@pytest.fixture(scope="session")
def plane(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane that serves kopf's kind. The example with admission handlers runs in its folder, the others outside."""
    root = tmp_path_factory.mktemp("plane")
    (root / "folder").mkdir()
    shutil.copy(examples / "crd.yaml", root / "folder" / "crd.yaml")
    plane = a_plane(root / "folder", root / "state", "--simulate", "1")
    try:
        plane.start()
        plane.wait("the kind is served", lambda: "kopfexamples" in plane.cli("api-resources"))
        plane.forget_connection()
        yield plane
        assert plane.stop() == 0, plane.said()[-3000:]
    finally:
        plane.bury()


@pytest.fixture
def kubectl(plane: Plane, examples: Path) -> Kubectl:
    return Kubectl(plane, examples)


class Kubectl:
    """The real kubectl, on the example's object."""

    def __init__(self, plane: Plane, examples: Path) -> None:
        self._env = {
            **os.environ, "KUBECONFIG": str(plane.data_dir / "kubeconfig"), "KUBECACHEDIR": str(examples / "cache"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }  # fmt: skip
        self._examples = examples

    def __call__(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", *arguments], check=False, capture_output=True, text=True, timeout=30, env=self._env, cwd=self._examples
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout + done.stderr


def start(plane: Plane, log: Path, *arguments: str) -> Running:
    """`reconcile run` in its own process."""
    return Running(plane, log, *arguments)
