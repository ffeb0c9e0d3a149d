"""Our HTTP/2 server against another implementation of HTTP/2 (h2), which can do what gRPC libraries never do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import hpack
import pytest
from hpack.table import HeaderTable

from reconcile.runtime.store.etcd.http2 import Http2Server
from reconcile.runtime.store.etcd.http2.hpack import STATIC, Decoder, HpackError
from reconcile.runtime.store.etcd.http2.stream import Stream
from reconcile.runtime.store.etcd.tls import TlsFiles
from tests.etcd.certificates import Authority

LIMIT = 2 << 20
Handler = Callable[[Stream], Any]


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4) + message


class Client:
    """A connection that is driven frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.reader, self.writer = reader, writer
        self.data: dict[int, bytes] = {}
        self.headers: dict[int, list[dict[str, str]]] = {}
        self.over: dict[int, str] = {}
        self.events: list[h2.events.Event] = []
        self.closed = False
        self.credits = True
        """Whether the server is told at once that it may send more."""

    async def start(self, **settings: int) -> Self:
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings({getattr(h2.settings.SettingCodes, name): value for name, value in settings.items()})
        await self.flush()
        return self

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def call(self, path: str = "/echo", message: bytes | None = b"hello", **headers: str) -> int:
        number = self.h2.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
        fields += [("content-type", "application/grpc"), *headers.items()]
        self.h2.send_headers(number, fields)
        if message is not None:
            await self.send(number, framed(message), end=True)
        await self.flush()
        return number

    async def send(self, number: int, data: bytes, *, end: bool = False, padding: int | None = None) -> None:
        while True:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size) - (padding or 0) - 1
            if room <= 0:
                await self.turn()
                continue
            self.h2.send_data(number, data[:room], end_stream=end and len(data) <= room, pad_length=padding)
            await self.flush()
            data = data[room:]
            if not data:
                return

    async def turn(self) -> None:
        """Take in what the server sends next."""
        raw = await self.reader.read(1 << 16)
        self.closed = self.closed or not raw
        for event in self.h2.receive_data(raw):
            self.events.append(event)
            number = getattr(event, "stream_id", None) or 0
            if isinstance(event, h2.events.DataReceived):
                self.data[number] = self.data.get(number, b"") + (event.data or b"")
                if self.credits and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, number)
            elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                self.headers.setdefault(number, []).append({str(name): str(value) for name, value in event.headers or ()})
            elif isinstance(event, h2.events.StreamEnded):
                self.over[number] = "ended"
            elif isinstance(event, h2.events.StreamReset):
                self.over.setdefault(number, f"reset {int(event.error_code or 0)}")
        await self.flush()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert not self.closed, "the server has closed the connection"
            await self.turn()

    async def answer(self, number: int) -> tuple[bytes, str, str]:
        """The data, the status and the message of a call."""
        await self.until(lambda: number in self.over)
        last = self.headers[number][-1]
        return self.data.get(number, b""), last.get("grpc-status", ""), last.get("grpc-message", "")


async def echo(stream: Stream) -> None:
    """Gives back what it gets; on other paths, what the path says."""
    if stream.path == "/each":
        while (message := await stream.read()) is not None:
            await stream.write(message)
        stream.finish()
        return
    if stream.path == "/refuse":
        stream.finish("NOT_FOUND", "no 100 % \u00fc")
        return
    if stream.path == "/ends":
        return
    if stream.path == "/headers":
        await stream.write(repr(sorted(stream.invocation_metadata())).encode())
        stream.finish()
        return
    raw = await stream.read()
    assert raw is not None
    if stream.path == "/large":
        raw *= 500_000
    if not stream.answer(raw):
        await stream.write(raw)
        stream.finish()


@asynccontextmanager
async def serving(handler: Handler = echo, tls: Callable[[], ssl.SSLContext] | None = None) -> AsyncIterator[Http2Server]:
    server = await Http2Server.listen("127.0.0.1", 0, handler, LIMIT, tls)
    try:
        yield server
    finally:
        await server.close(0.2)


