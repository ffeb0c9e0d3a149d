"""Two control planes for the whole folder: one runs samples/hello, one an own folder that tests fill and empty."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.plane import Plane

SAMPLES = Path(__file__).parents[2] / "samples"
ANCHOR = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: anchor}\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With xdist, one worker runs all of these: they share control planes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("e2e"))


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane on a copy of samples/hello, with everything ready; tests share it, and leave it as it was."""
    with saying_hello(tmp_path_factory.mktemp("hello")) as plane:
        yield plane


@contextmanager
def saying_hello(root: Path) -> Iterator[Plane]:
    """A control plane on a copy of samples/hello, with everything ready."""
    shutil.copytree(SAMPLES / "hello", root / "hello")
    plane = Plane(root / "hello", root / "state")
    try:
        plane.start()
        plane.wait_line("ready: everything runs", 20.0)
        yield plane
        assert plane.stop() == 0, plane.said()[-3000:]
    finally:
        plane.bury()


@pytest.fixture(scope="session")
def live_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane on a folder with one ConfigMap, which stays, so that the folder never is empty."""
    root = tmp_path_factory.mktemp("live")
    (root / "folder").mkdir()
    (root / "folder" / "anchor.yaml").write_text(ANCHOR)
    plane = Plane(root / "folder", root / "state")
    try:
        plane.start()
        plane.wait("the anchor is applied", lambda: plane.get("configmaps", "anchor"))
        yield plane
        assert plane.stop() == 0, plane.said()[-3000:]
    finally:
        plane.bury()


@pytest.fixture
def live(live_plane: Plane) -> Iterator[Plane]:
    """The plane of the own folder; whatever the test leaves in it is removed, and must then be gone from the cluster."""
    yield live_plane
    for path in live_plane.folder.iterdir():
        if path.name == "anchor.yaml":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def clean() -> bool:
        selector = "reconcile.dev/folder"
        left = [*live_plane.objects("configmaps", selector), *live_plane.objects("deployments", selector)]
        return [tree["metadata"]["name"] for tree in left] == ["anchor"] and not live_plane.problems()

    live_plane.wait("the folder's objects are gone", clean)
    assert not live_plane.ended
