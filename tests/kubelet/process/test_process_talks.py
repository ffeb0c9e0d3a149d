"""Talking to what runs in a container: a command beside it (exec), or its own first process (attach)."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from reconcile.resources.kubelet.errors import ContainerNotFoundError, ContainerNotRunningError, ExecError
from reconcile.resources.kubelet.runtime import ContainerConfig, SandboxConfig, Talk

from .conftest import PATH, Node, NodeMaker


async def said(talk: Talk, stream: str = "stdout") -> bytes:
    """Everything that comes out of a stream, to its end."""
    whole = b""
    while chunk := await talk.outputs[stream].read(65536):
        whole += chunk
    return whole


async def heard(talk: Talk, what: bytes) -> bytes:
    """What comes out until it holds `what`."""
    whole = b""
    while what not in whole:
        chunk = await talk.outputs["stdout"].read(65536)
        assert chunk, f"its output ended with {whole!r}"
        whole += chunk
    return whole


async def interactive(node: Node, uid: str, *argv: str, stdin_once: bool = False, tty: bool = False) -> None:
    """Run a container that can be talked to."""
    await node.runtime.run_sandbox(SandboxConfig(uid, "default", uid))
    log = os.fspath(node.log(uid))
    config = ContainerConfig("main", 0, argv, {"PATH": PATH}, "/", log, stdin=True, stdin_once=stdin_once, tty=tty)
    await node.runtime.start_container(uid, config)


async def test_a_command_has_the_containers_environment_and_directory(open_node: NodeMaker) -> None:
    """`exec` is for looking at what the container sees."""
    async with open_node() as node:
        await node.run("p", "sleep", "100", env={"PATH": PATH, "GREETING": "hello"}, working_dir="/usr")
        talk = await node.runtime.run(
            "p", "main", ["sh", "-c", "echo $GREETING; pwd; echo err >&2; exit 3"], stdin=False, tty=False
        )
        assert await said(talk) == b"hello\n/usr\n"
        assert await said(talk, "stderr") == b"err\n"
        assert await talk.wait() == 3
        await talk.close()


async def test_a_command_reads_what_is_written_until_its_input_ends(open_node: NodeMaker) -> None:
    """`kubectl cp` sends an archive of any size; the end of it is the end of stdin."""
    async with open_node() as node:
        await node.sh("p", "sleep 100")
        talk = await node.runtime.run("p", "main", ["cat"], stdin=True, tty=False)
        data = os.urandom(1 << 20)

        async def write() -> None:
            await talk.write(data)
            await talk.close_stdin()

        writing = asyncio.create_task(write())
        assert await said(talk) == data
        await writing
        assert await talk.wait() == 0
        await talk.close()


async def test_a_command_with_a_terminal_has_its_size(open_node: NodeMaker) -> None:
    """An editor in a window of another size draws nonsense."""
    async with open_node() as node:
        await node.sh("p", "sleep 100")
        talk = await node.runtime.run(
            "p", "main", ["sh", "-c", "read go; stty size; test -t 2 && echo $TERM"], stdin=True, tty=True
        )
        await talk.resize(101, 33)
        await talk.write(b"go\n")
        assert b"33 101" in await heard(talk, b"xterm")
        assert await talk.wait() == 0
        await talk.close()


async def test_what_a_command_said_on_a_terminal_is_read_after_its_end(open_node: NodeMaker) -> None:
    """A terminal whose other end is closed gives an error instead of an end; that must not hide what came before."""
    async with open_node() as node:
        await node.sh("p", "sleep 100")
        talk = await node.runtime.run("p", "main", ["echo", "last words"], stdin=True, tty=True)
        await talk.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert await said(talk) == b"last words\r\n"
        await talk.close()


async def test_a_command_that_cannot_be_started_says_why(open_node: NodeMaker) -> None:
    async with open_node() as node:
        await node.sh("p", "sleep 100")
        with pytest.raises(ExecError, match="no 'nosuch' in PATH") as caught:
            await node.runtime.run("p", "main", ["nosuch"], stdin=False, tty=False)
        assert caught.value.exit_code == 127
        with pytest.raises(ContainerNotFoundError):
            await node.runtime.run("p", "other", ["true"], stdin=False, tty=False)
        await node.ended(await node.run("p", "true", name="short"))
        with pytest.raises(ContainerNotRunningError):
            await node.runtime.run("p", "short", ["true"], stdin=False, tty=False)


@pytest.mark.parametrize("tty", [False, True])
async def test_a_command_ends_with_the_one_who_asked_for_it(open_node: NodeMaker, tty: bool) -> None:
    """A kubectl that was killed must not leave its shell behind, nor may that ignore the hang-up."""
    async with open_node() as node:
        await node.sh("p", "sleep 100")
        script = "trap '' HUP TERM; echo up; while :; do sleep 1; done"
        talk = await node.runtime.run("p", "main", ["sh", "-c", script], stdin=True, tty=tty)
        await heard(talk, b"up")
        before = len(node.living())
        assert before > 2
        await talk.close()
        await node.until(lambda: len(node.living()) <= 2)  # the container's own shell and its sleep


async def test_a_command_ends_with_its_container(open_node: NodeMaker) -> None:
    async with open_node() as node:
        status = await node.sh("p", "sleep 100")
        talk = await node.runtime.run("p", "main", ["sh", "-c", "echo up; sleep 1000"], stdin=True, tty=False)
        await heard(talk, b"up")
        await node.runtime.stop_container("p", status.id, 0)
        assert await talk.wait() == 128 + signal.SIGKILL
        assert not node.living()
        await talk.close()


async def test_a_command_whose_output_nobody_reads_waits(open_node: NodeMaker) -> None:
    """Its bytes stay in its pipe: neither the engine nor the shim may hold what a slow reader has not taken."""
    async with open_node() as node:
        await node.sh("p", "sleep 100")
        talk = await node.runtime.run(
            "p", "main", ["sh", "-c", "head -c 50000000 /dev/zero; echo done >&2"], stdin=False, tty=False
        )
        waiting = asyncio.create_task(talk.outputs["stderr"].read(100))
        done, _pending = await asyncio.wait({waiting}, timeout=0.3)
        assert not done, "50 MB went somewhere though nobody read them"
        count = 0
        while chunk := await talk.outputs["stdout"].read(1 << 20):
            count += len(chunk)
        assert count == 50_000_000
        assert await waiting == b"done\n"
        await talk.close()


async def test_who_is_attached_hears_and_is_heard(open_node: NodeMaker) -> None:
    async with open_node() as node:
        await interactive(node, "p", "sh", "-c", 'while read line; do echo "got $line"; done')
        first = await node.runtime.attach("p", "main", stdin=True, stdout=True, stderr=True, tty=False)
        await first.write(b"one\n")
        assert await heard(first, b"got one\n") == b"got one\n"
        await first.close()
        second = await node.runtime.attach("p", "main", stdin=True, stdout=True, stderr=True, tty=False)
        await second.write(b"two\n")
        assert await heard(second, b"got two\n") == b"got two\n"
        await second.close()
        assert b"got one\n" in (log := node.log("p").read_bytes())
        assert b"got two\n" in log


async def test_stdin_once_ends_with_the_first_who_was_attached(open_node: NodeMaker) -> None:
    """`echo x | kubectl run -i` ends because the container's input does."""
    async with open_node() as node:
        await interactive(node, "p", "sh", "-c", "cat; echo over; exit 5", stdin_once=True)
        talk = await node.runtime.attach("p", "main", stdin=True, stdout=True, stderr=True, tty=False)
        await talk.write(b"text\n")
        await talk.close_stdin()
        assert await said(talk) == b"text\nover\n"
        assert await talk.wait() == 5
        await talk.close()


