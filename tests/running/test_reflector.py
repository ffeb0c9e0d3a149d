"""A watch never dies: whatever a real API server answers, the cache is right again, and what comes later is seen.

The list of what goes wrong is that of the incumbent's issues: its operators stopped reacting, or ended, on several of these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from reconcile.kinds import Kind
from reconcile.runtime.client.http import HttpClient
from reconcile.runtime.client.kubeconfig import Access
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.engine import informer as informer_module
from reconcile.runtime.engine.informer import Informer
from tests.running.hostile import Hostile, hostile, plain, status, stream_of

BOX = Kind("example.com", "v1", "Box", "boxes")
ERROR = {"type": "ERROR"}


async def reached(condition: Callable[[], bool], what: str) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(what)


async def hang(_: Any) -> Any:
    await asyncio.Event().wait()


def meanwhile(server: Hostile, fault: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Something is written while the fault lasts: nobody is told of it."""

    def faulty(request: Any) -> Any:
        server.put("missed")
        return fault(request)

    return faulty


WATCH_FAULTS = {
    "410 as an HTTP answer": plain(410, status(410, "Expired")),
    "410 as an event": stream_of({**ERROR, "object": status(410, "Expired")}),
    "410 with the older reason": stream_of({**ERROR, "object": status(410, "Gone")}),
    "500 as an event": stream_of({**ERROR, "object": status(500, "InternalError")}),
    "an error event without a Status": stream_of({**ERROR, "object": {}}),
    "500": plain(500, status(500, "InternalError")),
    "502 of a proxy, in HTML": plain(502, "<html>bad gateway</html>"),
    "503": plain(503, status(503, "ServiceUnavailable")),
    "504": plain(504, "timeout"),
    "429": plain(429, status(429, "TooManyRequests", retryAfterSeconds=1)),
    "401": plain(401, status(401, "Unauthorized")),
    "403": plain(403, status(403, "Forbidden")),
    "404": plain(404, "404 page not found"),
    "an end without a word": stream_of(),
    "a connection that breaks": stream_of({"type": "ADDED"}, cut=True),
    "half a line": stream_of(b'{"type":"ADDED","obj', cut=True),
    "half a line and a good-bye": stream_of(b'{"type":"ADDED","obj'),
    "no JSON": stream_of(b"upstream connect error\n"),
    "JSON that is no event": stream_of([1, 2, 3]),
    "an event of a type that nobody knows": stream_of({"type": "SIGNAL", "object": {}}),
}
LIST_FAULTS = {
    name: fault for name, fault in WATCH_FAULTS.items() if name[:3].isdigit() and "event" not in name and "older" not in name
} | {"no JSON": plain(200, "welcome"), "a list of something else": plain(200, {"kind": "Status"})}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between attempts have tests of their own, on a virtual clock."""
    monkeypatch.setattr(informer_module, "BACKOFF_S_FIRST", 0.01)
    monkeypatch.setattr(informer_module, "ABSENT_S", 0.05)


async def _survives(arrange: Callable[[Hostile], None]) -> None:
    async with hostile() as (server, url), HttpClient(Access(url), SystemClock()) as client:
        server.put("first")
        arrange(server)
        informer = Informer(client, BOX, SystemClock())
        task = asyncio.create_task(informer.run())
        try:
            await reached(lambda: server.watch_fault is None and server.list_fault is None, "the fault was met")
            await reached(lambda: bool(server._streams), "it watches again")
            await server.tell("later")
            everything = {("default", name) for name in ("first", "missed", "later")}
            await reached(lambda: set(informer.cache.objects) == everything, "all is seen")
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("way", WATCH_FAULTS)
async def test_a_watch_comes_back_after(way: str) -> None:
    """The first watch goes wrong in this way; afterwards the cache holds all there is, and follows."""

    def arrange(server: Hostile) -> None:
        server.watch_fault = meanwhile(server, WATCH_FAULTS[way])

    await _survives(arrange)


@pytest.mark.parametrize("way", LIST_FAULTS)
async def test_a_list_is_asked_for_again_after(way: str) -> None:
    """The first list goes wrong in this way."""

    def arrange(server: Hostile) -> None:
        server.list_fault = meanwhile(server, LIST_FAULTS[way])

    await _survives(arrange)


async def test_a_watch_that_says_nothing_for_ever_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that died in silence looks like a quiet cluster."""
    monkeypatch.setattr(informer_module, "WATCH_S_MAX", 0.3)

    def arrange(server: Hostile) -> None:
        server.watch_fault = meanwhile(server, hang)

    await _survives(arrange)
