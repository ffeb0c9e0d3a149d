"""The informer: its cache is right again after whatever happens to the watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from reconcile.client import WatchEvent
from reconcile.errors import ExpiredError, ForbiddenError, InternalError, NotFoundError, UnavailableError
from reconcile.kinds import Kind, Resource, kind
from reconcile.runtime.engine.informer import WATCH_S_MAX, Informer
from reconcile.runtime.engine.tasks import Tasks
from reconcile.runtime.testing.memory import MemoryClient, Request
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.selectors import parse_labels
from reconcile.views import field, struct


@struct
class BoxSpec:
    size: int = 0
    node: str = ""


@kind("example.com", "v1", plural="boxes")
class Box(Resource):
    spec: BoxSpec = field(factory=BoxSpec)


class Followed:
    """An informer at work and what it told."""

    def __init__(self, clock: VirtualClock, client: MemoryClient) -> None:
        self.clock, self.client = clock, client
        self.informer = Informer(client, Box.__kind__, clock)
        self.told: list[str] = []
        self.informer.subscribe(lambda change, key, *_: self.told.append(f"{change} {key[1]}"))

    async def create(self, name: str, size: int = 0, **meta: object) -> None:
        box = Box(name=name, namespace="default", spec=BoxSpec(size=size))
        tree = box.tree
        tree["metadata"].update(meta)
        await self.client.create(Box.__kind__, tree, "default")

    async def settle(self, seconds: float = 1) -> list[str]:
        await self.clock.sleep(seconds)
        told, self.told = self.told, []
        return told

    def sizes(self) -> dict[str, int]:
        return {key[1]: box.spec.size for key, box in self.informer.cache.objects.items() if isinstance(box, Box)}


@asynccontextmanager
async def following(clock: VirtualClock, client: MemoryClient | None = None) -> AsyncGenerator[Followed]:
    followed = Followed(clock, client if client is not None else MemoryClient(clock, Box))
    tasks = Tasks()
    tasks.spawn(followed.informer.run(), "informer")
    await followed.informer.wait_tried()
    yield followed
    await tasks.close()


async def resize(client: MemoryClient, name: str, size: int) -> None:
    tree = await client.get(Box.__kind__, name, "default")
    await client.update(Box.__kind__, {**tree, "spec": {"size": size}}, "default")


@virtual
async def test_changes_are_told_in_order_and_cached_as_frozen_views(clock: VirtualClock) -> None:
    """The plain case."""
    async with following(clock) as f:
        await f.create("a", 1)
        await resize(f.client, "a", 2)
        await f.create("b", 3)
        await f.client.delete(Box.__kind__, "a", "default")
        assert await f.settle() == ["ADDED a", "MODIFIED a", "ADDED b", "DELETED a"]
        assert f.sizes() == {"b": 3}
        (box,) = f.informer.cache.objects.values()
        with pytest.raises(TypeError, match="thawed"):
            box.spec.size = 4  # type: ignore[attr-defined]  # a Box


@virtual
async def test_a_subscriber_that_comes_later_is_told_what_is_there(clock: VirtualClock) -> None:
    """Informers are shared: the second operator must not miss what the first has seen already."""
    async with following(clock) as f:
        await f.create("a")
        await f.settle()
        late: list[tuple[str, str, bool]] = []
        f.informer.subscribe(lambda change, key, obj, old, initial: late.append((change, key[1], initial)))
        await f.create("b")
        await f.settle()
        assert late == [("ADDED", "a", True), ("ADDED", "b", False)]


@virtual
async def test_inline_subscribers_hear_before_all_others(clock: VirtualClock) -> None:
    """A model in memory must be up to date when the handlers that use it run."""
    async with following(clock) as f:
        f.informer.subscribe(lambda *_: f.told.append("inline"), inline=True)
        await f.create("a")
        assert await f.settle() == ["inline", "ADDED a"]


@virtual
@pytest.mark.parametrize("way", ["answer", "stream"])
async def test_after_410_it_lists_again_and_tells_exactly_the_difference(clock: VirtualClock, way: str) -> None:
    """410 comes as the answer to a watch, or as an ERROR inside one; either once killed kopf's watcher for good."""
    async with following(clock) as f:
        for name in ("kept", "changed", "gone", "replaced"):
            await f.create(name, 1)
        await f.settle()
        stopped = f.client.before

        def blind(request: Request) -> None:
            if request.method in ("watch", "list"):
                raise UnavailableError("away")

        f.client.before = blind
        f.client.end_watches(ExpiredError("too old resource version") if way == "stream" else None)
        await clock.sleep(0)
        await resize(f.client, "changed", 2)
        for name in ("gone", "replaced"):
            await f.client.delete(Box.__kind__, name, "default")
        await f.create("replaced", 1)
        await f.create("new", 5)
        if way == "answer":
            f.client.compact()
        f.client.before = stopped
        told = await f.settle(60)
        assert sorted(told) == ["ADDED new", "ADDED replaced", "DELETED gone", "DELETED replaced", "MODIFIED changed"]
        assert told.index("DELETED replaced") < told.index("ADDED replaced")
        assert f.sizes() == {"kept": 1, "changed": 2, "replaced": 1, "new": 5}
        await resize(f.client, "kept", 9)
        assert await f.settle() == ["MODIFIED kept"]


