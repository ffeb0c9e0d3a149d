"""WATCH on the wire: every event at once, in order, and an end that says why."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest

from reconcile.errors import ExpiredError, UnavailableError
from reconcile.kinds import Kind
from reconcile.runtime.api.http.lines import LINES_MAX, Lines
from reconcile.runtime.api.stored import Stored
from reconcile.runtime.client.http import HttpClient

CM = "/api/v1/namespaces/default/configmaps"
BEGIN = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


@asynccontextmanager
async def watching(site: Any, query: str, accept: str = "application/json") -> AsyncIterator[Any]:
    """A function that gives the next event; None at the end."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{site.address.url}{CM}?watch=true&{query}", headers={"Accept": accept}) as response,
    ):
        assert response.headers["Content-Type"] == "application/json"

        async def step() -> Any:
            line = await response.content.readline()
            return json.loads(line) if line else None

        yield step


async def make(site: Any, name: str, **labels: str) -> int:
    tree = {"metadata": {"name": name, "labels": labels}}
    return (await site.api.create(site.kind("ConfigMap"), tree, "default")).revision  # type: ignore[no-any-return]  # Site is Any here


async def test_a_watch_sends_each_change_at_once_and_in_order(serve: Any) -> None:
    """An event that waits for the next one in a buffer is a controller that sleeps."""
    async with serve(tls=False) as site:
        since = await make(site, "before")
        async with watching(site, f"resourceVersion={since}") as step:
            for name in ("one", "two"):
                await make(site, name)
                event = await step()
                assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)
            await site.api.delete(site.kind("ConfigMap"), "one", "default")
            assert (await step())["type"] == "DELETED"


def test_an_event_is_made_once_for_all_watches_and_forgotten_behind_newer_ones() -> None:
    """Encoding it for each of a thousand watches is what would make them slow; keeping them all, what fills the memory."""
    lines = Lines()
    kind = Kind(group="", version="v1", kind="Thing", plural="things")
    first = Stored(kind, {"metadata": {"name": "a"}}, revision=1)
    line = lines.of("ADDED", first)
    assert json.loads(line) == {"type": "ADDED", "object": {"metadata": {"name": "a"}}}
    assert lines.of("ADDED", first) is line
    assert lines.of("MODIFIED", first) != line
    for number in range(LINES_MAX):
        lines.of("ADDED", Stored(kind, {"metadata": {"name": str(number)}}))
    assert lines.of("ADDED", first) == line
    assert lines.of("ADDED", first) is not line


async def test_a_watch_that_begins_with_the_state_closes_it_with_a_bookmark(serve: Any) -> None:
    """Informers of today start so; without the bookmark they hang for ever."""
    async with serve(tls=False) as site:
        revision = await make(site, "a")
        async with watching(site, BEGIN) as step:
            assert (await step())["object"]["metadata"]["name"] == "a"
            bookmark = await step()
            assert bookmark["type"] == "BOOKMARK"
            assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
            assert int(bookmark["object"]["metadata"]["resourceVersion"]) >= revision
            await make(site, "b")
            assert (await step())["object"]["metadata"]["name"] == "b"


