"""Many watches of one question: everybody is told everything, once and in order, and nobody waits for anybody."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import attrs
import orjson
import pytest
from multidict import CIMultiDict

from reconcile import Resource, field, kind
from reconcile.kinds import Kind, kind_of
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.conversion.versions import Versions
from reconcile.runtime.api.http.exchange import Request, Stream
from reconcile.runtime.api.http.face import Face
from reconcile.runtime.api.http.feed import BUFFER_BYTES_MAX, PIECE_BYTES_MAX, Feed, Feeds
from reconcile.runtime.api.http.frames import Frames
from reconcile.runtime.api.http.identity import everybody
from reconcile.runtime.api.http.inflight import InFlight
from reconcile.runtime.api.http.lines import Lines
from reconcile.runtime.api.watching import Following
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import MEMORY, InlineDatabase, Range, Settings, Store

CM = "/api/v1/namespaces/default/configmaps"
MANY = 80


@kind("", "v1", plural="configmaps", builtin=True, has_generation=False)
class ConfigMap(Resource):
    """What is watched."""

    data: dict[str, str] = field(factory=dict)


MAP: Kind = kind_of(ConfigMap)


class Wire:
    """A connection: what is written to it, and what of that a client that may be slow has not taken yet."""

    def __init__(self, *, takes: bool = True) -> None:
        self.text = b""
        self.sizes: list[int] = []
        self.takes = takes
        self.waiting = 0
        self.most = 0
        self.closing = False
        self._taken = asyncio.Event()

    def write(self, data: bytes) -> None:
        assert not self.closing, "written to a connection that is closed"
        self.text += data
        self.sizes.append(len(data))
        if not self.takes:
            self.waiting += len(data)
            self.most = max(self.most, self.waiting)

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def take(self) -> None:
        """The client takes what waits."""
        self.waiting = 0
        self._taken.set()

    async def drained(self) -> None:
        """Wait as the transport of the server does."""
        while self.waiting > BUFFER_BYTES_MAX:
            self._taken.clear()
            await self._taken.wait()

    @property
    def events(self) -> list[Any]:
        """What was told."""
        text, body = self.text, b""
        while text:
            size, _, rest = text.partition(b"\r\n")
            body, text = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
            assert rest[int(size, 16) :][:2] == b"\r\n"
        return [orjson.loads(line) for line in body.splitlines()]

    @property
    def names(self) -> list[str]:
        return [event["object"]["metadata"]["name"] for event in self.events if event["type"] != "BOOKMARK"]

    @property
    def revisions(self) -> list[int]:
        return [int(event["object"]["metadata"]["resourceVersion"]) for event in self.events]


@attrs.frozen
class Watched:
    """A server without sockets."""

    store: Store
    api: ApiServer
    face: Face
    feeds: Feeds
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list)

    async def make(self, *names: str, data: str = "", **labels: str) -> None:
        for name in names:
            await self.api.create(MAP, {"metadata": {"name": name, "labels": labels}, "data": {"a": data}}, "default")

    async def open(self, query: str, wire: Wire, accept: str = "application/json") -> asyncio.Task[None]:
        """A watch that writes to `wire`."""
        pairs = dict(pair.split("=", 1) for pair in f"watch=1&{query}".split("&") if pair)
        request = Request("GET", CM, pairs, CIMultiDict({"Accept": accept}), cast(Any, None))
        stream = await self.face.handle(request)
        assert isinstance(stream, Stream)
        task = asyncio.create_task(carry(stream, wire))
        self.tasks.append(task)
        return task

    async def members(self, count: int, query: str = "") -> list[Wire]:
        """So many watches, from now on, of one feed."""
        wires = [Wire() for _ in range(count)]
        for wire in wires:
            await self.open(f"resourceVersion={self.store.revision}&{query}", wire)
        await settled()
        return wires


async def carry(stream: Stream, wire: Wire) -> None:
    """What the transport does with a stream."""
    async for piece in stream.pieces:
        if isinstance(piece, bytes):
            wire.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            await piece.carry(cast(Any, wire))
        await wire.drained()


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(150):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let things run until it is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a wire tells no event
            await asyncio.sleep(0)


Open = Callable[..., AbstractAsyncContextManager[Watched]]


@pytest.fixture
def watched() -> Open:
    """Opens a server: `async with watched() as w`."""

    @asynccontextmanager
    async def opened(settings: Settings | None = None) -> AsyncIterator[Watched]:
        clock = SystemClock()
        async with await Store.open(MEMORY, clock, settings=settings, database=InlineDatabase) as store:
            api = ApiServer(store, clock)
            api.serve(MAP)
            face = Face(api, everybody, InFlight(0, 0), {}, str, dict)
            found = Watched(store, api, face, face._objects.feeds)
            yield found
            for task in found.tasks:
                task.cancel()
            await asyncio.gather(*found.tasks, return_exceptions=True)
            assert not len(found.feeds), "a feed outlived its watches"

    return opened


async def test_watches_of_one_question_are_one_feed_and_get_the_very_same_bytes(watched: Open) -> None:
    """Making an event for each of a thousand watches is what would make them slow."""
    async with watched() as w:
        wires = await w.members(MANY)
        assert len(w.feeds) == 1
        others = await w.members(1, "labelSelector=a=b")
        assert len(w.feeds) == 2
        await w.make("one")
        await settled()
        assert wires[0].names == ["one"]
        assert {wire.text for wire in wires} == {wires[0].text}
        assert others[0].names == []
        await w.make("three", a="b")
        await settled()
        assert others[0].names == ["three"]


async def test_events_that_come_during_a_round_go_out_together_in_order(watched: Open) -> None:
    """So a thousand watches bear a hundred writes a second: when they fall behind, each write to them carries more."""
    async with watched() as w:
        wires = await w.members(MANY)
        names = [f"n{number:02}" for number in range(30)]
        for at in range(0, 30, 10):
            await asyncio.gather(*(w.make(name) for name in names[at : at + 10]))
        await settled()
        for wire in wires:
            assert wire.revisions == sorted(set(wire.revisions))
            assert sorted(wire.names) == names
            assert len(wire.sizes) < len(names)
        assert {wire.text[-20:] for wire in wires} == {wires[0].text[-20:]}


async def test_a_watch_that_opens_in_the_middle_of_a_round_misses_nothing_and_is_told_nothing_twice(watched: Open) -> None:
    """It has the state by then, and the others do not yet."""
    async with watched() as w:
        wires = await w.members(MANY)
        late = []
        for number in range(20):
            await w.make(f"n{number:02}")
            wire = Wire()
            late.append((number + 1, wire))
            await w.open("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", wire)
        await settled()
        names = [f"n{number:02}" for number in range(20)]
        for wire in wires:
            assert wire.names == names
        for known, wire in late:
            assert wire.names == names
            assert [event["type"] for event in wire.events].index("BOOKMARK") >= known


async def test_a_slow_reader_holds_up_nobody_and_gets_everything_in_the_end(watched: Open) -> None:
    """It is let go with its place, reads on from there at its own speed, and is a member again in the present."""
    async with watched() as w:
        fast = await w.members(5)
        (slow,) = await w.members(1)
        slow.takes = False
        names = [f"n{number:03}" for number in range(100)]
        for name in names:
            await w.make(name, data="x" * 10_000)
            await settled()
        for wire in fast:
            assert wire.names == names
        assert 0 < len(slow.names) < 30
        while len(slow.names) < len(names):
            slow.take()
            await settled()
        assert slow.names == names
        assert slow.most < BUFFER_BYTES_MAX + 2 * PIECE_BYTES_MAX
        slow.take()
        await settled()
        assert len(w.feeds) == 1, "it is in the feed of the others again"
        await w.make("last")
        await settled()
        assert [wire.names[-1] for wire in (*fast, slow)] == ["last"] * 6


async def test_a_reader_that_never_reads_costs_a_bounded_buffer(watched: Open) -> None:
    """However much happens: what it does not take is in the store, not in its connection."""
    async with watched() as w:
        fast = await w.members(2)
        lazy = Wire(takes=False)
        await w.open("", lazy)
        for number in range(200):
            await w.make(f"n{number}", data="x" * 20_000)
        await settled()
        assert len(fast[0].names) == len(fast[1].names) == 200
        assert lazy.waiting == lazy.most < BUFFER_BYTES_MAX + 2 * PIECE_BYTES_MAX


async def test_who_disconnects_in_the_middle_of_a_round_takes_nobody_along(watched: Open) -> None:
    """A connection is closed before its task hears of it: nothing more is written to it, everything to the others."""
    async with watched() as w:
        wires = await w.members(MANY)
        doomed = [wires[3], wires[40], wires[-1]]
        await w.make("one")
        await until(lambda: wires[0].names)
        assert not wires[-1].names, "the round is not over"
        for wire in doomed:
            wire.closing = True
        w.tasks[50].cancel()
        await w.make("two")
        await settled()
        for at, wire in enumerate(wires):
            if wire not in doomed and at != 50:
                assert wire.names == ["one", "two"]
        assert doomed[-1].names == []


async def test_the_last_of_a_feed_ends_it_and_the_next_begins_another(watched: Open) -> None:
    """A server that keeps a feed for each question that was ever asked fills up with them."""
    async with watched() as w:
        await w.members(3)
        watches = sum(1 for _ in w.store._hub)
        assert (len(w.feeds), watches) == (1, 1)
        for task in w.tasks:
            task.cancel()
        await asyncio.gather(*w.tasks, return_exceptions=True)
        assert (len(w.feeds), sum(1 for _ in w.store._hub)) == (0, 0)
        (wire,) = await w.members(1)
        await w.make("one")
        await settled()
        assert wire.names == ["one"]


async def test_selectors_hold_in_a_feed_as_they_do_alone(watched: Open) -> None:
    """What stops matching is DELETED, also to those who came at different times."""
    async with watched() as w:
        first = await w.members(2, "labelSelector=app=x")
        await w.make("a", app="x")
        second = await w.members(2, "labelSelector=app=x")
        assert len(w.feeds) == 1
        await w.make("b", app="y")
        labelled = {"metadata": {"name": "a", "labels": {"app": "y"}}, "data": {}}
        await w.api.update(MAP, labelled, "default")
        await settled()
        for wire in first:
            assert [event["type"] for event in wire.events] == ["ADDED", "DELETED"]
        for wire in second:
            assert [event["type"] for event in wire.events] == ["DELETED"]


async def test_a_feed_that_ends_with_an_error_tells_all_its_members(watched: Open) -> None:
    """Else they would wait for ever, and their clients with them."""
    async with watched() as w:
        wires = await w.members(MANY)
        bookmarked = await w.members(1, "allowWatchBookmarks=true")
        await w.store.close()
        await asyncio.gather(*w.tasks)
        for wire in (*wires, *bookmarked):
            assert [event["type"] for event in wire.events] == ["ERROR"]


async def test_a_feed_ends_with_its_kind_and_promises_how_far_it_came(watched: Open) -> None:
    """A kind that is withdrawn has no watches: what they were told last is what there was."""
    async with watched() as w:
        await w.make("one")
        (kv,) = (kv for kv in w.store.range(Range(b"\0", b"\0")).kvs if kv.key.endswith(b"/one"))
        wires = await w.members(3, "allowWatchBookmarks=true")
        w.api.withdraw(MAP)
        await w.store.put(kv.key, kv.value)
        await asyncio.gather(*w.tasks)
        for wire in wires:
            assert [event["type"] for event in wire.events] == ["MODIFIED", "BOOKMARK"]
            assert set(wire.revisions) == {w.store.revision}


async def test_a_member_that_leaves_knows_how_far_the_store_has_come(watched: Open) -> None:
    """A quiet feed's last event may be compacted by the time that somebody goes on from it."""
    async with watched() as w:
        (wire,) = await w.members(1, "labelSelector=app=x&allowWatchBookmarks=true&timeoutSeconds=1")
        await w.make("a", app="x")
        await w.make("b", "c", "d")
        revision = w.store.revision
        await asyncio.gather(*w.tasks)
        assert [event["type"] for event in wire.events] == ["ADDED", "BOOKMARK"]
        assert wire.revisions[-1] == revision


