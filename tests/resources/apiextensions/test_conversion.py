"""Definitions with several versions of different shape, and a webhook that converts between them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest

from reconcile.client import JSON_PATCH, MERGE_PATCH, DeleteOptions, Patch
from reconcile.errors import ApiError, ConversionError, NotFoundError, Tree
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.resources.apiextensions.converting import Webhook, shop_definition
from tests.resources.apiextensions.declaring import DEFINITION, GROUP, Declare, Declaring, definition, version, widget

NAME = f"widgets.{GROUP}"


@asynccontextmanager
async def converting(declaring: Declare, clock: VirtualClock, *, stored: str = "v2") -> AsyncIterator[tuple[Declaring, Webhook]]:
    async with declaring(clock) as plane:
        webhook = Webhook()
        plane.api.ask_webhooks(webhook, frozenset())
        await plane.declare(shop_definition(stored=stored))
        yield plane, webhook


def in_store(plane: Declaring, name: str = "a") -> Tree:
    """What is in the store itself."""
    found = plane.api.store.get(f"/registry/{NAME}/default/{name}".encode())
    assert found is not None
    tree: Tree = orjson.loads(found.value)
    return tree


async def get(plane: Declaring, of_version: str, name: str = "a") -> Tree:
    return await plane.client.get(plane.kind(of_version=of_version), name, "default")


@virtual
async def test_objects_are_stored_in_one_version_and_shown_in_each(clock: VirtualClock, declaring: Declare) -> None:
    """Whichever version a client speaks, it sees one object, and what others wrote in theirs."""
    async with converting(declaring, clock) as (plane, webhook):
        made = await plane.create(widget(hostPort="a.example.com:8080"))
        assert (made["apiVersion"], made["spec"]) == (f"{GROUP}/v1", {"hostPort": "a.example.com:8080", "note": "-"})
        assert webhook.take() == [("v2", 1), ("v1", 1)], "to the storage version, and back to what the client sees"
        stored = in_store(plane)
        assert stored["apiVersion"] == f"{GROUP}/v2"
        assert stored["spec"] == {"host": "a.example.com", "port": "8080", "note": "-"}
        assert "resourceVersion" not in stored["metadata"]
        assert (await get(plane, "v2"))["spec"] == stored["spec"]
        assert webhook.take() == [], "what is in the storage version is not converted"
        new, old = plane.kind(of_version="v2"), plane.kind(of_version="v1")
        await plane.client.patch(new, "a", Patch(MERGE_PATCH, {"spec": {"host": "b.example.com"}}), "default")
        assert webhook.take() == []
        seen = await get(plane, "v1")
        assert seen["spec"]["hostPort"] == "b.example.com:8080"
        assert seen["metadata"]["resourceVersion"] == (await get(plane, "v2"))["metadata"]["resourceVersion"]
        assert webhook.take() == [("v1", 1)], "once for all readers of a state"
        updated = await plane.client.update(old, {**seen, "spec": {"hostPort": "c.example.com", "note": "-"}}, "default")
        assert in_store(plane)["spec"] == {"host": "c.example.com", "note": "-"}, "defaults are written in when read"
        assert updated["spec"]["hostPort"] == "c.example.com:80"
        assert (await get(plane, "v2"))["spec"] == {"host": "c.example.com", "port": "80", "note": "-"}
        where = [{"op": "test", "path": "/spec/hostPort", "value": "c.example.com:80"}]
        await plane.client.patch(old, "a", Patch(JSON_PATCH, where), "default")
        told = Patch(MERGE_PATCH, {"status": {"up": True}})
        assert (await plane.client.patch(old, "a", told, "default", subresource="status"))["status"] == {"up": True}
        assert in_store(plane)["status"] == {"up": True}
        gone = await plane.client.delete(old, "a", "default")
        assert (gone["apiVersion"], gone["spec"]["hostPort"]) == (f"{GROUP}/v1", "c.example.com:80")


@virtual
async def test_a_write_that_changes_nothing_writes_nothing_in_any_version(clock: VirtualClock, declaring: Declare) -> None:
    """Controllers of the old version must not wake those of the new one for ever."""
    async with converting(declaring, clock) as (plane, _):
        made = await plane.create(widget(hostPort="a:1"))
        again = await plane.client.update(plane.kind(of_version="v1"), made, "default")
        newer = await get(plane, "v2")
        assert (await plane.client.update(plane.kind(of_version="v2"), newer, "default"))["metadata"] == newer["metadata"]
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@virtual
async def test_a_list_is_converted_with_one_call_and_selected_afterwards(clock: VirtualClock, declaring: Declare) -> None:
    """A call for each object would make lists of the old version hopelessly slow."""
    async with converting(declaring, clock) as (plane, webhook):
        for number in range(5):
            await plane.create(widget(f"w{number}", api_version="v2", host=f"h{number}"))
        webhook.take()
        old = plane.kind(of_version="v1")
        found = await plane.client.list(old)
        assert [tree["spec"]["hostPort"] for tree in found.items] == [f"h{number}:80" for number in range(5)]
        assert webhook.take() == [("v1", 5)]
        await plane.create(widget("last", api_version="v2", host="h5"))
        await plane.client.list(old)
        assert webhook.take() == [("v1", 1)], "the others are known"
        page = await plane.client.list(old, "default", limit=2)
        rest = await plane.client.list(old, "default", limit=9, continue_token=page.continue_token)
        assert [tree["metadata"]["name"] for tree in (*page.items, *rest.items)] == [
            "last",
            *(f"w{number}" for number in range(5)),
        ]

        def labelled(_request: Tree, review: Tree) -> Tree:
            for made in review["response"]["convertedObjects"]:
                made["metadata"]["labels"] = {"host": made["spec"].get("hostPort", "x").partition(":")[0]}
            return review

        webhook.answer = labelled
        for number in range(5):
            await plane.client.patch(
                plane.kind(of_version="v2"), f"w{number}", Patch(MERGE_PATCH, {"spec": {"port": "9"}}), "default"
            )
        found = await plane.client.list(old, labels="host=h3")
        assert [tree["spec"]["hostPort"] for tree in found.items] == ["h3:9"], "labels are the converted object's"


@virtual
async def test_watches_of_every_version_see_every_change(clock: VirtualClock, declaring: Declare) -> None:
    """And a state is converted once for all watchers of a version, however many there are."""
    async with converting(declaring, clock) as (plane, webhook):
        await plane.create(widget("first", api_version="v2", host="x"))
        webhook.take()
        old, new = plane.kind(of_version="v1"), plane.kind(of_version="v2")
        watches = [plane.client.watch(old, initial=True) for _ in range(20)]
        webhook.held = asyncio.Event()
        firsts = [asyncio.ensure_future(anext(watch)) for watch in watches]
        await clock.sleep(0.01)
        assert webhook.take() == [("v1", 1)], "twenty wait for one answer"
        webhook.held.set()
        assert [(await first).object["spec"]["hostPort"] for first in firsts] == ["x:80"] * 20
        selected = plane.client.watch(old, labels="keep=yes")
        await plane.client.patch(new, "first", Patch(MERGE_PATCH, {"metadata": {"labels": {"keep": "yes"}}}), "default")
        await plane.client.patch(new, "first", Patch(MERGE_PATCH, {"spec": {"host": "y"}}), "default")
        await plane.client.patch(new, "first", Patch(MERGE_PATCH, {"metadata": {"labels": None}}), "default")
        await plane.client.delete(new, "first", "default")
        async with aclosing(watches[0]) as events:  # type: ignore[type-var]
            assert (await anext(events)).initial_end
            seen = [await anext(events) for _ in range(4)]
        assert [(e.type, e.object["spec"]["hostPort"]) for e in seen] == [
            ("MODIFIED", "x:80"), ("MODIFIED", "y:80"), ("MODIFIED", "y:80"), ("DELETED", "y:80"),
        ]  # fmt: skip
        assert {e.object["apiVersion"] for e in seen} == {f"{GROUP}/v1"}
        async with aclosing(selected) as events:  # type: ignore[type-var]
            seen = [await anext(events) for _ in range(3)]
        assert [(e.type, e.object["spec"]["hostPort"]) for e in seen] == [
            ("ADDED", "x:80"), ("MODIFIED", "y:80"), ("DELETED", "y:80"),
        ]  # fmt: skip
        for watch in watches[1:]:
            await watch.aclose()  # type: ignore[attr-defined]


def change(**parts: Any) -> Callable[[Tree, Tree], Tree]:
    """Another response."""
    return lambda _request, review: {**review, "response": {**review["response"], **parts}}


def converted(edit: Callable[[Tree], Any]) -> Callable[[Tree, Tree], Tree]:
    """Another converted object."""

    def answer(_request: Tree, review: Tree) -> Tree:
        edit(review["response"]["convertedObjects"][0])
        return review

    return answer


def raises(error: Exception) -> Callable[[Tree, Tree], Tree]:
    def answer(_request: Tree, _review: Tree) -> Tree:
        raise error

    return answer


ABOUT = f"conversion webhook for {GROUP}/v2, Kind=Widget"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (raises(OSError('Post "https://a": connection refused')), ' failed: Post "https://a": connection refused'),
        (raises(TimeoutError('Post "u": context deadline exceeded')), ' failed: Post "u": context deadline exceeded'),
        (lambda *_: b"no", " failed: couldn't get version/kind; json parse error: "),
        (
            lambda *_: {"apiVersion": "v1", "kind": "Status"},
            " failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got v1, Kind=Status",
        ),
        (lambda _, review: {**review, "response": None}, " failed: no response provided"),
        (change(uid="other"), ' failed: expected response.uid="'),
        (change(result={"status": "Failure", "message": "no host"}), " failed: no host"),
        (change(result={"status": "Failure"}), " failed: response.result.status was 'Failure', not 'Success'"),
        (change(result=None), " failed: response.result.status was '', not 'Success'"),
        (change(convertedObjects=[]), " returned 0 objects, expected 1"),
        (change(convertedObjects=None), " returned 0 objects, expected 1"),
        (
            converted(lambda t: t.update(apiVersion=f"{GROUP}/v2")),
            f" returned invalid object at index 0: invalid groupVersion (expected {GROUP}/v1, received {GROUP}/v2)",
        ),
        (
            converted(lambda t: t.update(kind="Gadget")),
            " returned invalid object at index 0: invalid kind (expected Widget, received Gadget)",
        ),
        (converted(lambda t: t["metadata"].update(name="b")), " returned invalid object: must have the same name: a != b"),
        (
            converted(lambda t: t["metadata"].update(namespace="x")),
            " returned invalid object: must have the same namespace: default != x",
        ),
        (converted(lambda t: t["metadata"].update(uid="")), " returned invalid object: must have the same UID: "),
        (converted(lambda t: t.pop("metadata")), " returned invalid object: must have the same name: a != "),
        (
            converted(lambda t: t["metadata"].update(labels="x")),
            " returned invalid metadata: invalid metadata.labels of type string in converted object",
        ),
        (
            converted(lambda t: t["metadata"].update(annotations={"x": 1})),
            " returned invalid metadata: metadata.annotations[x] must be a string, but is int64 in converted object",
        ),
        (
            converted(lambda t: t["metadata"].update(labels={"x": "-"})),
            ' returned invalid metadata: metadata.labels: Invalid value: "-": a valid label must be',
        ),
    ],
)  # fmt: skip
def test_what_a_webhook_does_wrong_is_told(declaring: Declare, answer: Callable[[Tree, Tree], Tree], why: str) -> None:
    """All objects of a kind are out of reach then: the message is all that its owner has to go by."""

    @virtual
    async def test(clock: VirtualClock) -> None:
        async with converting(declaring, clock) as (plane, webhook):
            await plane.create(widget(api_version="v2", host="h"))
            old = plane.kind(of_version="v1")
            await plane.client.list(old)
            await plane.client.patch(plane.kind(of_version="v2"), "a", Patch(MERGE_PATCH, {"spec": {"port": "1"}}), "default")
            webhook.answer = answer
            error = await plane.refusal(get(plane, "v1"))
            assert isinstance(error, ConversionError)
            assert f"{ABOUT}{why}" in str(error)
            status = error.status()
            assert (status["code"], status["reason"]) == (500, ""), "the reference server has no word for it"
            assert str(await plane.refusal(plane.client.list(old))).startswith(ABOUT)
            async with aclosing(plane.client.watch(old, initial=True)) as events:  # type: ignore[type-var]
                with pytest.raises(ConversionError):
                    await anext(events)
            assert isinstance(await plane.refusal(plane.client.delete(old, "a", "default")), ConversionError)
            refused = await plane.refusal(plane.create(widget("other", hostPort="b:1")))
            assert isinstance(refused, ConversionError)
            assert isinstance(await plane.refusal(get(plane, "v2", "other")), NotFoundError), "nothing is stored"
            assert (await get(plane, "v2"))["spec"]["host"] == "h", "the storage version needs nobody"
            webhook.answer = Webhook().answer
            assert (await get(plane, "v1"))["spec"]["hostPort"] == "h:1", "as soon as it is mended"

    test()


@virtual
async def test_what_cannot_be_shown_again_is_not_stored(clock: VirtualClock, declaring: Declare) -> None:
    """A client that is told of an error must be able to rely on nothing having happened."""
    async with converting(declaring, clock) as (plane, webhook):

        def one_way(request: Tree, review: Tree) -> Tree:
            back = request["desiredAPIVersion"].endswith("v1")
            return {**review, "response": {**review["response"], "result": {"status": "Failure" if back else "Success"}}}

        webhook.answer = one_way
        assert isinstance(await plane.refusal(plane.create(widget(hostPort="a:1"))), ConversionError)
        assert isinstance(await plane.refusal(get(plane, "v2")), NotFoundError)


@virtual
async def test_the_metadata_is_the_servers_but_for_labels_and_annotations(clock: VirtualClock, declaring: Declare) -> None:
    """What does not fit into the other version is kept in annotations; owners, finalizers and the rest are no webhook's."""
    async with converting(declaring, clock) as (plane, webhook):

        def edit(tree: Tree) -> None:
            tree["metadata"] |= {
                "annotations": {"kept": "yes"}, "finalizers": ["a/b"], "generation": 77, "creationTimestamp": None, "odd": 1,
            }  # fmt: skip
            tree["metadata"].pop("labels", None)

        webhook.answer = converted(edit)
        tree = widget(api_version="v2", host="h")
        tree["metadata"]["labels"] = {"l": "m"}
        made = await plane.create(tree)
        seen = await get(plane, "v1")
        assert seen["metadata"] == {
            **{k: v for k, v in made["metadata"].items() if k != "labels"},
            "annotations": {"kept": "yes"},
        }