async def test_a_bookmark_of_a_watch_of_tables_is_a_table(serve: Any) -> None:
    """A client that asked for tables reads nothing else; without the bookmark it never believes that it has all."""
    async with serve(tls=False) as site:
        revision = await make(site, "a")
        async with watching(site, BEGIN, "application/json;as=Table;v=v1;g=meta.k8s.io") as step:
            assert [column["name"] for column in (await step())["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
            bookmark = await step()
            assert (bookmark["type"], bookmark["object"]["kind"]) == ("BOOKMARK", "Table")
            (row,) = bookmark["object"]["rows"]
            assert row["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
            assert row["cells"] == ["", 0, "<unknown>"]
            assert int(bookmark["object"]["metadata"]["resourceVersion"]) >= revision


async def test_a_watch_without_a_revision_begins_with_the_state_and_no_bookmark(serve: Any) -> None:
    """The old way to start: bookmarks were not asked for."""
    async with serve(tls=False) as site:
        await make(site, "a")
        async with watching(site, "") as step:
            assert (await step())["type"] == "ADDED"
            await make(site, "b")
            assert (await step())["object"]["metadata"]["name"] == "b"


async def test_a_watch_ends_after_the_seconds_it_asked_for_with_a_bookmark(serve: Any) -> None:
    """The client resumes from the bookmark instead of listing again."""
    async with serve(tls=False) as site:
        await make(site, "a")
        async with watching(site, f"{BEGIN}&timeoutSeconds=1") as step:
            assert [(await step())["type"] for _ in range(3)] == ["ADDED", "BOOKMARK", "BOOKMARK"]
            assert await step() is None


async def test_a_watch_below_the_compacted_revision_gets_an_error_event_410(serve: Any) -> None:
    """The stream is 200 by then: the event is the only way to say it; our own client makes an ExpiredError of it."""
    async with serve(tls=False) as site:
        for name in "abc":
            last = await make(site, name)
        await site.api.store.compact(last)
        async with watching(site, "resourceVersion=1") as step:
            event = await step()
            assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
            assert event["object"]["message"].startswith("too old resource version: 1 (")
            assert await step() is None
        with pytest.raises(ExpiredError):
            await anext(site.client.watch(site.kind("ConfigMap"), since=1))


async def test_a_watch_as_table_names_the_columns_once(serve: Any) -> None:
    """`kubectl get -w` prints rows as they come."""
    async with serve(tls=False) as site:
        await make(site, "a")
        async with watching(site, "", "application/json;as=Table;v=v1;g=meta.k8s.io") as step:
            first = (await step())["object"]
            assert ([c["name"] for c in first["columnDefinitions"]], first["rows"][0]["cells"][0]) == (
                ["Name", "Data", "Age"],
                "a",
            )
            await make(site, "b")
            second = (await step())["object"]
            assert (second["columnDefinitions"], second["rows"][0]["cells"][0]) == (None, "b")


async def test_wrong_watch_options_are_refused_before_the_stream_opens(serve: Any) -> None:
    """A client-go of today falls back to LIST when it is told so."""
    async with serve(tls=False) as site, aiohttp.ClientSession(site.address.url) as session:
        for query, code in (
            ("sendInitialEvents=true", 422), ("resourceVersionMatch=Exact&resourceVersion=1", 422), ("resourceVersion=x", 400),
            ("labelSelector=%3D%3D", 400), ("timeoutSeconds=x", 400),
        ):  # fmt: skip
            async with session.get(f"{CM}?watch=1&{query}") as response:
                assert (response.status, (await response.json())["kind"]) == (code, "Status")


async def test_our_own_client_follows_a_watch_over_tls(serve: Any) -> None:
    """The same Client as in process: state, bookmark, then changes."""
    async with serve() as site:
        kind = site.kind("ConfigMap")
        await make(site, "a", app="x")
        events = site.client.watch(kind, "default", labels="app=x", initial=True)
        assert (await anext(events)).object["metadata"]["name"] == "a"
        assert (await anext(events)).initial_end
        await make(site, "other")
        await make(site, "b", app="x")
        event = await anext(events)
        assert (event.type, event.object["metadata"]["name"], event.revision > 0) == ("ADDED", "b", True)
        await events.aclose()
        later = site.client.watch(kind, "default")
        waiting = asyncio.ensure_future(anext(later))
        while not waiting.done():  # `since=0` means from now on: write until the watch is open
            revision = await make(site, f"n{site.api.clock.uid()}")
            await asyncio.sleep(0)
            await asyncio.wait([waiting], timeout=0.02)
        assert waiting.result().revision <= revision
        await later.aclose()


async def test_many_watchers_and_one_that_never_reads_all_others_get_everything(serve: Any) -> None:
    """A client that takes nothing waits alone, and is cut off in the end."""
    async with serve(tls=False, write_timeout_s=0.5) as site:
        kind = site.kind("ConfigMap")
        loop, lazy = asyncio.get_running_loop(), socket.socket()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        await loop.sock_connect(lazy, (site.address.host, site.address.port))
        await loop.sock_sendall(lazy, f"GET {CM}?watch=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await loop.sock_recv(lazy, 12)) == b"HTTP/1.1 200"
        clients = [HttpClient(site.access, site.api.clock) for _ in range(5)]
        streams = [client.watch(kind, initial=True) for client in clients]
        for stream in streams:
            assert (await anext(stream)).initial_end

        async def names(stream: Any) -> list[str]:
            return [(await anext(stream)).object["metadata"]["name"] for _ in range(40)]

        # They read while it is written: who waits for another one takes nothing, and is cut off as well on a slow machine.
        reading = [asyncio.create_task(names(stream)) for stream in streams]
        big = "x" * 300_000
        for number in range(40):
            await site.api.create(kind, {"metadata": {"name": f"n{number:02}"}, "data": {"a": big}}, "default")
        for task in reading:
            assert await task == [f"n{n:02}" for n in range(40)]
        for stream, client in zip(streams, clients, strict=True):
            await cast(Any, stream).aclose()  # Any: a generator behind an AsyncIterator
            await client.close()
        while site.server.streams:  # noqa: ASYNC110 - sockets tell no event: until it is cut off, half a second after its buffers were full
            await asyncio.sleep(0.01)
        lazy.close()


async def test_a_reader_that_pauses_gets_the_rest_when_it_reads_on_and_others_do_not_wait_for_it(serve: Any) -> None:
    """Over TLS, and with more than all buffers on the way hold."""
    async with serve() as site:
        kind = site.kind("ConfigMap")
        clients = [HttpClient(site.access, site.api.clock) for _ in range(3)]
        slow, *fast = streams = [client.watch(kind, initial=True) for client in clients]
        for stream in streams:
            assert (await anext(stream)).initial_end
        big, names = "x" * 300_000, [f"n{number:02}" for number in range(40)]
        for name in names:
            await site.api.create(kind, {"metadata": {"name": name}, "data": {"a": big}}, "default")
            for stream in fast:
                assert (await anext(stream)).object["metadata"]["name"] == name
        assert [(await anext(slow)).object["metadata"]["name"] for _ in names] == names
        await make(site, "last")
        for stream, client in zip(streams, clients, strict=True):
            assert (await anext(stream)).object["metadata"]["name"] == "last"
            await cast(Any, stream).aclose()  # Any: a generator behind an AsyncIterator
            await client.close()


async def test_a_watch_asked_for_by_head_has_no_body(serve: Any) -> None:
    """What is sent behind the head would be read as the next answer."""
    async with serve(tls=False) as site, aiohttp.ClientSession(site.address.url) as session:
        await make(site, "a")
        for _ in range(2):
            async with session.head(f"{CM}?watch=1") as response:
                assert (response.status, await response.read()) == (200, b"")
        assert site.server.connections == 1


async def test_stopping_the_server_ends_watches_at_once(serve: Any) -> None:
    """Ctrl-C must not wait for a watch of an hour."""
    async with serve() as site:
        events = site.client.watch(site.kind("ConfigMap"), initial=True)
        assert (await anext(events)).initial_end
        async with asyncio.timeout(2):
            await site.server.stop()
            with pytest.raises((StopAsyncIteration, UnavailableError)):
                await anext(events)