async def test_whoever_finds_a_feed_lagging_goes_on_alone(watched: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a burst beyond its queue a feed replays: who is in the present already must not wait for that, or hear it again."""
    found: list[Feed | None] = []
    async with watched(Settings(watch_queue_bytes_max=2_000, ring_bytes_max=1_000)) as w:
        find, read, may_read = w.feeds.find, w.store._hub._read_log, asyncio.Event()

        def noted(*args: Any, **options: Any) -> Feed | None:
            found.append(find(*args, **options))
            return found[-1]

        async def read_late(*args: Any) -> Any:
            await may_read.wait()
            return await read(*args)

        monkeypatch.setattr(w.feeds, "find", noted)
        monkeypatch.setattr(w.store._hub, "_read_log", read_late)
        wires = await w.members(2)
        await asyncio.gather(*(w.make(f"n{number}") for number in range(50)))
        new = Wire()
        await w.open(f"resourceVersion={w.store.revision}", new)
        await settled()
        assert len(wires[0].names) < 50, "the feed is at its replay"
        assert found[2:] == [None]
        await w.make("last")
        await settled()
        assert new.names == ["last"]
        may_read.set()
        await settled()
        assert len(wires[0].names) == len(wires[1].names) == 51
        await w.make("very-last")
        await settled()
        assert (new.names, len(w.feeds), found[-1]) == (["last", "very-last"], 1, found[0])


async def test_nothing_overtakes_what_is_being_converted(watched: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook is asked for another version of an object: who comes meanwhile knows it already, and others wait for it."""
    async with watched() as w:
        convert, may_convert = Following._converted, asyncio.Event()

        async def converted(self: Following, *args: Any) -> Any:
            await may_convert.wait()
            return await convert(self, *args)

        monkeypatch.setattr(Following, "_converted", converted)
        monkeypatch.setattr(Versions, "converts", True)
        wires = await w.members(2)
        await w.make("one")
        await settled()
        (new,) = await w.members(1)
        assert wires[0].names == new.names == []
        may_convert.set()
        await w.make("three")
        await settled()
        assert [wire.names for wire in (*wires, new)] == [["one", "three"]] * 2 + [["three"]]
        await w.make("four")
        await settled()
        assert (wires[0].names[-1], new.names, len(w.feeds)) == ("four", ["three", "four"], 1)


async def test_a_revision_is_never_divided(watched: Open) -> None:
    """Who goes on from a revision is told what comes after it: the other half of it would be lost."""
    async with watched() as w:
        feed = Feed(w.api.watch(MAP, since=w.store.revision), Frames(MAP, Lines()), bookmarks=True, forget=lambda: None)
        for revision in (7, 8, 8, 8, 9):
            feed._append(b"x" * (PIECE_BYTES_MAX // 2) + b"\n", revision)
        wire = Wire(takes=False)
        member = feed.enter(cast(Any, wire))
        member.at = 0
        feed._give(member)
        assert (member.at, member.revision, member.left.done()) == (4, 8, True)
        feed.remove(member)


async def test_whatever_readers_do_each_is_told_everything_once_and_in_order(watched: Open) -> None:
    """Watches come and go, stall and read on, while objects come, change their labels, and go."""
    for seed in range(6):
        chance = random.Random(seed)
        async with watched(Settings(watch_queue_bytes_max=20_000)) as w:
            readers: list[tuple[int, str, Wire]] = []
            history: list[tuple[int, str, str]] = []
            for step in range(150):
                action = chance.random()
                if action < 0.2:
                    since, wire = w.store.revision - chance.choice((0, 0, 3)), Wire(takes=chance.random() < 0.6)
                    label = chance.choice(("", "x"))
                    await w.open(f"resourceVersion={max(since, 1)}" + (f"&labelSelector=app={label}" if label else ""), wire)
                    readers.append((max(since, 1), label, wire))
                elif action < 0.35 and readers:
                    wire = chance.choice(readers)[2]
                    wire.takes = chance.random() < 0.5
                    wire.take()
                elif action < 0.45:
                    await settled()
                else:
                    for number in range(chance.choice((1, 1, 4))):
                        name, label = f"s{step}n{number}", chance.choice("xy")
                        await w.make(name, data="x" * chance.choice((10, 10, 9_000)), app=label)
                        history.append((w.store.revision, name, label))
            for _, _, wire in readers:
                wire.takes = True
            for since, label, wire in readers:
                wanted = [name for revision, name, of in history if revision > since and label in ("", of)]
                while len(wire.names) < len(wanted):
                    wire.take()
                    await asyncio.sleep(0)
                await settled()
                assert wire.names == wanted