@virtual
async def test_rewriting_migrates_what_was_stored_in_an_older_version(clock: VirtualClock, declaring: Declare) -> None:
    """Then the old version can leave the definition: status.storedVersions says when."""
    async with converting(declaring, clock, stored="v1") as (plane, webhook):
        await plane.create(widget(hostPort="a:1"))
        assert in_store(plane)["spec"] == {"hostPort": "a:1", "note": "-"}
        later = shop_definition(stored="v2")["spec"]
        await plane.change(NAME, {"spec": {"versions": later["versions"]}})
        assert (await plane.client.get(DEFINITION, NAME))["status"]["storedVersions"] == ["v1", "v2"]
        assert in_store(plane)["apiVersion"] == f"{GROUP}/v1", "what is stored stays as it is"
        webhook.take()
        tree = await get(plane, "v2")
        assert tree["spec"] == {"host": "a", "port": "1", "note": "-"}
        assert webhook.take() == [("v2", 1)]
        written = await plane.client.update(plane.kind(of_version="v2"), tree, "default")
        assert in_store(plane)["spec"] == {"host": "a", "port": "1", "note": "-"}
        assert written["metadata"]["generation"] == tree["metadata"]["generation"]
        refused = await plane.refusal(plane.change(NAME, {"spec": {"versions": later["versions"][1:]}}))
        assert "v1 was previously a storage version, and must remain in spec.versions" in str(refused)
        migrated = Patch(MERGE_PATCH, {"status": {"storedVersions": ["v2"]}})
        await plane.client.patch(DEFINITION, NAME, migrated, subresource="status")
        await plane.change(NAME, {"spec": {"versions": later["versions"][1:]}})
        assert (await get(plane, "v2"))["spec"]["host"] == "a"
        assert plane.api.find(GROUP, "v1", "widgets") is None


