"""What a client may keep waiting, and for how long: on a clock that only the test moves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from typing import Any

import pytest

from reconcile.runtime.api.http.patience import Patience, Wait
from reconcile.runtime.clock import SystemClock

CM = "/api/v1/namespaces/default/configmaps"
HEAD = b"GET /version HTTP/1.1\r\nHost: x\r\n"
POST = f"POST {CM} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode()


class SteppedClock(SystemClock):
    """A clock on which time passes when the test says so, at once."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Seconds that the test let pass."""
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has let so much time pass."""
        sleeper = self._now_s + seconds, asyncio.get_running_loop().create_future()
        self._sleepers.append(sleeper)
        await sleeper[1]

    async def advance(self, seconds: float) -> None:
        """Let time pass, second by second, and everybody do what he does then."""
        for _ in range(int(seconds)):
            self._now_s += 1
            for at_s, sleeper in self._sleepers:
                if at_s <= self._now_s and not sleeper.done():
                    sleeper.set_result(None)
            self._sleepers = [(at_s, sleeper) for at_s, sleeper in self._sleepers if not sleeper.done()]
            for _ in range(3):
                await asyncio.sleep(0)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


class Raw:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, what: bytes) -> None:
        self.writer.write(what)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """The next whole answer: its head, and the body that it announces."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head + await self.reader.readexactly(int(length.partition(b":")[2]))

    async def rest(self) -> bytes:
        """Everything until the server closes, however rudely."""
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := await self.reader.read(1 << 16):
                got += piece
        return got


@contextlib.asynccontextmanager
async def connected(site: Any, tls: ssl.SSLContext | None = None) -> Any:
    host = "localhost" if tls is not None else None
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.address.port, ssl=tls, server_hostname=host)
        try:
            yield Raw(reader, writer)
        finally:
            writer.close()


async def sent(site: Any, what: bytes) -> bytes:
    """Everything that is answered; read from the socket itself, which keeps what came before a reset."""
    loop, answer = asyncio.get_running_loop(), b""
    with socket.socket() as client, contextlib.suppress(ConnectionError):
        client.setblocking(False)
        async with asyncio.timeout(20):
            await loop.sock_connect(client, ("127.0.0.1", site.address.port))
            with contextlib.suppress(ConnectionError):  # it need not take all of it before it says no
                await loop.sock_sendall(client, what)
            while piece := await loop.sock_recv(client, 1 << 16):
                answer += piece
    return answer


async def seen(site: Any, wait: Wait | None, count: int = 1) -> None:
    """Until so many connections are waited for in this way: what a client does takes a moment to arrive."""
    patience: Patience = site.server._transport._patience
    while sum(c.wait is wait for c in patience._connections) < count:  # noqa: ASYNC110 - sockets tell no event
        await asyncio.sleep(0.002)


