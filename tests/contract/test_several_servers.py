"""Several API servers on one etcd: each judges by a copy that may be behind, and none may be wrong by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from reconcile import Resource, field, kind
from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import AlreadyExistsError, ConflictError, ForbiddenError, NotFoundError
from reconcile.runtime.api import ApiServer
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store.remote import EtcdStore
from tests.contract.conftest import REMOTE, Cluster


@kind("example.com", "v1", plural="rooms", namespaced=False)
class Room(Resource):
    """What namespaces are in these tests."""


@kind("", "v1", plural="configmaps", builtin=True, has_generation=False)
class ConfigMap(Resource):
    """Something to write."""

    data: dict[str, str] = field(factory=dict)


ROOM, CONFIG = Room.__kind__, ConfigMap.__kind__
Tree = dict[str, Any]


class Late(EtcdStore):
    """A store whose mirror hears of nothing while it is `asleep`, but what it asks for itself."""

    asleep = False

    def deaf(self, *, asleep: bool) -> None:
        """Fall asleep, or wake up and hear what was said meanwhile."""
        self.asleep = asleep
        mirror = self._mirror
        if asleep:
            self._kept: list[Callable[[], None]] = []
            self._apply, self._advance = mirror.apply, mirror.advance
            mirror.apply = lambda *a: self._kept.append(lambda: self._apply(*a))  # type: ignore[method-assign]
            mirror.advance = lambda *a: self._kept.append(lambda: self._advance(*a))  # type: ignore[method-assign]
        else:
            mirror.apply, mirror.advance = self._apply, self._advance  # type: ignore[method-assign]
            for each in self._kept:
                each()

    async def catch_up(self) -> int:
        if self.asleep:
            self.deaf(asleep=False)
        return await super().catch_up()

    async def reach(self, revision: int) -> None:
        if self.asleep:
            self.deaf(asleep=False)
        await super().reach(revision)


@asynccontextmanager
async def two(cluster: Cluster) -> AsyncIterator[tuple[ApiServer, ApiServer, Late]]:
    """Two servers; the third is the second's store, which can be made to lag."""
    async with cluster() as address:
        clock = SystemClock()
        async with (
            await EtcdStore.open(address, clock, below=b"/", settings=REMOTE) as first,
            await Late.open(address, clock, below=b"/", settings=REMOTE) as late,
        ):
            servers = tuple(ApiServer(store, clock, namespace_kind=ROOM) for store in (first, late))
            for server in servers:
                server.serve(CONFIG)
            await servers[0].create(ROOM, {"metadata": {"name": "n"}})
            await late.catch_up()
            yield servers[0], servers[1], late


def config(name: str, **data: str) -> Tree:
    return {"metadata": {"name": name}, "data": data}


async def test_what_one_server_wrote_the_other_reads(cluster: Cluster) -> None:
    """A read that names no revision is of now, whichever server answers."""
    async with two(cluster) as (one, other, late):
        late.deaf(asleep=True)
        made = await one.create(CONFIG, config("a", x="1"), "n")
        assert (await other.get(CONFIG, "a", "n")).revision == made.revision
        late.deaf(asleep=True)
        changed = await one.patch(CONFIG, "a", Patch(MERGE_PATCH, {"data": {"x": "2"}}), "n")
        listed = await other.list(CONFIG, "n")
        assert [item.tree["data"] for item in listed.items] == [{"x": "2"}]
        assert listed.revision >= changed.revision
        late.deaf(asleep=True)
        await one.delete(CONFIG, "a", "n")
        with pytest.raises(NotFoundError):
            await other.get(CONFIG, "a", "n")


async def test_a_read_that_takes_any_state_waits_for_nothing(cluster: Cluster) -> None:
    """resourceVersion=0 is the cheap read; one that names a revision gets that or a newer one."""
    async with two(cluster) as (one, other, late):
        late.deaf(asleep=True)
        made = await one.create(CONFIG, config("a"), "n")
        assert (await other.list(CONFIG, "n", resource_version="0")).items == []
        found = await other.list(CONFIG, "n", resource_version=str(made.revision), match="NotOlderThan")
        assert [item.name for item in found.items] == ["a"]


async def test_a_write_is_judged_by_what_the_other_server_wrote(cluster: Cluster) -> None:
    """A patch that lost a race is made again on the newest state: no field of either is lost."""
    async with two(cluster) as (one, other, late):
        made = await one.create(CONFIG, config("a", x="1"), "n")
        await late.catch_up()
        late.deaf(asleep=True)
        newer = await one.patch(CONFIG, "a", Patch(MERGE_PATCH, {"data": {"x": "2"}}), "n")
        done = await other.patch(CONFIG, "a", Patch(MERGE_PATCH, {"data": {"y": "3"}}), "n")
        assert done.tree["data"] == {"x": "2", "y": "3"}

        late.deaf(asleep=True)
        with pytest.raises(ConflictError):
            await other.update(CONFIG, {**made.tree, "data": {}}, "n")
        newest = await one.get(CONFIG, "a", "n")
        assert newest.tree["data"] == {"x": "2", "y": "3"}
        assert newer.revision < newest.revision