@virtual
async def test_a_version_that_is_not_served_still_counts(clock: VirtualClock, declaring: Declare) -> None:
    """Objects may lie in it; its schema says what their defaults are, and what of an object it keeps."""
    async with converting(declaring, clock, stored="v2") as (plane, _):
        await plane.create(widget(hostPort="a:1"))
        versions = shop_definition(stored="v2")["spec"]["versions"]
        versions[1]["served"] = False
        await plane.change(NAME, {"spec": {"versions": versions}})
        assert plane.api.find(GROUP, "v2", "widgets") is None
        assert (await get(plane, "v1"))["spec"]["hostPort"] == "a:1"
        await plane.create(widget("b", hostPort="b"))
        assert in_store(plane, "b")["spec"] == {"host": "b", "note": "-"}
        assert (await get(plane, "v1", "b"))["spec"]["hostPort"] == "b:80", "the default of the version that is not served"


@virtual
async def test_objects_in_a_version_that_is_gone_are_refused_by_name(clock: VirtualClock, declaring: Declare) -> None:
    """Somebody emptied storedVersions too early."""
    async with converting(declaring, clock, stored="v1") as (plane, _):
        await plane.create(widget(hostPort="a:1"))
        later = shop_definition(stored="v2")["spec"]["versions"]
        third = {**later[1], "name": "v3", "storage": False}
        await plane.change(NAME, {"spec": {"versions": [*later, third]}})
        emptied = Patch(MERGE_PATCH, {"status": {"storedVersions": ["v2"]}})
        await plane.client.patch(DEFINITION, NAME, emptied, subresource="status")
        await plane.change(NAME, {"spec": {"versions": [later[1], third]}})
        assert str(await plane.refusal(get(plane, "v2"))) == f"request to convert CR from an invalid group/version: {GROUP}/v1"


