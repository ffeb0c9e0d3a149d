"""Get, list in pages, watch through selectors, computed kinds, streams."""

from __future__ import annotations

import base64
import gc
import tracemalloc
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import ApiError, BadRequestError, ExpiredError, InvalidError, MethodNotAllowedError, NotFoundError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api.errors import ContinueExpiredError
from reconcile.runtime.api.transaction import encoded


def merge(**body: Any) -> Patch:
    return Patch(MERGE_PATCH, body)


def names(page: Any) -> list[str]:
    return [tree["metadata"]["name"] for tree in page.items]


async def test_bytes_and_tree_say_the_same_and_the_tree_is_made_once(serving: Any) -> None:
    """HTTP splices the bytes, controllers read the tree."""
    async with serving() as s:
        made = await s.make("a", data={"x": '"metadata":{'})
        stored = await s.api.get(s.site, "a", "n")
        assert stored.tree is made
        assert orjson.loads(stored.encoded) == made
        assert (await s.api.list(s.site)).items[0] is stored


def test_the_bytes_of_an_object_take_no_more_memory_than_they_are_long() -> None:
    """They are kept for each object: what the encoder allocated beyond them was most of the control plane's memory."""
    tree = {"metadata": {"name": "a"}, "data": {"key": "x" * 2500}}
    tracemalloc.start()
    try:
        kept = [encoded(tree, 1 << 20) for _ in range(50)]
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 1.2 * sum(map(len, kept))


async def test_objects_are_the_same_after_a_restart_of_the_server(serving: Any) -> None:
    """What rides in memory beside a value must be what the value says."""
    async with serving() as s:
        made = await s.make("a", items=[{"name": "i"}])
        key = b"/registry/sites.example.com/n/a"
        s.store.get(key).attachment = None
        again = await s.get()
        assert again == made
        assert again is not made


async def test_a_list_is_filtered_by_labels_fields_and_namespace(serving: Any) -> None:
    """Controllers find their pods so."""
    async with serving() as s:
        for name, label, node in (("a", "1", "n1"), ("b", "1", "n2"), ("c", "2", "n1")):
            await s.make(name, labels={"x": label}, node_name="ignored", nodeName=node)
        await s.client.create(s.site, {"metadata": {"name": "d"}, "spec": {}}, "other")
        listed = s.client.list
        assert names(await listed(s.site)) == ["a", "b", "c", "d"]
        assert names(await listed(s.site, "n")) == ["a", "b", "c"]
        assert names(await listed(s.site, labels="x=1")) == ["a", "b"]
        assert names(await listed(s.site, fields="spec.nodeName=n1", labels="x=1")) == ["a"]
        assert names(await listed(s.site, "n", fields="metadata.name=b")) == ["b"]
        assert names(await listed(s.site, fields="metadata.namespace=other")) == ["d"]
        with pytest.raises(BadRequestError, match="field label not supported: foo"):
            await listed(s.site, fields="foo=1")


@pytest.mark.parametrize("labels", ["", "x in (1)"])
async def test_pages_show_one_revision_however_long_the_client_takes(serving: Any, labels: str) -> None:
    """Objects that come and go meanwhile must not be doubled or missed."""
    async with serving() as s:
        for name in "abcdefg":
            await s.make(name, labels={"x": "1"})
        page = await s.client.list(s.site, limit=3, labels=labels)
        assert names(page) == ["a", "b", "c"]
        assert page.remaining == (None if labels else 4)
        await s.client.delete(s.site, "e", "n")
        await s.make("cc", labels={"x": "1"})
        seen = names(page)
        while page.continue_token:
            following = await s.client.list(s.site, limit=3, labels=labels, continue_token=page.continue_token)
            assert following.revision == page.revision
            page = following
            seen += names(page)
        assert seen == list("abcdefg")


async def test_a_token_too_old_gets_one_that_goes_on_in_the_present(serving: Any) -> None:
    """410, with the way out in the Status' metadata."""
    async with serving() as s:
        for name in "abcd":
            await s.make(name)
        page = await s.client.list(s.site, limit=2)
        await s.client.delete(s.site, "c", "n")
        await s.store.compact(s.store.revision)
        with pytest.raises(ContinueExpiredError) as caught:
            await s.client.list(s.site, limit=2, continue_token=page.continue_token)
        status = caught.value.status()
        assert (status["code"], status["reason"]) == (410, "Expired")
        rest = await s.client.list(s.site, limit=2, continue_token=status["metadata"]["continue"])
        assert names(rest) == ["d"]


@pytest.mark.parametrize("token", ["bad", "x!", base64.b64encode(b'{"v":"x"}').decode(), base64.b64encode(b"[1]").decode()])
async def test_a_broken_token_is_a_bad_request(serving: Any, token: str) -> None:
    """Never a list from the start."""
    async with serving() as s:
        with pytest.raises(BadRequestError, match="invalid continue token: continue key is not valid"):
            await s.client.list(s.site, limit=1, continue_token=token)