async def test_who_has_said_everything_leaves_a_container_whose_input_goes_on(open_node: NodeMaker) -> None:
    """`echo x | kubectl attach -i` comes back, and the container waits for whoever attaches next."""
    async with open_node() as node:
        await interactive(node, "p", "sh", "-c", "cat; echo over")
        talk = await node.runtime.attach("p", "main", stdin=True, stdout=True, stderr=True, tty=False)
        await talk.write(b"text\n")
        assert await heard(talk, b"text\n") == b"text\n"
        await talk.close_stdin()
        assert await talk.wait() == 0
        await talk.close()
        second = await node.runtime.attach("p", "main", stdin=True, stdout=True, stderr=True, tty=False)
        await second.write(b"more\n")
        assert await heard(second, b"more\n") == b"more\n"
        await second.close()
        assert b"over" not in node.log("p").read_bytes()


async def test_a_container_with_a_terminal_takes_its_size_from_who_is_attached(open_node: NodeMaker) -> None:
    async with open_node() as node:
        await interactive(node, "p", "sh", "-c", "read go; stty size; tty", tty=True)
        talk = await node.runtime.attach("p", "main", stdin=True, stdout=True, stderr=True, tty=True)
        await talk.resize(77, 22)
        await talk.write(b"go\n")
        assert b"22 77" in await heard(talk, b"/dev/pts/")
        assert await talk.wait() == 0
        await talk.close()


async def test_a_container_waits_for_who_is_attached_and_goes_on_when_that_is_gone(open_node: NodeMaker) -> None:
    """The shim holds no more than a little of what is said: the rest waits in the container's pipe."""
    async with open_node() as node:
        await interactive(node, "p", "sh", "-c", "read go; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo said; sleep 100")
        talk = await node.runtime.attach("p", "main", stdin=True, stdout=True, stderr=True, tty=False)
        await talk.write(b"go\n")
        await node.until(lambda: node.log("p").stat().st_size > 10_000)
        assert b"said" not in node.log("p").read_bytes()
        await talk.close()
        await node.until(lambda: b"stdout F said" in node.log("p").read_bytes())


async def test_a_restarted_engine_talks_to_what_runs(open_node: NodeMaker) -> None:
    """The container's stdin is the shim's: it does not end with the engine."""
    async with open_node(keep=True) as node:
        await interactive(node, "p", "sh", "-c", 'while read line; do echo "got $line"; done')
        talk = await node.runtime.attach("p", "main", stdin=True, stdout=True, stderr=True, tty=False)
        command = await node.runtime.run("p", "main", ["sleep", "1000"], stdin=False, tty=False)
        await talk.close()
        await command.close()
    async with open_node() as node:
        talk = await node.runtime.attach("p", "main", stdin=True, stdout=True, stderr=True, tty=False)
        await talk.write(b"again\n")
        await heard(talk, b"got again\n")
        await talk.close()