@virtual
async def test_each_version_prunes_by_its_own_schema(clock: VirtualClock, declaring: Declare) -> None:
    """A webhook that forgets to drop a field must not show it to clients that cannot know it, nor have it stored."""
    async with converting(declaring, clock) as (plane, webhook):
        webhook.answer = converted(lambda tree: tree["spec"].update(odd=1))
        made = await plane.create(widget(hostPort="a:1"))
        assert "odd" not in made["spec"]
        assert "odd" not in in_store(plane)["spec"]


@virtual
async def test_without_a_webhook_each_version_prunes_and_defaults_as_well(clock: VirtualClock, declaring: Declare) -> None:
    """With strategy None only apiVersion changes; what a version does not know, it does not show, and does not lose."""
    versions = [version("v1", storage=False, spec=OLD_ONLY), version("v2", spec=BOTH)]
    async with declaring(clock) as plane:
        await plane.declare(definition(*versions))
        await plane.create(widget(api_version="v2", note="n", tags=["t"]))
        seen = await get(plane, "v1")
        assert (seen["apiVersion"], seen["spec"]) == (f"{GROUP}/v1", {"note": "n"})
        await plane.create(widget("b", note="m"))
        assert in_store(plane, "b")["spec"] == {"note": "m", "mode": "v1"}, "the defaults of the request's version"
        assert (await get(plane, "v2", "b"))["spec"] == {"note": "m", "mode": "v1"}