async def test_a_list_can_be_read_as_it_was(serving: Any) -> None:
    """resourceVersion with match Exact; too old is 410 with the reference text, too new 504."""
    async with serving() as s:
        await s.make("a")
        then = s.store.revision
        await s.make("b")
        exact = await s.api.list(s.site, resource_version=str(then), match="Exact")
        assert [stored.name for stored in exact.items] == ["a"]
        assert exact.revision == then
        newer = await s.api.list(s.site, resource_version=str(then), match="NotOlderThan")
        assert len(newer.items) == 2
        with pytest.raises(InvalidError, match="resourceVersionMatch is forbidden unless resourceVersion is provided"):
            await s.api.list(s.site, match="Exact")
        with pytest.raises(ApiError) as caught:
            await s.api.list(s.site, resource_version="999")
        assert (caught.value.code, caught.value.causes[0].reason) == (504, "ResourceVersionTooLarge")
        await s.store.compact(s.store.revision)
        with pytest.raises(ExpiredError, match=r"The resourceVersion for the provided list is too old\."):
            await s.api.list(s.site, resource_version=str(then), match="Exact")


async def take(watch: Any, count: int) -> list[tuple[str, str]]:
    found = []
    async for event in watch:
        found.append((event.type, event.object.get("metadata", {}).get("name", "end" if event.initial_end else "")))
        if len(found) == count:
            break
    await watch.aclose()
    return found


async def test_a_watch_counts_from_the_moment_it_is_asked_for(serving: Any) -> None:
    """What happens between asking and reading must not be lost."""
    async with serving() as s:
        await s.make("a")
        watch = s.client.watch(s.site)
        await s.make("b")
        await s.client.patch(s.site, "a", merge(spec={"replicas": 2}), "n")
        await s.client.delete(s.site, "b", "n")
        assert await take(watch, 3) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


async def test_initial_events_end_with_a_bookmark(serving: Any) -> None:
    """Informers wait for it."""
    async with serving() as s:
        await s.make("a")
        await s.make("b")
        watch = s.client.watch(s.site, initial=True)
        assert await take(watch, 3) == [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "end")]


async def test_a_watch_resumes_where_it_was_and_sees_one_namespace(serving: Any) -> None:
    """From the log if it must be."""
    async with serving() as s:
        await s.make("a")
        since = s.store.revision
        await s.client.create(s.site, {"metadata": {"name": "x"}, "spec": {}}, "other")
        await s.make("b")
        assert await take(s.client.watch(s.site, since=since), 2) == [("ADDED", "x"), ("ADDED", "b")]
        assert await take(s.client.watch(s.site, "n", since=since), 1) == [("ADDED", "b")]


async def test_leaving_a_selector_is_a_deletion_and_entering_it_an_addition(serving: Any) -> None:
    """A kubelet watches spec.nodeName: a pod that is not its own any more must leave its cache."""
    async with serving() as s:
        watch = s.client.watch(s.site, labels="x=1", fields="spec.nodeName=n1")
        await s.make("a", labels={"x": "1"})
        await s.client.patch(s.site, "a", merge(spec={"nodeName": "n1"}), "n")
        await s.client.patch(s.site, "a", merge(spec={"replicas": 4}), "n")
        await s.client.patch(s.site, "a", merge(metadata={"labels": {"x": "2"}}), "n")
        await s.client.patch(s.site, "a", merge(spec={"replicas": 5}), "n")
        await s.client.patch(s.site, "a", merge(metadata={"labels": {"x": "1"}}), "n")
        await s.client.delete(s.site, "a", "n")
        kinds = [kind for kind, _ in await take(watch, 5)]
        assert kinds == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]


async def test_a_deletion_shows_the_last_state_at_the_deletions_revision(serving: Any) -> None:
    """Clients resume from the resourceVersion of what they saw last."""
    async with serving() as s:
        made = await s.make("a")
        first, second = (s.api.watch(s.site) for _ in range(2))
        await s.client.delete(s.site, "a", "n")
        change, other = await first.__anext__(), await second.__anext__()
        assert change.stored.tree["metadata"]["resourceVersion"] == str(s.store.revision) != made["metadata"]["resourceVersion"]
        assert change.stored.tree["spec"] is made["spec"]
        assert change.stored is other.stored
        assert orjson.loads(change.stored.encoded) == change.stored.tree
        await first.aclose()
        await second.aclose()