@asynccontextmanager
async def connected(server: Http2Server, *, tls: ssl.SSLContext | None = None, **settings: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)
    try:
        yield await Client(reader, writer).start(**settings)
    finally:
        writer.transport.abort()


async def test_a_call_is_answered_with_headers_data_and_trailers() -> None:
    """As gRPC wants it: whatever comes, the status is in the trailers."""
    async with serving() as server, connected(server) as client:
        numbers = [await client.call(message=b"%d" % at) for at in range(50)]
        for at, number in enumerate(numbers):
            assert await client.answer(number) == (framed(b"%d" % at), "0", "")
            first = client.headers[number][0]
            assert (first[":status"], first["content-type"]) == ("200", "application/grpc")


async def test_a_refusal_is_told_in_one_frame_and_its_text_is_quoted() -> None:
    """Clients match on the text: nothing of it may be lost."""
    async with serving() as server, connected(server) as client:
        number = await client.call("/refuse")
        assert await client.answer(number) == (b"", "5", "no 100 %25 %C3%BC")
        assert len(client.headers[number]) == 1
        assert client.headers[number][0][":status"] == "200"
        assert (await client.answer(await client.call("/ends")))[1] == "2", "a handler that says nothing is a mistake of ours"


@pytest.mark.parametrize("window", [1, 100, 65_535])
async def test_no_more_is_sent_than_the_client_takes(window: int) -> None:
    """h2 ends the connection when a window is overrun; and everything arrives."""
    size = 300 if window == 1 else 300_000
    async with serving() as server, connected(server, INITIAL_WINDOW_SIZE=window) as client:
        await client.until(lambda: any(isinstance(e, h2.events.SettingsAcknowledged) for e in client.events))
        message = random.Random(window).randbytes(size)
        numbers = [await client.call(message=message) for _ in range(3)]
        for number in numbers:
            assert await client.answer(number) == (framed(message), "0", "")


async def test_a_window_that_is_changed_holds_for_what_is_under_way() -> None:
    """A client in trouble makes it smaller; it may even be negative."""
    async with serving() as server, connected(server, INITIAL_WINDOW_SIZE=1_000) as client:
        client.credits = False
        number = await client.call(message=bytes(5_000))
        await client.until(lambda: len(client.data.get(number, b"")) == 1_000)
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
        client.h2.increment_flow_control_window(1_000, number)
        await client.flush()
        await client.until(lambda: len(client.data[number]) == 1_100)
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 60_000})
        await client.flush()
        assert (await client.answer(number))[0] == framed(bytes(5_000))


async def test_a_stream_that_takes_nothing_holds_up_no_other() -> None:
    """A slow watch shares its connection with everything else that its client does."""
    async with serving() as server, connected(server, INITIAL_WINDOW_SIZE=100) as client:
        await client.until(lambda: any(isinstance(e, h2.events.SettingsAcknowledged) for e in client.events))
        client.credits = False
        slow = await client.call(message=bytes(10_000))
        await client.until(lambda: client.data.get(slow))
        for _ in range(20):
            assert (await client.answer(await client.call(message=b"quick")))[0] == framed(b"quick")
        client.h2.increment_flow_control_window(20_000, slow)
        await client.flush()
        assert len((await client.answer(slow))[0]) == 10_005


async def test_what_is_large_comes_whole_in_both_directions() -> None:
    """Lists of hundreds of megabytes pass; requests do up to the limit."""
    async with serving() as server, connected(server, INITIAL_WINDOW_SIZE=1 << 20, MAX_FRAME_SIZE=1 << 20) as client:
        data, status, _ = await client.answer(await client.call("/large", b"0123456789"))
        assert (len(data), data[-10:], status) == (5_000_005, b"0123456789", "0")
        message = random.Random(1).randbytes(LIMIT)
        assert (await client.answer(await client.call(message=message)))[0] == framed(message)
        data, status, text = await client.answer(await client.call(message=bytes(LIMIT + 1)))
        assert (data, status) == (b"", "8")
        assert text == f"grpc: received message larger than max ({LIMIT + 1} vs. {LIMIT})"
        assert (await client.answer(await client.call()))[1] == "0", "the connection goes on"


