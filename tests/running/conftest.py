"""A control plane with one simulated node for the whole folder, and operators as processes of their own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.foreign import a_plane
from tests.plane import COMMAND, Plane, wait_until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With xdist, one worker runs those that share the control plane."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("running"))


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane whose folder is empty: everything comes over HTTP."""
    root = tmp_path_factory.mktemp("running")
    (root / "folder").mkdir()
    plane = a_plane(root / "folder", root / "state", "--simulate", "1")
    try:
        plane.start()
        yield plane
        assert plane.stop() == 0, plane.said()[-3000:]
    finally:
        plane.bury()


class Running:
    """One `reconcile run`."""

    def __init__(self, plane: Plane, log: Path, *arguments: str) -> None:
        self.log = log
        env = {**plane.env, "KUBECONFIG": str(plane.data_dir / "kubeconfig"), "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*COMMAND, "run", *arguments], stdout=out, stderr=subprocess.STDOUT, env=env, stdin=subprocess.DEVNULL
            )

    def said(self) -> str:
        return self.log.read_text()

    def wait(self, words: str, timeout_s: float = 20.0) -> str:
        """Wait until it has said so; what it has said."""

        def there() -> bool:
            return words in self.said() or self.process.poll() is not None

        wait_until(f"{words!r} is said", there, timeout_s, self.said)
        assert words in self.said(), self.said()
        return self.said()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


Run = Callable[..., Running]


@pytest.fixture
def run(plane: Plane, tmp_path: Path) -> Iterator[Run]:
    """Start operators; whatever still runs at the end is killed."""
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        started.append(Running(plane, tmp_path / f"run{len(started)}.log", *arguments))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()