async def test_a_body_that_comes_by_drips_is_refused_with_408_after_a_minute(serve: Any, clock: SteppedClock) -> None:
    """Bytes that keep coming must not buy time: a thousand such clients would hold a thousand connections for nothing."""
    async with serve(tls=False, clock=clock) as site, connected(site) as client:
        await client.send(POST)
        await seen(site, Wait.BODY)
        for _ in range(5):
            await client.send(b"x")
            await clock.advance(11)
        assert site.server.connections == 1
        await client.send(b"x")
        await clock.advance(21)
        answer = await client.rest()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in head.lower()
        assert b'"code":408' in body
        assert b"did not come within 60 seconds" in body
        async with connected(site) as other:
            await other.send(HEAD + b"\r\n")
            assert (await other.answer()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_head_that_comes_by_drips_is_cut_off(serve: Any, clock: SteppedClock, credentials: Any, tls: bool) -> None:
    """Nobody is known yet who could be held to anything: it is the cheapest attack there is."""
    context = ssl.create_default_context(cadata=credentials.ca_pem.decode()) if tls else None
    async with serve(tls=tls, clock=clock) as site, connected(site, context) as client:
        await client.send(HEAD)
        await seen(site, Wait.GREETING)
        for number in range(3):
            await client.send(b"X-%d: y\r\n" % number)
            await clock.advance(10)
        assert site.server.connections == 1
        await clock.advance(10)
        assert await client.rest() == b""
        assert site.server.connections == 0


async def test_who_connects_and_says_nothing_is_cut_off_in_the_midst_of_tls(serve: Any, clock: SteppedClock) -> None:
    """The handshake is the server's first wait; it is bounded by the clock that bounds all others."""
    async with serve(clock=clock) as site, connected(site) as client:
        await seen(site, Wait.GREETING)
        await clock.advance(31)
        assert site.server.connections == 1
        await clock.advance(9)
        assert await client.rest() == b""
        assert site.server.connections == 0


async def test_who_speaks_no_tls_or_walks_out_of_it_leaves_nothing_behind(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Port scanners do both all day."""
    async with serve() as site:
        async with connected(site) as scanner:
            await scanner.send(HEAD + b"\r\n")
            await scanner.rest()
        async with connected(site):
            await seen(site, Wait.GREETING)
        while site.server.connections:  # noqa: ASYNC110 - sockets tell no event
            await asyncio.sleep(0.002)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_kept_connection_is_closed_when_nothing_more_is_asked(serve: Any, clock: SteppedClock) -> None:
    """Clients keep connections in pools, and forget them there."""
    async with serve(tls=False, clock=clock) as site, connected(site) as client:
        for _ in range(2):
            await client.send(HEAD + b"\r\n")
            assert (await client.answer()).startswith(b"HTTP/1.1 200")
            await seen(site, Wait.IDLE)
            await clock.advance(80)
        await client.send(HEAD)  # half a head is no request
        await clock.advance(30)
        assert await client.rest() == b""
        assert site.server.connections == 0


async def test_a_client_that_does_not_take_its_answer_is_cut_off(serve: Any, clock: SteppedClock) -> None:
    """The answer is in memory until it is taken."""
    async with serve(tls=False, clock=clock) as site:
        kind = site.kind("ConfigMap")
        for number in range(20):
            await site.api.create(kind, {"metadata": {"name": f"n{number}"}, "data": {"a": "x" * 500_000}}, "default")
        loop, lazy = asyncio.get_running_loop(), socket.socket()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        await loop.sock_connect(lazy, (site.address.host, site.address.port))
        await loop.sock_sendall(lazy, f"GET {CM} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(20):
            await seen(site, Wait.TAKING)
            await clock.advance(59)
            assert site.server.connections == 1
            await clock.advance(17)
            while site.server.connections:  # noqa: ASYNC110 - sockets tell no event
                await asyncio.sleep(0.002)
        lazy.close()


async def test_a_watch_lasts_however_long_nothing_happens(serve: Any, clock: SteppedClock) -> None:
    """It is the server's turn to speak, and it has nothing to say."""
    async with serve(tls=False, clock=clock) as site, connected(site) as client:
        await client.send(f"GET {CM}?watch=true&resourceVersion=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await client.reader.readuntil(b"\r\n\r\n")
        await clock.advance(1000)
        await site.api.create(site.kind("ConfigMap"), {"metadata": {"name": "late"}}, "default")
        await client.reader.readline()  # the length of a chunk
        assert b'"name":"late"' in await client.reader.readline()


async def test_a_quiet_connection_keeps_little_memory(serve: Any) -> None:
    """A thousand watches are a thousand connections: asyncio's own buffers would be 256 MB."""

    def connections() -> list[Any]:  # Any: the buffer is private
        return [each for each in gc.get_objects() if type(each) is SSLProtocol]

    others = connections()
    async with serve() as site:
        events = site.client.watch(site.kind("ConfigMap"), initial=True)
        assert (await anext(events)).initial_end
        ours = [each for each in connections() if each not in others]
        assert len(ours) == 2, "the client's and the server's"
        assert all(len(each._ssl_buffer) <= 64 << 10 for each in ours)
        await events.aclose()


async def test_when_there_is_no_place_the_quietest_has_to_go_and_no_busy_one(
    serve: Any, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """Else whoever opens connections and sends nothing locks everybody out."""
    watch = f"GET {CM}?watch=true&resourceVersion=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with serve(tls=False, clock=clock, connections_max=3) as site, contextlib.AsyncExitStack() as stack:
        busy = await stack.enter_async_context(connected(site))
        await busy.send(watch)
        await busy.reader.readuntil(b"\r\n\r\n")
        idle = await stack.enter_async_context(connected(site))
        await idle.send(HEAD + b"\r\n")
        await idle.answer()
        await seen(site, Wait.IDLE)
        await clock.advance(2)
        silent = await stack.enter_async_context(connected(site))
        await seen(site, Wait.GREETING)
        await clock.advance(2)
        second = await stack.enter_async_context(connected(site))
        assert await idle.rest() == b""  # the quietest of all
        await second.send(watch)
        await second.reader.readuntil(b"\r\n\r\n")
        third = await stack.enter_async_context(connected(site))
        assert await silent.rest() == b""
        await third.send(watch)
        await third.reader.readuntil(b"\r\n\r\n")
        nobody = await stack.enter_async_context(connected(site))
        assert await nobody.rest() == b""  # all are busy
        assert site.server.connections == 3
        await site.api.create(site.kind("ConfigMap"), {"metadata": {"name": "still"}}, "default")
        for client in (busy, second, third):
            await client.reader.readline()
            assert b'"name":"still"' in await client.reader.readline()
        assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == [
            "as many connections as may be: those that say nothing go first"
        ]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 70_000),
        b"GET /version HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 70_000),
        b"GET /version HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
        b"GET /version HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 60_000) for n in range(5)),
    ],
    ids=["line", "field", "many fields", "without an end"],
)
async def test_a_head_that_is_too_large_is_refused_with_431(serve: Any, caplog: pytest.LogCaptureFixture, head: bytes) -> None:
    """It is held in memory before anybody knows whose it is."""
    async with serve(tls=False) as site:
        answer = await sent(site, head)
        assert answer[9:].startswith(b"431 Request Header Fields Too Large\r\n"), answer
        assert answer.endswith(b"431 Request Header Fields Too Large")
        async with connected(site) as other:
            await other.send(HEAD + b"X: %s\r\n\r\n" % (b"a" * 60_000))
            assert (await other.answer()).startswith(b"HTTP/1.1 200")
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_is_no_request_is_the_clients_mistake_and_no_traceback(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody who reaches the port could fill the log."""
    caplog.set_level(logging.INFO)
    async with serve(tls=False) as site:
        answer = await sent(site, b"\x16\x03\x01 what?\r\n\r\n")
        assert answer[9:].startswith(b"400 Bad Request\r\n")
        assert answer.endswith(b"\r\n\r\n400 Bad Request")
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING or record.exc_info]