async def test_a_client_that_does_not_read_costs_a_bounded_memory() -> None:
    """It may take gigabytes by its windows: what its socket does not take waits as one answer, not as copies in buffers."""
    async with serving() as server, connected(server, INITIAL_WINDOW_SIZE=(1 << 31) - 1) as client:
        client.h2.increment_flow_control_window((1 << 31) - 1 - 65_535)
        client.credits = False
        numbers = [await client.call("/large", b"0123456789") for _ in range(4)]
        (connection,) = server._connections
        while not connection.congested:  # noqa: ASYNC110 (a flag of the transport, which sets no Event)
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
            assert connection._transport is not None
            assert connection._transport.get_write_buffer_size() + connection._queued < 4 << 20
        for number in numbers:
            data, status, _ = await client.answer(number)
            assert (len(data), status) == (5_000_005, "0")
        assert not connection.blocked
        assert (await client.answer(await client.call()))[1] == "0"


async def test_many_messages_pass_on_one_stream_while_the_client_still_sends() -> None:
    """A watch stream lives for days, and more than one window of requests goes over it."""
    async with serving() as server, connected(server) as client:
        number = await client.call("/each", None)
        message = random.Random(2).randbytes(100_000)
        for _ in range(120):  # 12 MB: three times what a stream may send unread
            await client.send(number, framed(message))
            await client.until(lambda: len(client.data.get(number, b"")) >= 100_005)
            assert client.data.pop(number) == framed(message)
        # Two in one frame, one in many, one with padding.
        await client.send(number, framed(b"one") + framed(b"two"))
        for byte in framed(b"slowly"):
            await client.send(number, bytes((byte,)))
        await client.send(number, framed(b"padded"), padding=99, end=True)
        data, status, _ = await client.answer(number)
        assert (data, status) == (b"".join(map(framed, (b"one", b"two", b"slowly", b"padded"))), "0")


async def test_headers_of_more_than_a_frame_are_put_together() -> None:
    """They come with CONTINUATION frames; tables of both sides stay the same afterwards."""
    async with serving() as server, connected(server) as client:
        for at in range(3):
            value = "v" * 20_000 + str(at)
            data, status, _ = await client.answer(await client.call("/headers", None if at < 0 else b"", long=value))
            assert status == "0"
            assert value in data.decode()
            assert (await client.answer(await client.call()))[1] == "0"


async def test_a_ping_is_answered_with_what_it_said() -> None:
    """Clients measure by it, and give a connection up that does not answer."""
    async with serving() as server, connected(server) as client:
        client.h2.ping(b"12345678")
        await client.flush()
        await client.until(lambda: any(isinstance(event, h2.events.PingAckReceived) for event in client.events))
        (acked,) = [event for event in client.events if isinstance(event, h2.events.PingAckReceived)]
        assert acked.ping_data == b"12345678"


async def test_a_call_that_the_client_gives_up_is_cancelled() -> None:
    """Nobody waits for it: a lock that is granted to it would be held by nobody."""
    running, ended = asyncio.Event(), asyncio.Event()

    async def wait(stream: Stream) -> None:
        if stream.path != "/wait":
            await echo(stream)
            return
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(wait) as server, connected(server) as client:
        number = await client.call("/wait")
        await running.wait()
        client.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        await client.flush()
        await ended.wait()
        assert (await client.answer(await client.call()))[1] == "0"
        running.clear()
        ended.clear()
        await client.call("/wait")
        await running.wait()
        client.writer.transport.abort()
        await ended.wait()


