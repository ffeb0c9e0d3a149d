"""The kubelet's endpoint over its real socket, with a command that is none: protocols, refusals, hostile and slow clients."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from reconcile import websocket
from reconcile.errors import Tree
from reconcile.resources.kubelet.endpoint import Endpoint, connect, spdy
from reconcile.resources.kubelet.endpoint.errors import EndpointError
from reconcile.resources.kubelet.errors import ExecError

MASK = b"\1\2\3\4"
HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: {}\r\n"
)


class Pieces:
    """Output: what is put in; None ends it. Without a queue it never ends, and counts what was taken."""

    def __init__(self, *, endless: bool = False) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.endless, self.taken = endless, 0

    async def read(self, bytes_max: int) -> bytes:
        if self.endless:
            await asyncio.sleep(0)
            self.taken += bytes_max
            return bytes(bytes_max)
        return await self.queue.get() or b""


@attrs.define(eq=False)
class FakeTalk:
    """A command that does what the test says."""

    outputs: dict[str, Pieces]
    heard: list[bytes | str] = attrs.field(factory=list)
    sizes: list[tuple[int, int]] = attrs.field(factory=list)
    ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    closed: asyncio.Event = attrs.field(factory=asyncio.Event)
    code: int = 0

    async def write(self, data: bytes) -> None:
        self.heard.append(data)

    async def close_stdin(self) -> None:
        self.heard.append("end")

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def wait(self) -> int:
        await self.ended.wait()
        return self.code

    async def close(self) -> None:
        self.closed.set()

    def end(self, code: int) -> None:
        self.code = code
        for output in self.outputs.values():
            output.queue.put_nowait(None)
        self.ended.set()


@attrs.define(eq=False)
class FakePods:
    """One pod `p` with one container `main`; every talk that was begun."""

    talks: list[FakeTalk] = attrs.field(factory=list)
    endless: bool = False

    def require(self, namespace: str, name: str, container: str = "") -> None:
        if name != "p":
            raise EndpointError(404, "pod does not exist")

    async def run(self, namespace: str, name: str, container: str, argv: Sequence[str], *, stdin: bool, tty: bool) -> FakeTalk:
        if argv[0] == "nosuch":
            raise ExecError(container, 127, "command not found")
        names = ("stdout",) if tty else ("stdout", "stderr")
        talk = FakeTalk({each: Pieces(endless=self.endless and each == "stdout") for each in names})
        self.talks.append(talk)
        return talk

    async def attach(self, namespace: str, name: str, container: str, *, stdin: bool, stdout: bool, stderr: bool) -> FakeTalk:
        return await self.run(namespace, name, container, ["attached"], stdin=stdin, tty=False)

    def address(self, namespace: str, name: str) -> str:
        return "127.0.0.1"

    def listed(self) -> Sequence[Tree]:
        return [{"metadata": {"name": "p"}}]

    async def summary(self) -> Tree:
        return {"pods": []}


@attrs.define(eq=False)
class Client:
    """The API server's side of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    decoder: websocket.Decoder = attrs.field(factory=lambda: websocket.Decoder(masked=False))
    arrived: list[websocket.Message] = attrs.field(factory=list)

    async def ask(self, method: str, target: str, headers: str = "") -> str:
        self.writer.write(f"{method} {target} HTTP/1.1\r\n{headers}\r\n".encode())
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    def say(self, channel: int, data: bytes) -> None:
        self.writer.write(websocket.frame(websocket.BINARY, bytes([channel]) + data, MASK))

    async def hear(self) -> bytes:
        """The next message with something in it; none after the close."""
        while True:
            while self.arrived:
                opcode, data = self.arrived.pop(0)
                if opcode == websocket.CLOSE:
                    return b""
                if len(data) > 1:
                    return data
            data = await self.reader.read(65536)
            assert data, "the connection ended without a close"
            self.arrived = self.decoder.feed(data)


@asynccontextmanager
async def endpoint(folder: Path, pods: FakePods) -> AsyncIterator[None]:
    served = Endpoint(pods)
    await served.start(folder)
    try:
        yield
    finally:
        await served.close()


async def client(folder: Path) -> Client:
    return Client(*await connect(folder))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what nobody tells of; the test's own time limit is the bound."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


EXEC = "/exec/default/p/main?command=sh&input=1&output=1&error=1"