@virtual
@pytest.mark.parametrize("error", [InternalError("500"), UnavailableError("503"), OSError("reset"), ValueError("garbage"), None])
async def test_a_watch_that_breaks_in_any_way_comes_back(clock: VirtualClock, error: Exception | None) -> None:
    """An operator that silently stops reacting is the most reported fault of all (kopf 585, 698, 955 ...)."""
    async with following(clock) as f:
        await f.create("a", 1)
        await f.settle()
        for size in range(2, 6):
            f.client.end_watches(error)
            await resize(f.client, "a", size)
            await f.settle(60)
            assert f.sizes() == {"a": size}


@virtual
async def test_a_server_that_is_away_is_asked_with_exponential_back_off(clock: VirtualClock) -> None:
    """Not once a millisecond, and not once an hour."""
    client = MemoryClient(clock, Box)
    times: list[float] = []

    def away(request: Request) -> None:
        times.append(clock.monotonic())
        raise UnavailableError("away")

    client.before = away
    async with following(clock, client) as f:
        await clock.sleep(600)
        gaps = [b - a for a, b in pairwise(times)]
        assert 20 < len(times) < 45
        assert gaps[0] < 0.3
        assert 20 < max(gaps) < 40
        assert not f.informer.synced
        with pytest.raises(UnavailableError, match="cannot be read yet: away"):
            await f.informer.wait_readable()
        client.before = lambda _: None
        await clock.sleep(60)
        assert f.informer.synced


@virtual
async def test_a_server_that_ends_every_watch_at_once_is_not_asked_in_a_tight_loop(clock: VirtualClock) -> None:
    """A proxy in between may do this for hours."""
    client = MemoryClient(clock, Box)
    async with following(clock, client):

        def end(request: Request) -> None:
            if request.method == "watch":
                client.end_watches()

        client.before = end
        client.end_watches()
        before = len(client.requests)
        await clock.sleep(60)
        assert len(client.requests) - before < 120


@virtual
async def test_a_kind_that_goes_empties_the_cache_and_one_that_comes_fills_it(clock: VirtualClock) -> None:
    """CustomResourceDefinitions come and go while operators run."""
    client = MemoryClient(clock)
    async with following(clock, client) as f:
        assert f.informer.synced
        assert f.informer.absent
        client.serve(Box)
        f.informer.poke()
        await f.settle()
        await f.create("a", 1)
        assert await f.settle() == ["ADDED a"]
        client.withdraw(Box)
        assert await f.settle(10) == ["DELETED a"]
        assert f.informer.absent
        client.serve(Box)
        await f.create("a", 2)
        assert await f.settle(10) == ["ADDED a"]


@virtual
async def test_a_kind_that_is_forbidden_is_asked_for_again_until_it_is_allowed(clock: VirtualClock) -> None:
    """RBAC is often fixed after the operator was started."""
    client = MemoryClient(clock, Box)

    def forbid(_: Request) -> None:
        raise ForbiddenError("boxes is forbidden")

    client.before = forbid
    async with following(clock, client) as f:
        await clock.sleep(60)
        assert 10 <= client.count("list") <= 14
        client.before = lambda _: None
        await f.settle(10)
        assert f.informer.synced


@virtual
async def test_a_quiet_watch_is_renewed_so_that_one_which_went_silent_is_noticed(clock: VirtualClock) -> None:
    """A connection can die without a word (NAT, a suspended laptop); nothing else would ever tell."""
    async with following(clock) as f:
        await clock.sleep(WATCH_S_MAX * 10)
        assert 8 <= f.client.count("watch") <= 13
        assert f.client.count("list") == 1


@virtual
async def test_a_refresh_shows_what_a_late_watch_has_not_told_yet(clock: VirtualClock) -> None:
    """Who takes an object over from another replica must see what that one wrote, not what it was before."""
    client = MemoryClient(clock, Box)
    async with following(clock, client) as f:
        listed = client.count("list")

        async def before(request: Request) -> None:
            if request.method == "list":
                await clock.sleep(1)

        client.before = before
        first = asyncio.ensure_future(f.informer.refresh())
        await clock.sleep(0.5)
        assert client.count("list") == listed + 1
        second = asyncio.ensure_future(f.informer.refresh())  # in the middle of a list: that one may have missed something
        await f.create("a", 1)
        await first
        assert not second.done()
        await second
        assert client.count("list") == listed + 2
        assert f.sizes() == {"a": 1}
        client.withdraw(Box)
        await clock.sleep(3)
        await f.informer.refresh()
        assert f.sizes() == {}, "a kind that is not served holds nobody up"