async def test_a_server_that_stops_lets_calls_end_and_takes_no_new_ones() -> None:
    """Clients are told up to which call it has them, and make the others elsewhere."""
    running, go = asyncio.Event(), asyncio.Event()

    async def slow(stream: Stream) -> None:
        running.set()
        await go.wait()
        await echo(stream)

    async with serving(slow) as server, connected(server) as client:
        number = await client.call()
        await running.wait()
        closing = asyncio.create_task(server.close(5.0))
        await client.until(lambda: any(isinstance(event, h2.events.ConnectionTerminated) for event in client.events))
        (said,) = [event for event in client.events if isinstance(event, h2.events.ConnectionTerminated)]
        assert (said.last_stream_id, int(said.error_code or 0)) == (number, 0)
        go.set()
        while number not in client.over:
            client.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN  # h2 takes a GOAWAY for the end
            await client.turn()
        assert (await client.answer(number))[0] == framed(b"hello")
        await closing


async def test_what_is_no_grpc_is_refused() -> None:
    """A browser or a proxy learns that it is wrong here."""
    async with serving() as server, connected(server) as client:
        client.h2.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")], end_stream=True)
        await client.flush()
        await client.until(lambda: 1 in client.over)
        assert client.headers[1][0][":status"] == "415"
        number = await client.call(message=None)
        await client.send(number, b"\1" + (3).to_bytes(4) + b"zip", end=True)
        assert (await client.answer(number))[1] == "12", "nothing is decompressed"
        assert (await client.answer(await client.call()))[1] == "0"


async def test_over_tls_it_is_the_same(tmp_path: Path) -> None:
    """What is large passes both ways; who does not get through the handshake holds up nobody."""
    authority = Authority(tmp_path)
    cert, key = authority.certificate("server")
    trusting = ssl.create_default_context(cafile=str(authority.file))
    trusting.set_alpn_protocols(["h2"])
    async with serving(tls=TlsFiles(cert, key).contexts()) as server:
        silent = await asyncio.open_connection("127.0.0.1", server.port)
        plain = await asyncio.open_connection("127.0.0.1", server.port)
        plain[1].write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await plain[0].read()  # it is shown the door
        async with connected(server, tls=trusting) as client:
            agreed: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
            assert agreed.selected_alpn_protocol() == "h2"
            data, status, _ = await client.answer(await client.call("/large", b"0123456789"))
            assert (len(data), status) == (5_000_005, "0")
            message = random.Random(1).randbytes(LIMIT)
            assert (await client.answer(await client.call(message=message)))[0] == framed(message)
            number = await client.call("/each", None)
            for at in range(100):
                await client.send(number, framed(b"%d" % at))
                await client.until(lambda: client.data.get(number))
                assert client.data.pop(number) == framed(b"%d" % at)
        for _, writer in (silent, plain):
            writer.transport.abort()


def raw_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        (raw_frame(0, 0, 0, b"data on no stream"), 1),
        (raw_frame(0, 0, 99, b"data on a stream that is not open"), 1),
        (raw_frame(0, 8, 1, b"\xff"), 1),
        (raw_frame(1, 4, 2, b"\x82"), 1),
        (raw_frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"), 9),
        (raw_frame(1, 4, 1, b"\xc0"), 9),
        (raw_frame(1, 0, 1, b"\x82") + raw_frame(6, 0, 0, bytes(8)), 1),
        (raw_frame(9, 4, 1, b""), 1),
        (raw_frame(1, 0, 1, b"") + raw_frame(9, 0, 1, b"") * 8_000, 11),
        (raw_frame(3, 0, 1, bytes(4)), 1),
        (raw_frame(4, 0, 0, bytes(5)), 6),
        (raw_frame(4, 0, 0, b"\x00\x04\xff\xff\xff\xff"), 3),
        (raw_frame(4, 0, 0, b"\x00\x05\x00\x00\x00\x01"), 1),
        (raw_frame(5, 4, 1, bytes(8)), 1),
        (raw_frame(6, 0, 0, b"short"), 6),
        (raw_frame(8, 0, 0, bytes(4)), 3),
        (raw_frame(8, 0, 0, b"\x7f\xff\xff\xff"), 3),
        (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", 6),
    ],
)
async def test_what_is_no_http2_ends_the_connection_and_nothing_else(what: bytes, code: int) -> None:
    """With the code that says why; other connections do not notice."""
    async with serving() as server, connected(server) as other:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        preface = b"" if what.startswith(b"GET") else b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + raw_frame(4, 0, 0, b"")
        writer.write(preface + what)
        said = await reader.read()
        writer.transport.abort()
        goaway = said[said.rindex(b"\x07\x00\x00\x00\x00\x00") :]
        assert int.from_bytes(goaway[10:14]) == code
        assert (await other.answer(await other.call()))[1] == "0"


