"""New objects are created with the finalizers of who watches them, while it watches, and where it may patch them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from reconcile.client import FINALIZERS_HEADER
from reconcile.kinds import Kind

from .test_http_access import guard

PATH = "/apis/example.com/v1/websites?watch=1"
OURS = "ours.example.com/finalizer"


class Site:
    """A served site, and its kind."""

    def __init__(self, site: Any) -> None:
        self.site, self.kind = site, site.kind("WebSite")
        self.number = 0

    async def born_with(self, namespace: str = "default") -> list[str]:
        """The finalizers of a new object."""
        self.number += 1
        stored = await self.site.api.create(self.kind, {"metadata": {"name": f"w{self.number}"}}, namespace)
        found: list[str] = stored.tree["metadata"].get("finalizers") or []
        return found

    @asynccontextmanager
    async def watching(self, path: str = PATH, finalizers: str = OURS, token: str = "") -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Authorization": f"Bearer {token or self.site.access.token}", FINALIZERS_HEADER: finalizers}
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.site.address.url + path, headers=headers, ssl=self.site.access.tls()) as response,
        ):
            yield response

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what others do is waited for
                await asyncio.sleep(0)

    @property
    def asked(self) -> bool:
        """Whether somebody completes new objects now."""
        return bool(self.site.api._admission.initializes(self.kind))


async def test_finalizers_come_with_the_creation_while_the_watch_is_open(serve: Any) -> None:
    """And not before, nor afterwards, when nobody would take them off."""
    async with serve() as served:
        site = Site(served)
        assert await site.born_with() == []
        async with site.watching(), site.watching(finalizers=f"{OURS}, theirs.example.com/finalizer"):
            await site.until(lambda: len(served.api._admission._initializers.get(("example.com", "websites"), ())) == 2)
            assert await site.born_with() == [OURS, "theirs.example.com/finalizer"]
        await site.until(lambda: not site.asked)
        assert await site.born_with() == []


async def test_it_holds_for_what_is_watched(serve: Any) -> None:
    """A watch of one namespace is nothing to the objects of another; one of a selection asks for nothing."""
    async with serve() as served:
        site = Site(served)
        await served.api.create(served.kind("Namespace"), {"metadata": {"name": "other"}})
        async with site.watching("/apis/example.com/v1/namespaces/other/websites?watch=1"):
            await site.until(lambda: site.asked)
            assert await site.born_with() == []
            assert await site.born_with("other") == [OURS]
        await site.until(lambda: not site.asked)
        for query in ("&labelSelector=a%3Db", "&fieldSelector=metadata.name%3Da"):
            async with site.watching(PATH + query) as response:
                assert response.status == 200
                assert not site.asked


async def test_who_may_not_patch_them_gets_no_finalizers_on_them(serve: Any) -> None:
    """It is the same change, only earlier."""
    async with serve() as served:
        site = Site(served)
        rules = guard(served, "watch websites")
        async with site.watching(token="bob") as response:
            assert response.status == 200
            assert not site.asked
        rules.allowed.add("patch websites")
        async with site.watching(token="bob"):
            await site.until(lambda: site.asked)
            assert await site.born_with() == [OURS]


@pytest.mark.parametrize("name", ["not a name", "a/b/c", f"{OURS},"])
async def test_what_could_not_be_a_finalizer_is_refused(serve: Any, name: str) -> None:
    """Nobody could create anything any more."""
    async with serve() as served:
        async with Site(served).watching(finalizers=name) as response:
            assert response.status == 400
        assert await Site(served).born_with() == []


async def test_a_client_asks_until_it_is_told_otherwise(serve: Any) -> None:
    """With its next watch, that is."""
    async with serve() as served:
        site = Site(served)
        kind: Kind = site.kind
        ended = served.client.begin_with(kind, OURS)
        for wanted in (True, False):
            watch = served.client.watch(kind, since=served.api.store.revision)
            first = asyncio.ensure_future(anext(watch))
            await site.until(lambda: served.server.streams == 1)
            assert site.asked is wanted
            born = await site.born_with()
            assert ((await first).object["metadata"].get("finalizers") or []) == born == ([OURS] if wanted else [])
            await watch.aclose()
            await site.until(lambda: served.server.streams == 0)
            if wanted:
                ended()