@virtual
async def test_waiting_for_a_revision_ends_when_an_event_or_a_bookmark_reaches_it(clock: VirtualClock) -> None:
    """This is what read-your-writes stands on."""
    async with following(clock) as f:
        await f.create("a")
        await f.informer.wait_for(1)
        assert f.informer.cache.get(("default", "a")) is not None
        reached: list[int] = []
        for revision in (7, 5, 50):
            f.informer.when_reached(revision, lambda revision=revision: reached.append(revision))  # type: ignore[misc]
        f.informer.handle(WatchEvent("BOOKMARK", {}, 7))
        assert reached == [5, 7]
        assert f.informer.parked


@virtual
async def test_an_event_seen_twice_is_told_once(clock: VirtualClock) -> None:
    """A list may already hold what the watch then brings."""
    async with following(clock) as f:
        await f.create("a")
        await f.settle()
        tree = await f.client.get(Box.__kind__, "a", "default")
        f.informer.handle(WatchEvent("ADDED", tree, 1))
        assert await f.settle() == []


@virtual
async def test_a_server_put_back_to_an_older_state_releases_who_waits(clock: VirtualClock) -> None:
    """A revision that will never come again must not hold a key for ever."""
    async with following(clock) as f:
        for number in range(5):
            await f.create(str(number))
        await f.settle()
        released: list[bool] = []
        f.informer.when_reached(100, lambda: released.append(True))
        f.client.revision = 3
        f.client.end_watches(InternalError("restarted"))
        await f.settle(5)
        assert released == [True]


@virtual
async def test_indexes_follow_every_change(clock: VirtualClock) -> None:
    """By namespace, owner, any field, and labels: a lookup that is wrong once makes a controller wrong for ever."""
    async with following(clock) as f:
        owner = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u1", "controller": True}
        cache = f.informer.cache
        assert not cache.where(("spec", "node"), "n1")
        await f.create("a", labels={"app": "web", "tier": "front"}, ownerReferences=[owner])
        await f.create("b", labels={"app": "web"})
        await f.settle()

        def names(found: object) -> list[str]:
            return sorted(box.name for box in found)  # type: ignore[attr-defined]  # any iterable of boxes

        assert names(cache.owned("u1").values()) == ["a"]
        assert names(cache.select("", parse_labels("app=web"))) == ["a", "b"]
        assert names(cache.select("default", parse_labels("app=web,tier in (front)"))) == ["a"]
        assert names(cache.select("elsewhere", None)) == []
        tree = await f.client.get(Box.__kind__, "a", "default")
        moved = {**tree, "metadata": {**tree["metadata"], "labels": {"app": "db"}, "ownerReferences": []}, "spec": {"node": "n1"}}
        await f.client.update(Box.__kind__, moved, "default")
        await f.settle()
        assert names(cache.owned("u1").values()) == []
        assert names(cache.where(("spec", "node"), "n1").values()) == ["a"]
        assert names(cache.select("", parse_labels("app=web"))) == ["b"]
        await f.client.delete(Box.__kind__, "a", "default")
        await f.settle()
        assert not cache.where(("spec", "node"), "n1")
        assert names(cache.select("", parse_labels("app!=web"))) == []


@virtual
async def test_a_kind_known_only_from_discovery_has_views_of_its_own_class(clock: VirtualClock) -> None:
    """Garbage collection handles kinds that nobody has a class for."""
    plain = Kind(group="example.com", version="v1", kind="Thing", plural="things")
    client = MemoryClient(clock, plain)
    informer = Informer(client, plain, clock)
    tasks = Tasks()
    tasks.spawn(informer.run(), "informer")
    await client.create(plain, {"metadata": {"name": "a"}, "spec": {"x": 1}}, "default")
    await clock.sleep(1)
    (thing,) = informer.cache.objects.values()
    assert (type(thing).__kind__, type(thing).__name__, thing.tree["spec"]) == (plain, "Thing", {"x": 1})
    with pytest.raises(NotFoundError):
        await client.get(Box.__kind__, "a")
    await tasks.close()


@virtual
async def test_a_subscriber_that_raises_keeps_nothing_from_the_others(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One operator's mistake must not blind another's."""
    async with following(clock) as f:

        def broken(*_: object) -> None:
            raise RuntimeError("mistake")

        f.informer.subscribe(broken, inline=True)
        await f.create("a")
        assert await f.settle() == ["ADDED a"]
        assert "mistake" in caplog.text
