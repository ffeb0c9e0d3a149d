"""Containers as processes: they start, end, are stopped, and nothing of them stays behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconcile.resources.kubelet.errors import (
    ContainerNotFoundError,
    ContainerNotRunningError,
    ExecTimeoutError,
    InvalidNameError,
    SandboxNotFoundError,
    StaleAttemptError,
    StartError,
    StillRunningError,
)
from reconcile.resources.kubelet.process.shim import processes
from reconcile.resources.kubelet.runtime import ContainerConfig, ContainerState, SandboxConfig

if TYPE_CHECKING:
    from tests.kubelet.process.conftest import NodeMaker


async def test_twenty_pods_run_at_once_and_all_are_listed(open_node: NodeMaker) -> None:
    """The promise of `up`: a folder of services runs, each under a shim of its own, each recognisable in ps."""
    async with open_node() as node:
        for number in range(20):
            await node.run(f"pod-{number}", "sleep", "60")
        listed = await node.runtime.list()
        assert {sandbox.uid for sandbox in listed} == {f"pod-{number}" for number in range(20)}
        assert all(sandbox.ready and len(sandbox.containers) == 1 for sandbox in listed)
        pids = {container.pid for sandbox in listed for container in sandbox.containers if container.running}
        assert node.living() == pids
        assert len(pids) == 20
        assert Path(f"/proc/{listed[0].pid}/comm").read_text().strip() == "reconcile-shim"
        assert Path(f"/proc/{listed[0].pid}/cmdline").read_text().startswith(f"reconcile-shim default/{listed[0].name}\0")
    assert not list(node.root.glob("pod-*"))


@pytest.mark.parametrize(
    ("script", "exit_code", "signum", "reason"),
    [
        ("exit 0", 0, 0, "Completed"),
        ("exit 3", 3, 0, "Error"),
        ("kill -TERM $$", 143, 15, "Error"),
        ("kill -KILL $$", 137, 9, "Error"),
        ("kill -ABRT $$", 134, 6, "Error"),
    ],
)
async def test_an_exit_is_told_with_code_signal_and_reason(
    open_node: NodeMaker, script: str, exit_code: int, signum: int, reason: str
) -> None:
    """restartPolicy, Job success and what `describe` shows hang on these four fields."""
    async with open_node() as node:
        ended = await node.ended(await node.sh("pod", script))
        assert (ended.exit_code, ended.signal, ended.reason) == (exit_code, signum, reason)
        assert 0 < ended.started_at <= ended.finished_at
        (sandbox,) = await node.runtime.list()
        assert sandbox.containers == (ended,)


async def test_the_process_gets_exactly_its_environment_directory_and_clean_signals(open_node: NodeMaker, tmp_path: Path) -> None:
    """What leaks from the engine into a pod (variables, ignored signals, descriptors) works on one machine only."""
    code = (
        "import os, signal, sys\n"
        "ignored = [s for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN]\n"
        "print(sorted(k for k in os.environ if k != 'LC_CTYPE'), os.getcwd(), ignored, signal.pthread_sigmask(0, []))\n"
        "print(sorted(os.listdir('/proc/self/fd'))[:4], os.readlink('/proc/self/fd/0'), os.getsid(0) == os.getpid())\n"
    )
    async with open_node() as node:
        await node.ended(await node.run("pod", *node.python(code), env={"A": "ü"}, working_dir=str(tmp_path)))
        lines = [line.split(" ", 3)[3] for line in node.log("pod").read_text().splitlines()]
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25).
    ignored = "[<Signals.SIGPIPE: 13>, <Signals.SIGXFSZ: 25>]"
    assert lines[0] == f"['A', 'RECONCILE_CONTAINER'] {tmp_path} {ignored} set()"
    assert lines[1] == "['0', '1', '2', '3'] /dev/null True"  # 3 is the listing itself


@pytest.mark.parametrize(
    ("argv", "exit_code", "words"),
    [
        (["no-such-command"], 127, ["command not found: no 'no-such-command' in PATH", "set PATH in env"]),
        (["/no/such/file"], 127, ["there is no file '/no/such/file'"]),
        (["./here"], 127, ["there is no file './here'", "seen from the working directory"]),
        (["{tmp}/plain"], 126, ["plain' is not executable", "chmod +x"]),
        (["{tmp}/orphan"], 127, ["'/no/such/interpreter', which it asks for, does not exist"]),
        (["{tmp}/text"], 126, ["is not a program"]),
        (["{tmp}"], 126, ["is a directory"]),
        ([], 128, ["there is no command"]),
    ],
)
async def test_a_command_that_cannot_run_says_what_is_wrong_and_what_to_do(
    open_node: NodeMaker, tmp_path: Path, argv: list[str], exit_code: int, words: list[str]
) -> None:
    """The most common mistake of all; a bare 'No such file or directory' sends people to strace."""
    for name, text, mode in [
        ("plain", "#!/bin/sh\n", 0o644),
        ("orphan", "#!/no/such/interpreter\n", 0o755),
        ("text", "?", 0o755),
    ]:
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    argv = [argument.replace("{tmp}", str(tmp_path)) for argument in argv]
    async with open_node() as node:
        with pytest.raises(StartError) as caught:
            await node.run("pod", *argv)
        status = caught.value.status
        assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, exit_code, "StartError")
        for word in words:
            assert word in str(caught.value)
        with pytest.raises(StartError):
            await node.run("pod", *argv)
        (sandbox,) = await node.runtime.list()
        assert sandbox.containers == (status,)


async def test_a_working_directory_that_is_not_there_is_named(open_node: NodeMaker) -> None:
    """Without it the message would blame the command."""
    async with open_node() as node:
        with pytest.raises(StartError, match=r"working directory '/no/where' does not exist.*set workingDir"):
            await node.run("pod", "true", working_dir="/no/where")


async def test_starting_the_same_attempt_again_runs_no_second_process(open_node: NodeMaker, tmp_path: Path) -> None:
    """An engine that was killed between asking and writing down must be able to ask again."""
    async with open_node() as node:
        script = f"echo x >> {tmp_path}/starts; exec sleep 60"
        first = await node.sh("pod", script)
        again = await node.sh("pod", script)
        assert again == first
        await node.until(lambda: (tmp_path / "starts").exists() and (tmp_path / "starts").read_text() == "x\n")
        ended = await node.runtime.stop_container("pod", first.id, 0)
        assert await node.sh("pod", script) == ended
        second = await node.sh("pod", script, attempt=1)
        await node.until(lambda: (tmp_path / "starts").read_text() == "x\nx\n")
        with pytest.raises(StillRunningError):
            await node.sh("pod", script, attempt=2)
        await node.runtime.remove_container("pod", second.id)
        await node.runtime.remove_container("pod", second.id)
        for attempt in (0, 1):
            await node.runtime.remove_container("pod", first.id)
            with pytest.raises(StaleAttemptError):
                await node.sh("pod", script, attempt=attempt)
        assert (tmp_path / "starts").read_text() == "x\nx\n"


async def test_a_container_that_ignores_the_stop_signal_is_killed_after_its_grace(open_node: NodeMaker) -> None:
    """Without the escalation a deletion hangs for ever; without the grace every shutdown is a crash."""
    async with open_node() as node:
        stubborn = await node.sh("stubborn", "trap '' TERM; echo ready; while :; do sleep 1; done")
        polite = await node.sh("polite", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.02; done")
        await node.until(lambda: all(b"ready" in read(node.log(uid)) for uid in ("stubborn", "polite")))
        ended = await node.runtime.stop_container("stubborn", stubborn.id, 0.2)
        assert (ended.exit_code, ended.signal) == (137, 9)
        assert ended.finished_at - ended.started_at >= 0.2
        ended = await node.runtime.stop_container("polite", polite.id, 20)
        assert ended.exit_code == 5
        assert b"bye" in read(node.log("polite"))
        assert await node.runtime.stop_container("polite", polite.id, 20) == ended
        assert node.living() == set()


async def test_a_shell_wrapper_passes_the_stop_on_to_what_it_runs(open_node: NodeMaker) -> None:
    """`sh -c "server; true"` is how people write commands; the server must get its SIGTERM, not only its SIGKILL."""
    code = (
        "import os, signal, sys\n"
        "import time\n"
        # os.write, because the signal may come while `print` is still at it.
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.1), os.write(1, b'asked\\n'), sys.exit(0)))\n"
        "os.write(1, b'up\\n')\n"
        "signal.pause()\n"
    )
    async with open_node() as node:
        status = await node.run("pod", "sh", "-c", '"$@"; true', "sh", *node.python(code))
        await node.until(lambda: b"up" in read(node.log("pod")))
        ended = await node.runtime.stop_container("pod", status.id, 20)
        assert b"asked" in read(node.log("pod"))
        assert ended.signal == 15


async def test_what_a_shell_left_running_is_killed_when_the_grace_is_over(open_node: NodeMaker) -> None:
    """The shell is gone at once; its stubborn child must not have more time than the Pod was given."""
    async with open_node() as node:
        status = await node.sh("pod", "(trap '' TERM; echo ready; while :; do sleep 1; done); true")
        await node.until(lambda: b"ready" in read(node.log("pod")))
        ended = await node.runtime.stop_container("pod", status.id, 0.2)
        assert ended.finished_at - ended.started_at >= 0.2
        assert node.living() == set()


async def test_grandchildren_and_daemons_die_with_their_container_and_with_no_other(open_node: NodeMaker) -> None:
    """A double-forked daemon left behind holds its port, and the next attempt cannot start."""
    daemon = "setsid sh -c 'setsid sleep 61 & echo up'"
    shed = "env -i setsid sh -c '/bin/sleep 62 &'"
    async with open_node() as node:
        first = await node.sh("pod", f"{daemon}; sleep 60 & wait", name="first")
        second = await node.sh("pod", f"{daemon}; sleep 60 & wait", name="second")
        await node.until(lambda: len(node.living()) == 6)
        ended = await node.runtime.stop_container("pod", first.id, 0)
        assert ended.exit_code == 137
        assert len(node.living()) == 3
        (sandbox,) = await node.runtime.list()
        os.kill(second.pid, signal.SIGKILL)
        await node.ended(second)
        assert node.living() == set()
        third = await node.sh("pod", f"{shed}; exec sleep 60", name="third")
        await node.until(lambda: len(processes.descendants(sandbox.pid)) == 2)
        os.kill(third.pid, signal.SIGKILL)
        await node.ended(third)
        assert processes.descendants(sandbox.pid) == []


async def test_removing_a_sandbox_kills_and_forgets_all_but_the_logs(open_node: NodeMaker) -> None:
    """Deletion of a Pod ends here; a repeat after a crash must be no error."""
    async with open_node() as node:
        await node.sh("pod", "echo hello; setsid sleep 60 & wait")
        await node.until(lambda: len(node.living()) == 2 and b"hello" in read(node.log("pod")))
        living = node.living()
        await node.runtime.remove_sandbox("pod")
        await node.runtime.remove_sandbox("pod")
        assert await node.runtime.list() == []
        assert not (node.root / "pod").exists()
        assert not [pid for pid in living if (p := processes.look(pid)) and not p.dead]
        assert b"hello" in read(node.log("pod"))
        with pytest.raises(SandboxNotFoundError):
            await node.runtime.stats("pod")
        again = await node.sh("pod", "exec sleep 60")
        assert again.running


async def test_exec_runs_in_the_containers_place_and_gives_output_and_code(open_node: NodeMaker, tmp_path: Path) -> None:
    """Exec probes and hooks are judged by it."""
    async with open_node() as node:
        main = await node.run("pod", "sleep", "60", env={"PATH": os.environ["PATH"], "WHO": "me"}, working_dir=str(tmp_path))
        result = await node.runtime.exec("pod", "main", ["sh", "-c", "echo $WHO; pwd >&2; exit 4"], 10)
        assert (result.exit_code, result.output) == (4, f"me\n{tmp_path}\n".encode())
        result = await node.runtime.exec("pod", "main", ["sh", "-c", "head -c 1000000 /dev/zero"], 10)
        assert (result.exit_code, len(result.output)) == (0, 65536)
        result = await node.runtime.exec("pod", "main", ["no-such-probe"], 10)
        assert result.exit_code == 127
        assert b"no 'no-such-probe' in PATH" in result.output
        with pytest.raises(ExecTimeoutError, match=r"'sleep 50' timed out after 0.05s"):
            await node.runtime.exec("pod", "main", ["sleep", "50"], 0.05)
        await node.until(lambda: node.living() == {main.pid})
        with pytest.raises(ContainerNotFoundError):
            await node.runtime.exec("pod", "other", ["true"], 1)
        await node.runtime.stop_container("pod", main.id, 0)
        with pytest.raises(ContainerNotRunningError):
            await node.runtime.exec("pod", "main", ["true"], 1)


async def test_stats_count_the_whole_tree_and_also_what_has_ended(open_node: NodeMaker) -> None:
    """`top` must not show the shell's megabyte in place of the server's hundred."""
    burn = "import time\nend=time.process_time()+0.1\nwhile time.process_time()<end: pass\n"
    hold = "x = bytearray(30_000_000)\nprint('held', flush=True)\nimport time; time.sleep(60)"
    async with open_node() as node:
        await node.run("pod", "sh", "-c", '"$@" -c "$BURN"; "$@" -c "$HOLD"; true', "sh", *node.python("")[:-2],
                       env={"PATH": os.environ["PATH"], "BURN": burn, "HOLD": hold})  # fmt: skip  # one call, one thought
        await node.until(lambda: b"held" in read(node.log("pod")))
        stats = await node.runtime.stats("pod")
        assert stats.cpu_s >= 0.09
        assert 30_000_000 < stats.memory_bytes < 80_000_000
        assert stats.processes == 2


async def test_names_that_could_leave_the_folder_are_refused(open_node: NodeMaker) -> None:
    """A uid of `../..` would delete what is not ours."""
    async with open_node() as node:
        for uid in ("../x", "", ".hidden", "a/b", "x" * 129):
            with pytest.raises(InvalidNameError):
                await node.runtime.run_sandbox(SandboxConfig(uid, "default", "x"))
        await node.runtime.run_sandbox(SandboxConfig("pod", "default", "x"))
        with pytest.raises(InvalidNameError):
            await node.runtime.start_container("pod", ContainerConfig("a/b", 0, ["true"]))
        with pytest.raises(SandboxNotFoundError):
            await node.runtime.start_container("other", ContainerConfig("a", 0, ["true"]))


def read(path: Path) -> bytes:
    """The file's content, nothing where there is none yet."""
    return path.read_bytes() if path.exists() else b""
