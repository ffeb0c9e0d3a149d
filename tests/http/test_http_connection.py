"""The client's own HTTP: every framing that a server may choose, and every way in which a connection ends."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import ForbiddenError, TooLargeError, UnauthorizedError, UnavailableError
from reconcile.kinds import Kind
from reconcile.runtime.client import connection as connection_module
from reconcile.runtime.client import connections as connections_module
from reconcile.runtime.client.connection import HEAD_BYTES_MAX as BYTES_MAX
from reconcile.runtime.client.connections import Connections, Request
from reconcile.runtime.client.http import HttpClient
from reconcile.runtime.client.kubeconfig import Access
from reconcile.runtime.clock import SystemClock

BOX = Kind("example.com", "v1", "Box", "boxes")
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
GET = Request("GET", "/x", "Accept: application/json\r\n")


@attrs.define
class Script:
    """A server that reads a request, sends pieces of bytes one by one, and closes if it is told to."""

    pieces: list[bytes]
    closes: bool = False
    url: str = ""
    opened: int = 0
    asked: list[bytes] = attrs.field(factory=list)
    was_asked: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            self.asked.append(head + (await reader.readexactly(int(length)) if length else b""))
            self.was_asked.set()
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if self.closes:
                break


@asynccontextmanager
async def scripted(*pieces: bytes, closes: bool = False, serve: Any = None) -> AsyncIterator[tuple[Script, Connections]]:
    script = Script(list(pieces), closes)
    under_way = set[asyncio.Task[None] | None]()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await (serve or script.serve)(reader, writer)
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    script.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    connections = Connections(Access(script.url), SystemClock(), 20.0)
    try:
        yield script, connections
    finally:
        await connections.close()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*(task for task in under_way if task is not None))


def each(raw: bytes) -> list[bytes]:
    return [raw[at : at + 1] for at in range(len(raw))]


FRAMINGS = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;name=value\r\nlo\r\n0\r\n\r\n",
    "chunks with trailers": b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nExpires: never\r\n\r\n",
    "an early hint": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_answer_is_read_whole_however_it_is_framed_and_cut(framing: str, cut: bool) -> None:
    """TCP cuts where it likes; and the connection is good for the next request."""
    raw = FRAMINGS[framing]
    async with scripted(*(each(raw) if cut else [raw])) as (script, connections):
        for _ in range(3):
            assert (await connections.ask(GET)).body == b"hello"
        assert script.opened == 1


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """HTTP/1.0 proxies do so."""
    async with scripted(b"HTTP/1.0 200 OK\r\n\r\nhe", b"llo", closes=True) as (script, connections):
        assert [(await connections.ask(GET)).body for _ in range(2)] == [b"hello", b"hello"]
        assert script.opened == 2


async def test_an_answer_without_a_body_is_complete_at_once() -> None:
    async with scripted(b"HTTP/1.1 204 No Content\r\n\r\n") as (script, connections):
        assert [(await connections.ask(GET)).status for _ in range(2)] == [204, 204]
        assert script.opened == 1


async def test_a_connection_that_the_server_wants_closed_is_not_used_again() -> None:
    async with scripted(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}") as (script, connections):
        for _ in range(2):
            await connections.ask(GET)
        assert script.opened == 2


BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no number as its length": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "no number as a chunk's size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    "an encoding that nobody asked for": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "a head without an end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (BYTES_MAX // 6),
    "a size without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * (BYTES_MAX + 1),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_no_http_is_an_error_and_not_an_answer(what: str) -> None:
    """A request must neither hang nor be taken for answered."""
    async with scripted(BROKEN[what]) as (_, connections):
        with pytest.raises(ConnectionError, match="speaks no HTTP"):
            await connections.ask(GET)


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"])
async def test_an_answer_that_breaks_off_is_an_error(part: bytes) -> None:
    """Half a list taken for a whole one would make the other half look deleted."""
    async with scripted(part, closes=True) as (_, connections):
        with pytest.raises(ConnectionError):
            await connections.ask(GET)


async def test_more_than_the_answer_spoils_the_connection_and_not_the_answer() -> None:
    """What is left over would be read as the answer to the next request: somebody else's object."""
    async with scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n") as (script, connections):
        for _ in range(2):
            assert (await connections.ask(GET)).body == b"{}"
        assert script.opened == 2


