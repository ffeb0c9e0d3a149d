"""Streams over one SPDY connection: ends, resets, and bounds where the other end does not read or never stops writing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from reconcile.resources.kubelet.endpoint import multiplex, spdy
from reconcile.resources.kubelet.endpoint.multiplex import Session, Stream
from reconcile.resources.kubelet.endpoint.spdy import Control, Data


class Memory:
    """A connection within this process: `inward` is what the client sends; it takes what was sent when `taking` is set."""

    def __init__(self) -> None:
        self.inward: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = b""
        self.taking = asyncio.Event()
        self.taking.set()

    async def read(self) -> bytes:
        return await self.inward.get()

    async def write(self, data: bytes) -> None:
        await self.taking.wait()
        self.sent += data

    async def close(self) -> None:
        return


@attrs.define(eq=False)
class Client:
    """The client's end."""

    wire: Memory = attrs.field(factory=Memory)
    streams: list[Stream] = attrs.field(factory=list)
    encoder: spdy.Encoder = attrs.field(factory=spdy.Encoder)
    decoder: spdy.Decoder = attrs.field(factory=spdy.Decoder)
    heard: list[Control | Data] = attrs.field(factory=list)

    def say(self, *frames: Control | Data) -> None:
        for each in frames:
            data = self.encoder.data(each) if isinstance(each, Data) else self.encoder.control(each)
            self.wire.inward.put_nowait(data)

    async def opened(self, stream: Stream) -> None:
        self.streams.append(stream)

    async def until(self, what: str, count: int = 1) -> None:
        """Let the session work until so many streams are there, or everything said was read."""
        async with asyncio.timeout(10):
            while len(self.streams) < count if what == "streams" else not self.wire.inward.empty():  # noqa: ASYNC110
                await asyncio.sleep(0)  # one step of the session, which is what is waited for
            for _ in range(5):
                await asyncio.sleep(0)

    def answers(self) -> list[Control | Data]:
        self.heard += self.decoder.feed(self.wire.sent)
        self.wire.sent = b""
        return self.heard


@asynccontextmanager
async def session() -> AsyncIterator[Client]:
    client = Client()
    running = asyncio.create_task(Session(client.wire, client.opened).run())
    try:
        yield client
    finally:
        client.wire.inward.put_nowait(b"")
        async with asyncio.timeout(10):
            await running


def syn(stream_id: int, **headers: str) -> Control:
    return Control(spdy.SYN_STREAM, stream_id, headers)


async def test_a_stream_is_answered_carries_bytes_both_ways_and_ends_at_each_end() -> None:
    async with session() as client:
        client.say(syn(1, streamtype="data"), Data(1, b"to you"), Data(1, b"", fin=True))
        await client.until("streams")
        stream = client.streams[0]
        assert stream.headers == {"streamtype": "data"}
        assert [await stream.read(), await stream.read()] == [b"to you", b""]
        await stream.write(b"to me")
        await stream.close()
        assert client.answers() == [Control(spdy.SYN_REPLY, 1), Data(1, b"to me"), Data(1, b"", fin=True)]


async def test_a_ping_is_answered() -> None:
    """kubectl pings every five seconds, and takes silence for a broken connection."""
    async with session() as client:
        client.say(Control(spdy.PING, status=7))
        await client.until("read")
        assert client.answers() == [Control(spdy.PING, status=7)]


async def test_a_reset_stream_is_over_and_the_others_go_on() -> None:
    async with session() as client:
        client.say(syn(1), syn(3), Control(spdy.RST_STREAM, 1, status=spdy.CANCEL), Data(1, b"late"), Data(3, b"here"))
        await client.until("read")
        assert await client.streams[0].read() == b""
        assert await client.streams[1].read() == b"here"


async def test_what_nobody_reads_stays_in_the_connection() -> None:
    """A stuck server behind a port-forward must not fill the memory of the control plane."""
    async with session() as client:
        client.say(syn(1), *(Data(1, bytes(100_000)) for _ in range(100)))
        await client.until("streams")
        for _ in range(1000):
            await asyncio.sleep(0)
        assert client.wire.inward.qsize() > 80, "10 MB were read though nobody wants them"
        count = 0
        while count < 10_000_000:
            count += len(await client.streams[0].read())
        await client.until("read")


async def test_what_nobody_will_read_does_not_stop_the_others() -> None:
    async with session() as client:
        client.say(syn(1), syn(3), *(Data(1, bytes(100_000)) for _ in range(30)), Data(3, b"at last"))
        await client.until("streams", 2)
        client.streams[0].release()
        assert await client.streams[1].read() == b"at last"


async def test_a_client_that_does_not_read_makes_the_writer_wait() -> None:
    async with session() as client:
        client.say(syn(1))
        await client.until("streams")
        client.wire.taking.clear()
        writing = asyncio.create_task(client.streams[0].write(bytes(10_000_000)))
        await client.until("read")
        assert not writing.done()
        client.wire.taking.set()
        await writing
        assert sum(len(each.data) for each in client.answers() if isinstance(each, Data)) == 10_000_000


async def test_more_streams_than_a_client_can_want_are_refused() -> None:
    async with session() as client:
        client.say(*(syn(2 * number + 1) for number in range(multiplex.STREAMS_MAX + 1)))
        await client.until("read")
        assert client.answers()[-1] == Control(spdy.RST_STREAM, 2 * multiplex.STREAMS_MAX + 1, status=spdy.REFUSED_STREAM)


async def test_a_stream_opened_twice_ends_the_connection() -> None:
    """The two ends do not agree on what streams there are: nothing that follows could be trusted."""
    client = Client()
    running = asyncio.create_task(Session(client.wire, client.opened).run())
    client.say(syn(1), syn(1))
    async with asyncio.timeout(10):
        await running
    last = client.answers()[-1]
    assert isinstance(last, Control)
    assert last.type == spdy.GOAWAY
    assert await client.streams[0].read() == b""
