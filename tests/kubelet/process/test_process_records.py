"""The files of a sandbox when the disk or a person has done something to them: full, cut off, copied."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconcile.resources.kubelet.errors import ShimError
from reconcile.resources.kubelet.process import ProcessRuntime, runtime
from reconcile.resources.kubelet.process.shim import loop, processes, records
from reconcile.resources.kubelet.runtime import ContainerState, SandboxConfig
from reconcile.runtime.clock import SystemClock

if TYPE_CHECKING:
    from tests.kubelet.process.conftest import NodeMaker


def test_a_record_is_never_replaced_by_the_half_that_fitted_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes a part of a write without an error; the exit code of a container must outlive that."""
    path = os.fspath(tmp_path / "main.0.json")
    records.write(path, {"exit_code": 3})
    write = os.write

    def full_soon(fd: int, data: memoryview) -> int:
        if len(data) <= 8:
            raise OSError(28, "No space left on device")
        return write(fd, data[:8])

    monkeypatch.setattr(os, "write", full_soon)
    with pytest.raises(OSError, match="No space"):
        records.write(path, {"exit_code": 4, "message": "a longer record than before"})
    monkeypatch.undo()
    assert records.read(path) == {"exit_code": 3}


async def test_a_node_comes_up_again_after_a_power_cut_emptied_its_files(open_node: NodeMaker) -> None:
    """Records are renamed into place without an fsync: after a power cut they may be there and hold nothing."""
    async with open_node(keep=True) as node:
        await node.sh("one", "exec sleep 600")
        await node.sh("two", "exec sleep 600")
        pids = [status.pid for status in await node.runtime.list()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await node.until(lambda: not node.living())
    (node.root / "one" / "containers" / "main.0.json").write_bytes(b"")
    (node.root / "two" / "pod.json").write_bytes(b"")

    async with open_node() as node:
        (one,) = await node.runtime.list()
        assert one.uid == "one"
        (lost,) = one.containers
        assert (lost.id, lost.attempt, lost.state, lost.exit_code) == ("one_main_0", 0, ContainerState.EXITED, 137)
        again = await node.sh("one", "sleep 600")
        assert not again.running, "an attempt whose end is unknown ran a second time"
        assert (await node.sh("two", "sleep 600")).running


async def test_a_copied_state_folder_leaves_the_processes_of_the_original_alone(open_node: NodeMaker, tmp_path: Path) -> None:
    """`cp -r` of a folder in use: its records name living processes, which are not the copy's to kill."""
    async with open_node() as node:
        status = await node.sh("one", "sleep 600")
        shutil.copytree(node.root / "one", tmp_path / "copy" / "one", ignore=shutil.ignore_patterns("sock"))
        copy = ProcessRuntime(tmp_path / "copy", SystemClock())
        await copy.start()
        try:
            (sandbox,) = await copy.list()
            assert [container.running for container in sandbox.containers] == [False]
            await copy.run_sandbox(SandboxConfig("one", "default", "one"))
        finally:
            await copy.close(stop=True, grace_s=0)
        original = processes.look(status.pid)
        assert original is not None
        assert not original.dead


async def test_a_sandbox_that_cannot_be_ended_does_not_keep_the_others_running(
    open_node: NodeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C promises that nothing runs on; one stuck shim must cost only itself, and be named."""
    async with open_node() as node:
        await node.sh("one", "sleep 600")
        two = await node.sh("two", "sleep 600")
        remove = node.runtime.remove_sandbox

        async def stuck(uid: str) -> None:
            if uid == "one":
                raise ShimError("sandbox one", "its shim has not answered")
            await remove(uid)

        monkeypatch.setattr(node.runtime, "remove_sandbox", stuck)
        with pytest.raises(ShimError, match="has not answered"):
            await node.runtime.close(stop=True, grace_s=0)
        assert processes.look(two.pid) is None
        monkeypatch.undo()
        await node.runtime.start()


def test_a_grace_of_a_year_does_not_end_the_shims_loop() -> None:
    """epoll takes 24 days at most; the error ended the shim, and with it everything that it looked after."""
    before = signal.set_wakeup_fd(-1)
    try:
        waits = loop.Loop()
        reading, writing = os.pipe()
        waits.watch(reading, lambda _events: waits.stop())
        os.write(writing, b".")
        waits.after(365 * 86400.0, lambda: None)
        waits.run()
    finally:
        signal.set_wakeup_fd(before)
    os.close(reading)
    os.close(writing)


async def test_a_shim_that_is_stuck_is_killed_with_all_it_ran_when_its_sandbox_is_removed(
    open_node: NodeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a signal, it answers nobody: Ctrl-C waited for it for ever, and its container ran on."""
    monkeypatch.setattr(runtime, "_SHIM_ANSWER_S_MAX", 0.3)
    async with open_node(keep=True) as node:
        status = await node.sh("one", "sleep 600 & sleep 600")
        (sandbox,) = await node.runtime.list()
        os.kill(sandbox.pid, signal.SIGSTOP)
        with pytest.raises(ShimError, match="not answered"):
            await node.runtime.stop_container("one", status.id, 0.0)
        await node.runtime.remove_sandbox("one")
        assert await node.runtime.list() == []
        assert not [process for process in processes.marked("") if process.sid == status.pid]