async def test_a_compressed_answer_is_unpacked_and_a_broken_one_refused() -> None:
    """Lists of a cluster far away come compressed."""
    packed = gzip.compress(b'{"items": []}')
    for body in (packed, b"no gzip"):
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        async with scripted(head + body) as (_, connections):
            if body is packed:
                assert (await connections.ask(GET)).body == b'{"items": []}'
                continue
            with pytest.raises(ConnectionError, match="decompressed"):
                await connections.ask(GET)


class HangsUp:
    """Answers the first request of its first connection, and hangs up without a word at the second."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if len(self.asked) == 2:
                break
            writer.write(EMPTY)


@pytest.mark.parametrize(("method", "again"), [("GET", True), ("DELETE", True), ("PATCH", False), ("POST", False)])
async def test_what_a_kept_connection_lost_is_asked_again_only_if_that_may_be(method: str, again: bool) -> None:
    """A server closes idle connections as it likes; but a creation must not be made twice."""
    server = HangsUp()
    async with scripted(serve=server) as (_, connections):
        await connections.ask(GET)
        request = GET._replace(method=method)
        if again:
            assert (await connections.ask(request)).body == b"{}"
        else:
            with pytest.raises(ConnectionError):
                await connections.ask(request)
        assert len(server.asked) == (3 if again else 2)


async def test_after_a_burst_one_connection_is_kept_and_that_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 300 kB; but a new one for each request would take its time."""
    async with scripted(EMPTY) as (script, connections):

        def time_passes() -> None:
            assert connections._looking is not None
            connections._looking.cancel()
            connections._look()

        await asyncio.gather(*(connections.ask(GET) for _ in range(8)))
        assert (script.opened, len(connections._idle)) == (8, 8)
        time_passes()
        assert len(connections._idle) == 8
        monkeypatch.setattr(connections_module, "SPARE_S_MAX", 0.0)
        time_passes()
        await connections.ask(GET)
        assert (script.opened, len(connections._idle)) == (8, 1)
        monkeypatch.setattr(connections_module, "KEPT_S_MAX", 0.0)
        time_passes()
        assert (connections._looking, len(connections._idle)) == (None, 0)
        await connections.ask(GET)
        assert script.opened == 9


async def test_what_is_listed_and_watched_is_slim_for_operators_alone(serve: Any) -> None:
    """managedFields are half of an object in memory; whoever asks for one object gets all of it."""
    async with serve() as site, HttpClient(site.access, SystemClock(), slim=True) as slim:
        kind = site.kind("ConfigMap")
        made = await site.client.create(kind, {"metadata": {"name": "a"}, "data": {"a": "b"}}, "default", field_manager="me")
        assert made["metadata"]["managedFields"]
        lean = {**made, "metadata": {name: value for name, value in made["metadata"].items() if name != "managedFields"}}
        for client, expected in ((slim, lean), (site.client, made)):
            assert (await client.list(kind)).items == [expected]
            watch: Any = client.watch(kind, initial=True)
            assert (await anext(watch)).object == expected
            await watch.aclose()
            assert await client.get(kind, "a", "default") == made
        assert (await slim.update(kind, lean))["metadata"]["managedFields"] == made["metadata"]["managedFields"]


async def test_a_cancelled_request_takes_its_connection_with_it() -> None:
    """Its answer would be taken for that of the next request."""
    async with scripted(b"") as (script, connections):
        asking = asyncio.create_task(connections.ask(GET))
        await script.was_asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        script.pieces = [EMPTY]
        assert (await connections.ask(GET)).body == b"{}"
        assert script.opened == 2