async def test_garbage_never_breaks_the_server() -> None:
    """Frames with random bytes changed, cut and repeated: connections may end, the server does not."""
    chance = random.Random(7)
    recorded = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    recorded.initiate_connection()
    for number in (1, 3, 5, 7):
        fields = [(":method", "POST"), (":scheme", "http"), (":path", "/each"), (":authority", "x")]
        recorded.send_headers(number, [*fields, ("content-type", "application/grpc"), ("x", "y" * number)])
        recorded.send_data(number, framed(bytes(50 * number)), end_stream=number != 5)
    recorded.ping(b"abcdefgh")
    good = recorded.data_to_send()
    mistakes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
    async with serving() as server, connected(server) as other:
        for _ in range(300):
            data = bytearray(good)
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(24, len(data))] = chance.randrange(256)
            del data[chance.randrange(30, len(data)) :]
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for at in range(0, len(data), 200):
                writer.write(bytes(data[at : at + 200]))
                await asyncio.sleep(0)
            with contextlib.suppress(ConnectionError, OSError):
                writer.write_eof()
                await reader.read()
            writer.transport.abort()
        assert (await other.answer(await other.call()))[1] == "0"
    assert not mistakes


def test_header_blocks_mean_what_another_implementation_wrote() -> None:
    """Random headers, tables that are resized, strings with and without Huffman's code."""
    assert [(name.encode(), value.encode()) for name, value in STATIC] == list(HeaderTable.STATIC_TABLE)
    chance = random.Random(3)
    for _ in range(60):
        encoder, decoder = hpack.Encoder(), Decoder(1 << 20)
        names = [chance.choice((b":path", b":method", b"te", b"grpc-timeout", b"x-%d" % at)) for at in range(20)]
        for _ in range(30):
            headers = [(chance.choice(names), chance.randbytes(chance.randrange(60))) for _ in range(chance.randrange(12))]
            if chance.random() < 0.05:
                encoder.header_table_size = chance.choice((0, 100, 4096))
            marked = [
                (hpack.NeverIndexedHeaderTuple if chance.random() < 0.2 else hpack.HeaderTuple)(name, value)
                for name, value in headers
            ]
            block = encoder.encode(marked, huffman=chance.random() < 0.5)
            assert decoder.decode(block) == tuple((name.decode(), value.decode("latin-1")) for name, value in headers)


def test_a_block_that_comes_again_is_read_with_the_tables_of_now() -> None:
    """What is remembered of a block holds only as long as the table that it points into."""
    decoder = Decoder(1 << 20)
    insert = [b"\x40\x01a\x01%d" % at for at in range(3)]
    assert decoder.decode(insert[0]) == (("a", "0"),)
    assert decoder.decode(b"\xbe") == decoder.decode(b"\xbe") == (("a", "0"),)
    assert decoder.decode(insert[1]) == (("a", "1"),)
    assert decoder.decode(b"\xbe\xbf") == (("a", "1"), ("a", "0"))
    assert decoder.decode(b"\x20") == ()  # the table is emptied
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe")
    with pytest.raises(HpackError):
        Decoder(100).decode(b"\x00\x01a\x7f\x00" + bytes(127))