OLD_ONLY = {"type": "object", "properties": {"note": {"type": "string"}, "mode": {"type": "string", "default": "v1"}}}
BOTH = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "mode": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}


@virtual
async def test_a_definition_goes_with_its_objects_though_its_webhook_is_dead(clock: VirtualClock, declaring: Declare) -> None:
    """The operator that served the webhook is often deleted first."""
    async with converting(declaring, clock) as (plane, webhook):
        await plane.create(widget(hostPort="a:1"))
        webhook.answer = raises(OSError("gone"))
        await plane.client.delete(DEFINITION, NAME, options=DeleteOptions())

        async def gone() -> bool:
            try:
                await plane.client.get(DEFINITION, NAME)
            except NotFoundError:
                return True
            return False

        await plane.until(gone, "the definition is gone")


@virtual
async def test_a_server_that_reaches_no_webhooks_says_so(clock: VirtualClock, declaring: Declare) -> None:
    """Showing an object unconverted would be a lie."""
    async with declaring(clock) as plane:
        await plane.declare(shop_definition())
        error = await plane.refusal(plane.create(widget(hostPort="a:1")))
        assert str(error) == f"conversion webhook for {GROUP}/v1, Kind=Widget failed: this server reaches no webhooks"


@virtual
async def test_the_older_review_is_spoken_with_those_who_speak_no_other(clock: VirtualClock, declaring: Declare) -> None:
    """Webhooks of old operators answer without a uid."""
    async with declaring(clock) as plane:
        webhook = Webhook()
        plane.api.ask_webhooks(webhook, frozenset())
        made = shop_definition()
        made["spec"]["conversion"]["webhook"]["conversionReviewVersions"] = ["v3", "v1beta1"]
        await plane.declare(made)
        webhook.answer = change(uid="")
        await plane.create(widget(hostPort="a:1"))
        assert {body["apiVersion"] for body in webhook.asked} == {"apiextensions.k8s.io/v1beta1"}