async def test_a_server_that_never_answers_is_given_up() -> None:
    """Each request has its time, also the first bytes of a watch."""
    async with scripted(b"") as (script, _), HttpClient(Access(script.url), SystemClock(), timeout_s=0.05) as client:
        with pytest.raises(UnavailableError, match="does not answer in time"):
            await client.get(BOX, "a", "default")
        with pytest.raises(UnavailableError, match="does not answer in time"):
            await anext(aiter(client.watch(BOX, since=1)))


async def test_a_stream_is_read_as_fast_as_it_is_taken_and_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher that is busy must not fill its memory."""
    monkeypatch.setattr(connection_module, "WAITING_BYTES_MAX", 10_000)
    body = b"x" * 3_000_000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with scripted(head, body) as (_, connections), connections.open(GET) as (status, connection):
        read, most = 0, 0
        while piece := await connection.more(5.0):
            read, most = read + len(piece), max(most, len(piece))
            for _ in range(20):
                await asyncio.sleep(0)  # busy: more comes meanwhile
        assert (status, read) == (200, len(body))
        assert 10_000 < most < 500_000


async def test_a_large_body_is_sent_in_pieces_and_a_server_may_refuse_it_early() -> None:
    """The loop is not held up; and what was refused says why."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        while await reader.read(1 << 16):
            pass

    big = Patch(MERGE_PATCH, {"spec": {"text": "x" * 2_000_000}})
    async with scripted(serve=refuse) as (script, _), HttpClient(Access(script.url), SystemClock()) as client:
        with pytest.raises(TooLargeError):
            await client.patch(BOX, "a", big, "default")
    async with scripted(EMPTY) as (script, _), HttpClient(Access(script.url), SystemClock()) as client:
        assert await client.patch(BOX, "a", big, "default") == {}
        assert len(script.asked[0]) > 2_000_000


async def test_requests_say_where_they_go_below_which_path_and_with_what_token() -> None:
    """Servers behind a shared address have a path of their own; a token with a line break would forge headers."""
    async with scripted(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as (script, _):
        access = Access(f"{script.url}/k8s/clusters/c-1/", token="secret")
        async with HttpClient(access, SystemClock()) as client:
            with pytest.raises(ForbiddenError):
                await client.list(BOX, "größe", labels="a in (b, c)")
        head = script.asked[0].decode()
        target = "/k8s/clusters/c-1/apis/example.com/v1/namespaces/gr%C3%B6%C3%9Fe/boxes?labelSelector=a+in+%28b%2C+c%29"
        assert head.startswith(f"GET {target} HTTP/1.1\r\nHost: {script.url.removeprefix('http://')}\r\n")
        assert "\r\nAuthorization: Bearer secret\r\n" in head
        async with HttpClient(access._replace(token="a\r\nX-Remote-User: root"), SystemClock()) as client:
            with pytest.raises(UnauthorizedError, match="no header"):
                await client.get(BOX, "a", "default")
        assert len(script.asked) == 1


async def test_a_server_name_of_the_kubeconfig_is_what_the_certificate_is_checked_for(serve: Any) -> None:
    """tls-server-name: clusters are reached through tunnels and addresses that no certificate names."""
    async with serve() as site:
        for name, fine in (("kubernetes", True), ("somebody.else", False)):
            async with HttpClient(site.access._replace(server_name=name), SystemClock()) as client:
                if fine:
                    assert await client.kinds()
                    continue
                with pytest.raises(UnavailableError, match="does not vouch for"):
                    await client.kinds()


async def test_closing_ends_what_is_under_way_and_refuses_what_comes() -> None:
    """An operator that stops does not wait for a server that is silent."""
    async with scripted(b"") as (script, connections):
        asking = asyncio.create_task(connections.ask(GET))
        await script.was_asked.wait()
        await connections.close()
        for ask in (asking, connections.ask(GET)):
            with pytest.raises(ConnectionError):
                await ask


def test_an_operator_imports_no_http_library() -> None:
    """It takes 0.1 s and 10 MB to load one."""
    code = "import sys, reconcile.runtime.client.http, reconcile.runtime.remote; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
