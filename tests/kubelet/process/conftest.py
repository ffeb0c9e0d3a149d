"""A process runtime of each test's own, which leaves no process behind."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import attrs
import pytest

from reconcile.resources.kubelet.process import ProcessRuntime
from reconcile.resources.kubelet.process.shim import processes, records
from reconcile.resources.kubelet.runtime import ContainerConfig, ContainerStatus, SandboxConfig
from reconcile.runtime.clock import SystemClock

PATH = os.environ.get("PATH", "/usr/bin:/bin")


@attrs.define
class Node:
    """A runtime with shorthands: pods of one container `main`, exits collected by container id."""

    runtime: ProcessRuntime
    root: Path
    exits: dict[str, list[ContainerStatus]]

    async def run(
        self,
        uid: str,
        *argv: str,
        name: str = "main",
        attempt: int = 0,
        env: Mapping[str, str] | None = None,
        working_dir: str = "/",
    ) -> ContainerStatus:
        """Run `argv` in the pod's sandbox, made if need be."""
        await self.runtime.run_sandbox(SandboxConfig(uid, "default", uid))
        return await self.runtime.start_container(
            uid,
            ContainerConfig(
                name,
                attempt,
                argv,
                env if env is not None else {"PATH": PATH},
                working_dir,
                os.fspath(self.log(uid, name, attempt)),
            ),
        )

    async def sh(self, uid: str, script: str, *, name: str = "main", attempt: int = 0) -> ContainerStatus:
        """Run a shell script in the pod's sandbox."""
        return await self.run(uid, "sh", "-c", script, name=name, attempt=attempt)

    async def ended(self, status: ContainerStatus) -> ContainerStatus:
        """Wait for the container's exit to be told."""
        await self.until(lambda: bool(self.exits.get(status.id)))
        return self.exits[status.id][-1]

    def log(self, uid: str, name: str = "main", attempt: int = 0) -> Path:
        """Where the container's log goes."""
        return self.root.parent / "logs" / uid / name / f"{attempt}.log"

    def living(self) -> set[int]:
        """Every living process that says it belongs to a sandbox of this node."""
        marks = [records.read(os.fspath(path)) for path in self.root.glob("*/pod.json")]
        return {process.pid for pod in marks if pod for process in processes.marked(pod["mark"])}

    @staticmethod
    async def until(condition: Callable[[], bool]) -> None:
        """Wait for a condition; the test's own time limit is the bound."""
        clock = SystemClock()
        while not condition():
            await clock.sleep(0.005)

    @staticmethod
    def python(code: str) -> tuple[str, ...]:
        """The command that runs a piece of Python quickly."""
        return (sys.executable, "-I", "-S", "-c", code)


class NodeMaker(Protocol):
    """Opens the runtime on the test's folder, as often as wanted, one after the other."""

    def __call__(self, *, keep: bool = False) -> AbstractAsyncContextManager[Node]:
        """With `keep` the processes outlive the runtime; else all is stopped when it closes."""


@pytest.fixture
def open_node(tmp_path: Path) -> Iterator[NodeMaker]:
    """A real runtime in a folder of the test's own; whatever a failed test leaves running is killed."""
    root = tmp_path / "run"

    @asynccontextmanager
    async def opened(*, keep: bool = False) -> AsyncIterator[Node]:
        node = Node(ProcessRuntime(root, SystemClock()), root, {})
        node.runtime.subscribe(lambda status: node.exits.setdefault(status.id, []).append(status))
        await node.runtime.start()
        try:
            yield node
        finally:
            await node.runtime.close(stop=not keep, grace_s=0)

    yield opened
    for path in root.glob("*/pod.json"):
        pod = records.read(os.fspath(path))
        shutil.rmtree(path.parent)  # its shim, if any, ends when it misses its folder
        assert pod is not None
        processes.end_all(lambda mark=pod["mark"]: processes.marked(mark), within_s=5.0)  # type: ignore[misc]  # default argument
