"""Answers in protobuf over HTTP: who gets them, what they say, and what those get who cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import orjson
import pytest

from reconcile import Resource, Scale, field, kind, struct
from reconcile.cli.guarding import Guards
from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds, question_kinds
from reconcile.resources.core import ConfigMap, Namespace, Pod
from reconcile.resources.policy import Eviction
from reconcile.resources.policy.eviction import Evictions
from reconcile.resources.wire import wire_tables
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.http import HttpServer, HttpSettings
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store
from tests.protobuf_oracle import Oracle

PROTOBUF, JSON, YAML = "application/vnd.kubernetes.protobuf", "application/json", "application/yaml"
TYPED = f"{PROTOBUF},{JSON}"
PARTIAL = f"{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIALS = f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v="
TABLE = "as=Table;v=v1;g=meta.k8s.io"
CM, DEPLOYMENTS = "/api/v1/namespaces/default/configmaps", "/apis/apps/v1/namespaces/default/deployments"
SITES = "/apis/example.com/v1/namespaces/default/websites"
ORACLE = Oracle(wire_tables())
CONTAINERS = {"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": "500m"}}}]}
DEPLOYMENT = {
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": CONTAINERS},
    },
}  # fmt: skip
SERVED = f"{JSON}, {YAML}, {PROTOBUF}"
ONLY, ROUTED = (
    f"only the following media types are accepted: {SERVED}",
    f"406: Not Acceptable\n\nAvailable representations: {SERVED}",
)
STREAMS = f"{JSON};stream=watch, {PROTOBUF};stream=watch"


@struct
class WebSiteSpec:
    pages: int = 1


@kind("example.com", "v1", scale=Scale(".spec.pages", ".spec.pages"))
class WebSite(Resource):
    """A small web site."""

    spec: WebSiteSpec = field(factory=WebSiteSpec)


@attrs.define
class Site:
    """A server, and a way to ask it."""

    api: ApiServer
    store: Store
    url: str
    session: aiohttp.ClientSession

    async def ask(
        self, path: str, accept: str = TYPED, method: str = "GET", body: Any = None, content_type: str = JSON
    ) -> tuple[int, str, bytes]:  # fmt: skip
        headers = {"Accept": accept, "Content-Type": content_type}
        raw = None if body is None else orjson.dumps(body)
        async with self.session.request(method, self.url + path, data=raw, headers=headers) as answer:
            return answer.status, answer.headers["Content-Type"], await answer.read()

    async def both(self, path: str) -> tuple[Tree, Tree]:
        """What is said in protobuf, and in JSON."""
        code, media, raw = await self.ask(path)
        assert (code, media) == (200, PROTOBUF)
        plain = orjson.loads((await self.ask(path, JSON))[2])
        for item in plain.get("items", ()):
            # The items' kind is the list's; what a list of metadata has says so itself.
            assert item.pop("kind", "") in ("", plain["kind"].removesuffix("List"))
            assert item.pop("apiVersion", "") in ("", plain["apiVersion"])
        return ORACLE.body(raw), plain

    async def events(self, path: str, count: int, accept: str = TYPED) -> list[tuple[str, Tree]]:
        """The first events of a watch."""
        found = []
        async with self.session.get(self.url + path, headers={"Accept": accept}) as answer:
            assert answer.status == 200
            if answer.headers["Content-Type"] == JSON:
                lines = [orjson.loads(await answer.content.readline()) for _ in range(count)]
                return [(line["type"], line["object"]) for line in lines]
            assert answer.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
            for _ in range(count):
                size = await answer.content.readexactly(4)
                found += ORACLE.events(size + await answer.content.readexactly(int.from_bytes(size, "big")))
        return found

    async def status(self, path: str, accept: str = TYPED, **more: Any) -> Tree:
        """The Status in an answer in protobuf."""
        code, media, raw = await self.ask(path, accept, **more)
        assert media == PROTOBUF
        tree = ORACLE.body(raw)
        assert (tree["apiVersion"], tree["kind"], code) == ("v1", "Status", tree.get("code", 200))
        return tree


@asynccontextmanager
async def served() -> AsyncIterator[Site]:
    clock = SystemClock()
    async with await Store.open(":memory:", clock) as store:
        api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
        for cls in (*builtin_kinds(), *question_kinds(), WebSite):
            api.serve(kind_of(cls))
        Guards(clock).connect(api, None)
        api.add_answers(kind_of(Pod), "eviction", kind_of(Eviction), Evictions(InProcessClient(api), clock, Pod).respond)
        await api.create(kind_of(Namespace), {"metadata": {"name": "default"}})
        server = HttpServer(api, HttpSettings(wire=wire_tables))
        address = await server.start()
        try:
            async with aiohttp.ClientSession() as session:
                yield Site(api, store, address.url, session)
        finally:
            await server.stop()


async def test_an_object_and_a_list_say_in_protobuf_what_they_say_in_json() -> None:
    """What a controller of the outside world believes must not depend on how it asks."""
    async with served() as site:
        code, media, raw = await site.ask(DEPLOYMENTS, method="POST", body=DEPLOYMENT)
        assert (code, media) == (201, PROTOBUF)
        made = ORACLE.body(raw)
        assert made["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m"}
        typed, plain = await site.both(f"{DEPLOYMENTS}/web")
        assert typed == made
        assert without_empty(typed) == without_empty(plain)
        typed, plain = await site.both(DEPLOYMENTS)
        assert (typed["kind"], typed["metadata"], len(typed["items"])) == ("DeploymentList", plain["metadata"], 1)
        assert without_empty(typed) == without_empty(plain)
        # Each in its own words: the same object in another version of its kind.
        scaler = {"metadata": {"name": "s"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}}
        for version in ("v1", "v2"):
            path = f"/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers"
            await site.ask(path, method="POST", body=scaler)
            typed, plain = await site.both(path)
            assert without_empty(typed) == without_empty(plain)
            assert typed["apiVersion"] == f"autoscaling/{version}"


async def test_writes_and_subresources_are_answered_in_protobuf() -> None:
    """A typed client reads the answer to each of its requests."""
    async with served() as site:
        await site.ask(DEPLOYMENTS, method="POST", body=DEPLOYMENT)
        patch = {"metadata": {"annotations": {"a": "b"}}}
        _, media, raw = await site.ask(
            f"{DEPLOYMENTS}/web", method="PATCH", body=patch, content_type="application/merge-patch+json"
        )
        assert (media, ORACLE.body(raw)["metadata"]["annotations"]) == (PROTOBUF, {"a": "b"})
        _, media, raw = await site.ask(f"{DEPLOYMENTS}/web/scale", method="PUT", body={"spec": {"replicas": 3}})
        scale = ORACLE.body(raw)
        assert (media, scale["apiVersion"], scale["kind"]) == (PROTOBUF, "autoscaling/v1", "Scale")
        assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 0, "selector": "app=web"})
        review = {"spec": {"nonResourceAttributes": {"path": "/x", "verb": "get"}}}
        code, media, raw = await site.ask("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", method="POST", body=review)
        assert (code, media, ORACLE.body(raw)["status"]["allowed"]) == (201, PROTOBUF, True)
        pods = "/api/v1/namespaces/default/pods"
        await site.ask(pods, method="POST", body={"metadata": {"name": "p"}, "spec": CONTAINERS})
        eviction = {"metadata": {"name": "p"}, "apiVersion": "policy/v1", "kind": "Eviction"}
        code, media, raw = await site.ask(f"{pods}/p/eviction", method="POST", body=eviction)
        done = ORACLE.body(raw)
        assert (code, media, done["kind"], done["status"]) == (201, PROTOBUF, "Status", "Success")
        gone = await site.status(f"{DEPLOYMENTS}/web", method="DELETE")
        assert (gone["status"], gone["details"]["name"], gone["details"]["group"]) == ("Success", "web", "apps")


async def test_a_refusal_is_a_status_in_the_form_that_was_asked_for() -> None:
    """client-go decodes errors by their media type as it does objects."""
    async with served() as site:
        status = await site.status(f"{CM}/none")
        assert (status["message"], status["reason"], status["code"]) == ('configmaps "none" not found', "NotFound", 404)
        assert status["details"] == {"name": "none", "kind": "configmaps"}
        invalid = await site.status(CM, method="POST", body={"metadata": {"name": "A B"}})
        assert (invalid["code"], invalid["details"]["causes"][0]["field"]) == (422, "metadata.name")
        assert (await site.status(f"{CM}?limit=x"))["code"] == 400
        assert (await site.status(f"{SITES}/none"))["code"] == 404
        # A view is no form of a Status; who takes nothing that there is gets JSON.
        for accept in (f"{PARTIAL},{JSON}", "text/csv", PARTIAL):
            assert (await site.ask(f"{CM}/none", accept))[1] == JSON
        code, media, raw = await site.ask(f"{CM}/none", YAML)
        assert (code, media, b"apiVersion: v1\n" in raw) == (404, YAML, True)


async def test_kinds_of_users_fall_back_to_what_else_is_accepted() -> None:
    """Their fields have no numbers: kubectl and client-go name JSON second for that reason."""
    async with served() as site:
        code, media, _ = await site.ask(SITES, method="POST", body={"metadata": {"name": "home"}})
        assert (code, media) == (201, JSON)
        for path in (SITES, f"{SITES}/home", f"{SITES}/home/scale"):
            assert (await site.ask(path))[:2] == (200, JSON)
            refused = await site.status(path, PROTOBUF)
            assert (refused["code"], refused["message"]) == (406, ONLY)
        code, media, raw = await site.ask(f"{SITES}/home", "text/csv")
        assert (code, media, orjson.loads(raw)["message"]) == (406, JSON, ONLY)
        # But their metadata has numbers.
        code, media, raw = await site.ask(f"{SITES}/home", PARTIAL)
        assert (code, media, ORACLE.body(raw)["metadata"]["name"]) == (200, PROTOBUF, "home")


async def test_metadata_alone_comes_in_protobuf_and_tables_never_do() -> None:
    """The garbage collector of a real cluster watches everything so."""
    async with served() as site:
        await site.ask(CM, method="POST", body={"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}})
        _, media, raw = await site.ask(f"{CM}/a", PARTIAL)
        tree = ORACLE.body(raw)
        assert (media, tree["apiVersion"], tree["kind"]) == (PROTOBUF, "meta.k8s.io/v1", "PartialObjectMetadata")
        assert set(tree) == {"apiVersion", "kind", "metadata"}
        assert tree["metadata"] == orjson.loads((await site.ask(f"{CM}/a", JSON))[2])["metadata"]
        listed = ORACLE.body((await site.ask(CM, PARTIALS + "v1"))[2])
        assert (listed["kind"], listed["items"]) == ("PartialObjectMetadataList", [{"metadata": tree["metadata"]}])
        assert (await site.ask(CM, PARTIALS + "v1beta1"))[2] != (await site.ask(CM, PARTIALS + "v1"))[2]
        code, media, raw = await site.ask(CM, f"{PROTOBUF};{TABLE},{JSON};{TABLE},{JSON}")
        assert (code, media, orjson.loads(raw)["kind"]) == (200, JSON, "Table")
        code, _, raw = await site.ask(CM, f"{PROTOBUF};{TABLE}")
        assert (code, orjson.loads(raw)["message"]) == (406, ONLY)
        assert (await site.ask(CM, PARTIAL))[0] == 406  # a list is no single object


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (PROTOBUF, PROTOBUF), (TYPED, PROTOBUF), (f"{JSON},{PROTOBUF}", JSON), ("*/*", JSON), ("application/*", JSON), ("", JSON),
        (f"*/*,{PROTOBUF}", PROTOBUF), (f"{JSON};q=0.5,{PROTOBUF}", PROTOBUF), (f"{PROTOBUF};q=0.5,{JSON}", JSON),
        (f"{PROTOBUF};q=x,{YAML}", YAML), (f"{PROTOBUF};stream=watch", PROTOBUF), (f"{PROTOBUF};stream=other,{JSON}", JSON),
        (f"text/csv, {PROTOBUF} ; q=0.1", PROTOBUF), (f"{YAML};stream=watch,{PROTOBUF}", PROTOBUF),
    ],
)  # fmt: skip
async def test_the_form_is_chosen_as_the_reference_chooses_it(accept: str, media: str) -> None:
    """By weight, then what is named before what is only allowed, then by the order of the list."""
    async with served() as site:
        await site.ask(CM, method="POST", body={"metadata": {"name": "a"}})
        assert (await site.ask(f"{CM}/a", accept))[:2] == (200, media)


async def test_what_nobody_can_give_is_a_406_in_the_words_of_who_refuses() -> None:
    """The router of built-in kinds speaks first; its routes of lists name the streams, too."""
    async with served() as site:
        await site.ask(CM, method="POST", body={"metadata": {"name": "a"}})
        assert orjson.loads((await site.ask(f"{CM}/a", "text/csv"))[2])["message"] == ROUTED
        assert orjson.loads((await site.ask(CM, "text/csv"))[2])["message"] == f"{ROUTED}, {STREAMS}"
        code, media, raw = await site.ask(f"{CM}?watch=1", YAML)
        assert (code, media) == (406, YAML)
        assert f"only the following media types are accepted: {STREAMS}".encode() in raw.replace(b"\n  ", b" ")


async def test_a_watch_comes_in_frames_that_say_what_its_lines_say() -> None:
    """Informers of client-go read it so; a wrong length would desynchronise the whole stream."""
    async with served() as site:
        config = kind_of(ConfigMap)
        await site.api.create(config, {"metadata": {"name": "a"}, "data": {"k": "v"}}, "default")
        query = "watch=1&allowWatchBookmarks=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan"
        await site.api.delete(config, "a", "default")
        since = (await site.api.create(config, {"metadata": {"name": "b"}, "data": {"k": "v" * 200}}, "default")).revision
        events = await site.events(f"{CM}?{query}", 2)
        assert without_empty([tree for _, tree in events]) == without_empty(
            [tree for _, tree in await site.events(f"{CM}?{query}", 2, JSON)]
        )
        assert [type_ for type_, _ in events] == ["ADDED", "BOOKMARK"]
        assert events[1][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        told = await site.events(f"{CM}?watch=1&resourceVersion={since - 3}", 3)
        assert [(type_, tree["metadata"]["name"]) for type_, tree in told] == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b")]
        await site.ask(SITES, method="POST", body={"metadata": {"name": "home"}})
        partial = await site.events(f"{SITES}?{query}", 2, PARTIAL)
        assert {(tree["apiVersion"], tree["kind"]) for _, tree in partial} == {("meta.k8s.io/v1", "PartialObjectMetadata")}


async def test_watches_in_two_forms_are_told_of_one_write_each_in_its_own() -> None:
    """Watches that ask for the same share their frames: the form is a part of what they ask for."""
    async with served() as site:
        config = kind_of(ConfigMap)
        since = (await site.api.create(config, {"metadata": {"name": "a"}}, "default")).revision
        path = f"{site.url}{CM}?watch=1&resourceVersion={since}"
        async with (
            site.session.get(path, headers={"Accept": JSON}) as plain,
            site.session.get(path, headers={"Accept": TYPED}) as typed,
        ):
            for name in ("b", "c"):
                await site.api.create(config, {"metadata": {"name": name}}, "default")
                line = orjson.loads(await plain.content.readline())
                size = await typed.content.readexactly(4)
                ((type_, tree),) = ORACLE.events(size + await typed.content.readexactly(int.from_bytes(size, "big")))
                assert type_ == line["type"] == "ADDED"
                assert without_empty(tree) == without_empty(line["object"])
                assert tree["metadata"]["name"] == name


async def test_a_watch_of_what_is_forgotten_ends_with_a_status_in_a_frame() -> None:
    """The stream is open by then: nothing else can be said."""
    async with served() as site:
        await site.api.create(kind_of(ConfigMap), {"metadata": {"name": "a"}}, "default")
        await site.store.compact(site.store.revision)
        ((type_, tree),) = await site.events(f"{CM}?watch=1&resourceVersion=1", 1)
        assert (type_, tree["kind"], tree["code"], tree["reason"]) == ("ERROR", "Status", 410, "Expired")


async def test_the_plain_lists_of_discovery_come_in_protobuf_and_the_aggregated_in_json() -> None:
    """Old typed clients ask so."""
    async with served() as site:
        for path in ("/api", "/apis", "/apis/apps", "/api/v1", "/apis/apps/v1"):
            typed, plain = await site.both(path)
            assert without_empty(typed) == without_empty({"apiVersion": "", **plain})
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        accept = f"{PROTOBUF};as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io,{aggregated}"
        code, media, raw = await site.ask("/apis", accept)
        assert (code, orjson.loads(raw)["kind"]) == (200, "APIGroupDiscoveryList")
        assert media.startswith(JSON)
        code, media, raw = await site.ask("/apis/none", PROTOBUF)
        assert (code, raw) == (404, b"404 page not found\n")


def without_empty(tree: Any) -> Any:
    """A tree without what protobuf has no bytes for: nulls, empty lists and maps of lists' items."""
    if isinstance(tree, dict):
        made = {key: without_empty(value) for key, value in tree.items()}
        return {key: value for key, value in made.items() if value not in (None, "", [], {})}
    return [without_empty(each) for each in tree] if isinstance(tree, list) else tree