async def test_a_command_is_talked_to_in_channels(tmp_path: Path) -> None:
    pods = FakePods()
    async with endpoint(tmp_path, pods):
        one = await client(tmp_path)
        head = await one.ask("GET", EXEC, HANDSHAKE.format("v5.channel.k8s.io"))
        assert head.startswith("HTTP/1.1 101")
        assert "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert "Sec-WebSocket-Protocol: v5.channel.k8s.io" in head
        one.say(0, b"input")
        one.say(7, b"there is no such channel")
        one.say(255, b"\0")
        await until(lambda: bool(pods.talks) and len(pods.talks[0].heard) == 2)
        talk = pods.talks[0]
        assert talk.heard == [b"input", "end"]
        talk.outputs["stdout"].queue.put_nowait(b"out")
        assert await one.hear() == b"\1out"
        talk.outputs["stderr"].queue.put_nowait(b"err")
        assert await one.hear() == b"\2err"
        talk.end(3)
        status = json.loads((await one.hear())[1:])
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        assert await one.hear() == b""
        one.writer.close()
        await talk.closed.wait()


async def test_a_command_that_cannot_run_is_told_in_the_error_channel(tmp_path: Path) -> None:
    async with endpoint(tmp_path, FakePods()):
        one = await client(tmp_path)
        await one.ask("GET", EXEC.replace("sh", "nosuch"), HANDSHAKE.format("v4.channel.k8s.io"))
        message = await one.hear()
        assert message[0] == 3
        assert "command not found" in json.loads(message[1:])["message"]
        one.writer.close()


def _was_heard(pods: FakePods) -> bool:
    return bool(pods.talks) and bool(pods.talks[0].heard)


@pytest.mark.parametrize("protocol", ["", "channel.k8s.io", "base64.channel.k8s.io", "v4.base64.channel.k8s.io"])
async def test_older_clients_and_those_that_name_no_protocol_are_talked_to(tmp_path: Path, protocol: str) -> None:
    """Some carry text: a digit and base64. Before v4 how it ended is a sentence, and none where it ended well."""
    handshake = HANDSHAKE.format(protocol)
    if not protocol:
        handshake = "".join(line for line in handshake.splitlines(keepends=True) if "Protocol" not in line)
    text = "base64" in protocol

    def heard(message: bytes) -> tuple[int, bytes]:
        return (message[0] - ord("0"), base64.b64decode(message[1:])) if text else (message[0], message[1:])

    for code, end in ((0, ""), (3, "command terminated with non-zero exit code: 3")):
        pods = FakePods()
        async with endpoint(tmp_path, pods):
            one = await client(tmp_path)
            head = await one.ask("GET", EXEC, handshake)
            assert head.startswith("HTTP/1.1 101")
            assert ("Sec-WebSocket-Protocol" in head) == bool(protocol)
            if text:
                one.writer.write(websocket.frame(websocket.TEXT, b"0" + base64.b64encode(b"input"), MASK))
            else:
                one.say(0, b"input")
            await until(functools.partial(_was_heard, pods))
            assert pods.talks[0].heard == [b"input"]
            pods.talks[0].outputs["stdout"].queue.put_nowait(b"out")
            assert heard(await one.hear()) == (1, b"out")
            pods.talks[0].end(code)
            if protocol.startswith("v4"):
                told = json.loads(heard(await one.hear())[1])
                assert (told["status"], told.get("message", "")) == ("Failure" if code else "Success", end)
            elif code:
                assert heard(await one.hear()) == (3, end.encode())
            assert await one.hear() == b""
            one.writer.close()


async def test_text_that_is_no_base64_ends_the_connection(tmp_path: Path) -> None:
    """Guessing what was meant would run something else."""
    pods = FakePods()
    async with endpoint(tmp_path, pods):
        one = await client(tmp_path)
        await one.ask("GET", EXEC, HANDSHAKE.format("v4.base64.channel.k8s.io"))
        one.writer.write(websocket.frame(websocket.TEXT, b"0no base64", MASK))
        assert await one.hear() == b""
        one.writer.close()
        await pods.talks[0].closed.wait()
        assert pods.talks[0].heard == []


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", ""])
async def test_a_port_is_reached_in_channels_with_and_without_a_protocol(tmp_path: Path, protocol: str) -> None:
    """kr8s names none. Each channel begins with its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.read(100))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    handshake = "".join(
        line for line in HANDSHAKE.format(protocol).splitlines(keepends=True) if protocol or "Protocol" not in line
    )
    async with server, endpoint(tmp_path, FakePods()):
        one = await client(tmp_path)
        assert (await one.ask("GET", f"/portForward/default/p?port={port}", handshake)).startswith("HTTP/1.1 101")
        assert [await one.hear() for _ in range(2)] == [bytes([channel]) + port.to_bytes(2, "little") for channel in (0, 1)]
        one.say(0, b"you")
        assert await one.hear() == b"\0heard you"
        assert await one.hear() == b""
        one.writer.close()


async def test_a_client_that_is_gone_ends_its_command(tmp_path: Path) -> None:
    pods = FakePods()
    async with endpoint(tmp_path, pods):
        one = await client(tmp_path)
        await one.ask("GET", EXEC, HANDSHAKE.format("v4.channel.k8s.io"))
        await until(lambda: bool(pods.talks))
        one.writer.transport.abort()
        await pods.talks[0].closed.wait()


async def test_a_slow_client_makes_the_command_wait(tmp_path: Path) -> None:
    """What nobody takes must not pile up in the control plane's memory."""
    pods = FakePods(endless=True)
    async with endpoint(tmp_path, pods):
        one = await client(tmp_path)
        await one.ask("GET", EXEC, HANDSHAKE.format("v4.channel.k8s.io"))
        taken = -1
        while not pods.talks or taken != pods.talks[0].outputs["stdout"].taken:
            taken = pods.talks[0].outputs["stdout"].taken if pods.talks else -1
            await asyncio.sleep(0.1)
        assert taken < 4_000_000
        one.writer.transport.abort()
        await pods.talks[0].closed.wait()