@virtual
async def test_admission_webhooks_see_the_version_that_their_rules_name(clock: VirtualClock, declaring: Declare) -> None:
    """A policy written for v1 holds for writes in v2, too, and what it changes goes back into what the client wrote."""
    async with declaring(clock) as plane:
        webhook, seen = Webhook(), list[Tree]()

        async def call(client: Tree, body: Tree, timeout_s: float) -> bytes:
            if body["kind"] == "ConversionReview":
                return await webhook(client, body, timeout_s)
            seen.append(body["request"])
            change = [{"op": "replace", "path": "/spec/hostPort", "value": "policy:1"}]
            response = {
                "uid": body["request"]["uid"], "allowed": True, "patchType": "JSONPatch",
                "patch": base64.b64encode(orjson.dumps(change)).decode(),
            }  # fmt: skip
            return orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

        plane.api.ask_webhooks(call, frozenset())
        await plane.declare(shop_definition())
        rule = {"operations": ["*"], "apiGroups": [GROUP], "apiVersions": ["v1"], "resources": ["widgets"]}
        hook = {"name": "policy", "clientConfig": {"url": "https://p"}, "rules": [rule], "sideEffects": "None"}
        plane.api.configure_webhooks([{"metadata": {"name": "p"}, "webhooks": [hook]}], [])
        made = await plane.create(widget(api_version="v2", host="h", port="2"))
        assert made["spec"] == {"host": "policy", "port": "1"}
        (request,) = seen
        assert request["object"]["spec"] == {"hostPort": "h:2"}
        assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v2")


@virtual
async def test_a_reader_that_gives_up_takes_nobody_with_it(clock: VirtualClock, declaring: Declare) -> None:
    """Who asked first may be a client that hangs up: those who wait for the same answer still get one."""
    async with converting(declaring, clock) as (plane, webhook):
        await plane.create(widget(api_version="v2", host="h"))
        webhook.take()
        webhook.held = asyncio.Event()
        first, second, third = (asyncio.ensure_future(get(plane, "v1")) for _ in range(3))
        await clock.sleep(0.01)
        first.cancel()
        await clock.sleep(0.01)
        second.cancel()
        await clock.sleep(0.01)
        webhook.held.set()
        assert (await third)["spec"]["hostPort"] == "h:80"
        for reader in (first, second):
            with pytest.raises(asyncio.CancelledError):
                await reader


def test_an_error_of_conversion_is_one_of_the_server() -> None:
    """Clients try again later, as with every 500."""
    assert issubclass(ConversionError, ApiError)