async def test_a_revision_of_the_other_server_is_no_conflict(cluster: Cluster) -> None:
    """A client that reads from one and writes to the other names a revision that the other may not know yet."""
    async with two(cluster) as (one, other, late):
        await one.create(CONFIG, config("a", x="1"), "n")
        await late.catch_up()
        late.deaf(asleep=True)
        newer = await one.patch(CONFIG, "a", Patch(MERGE_PATCH, {"data": {"x": "2"}}), "n")
        done = await other.update(CONFIG, {**newer.tree, "data": {"x": "3"}}, "n")
        assert done.tree["data"] == {"x": "3"}


async def test_a_write_that_changes_nothing_is_judged_by_the_newest_state(cluster: Cluster) -> None:
    """Answering "unchanged" out of an old state would lose the write."""
    async with two(cluster) as (one, other, late):
        await one.create(CONFIG, config("a", x="1"), "n")
        await late.catch_up()
        late.deaf(asleep=True)
        await one.patch(CONFIG, "a", Patch(MERGE_PATCH, {"data": {"x": "2"}}), "n")
        done = await other.patch(CONFIG, "a", Patch(MERGE_PATCH, {"data": {"x": "1"}}), "n")
        assert done.tree["data"] == {"x": "1"}
        assert (await one.get(CONFIG, "a", "n")).tree["data"] == {"x": "1"}


async def test_what_the_other_server_made_is_found_by_every_write(cluster: Cluster) -> None:
    """Not found, and already there, are answers about now."""
    async with two(cluster) as (one, other, late):
        late.deaf(asleep=True)
        await one.create(ROOM, {"metadata": {"name": "new"}})
        await other.create(CONFIG, config("in-new"), "new")
        late.deaf(asleep=True)
        await one.create(CONFIG, config("a", x="1"), "n")
        with pytest.raises(AlreadyExistsError):
            await other.create(CONFIG, config("a"), "n")
        late.deaf(asleep=True)
        await one.create(CONFIG, config("b", x="1"), "n")
        await other.patch(CONFIG, "b", Patch(MERGE_PATCH, {"data": {"x": "2"}}), "n")
        late.deaf(asleep=True)
        await one.create(CONFIG, config("c"), "n")
        assert (await other.delete(CONFIG, "c", "n")).gone
        with pytest.raises(NotFoundError):
            await one.get(CONFIG, "c", "n")


async def test_a_namespace_that_ended_and_began_again_takes_objects(cluster: Cluster) -> None:
    """The old one, going away, is what a late server still sees."""
    async with two(cluster) as (one, other, late):
        await one.create(ROOM, {"metadata": {"name": "again", "finalizers": ["example.com/hold"]}})
        await one.delete(ROOM, "again")
        await late.catch_up()
        with pytest.raises(ForbiddenError):
            await other.create(CONFIG, config("a"), "again")
        late.deaf(asleep=True)
        await one.patch(ROOM, "again", Patch(MERGE_PATCH, {"metadata": {"finalizers": None}}))
        await one.create(ROOM, {"metadata": {"name": "again"}})
        await other.create(CONFIG, config("a"), "again")


async def test_a_watch_on_one_server_tells_what_the_other_writes(cluster: Cluster) -> None:
    """Also one that begins at a revision that only the other knows yet."""
    async with two(cluster) as (one, other, late):
        changes = other.watch(CONFIG, "n")
        late.deaf(asleep=True)
        made = await one.create(CONFIG, config("a"), "n")
        await other.catch_up(made.revision)
        after = other.watch(CONFIG, "n", since=made.revision)
        gone = await one.delete(CONFIG, "a", "n")

        first = await anext(changes)
        assert (first.type, first.revision) == ("ADDED", made.revision)
        for following in (changes, after):
            told = await anext(following)
            assert told.type == "DELETED"
            assert told.stored is not None
            assert told.stored.name == gone.stored.name
            await following.aclose()


async def test_counting_through_both_servers_loses_nothing(cluster: Cluster) -> None:
    """Fifty increments from each side, as two controllers would make them."""
    async with two(cluster) as (one, other, _):
        await one.create(CONFIG, config("n", count="0"), "n")

        async def count(server: ApiServer) -> None:
            for _ in range(25):
                while True:
                    found = await server.get(CONFIG, "n", "n")
                    tree = {**found.tree, "data": {"count": str(int(found.tree["data"]["count"]) + 1)}}
                    try:
                        await server.update(CONFIG, tree, "n")
                        break
                    except ConflictError:
                        continue

        await asyncio.gather(count(one), count(other), count(one), count(other))
        assert [(await server.get(CONFIG, "n", "n")).tree["data"]["count"] for server in (one, other)] == ["100", "100"]