@pytest.mark.parametrize(
    "chosen", [{"fields": "spec.nodeName=n1"}, {"labels": "app=x"}, {"fields": "spec.nodeName=n1", "labels": "app=x"}]
)
async def test_a_watch_of_one_value_is_not_woken_for_others(serving: Any, chosen: dict[str, str]) -> None:
    """A thousand kubelets that all look at each Pod of the others are what keeps an API server busy."""
    async with serving() as s:
        mine, all_ = s.api.watch(s.site, **chosen), s.api.watch(s.site, labels="app!=z")
        for watch in (mine, all_):
            await watch.arrive()
        await s.make("other", labels={"app": "y"}, node_name="n2")
        assert mine._watch.delivered == 0
        assert all_._watch.delivered == 1
        tree = await s.make("own", labels={"app": "x"}, nodeName="n1")
        assert [(c.type, c.stored.name) for c in mine.taken()] == [("ADDED", "own")]
        tree = {**tree, "metadata": {**tree["metadata"], "labels": {"app": "y"}}, "spec": {**tree["spec"], "nodeName": "n2"}}
        tree = await s.client.update(s.site, tree, "n")
        assert [(c.type, c.stored.name) for c in mine.taken()] == [("DELETED", "own")]
        await s.client.update(s.site, {**tree, "metadata": {**tree["metadata"], "labels": {"app": "q"}}}, "n")
        await s.client.delete(s.site, "own", "n")
        assert mine._watch.delivered == 2
        assert mine.taken() == []
        for watch in (mine, all_):
            watch.end()


async def test_who_watches_by_a_selector_survives_what_others_wrote_into_the_store(serving: Any) -> None:
    """A store may be shared: rubbish under our keys must not stop the store from telling everybody else."""
    async with serving() as s:
        other = s.api.watch(s.config)
        mine = s.api.watch(s.site, labels="app=x")
        for watch in (mine, other):
            await watch.arrive()
        await s.store.put(b"/registry/sites.example.com/n/bad", b"[1")
        await s.client.create(s.config, {"metadata": {"name": "c"}}, "n")
        assert [c.stored.name for c in other.taken()] == ["c"]
        assert mine._watch.delivered == 1, "it comes to it, and says so"
        for watch in (mine, other):
            watch.end()


async def test_a_watch_from_a_compacted_revision_gets_410(serving: Any) -> None:
    """The client must list again; silence would leave its cache wrong for ever."""
    async with serving() as s:
        await s.make("a")
        await s.make("b")
        await s.store.compact(s.store.revision)
        with pytest.raises(ExpiredError, match=r"too old resource version: 1 \(3\)"):
            await take(s.client.watch(s.site, since=1), 1)
        with pytest.raises(ApiError, match="Too large resource version: 99, current: 3"):
            s.client.watch(s.site, since=99)


async def test_a_watch_that_is_dropped_without_a_word_leaves_the_store(serving: Any) -> None:
    """`async for ... break` is how most people end one."""
    async with serving() as s:
        watch = s.client.watch(s.site, initial=True)
        async for _ in watch:
            break
        assert len(list(s.store._hub)) == 1
        del watch
        gc.collect()
        assert not list(s.store._hub)


async def test_bookmarks_come_by_themselves(serving: Any) -> None:
    """A watch of a quiet kind stays resumable while others are busy."""
    async with serving(bookmark_s=0.01) as s:
        watch = s.api.watch(s.site)
        await s.client.create(s.config, {"metadata": {"name": "x"}}, "n")
        change = await watch.__anext__()
        assert (change.type, change.revision, change.stored) == ("BOOKMARK", s.store.revision, None)
        await watch.aclose()


METRICS = Kind(group="metrics.k8s.io", version="v1", kind="SiteMetrics", plural="sites")


class Metrics:
    async def get(self, name: str, namespace: str) -> Tree | None:
        return {"metadata": {"name": name}, "usage": 1} if name == "a" else None

    async def list(self, namespace: str) -> Sequence[Tree]:
        return [{"metadata": {"name": n, "labels": {"x": n}}} for n in "ab"]


async def test_computed_kinds_can_be_read_and_nothing_else(serving: Any) -> None:
    """`kubectl top` reads such."""
    async with serving() as s:
        s.api.serve_virtual(METRICS, Metrics())
        assert (await s.client.get(METRICS, "a", "n"))["usage"] == 1
        with pytest.raises(NotFoundError):
            await s.client.get(METRICS, "b", "n")
        assert names(await s.client.list(METRICS, labels="x=b")) == ["b"]
        with pytest.raises(MethodNotAllowedError):
            await s.client.create(METRICS, {}, "n")
        with pytest.raises(MethodNotAllowedError):
            s.client.watch(METRICS)


async def test_streams_are_read_through_their_reader(serving: Any) -> None:
    """pods/log is one."""
    async with serving() as s:

        async def read(tree: Tree, options: Mapping[str, str]) -> AsyncIterator[bytes]:
            async def lines() -> AsyncIterator[bytes]:
                yield f"{tree['metadata']['name']} {options['tail']}".encode()

            return lines()

        await s.make("a")
        remove = s.api.add_reader(s.site, "log", read)
        stream = await s.api.read(s.site, "a", "log", "n", options={"tail": "3"})
        assert [chunk async for chunk in stream] == [b"a 3"]
        remove()
        with pytest.raises(NotFoundError):
            await s.api.read(s.site, "a", "log", "n")
