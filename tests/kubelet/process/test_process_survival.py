"""Whoever is killed, and whenever: processes run exactly once, exits are kept, and nothing is out of sight."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from reconcile.resources.kubelet.errors import ShimError
from reconcile.resources.kubelet.process import ProcessRuntime
from reconcile.resources.kubelet.process.connection import dial
from reconcile.resources.kubelet.process.shim import processes, records
from reconcile.resources.kubelet.runtime import ContainerStatus, SandboxConfig
from reconcile.runtime.clock import SystemClock

if TYPE_CHECKING:
    from tests.kubelet.process.conftest import Node, NodeMaker

ENGINE = Path(__file__).with_name("engine_to_kill.py")
ROUNDS = 10


def engine_module() -> ModuleType:
    """The script that is killed, as a module: what it starts is compared with what was meant."""
    spec = importlib.util.spec_from_file_location("engine_to_kill", ENGINE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kill_an_engine(root: Path, folder: Path, first: int, after_s: float) -> set[int]:
    """Start an engine, kill it -9 `after_s` after it came up; returns the pods it was told had started."""
    engine = subprocess.Popen(
        [sys.executable, os.fspath(ENGINE), os.fspath(root), os.fspath(folder), str(first)], stdout=subprocess.PIPE
    )
    assert engine.stdout is not None
    assert engine.stdout.readline() == b"up\n"
    try:
        engine.wait(after_s)
    except subprocess.TimeoutExpired:
        engine.kill()
    acknowledged = {int(line) for line in engine.stdout.read().split()}
    engine.stdout.close()
    assert engine.wait() == -signal.SIGKILL
    return acknowledged


@pytest.mark.time_limit_s(60)
async def test_an_engine_killed_at_any_moment_loses_no_process_no_exit_and_makes_no_second_copy(
    open_node: NodeMaker, tmp_path: Path
) -> None:
    """The reason shims exist. Moments are random: during a sandbox's creation, a start, an exit, right at the beginning."""
    chance = random.Random(7)
    engine = engine_module()
    told = 0
    for turn in range(ROUNDS):
        first = turn * 1000
        # A machine under load may not come to start anything in that time: it gets more, until it does.
        after_s = chance.uniform(0.0, 0.12 if told else 0.12 * (turn + 1))
        acknowledged = await asyncio.to_thread(kill_an_engine, tmp_path / "run", tmp_path, first, after_s)
        told += len(acknowledged)
        async with open_node(keep=True) as node:
            listed = {sandbox.uid: sandbox for sandbox in await node.runtime.list()}
            assert all(listed[f"pod-{number}"].containers for number in acknowledged)
            known = {c.pid for sandbox in listed.values() for c in sandbox.containers if c.running}
            assert {p for p in node.living() if (seen := processes.look(p)) and seen.sid == p} <= known
            # The next engine does what the first meant to do, for everything that was begun and four more.
            begun = [int(uid.split("-")[1]) for uid in listed]
            for number in sorted({*begun, *range(first, first + 4)}):
                sandbox, container = engine.pod(tmp_path, number)
                assert (await node.runtime.run_sandbox(sandbox)).ready
                await finish(node, await node.runtime.start_container(sandbox.uid, container), number, tmp_path)
            assert len(await node.runtime.list()) == len({*begun, *range(first, first + 4)})
            if turn % 2 == 0:
                for uid in listed:
                    await node.runtime.remove_sandbox(uid)
    assert told
    async with open_node() as node:
        living = node.living()
        assert living
    assert not [pid for pid in living if (seen := processes.look(pid)) and not seen.dead]