async def test_a_command_is_talked_to_in_streams(tmp_path: Path) -> None:
    pods = FakePods()
    encoder, decoder = spdy.Encoder(), spdy.Decoder()
    async with endpoint(tmp_path, pods):
        one = await client(tmp_path)
        head = await one.ask(
            "POST", EXEC, "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v5.channel.k8s.io\r\n"
            "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
        )  # fmt: skip
        assert "X-Stream-Protocol-Version: v4.channel.k8s.io" in head
        names = {1: "error", 3: "stdin", 5: "stdout", 7: "stderr", 9: "nosuch"}
        for number, name in names.items():
            one.writer.write(encoder.control(spdy.Control(spdy.SYN_STREAM, number, {"streamType": name})))
        one.writer.write(encoder.data(spdy.Data(3, b"input", fin=True)))
        await until(lambda: bool(pods.talks) and len(pods.talks[0].heard) == 2)
        pods.talks[0].outputs["stdout"].queue.put_nowait(b"out")
        pods.talks[0].end(0)
        said: dict[int, bytes] = {}
        ended, reset = set[int](), set[int]()
        while len(ended) < 4:
            data = await one.reader.read(65536)
            assert data
            for each in decoder.feed(data):
                if isinstance(each, spdy.Data):
                    said[each.stream_id] = said.get(each.stream_id, b"") + each.data
                    ended |= {each.stream_id} if each.fin else set()
                elif each.type == spdy.RST_STREAM:
                    reset.add(each.stream_id)
        assert pods.talks[0].heard == [b"input", "end"]
        assert said[5] == b"out"
        assert json.loads(said[1])["status"] == "Success"
        assert reset == {9}
        one.writer.close()


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/exec/default/nosuch/main?command=x&output=1", HANDSHAKE.format("v4.channel.k8s.io"), 404),
        ("/exec/default/p/main?output=1", HANDSHAKE.format("v4.channel.k8s.io"), 400),
        ("/exec/default/p/main?command=x", HANDSHAKE.format("v4.channel.k8s.io"), 400),
        (EXEC, "", 400), (EXEC, HANDSHAKE.format("v9.channel.k8s.io"), 403),
        (EXEC, HANDSHAKE.format("v4.channel.k8s.io").replace("13", "8"), 400),
        ("/portForward/default/p?port=99999", HANDSHAKE.format("v4.channel.k8s.io"), 400),
        ("/nosuch", "", 404), ("/exec/default/p", "", 404), ("/pods", "", 200),
        ("/stats/summary", "", 200), ("/stats/nosuch", "", 404), ("/healthz", "", 200),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_before_anything_is_sent(tmp_path: Path, target: str, headers: str, status: int) -> None:
    async with endpoint(tmp_path, FakePods()):
        one = await client(tmp_path)
        assert (await one.ask("GET", target, headers)).startswith(f"HTTP/1.1 {status} ")
        await one.reader.read()
        one.writer.close()


async def test_bytes_that_are_no_request_end_their_connection_and_nothing_else(tmp_path: Path) -> None:
    chance = random.Random(11)
    async with endpoint(tmp_path, FakePods()):
        upgraded = f"GET {EXEC} HTTP/1.1\r\n{HANDSHAKE.format('v4.channel.k8s.io')}\r\n".encode()
        starts = [b"", b"GET / HTTP/1.1\r\n", upgraded]
        for turn in range(150):
            one = await client(tmp_path)
            one.writer.write(starts[turn % 3] + chance.randbytes(chance.randrange(1, 3000)) + b"\r\n\r\n")
            one.writer.write_eof()
            await one.reader.read()
            one.writer.close()
        one = await client(tmp_path)
        one.writer.write(b"GET /" + b"x" * 300_000)
        assert (await one.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 431")
        one.writer.transport.abort()
        last = await client(tmp_path)
        assert (await last.ask("GET", "/healthz")).startswith("HTTP/1.1 200")
        last.writer.close()
    assert os.listdir(tmp_path) == ["kubelet.sock"]