async def finish(node: Node, status: ContainerStatus, number: int, folder: Path) -> None:
    """See that pod `number` came to what was meant, and ran once."""
    if number % 2:
        assert status.running
        await node.until(lambda: (folder / f"starts-{number}").exists())
    else:
        ended = await node.ended(status) if status.running else status
        assert (ended.exit_code, ended.reason) == (number % 100, "Error" if number % 100 else "Completed")
        assert (folder / f"{number}.log").read_bytes().endswith(b" stdout F started\n")
    await node.until(lambda: (folder / f"starts-{number}").read_text().count("\n") > 0)
    assert (folder / f"starts-{number}").read_text().count("\n") == 1


async def test_exits_while_no_engine_was_there_are_found_by_the_next(open_node: NodeMaker) -> None:
    """An exit code lost is a Job that runs twice."""
    async with open_node(keep=True) as node:
        status = await node.sh("pod", "read x < /dev/null; sleep 0.1; exit 42")
        longer = await node.sh("longer", "exec sleep 60")
    await node.until(lambda: (processes.look(status.pid) or DEAD).dead)
    async with open_node() as node:
        found = {c.pod_uid: c for sandbox in await node.runtime.list() for c in sandbox.containers}
        ended = found["pod"] if not found["pod"].running else await node.ended(found["pod"])
        assert ended.exit_code == 42
        assert found["longer"] == longer


async def test_a_stop_begun_by_an_engine_that_died_is_still_carried_out(open_node: NodeMaker) -> None:
    """Else a Pod under deletion would run on, having ignored its SIGTERM, until somebody asks again."""
    async with open_node(keep=True) as node:
        status = await node.sh("pod", "trap '' TERM; echo ready; while :; do sleep 1; done")
        await node.until(lambda: node.log("pod").exists() and b"ready" in node.log("pod").read_bytes())
        stopping = asyncio.ensure_future(node.runtime.stop_container("pod", status.id, 0.2))
        await asyncio.sleep(0)
        stopping.cancel()
    async with open_node() as node:
        await node.until(lambda: (processes.look(status.pid) or DEAD).dead)


async def test_a_killed_shim_takes_its_processes_along_and_its_containers_are_told_as_lost(open_node: NodeMaker) -> None:
    """Nobody would log, stop or count them any more: an orphan outside of `list` is the one thing that must not be."""
    async with open_node() as node:
        lost = await node.sh("pod", "setsid sleep 60 & exec sleep 60")
        done = await node.ended(await node.sh("pod", "exit 3", name="done"))
        await node.until(lambda: len(node.living()) == 2)
        (sandbox,) = await node.runtime.list()
        os.kill(sandbox.pid, signal.SIGKILL)
        told = await node.ended(lost)
        assert (told.exit_code, told.signal, told.reason) == (137, 9, "ContainerStatusUnknown")
        assert node.living() == set()
        (after,) = await node.runtime.list()
        assert not after.ready
        assert after.containers == (done, told)
        again = await node.runtime.run_sandbox(SandboxConfig("pod", "default", "pod"))
        assert again.ready
        assert again.containers == (done, told)
        assert (await node.sh("pod", "exec sleep 60", attempt=1)).running


async def test_a_shim_killed_while_no_engine_was_there_is_buried_by_the_next(open_node: NodeMaker) -> None:
    """As above, with nobody watching at the time."""
    async with open_node(keep=True) as node:
        await node.sh("pod", "setsid sleep 60 & exec sleep 60")
        await node.until(lambda: len(node.living()) == 2)
        (sandbox,) = await node.runtime.list()
    os.kill(sandbox.pid, signal.SIGKILL)
    async with open_node() as node:
        (after,) = await node.runtime.list()
        assert [(c.exit_code, c.reason) for c in after.containers] == [(137, "ContainerStatusUnknown")]
        assert node.living() == set()


async def test_a_stop_that_waits_is_answered_when_the_shim_is_killed(open_node: NodeMaker) -> None:
    """A pod worker that waits for ever never deletes its Pod."""
    async with open_node() as node:
        status = await node.sh("pod", "trap '' TERM; while :; do sleep 1; done")
        (sandbox,) = await node.runtime.list()
        stopping = asyncio.ensure_future(node.runtime.stop_container("pod", status.id, 60))
        await asyncio.sleep(0)
        os.kill(sandbox.pid, signal.SIGKILL)
        assert (await stopping).reason == "ContainerStatusUnknown"


async def test_a_terminated_shim_stops_its_containers_and_records_their_exits(open_node: NodeMaker) -> None:
    """A shutdown of the machine sends SIGTERM to all; codes that programs end with then are worth keeping."""
    async with open_node() as node:
        status = await node.sh("pod", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done")
        await node.until(lambda: node.log("pod").exists() and b"ready" in node.log("pod").read_bytes())
        (sandbox,) = await node.runtime.list()
        os.kill(sandbox.pid, signal.SIGTERM)
        assert (await node.ended(status)).exit_code == 9


async def test_a_request_that_a_dead_engine_left_in_the_socket_makes_no_process_out_of_sight(open_node: NodeMaker) -> None:
    """A start carried out after the next engine has listed would be a process nobody knows of."""
    async with open_node(keep=True) as node:
        shim_pid = (await node.runtime.run_sandbox(SandboxConfig("pod", "default", "pod"))).pid
    old = dial(os.fspath(node.root / "pod"))
    assert old is not None
    os.kill(shim_pid, signal.SIGSTOP)
    with old:
        start = {"op": "start", "name": "main", "attempt": 0, "argv": ["sleep", "60"], "env": {"PATH": os.environ["PATH"]}}
        more = {"container_id": "pod_main_0", "working_dir": "/", "log_path": "", "stop_signal": 15, "labels": {}}
        old.send(json.dumps({"id": 1, **start, **more}).encode() + b"\n")
        asyncio.get_running_loop().call_later(0.05, os.kill, shim_pid, signal.SIGCONT)
        async with open_node() as node:
            listed = {c.pid for sandbox in await node.runtime.list() for c in sandbox.containers}
            old.setblocking(True)
            while await asyncio.to_thread(hear, old):
                pass  # until the shim has hung up on the old engine
            assert node.living() == listed


def hear(connection: socket.socket) -> bytes:
    """The next bytes; nothing once the other end has hung up, or broken off over what it never read."""
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


async def test_concurrent_requests_for_one_sandbox_make_one_shim(open_node: NodeMaker) -> None:
    """Two shims of one pod would each run a copy of it."""
    async with open_node() as node:
        config = SandboxConfig("pod", "default", "pod", {"a": "b"})
        found = await asyncio.gather(*(node.runtime.run_sandbox(config) for _ in range(10)))
        assert len({sandbox.pid for sandbox in found}) == 1
        assert found[0].labels == {"a": "b"}
        assert len(await node.runtime.list()) == 1


async def test_a_second_engine_on_the_same_folder_is_refused(open_node: NodeMaker) -> None:
    """Two engines would fence each other's connections for ever."""
    async with open_node() as node:
        with pytest.raises(ShimError, match=r"another engine uses .*run; stop that one"):
            await ProcessRuntime(node.root, SystemClock()).start()


async def test_a_killed_zygote_is_replaced(open_node: NodeMaker) -> None:
    """It is only a cache; its loss must not be felt."""
    async with open_node() as node:
        await node.sh("first", "exec sleep 60")
        zygote = node.runtime._launcher._zygote
        assert zygote is not None
        zygote.kill()
        zygote.wait()
        assert (await node.sh("second", "exec sleep 60")).running
        assert len(node.living()) == 2


async def test_the_zygote_ends_with_its_engine_and_the_shims_do_not(open_node: NodeMaker, tmp_path: Path) -> None:
    """An idle interpreter a crash would pile up."""
    await asyncio.to_thread(kill_an_engine, tmp_path / "run", tmp_path, 1, 0.2)
    code = os.fsencode(os.path.dirname(records.__file__).removesuffix("/shim"))

    def zygotes() -> list[Path]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                # Other engines of this machine have zygotes too: ours is the one that reports to our folder.
                ours = os.readlink(path.with_name("fd") / "1") == os.fspath(tmp_path / "run" / "shim.log")
                if ours and code in path.read_bytes() and b"shim.zygote" in path.read_bytes():
                    found.append(path)
            except OSError:
                continue
        return found

    async with open_node() as node:
        await node.until(lambda: not zygotes())
        assert any(c.running for sandbox in await node.runtime.list() for c in sandbox.containers)


async def test_deep_folders_work_beyond_the_length_of_a_socket_address(tmp_path: Path) -> None:
    """A unix socket's path ends at 107 bytes; a project folder does not."""
    root = tmp_path / ("d" * 100) / ("e" * 100)
    runtime = ProcessRuntime(root, SystemClock())
    await runtime.start()
    first = await runtime.run_sandbox(SandboxConfig("pod", "default", "pod"))
    await runtime.close()
    await runtime.start()
    (again,) = await runtime.list()
    assert (again.ready, again.pid) == (True, first.pid)
    await runtime.close(stop=True)


class _Dead:
    dead = True


DEAD = _Dead()


async def test_a_sandbox_whose_folder_was_deleted_ends(open_node: NodeMaker) -> None:
    """`rm -rf` of the data folder must not leave processes that nothing can find any more."""
    async with open_node() as node:
        status = await node.sh("pod", "setsid sleep 60 & exec sleep 60")
        await node.until(lambda: len(node.living()) == 2)
        living = node.living()
        shutil.rmtree(node.root / "pod")
        await node.until(lambda: not [pid for pid in living if not (processes.look(pid) or DEAD).dead])
        assert (await node.ended(status)).exit_code == 137
        assert await node.runtime.list() == []


async def test_a_removal_that_was_cut_short_is_finished_by_the_next_engine(open_node: NodeMaker) -> None:
    """A half-deleted sandbox is either still listed, or has left nothing at all."""
    uids = [f"pod-{number}" for number in range(6)]
    async with open_node(keep=True) as node:
        for uid in uids:
            await node.sh(uid, "setsid sleep 60 & exec sleep 60")
        await node.until(lambda: len(node.living()) == 12)
        living = node.living()
        removing = [asyncio.ensure_future(node.runtime.remove_sandbox(uid)) for uid in uids]
        for number, task in enumerate(removing):
            await SystemClock().sleep(0.001 * number)
            task.cancel()
        await asyncio.gather(*removing, return_exceptions=True)
    async with open_node(keep=True) as node:
        for uid in uids:
            await node.runtime.remove_sandbox(uid)
        assert await node.runtime.list() == []
        assert not list(node.root.glob("*pod*"))
    assert not [pid for pid in living if not (processes.look(pid) or DEAD).dead]


async def test_a_shim_that_is_stuck_hides_neither_itself_nor_others(
    open_node: NodeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stopped process must not keep the whole node from starting."""
    async with open_node(keep=True) as node:
        for uid in ("stuck", "well"):
            await node.sh(uid, "exec sleep 60")
        shim_pid = next(sandbox.pid for sandbox in await node.runtime.list() if sandbox.uid == "stuck")
    monkeypatch.setattr("reconcile.resources.kubelet.process.runtime._SHIM_ANSWER_S_MAX", 1.0)
    os.kill(shim_pid, signal.SIGSTOP)
    async with open_node() as node:
        try:
            seen = {sandbox.uid: sandbox for sandbox in await node.runtime.list()}
            assert (seen["stuck"].ready, seen["well"].ready) == (False, True)
            assert seen["stuck"].containers[0].running
            with pytest.raises(ShimError, match="has not answered for 1 s"):
                await node.runtime.run_sandbox(SandboxConfig("stuck", "default", "stuck"))
        finally:
            os.kill(shim_pid, signal.SIGCONT)
        monkeypatch.undo()
        assert all(sandbox.ready for sandbox in await node.runtime.list())
