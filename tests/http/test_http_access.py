"""Who may do what over HTTP: what a request means to the authorizer, acting as others, and how many are let in at once."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from reconcile.errors import Tree, UnauthorizedError
from reconcile.identity import Access, Caller, Decision, Identity
from reconcile.kinds import kind_of
from reconcile.runtime.api.http.exchange import Request
from reconcile.runtime.api.http.identity import access_of
from reconcile.runtime.api.http.location import locate
from tests.http.conftest import ConfigMap, WebSite

CM = "/api/v1/namespaces/default/configmaps"
X_IS_FORBIDDEN = 'configmaps "x" is forbidden: User "bob"'
TOKENS = {
    "bob": Caller("bob", ("devs", "system:authenticated")), "root": Caller("root", ("system:masters", "system:authenticated")),
}  # fmt: skip


class Rules:
    """An authorizer that allows what it was told, and remembers what it was asked."""

    def __init__(self, *allowed: str) -> None:
        self.allowed, self.asked = set(allowed), list[tuple[Caller, Access]]()

    def __call__(self, caller: Caller, access: Access) -> Decision:
        self.asked.append((caller, access))
        what = f"{access.verb} {access.part or access.path}{'=' if access.verb == 'impersonate' else ''}"
        return Decision((what + access.name if what.endswith("=") else what) in self.allowed)


def read_token(token: str, audiences: Any) -> Identity | None:
    if token == "expired":
        raise UnauthorizedError("token has expired")
    return Identity(TOKENS[token]) if token in TOKENS else None


def guard(site: Any, *allowed: str) -> Rules:
    rules = Rules(*allowed)
    site.api.security.authorize_with(rules)
    site.api.security.add_token_reader(read_token)
    return rules


async def ask(site: Any, token: str, method: str, path: str, **options: Any) -> tuple[int, Any]:
    headers = [("Authorization", f"Bearer {token}"), *options.pop("headers", ())]
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, site.address.url + path, headers=headers, ssl=site.access.tls(), **options) as response,
    ):
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("method", "url", "access"),
    [
        ("GET", "/api/v1/namespaces/a/pods", Access("list", "", "pods", "", "a")),
        ("GET", "/api/v1/namespaces/a/pods/b", Access("get", "", "pods", "", "a", "b")),
        ("HEAD", "/api/v1/namespaces/a/pods/b", Access("get", "", "pods", "", "a", "b")),
        ("GET", "/api/v1/namespaces/a/pods/b/log", Access("get", "", "pods", "log", "a", "b")),
        ("GET", "/api/v1/pods?watch=1", Access("watch", "", "pods")),
        # A rule for one name covers a watch of that name alone.
        ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Db", Access("list", "", "pods", "", "a", "b")),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=metadata.name%3Db,x%3Dy", Access("watch", "", "pods", "", "", "b")),
        ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name!%3Db", Access("list", "", "pods", "", "a")),
        ("GET", "/api/v1/namespaces/a/pods?fieldSelector=,,metadata.name", Access("list", "", "pods", "", "a")),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", Access("create", "apps", "deployments", "", "a")),
        ("PUT", "/apis/apps/v1/namespaces/a/deployments/b/scale", Access("update", "apps", "deployments", "scale", "a", "b")),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", Access("patch", "apps", "deployments", "", "a", "b")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments/b", Access("delete", "apps", "deployments", "", "a", "b")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments", Access("deletecollection", "apps", "deployments", "", "a")),
        # A namespace is in itself, so that who rules it can be allowed to see it.
        ("GET", "/api/v1/namespaces/a", Access("get", "", "namespaces", "", "a", "a")),
        ("GET", "/api/v1/namespaces", Access("list", "", "namespaces")),
        ("GET", "/apis/apps", Access("get", path="/apis/apps")),
        ("POST", "/metrics", Access("post", path="/metrics")),
    ],
)  # fmt: skip
def test_a_request_is_judged_as_what_the_reference_server_takes_it_for(method: str, url: str, access: Access) -> None:
    """Policies are written for these verbs and names."""
    path, _, query = url.partition("?")
    pairs = dict(part.split("=", 1) for part in query.replace("%3D", "\0").split("&")) if query else {}

    async def read() -> bytes:
        return b""

    request = Request(method, path, {key: value.replace("\0", "=") for key, value in pairs.items()}, {}, read)
    found = access_of(request, locate(path))
    assert (found.verb, found.group, found.resource, found.subresource, found.namespace, found.name) == (
        access.verb, access.group, access.resource, access.subresource, access.namespace, access.name
    )  # fmt: skip
    assert not access.path or found.path == access.path


async def test_each_request_is_judged_by_the_authorizer(serve: Any) -> None:
    """And members of system:masters are not asked about: no policy can lock them out."""
    async with serve() as site:
        rules = guard(site, "list configmaps", "get /apis")
        assert (await ask(site, "bob", "GET", CM))[0] == 200
        assert (await ask(site, "bob", "GET", "/apis"))[0] == 200
        code, answer = await ask(site, "bob", "GET", f"{CM}/x")
        assert (code, answer["message"]) == (
            403,
            f'{X_IS_FORBIDDEN} cannot get resource "configmaps" in API group "" in the namespace "default"',
        )
        assert (await ask(site, "bob", "GET", "/openapi/v2"))[0] == 403
        asked = len(rules.asked)
        assert (await ask(site, "root", "GET", CM))[0] == 200
        assert len(rules.asked) == asked


async def test_why_a_token_is_refused_is_not_told(serve: Any) -> None:
    """The log says so; who guesses tokens learns nothing."""
    async with serve() as site:
        guard(site)
        for token in ("expired", "unheard-of"):
            code, answer = await ask(site, token, "GET", CM)
            assert (code, answer["message"]) == (401, "Unauthorized")


@pytest.mark.parametrize(
    ("headers", "needed", "user", "groups"),
    [
        ([("Impersonate-User", "eve")], ["users=eve"], "eve", ["system:authenticated"]),
        (
            [("Impersonate-User", "eve"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b")],
            ["users=eve", "groups=a", "groups=b"], "eve", ["a", "b", "system:authenticated"],
        ),
        (
            [("Impersonate-User", "system:serviceaccount:ns:robot")], ["serviceaccounts=robot"], "system:serviceaccount:ns:robot",
            ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"],
        ),
        (
            [("Impersonate-User", "eve"), ("Impersonate-Uid", "7"), ("Impersonate-Extra-Sco%2fpes", "x")],
            ["users=eve", "userextras/sco/pes=x", "uids=7"], "eve", ["system:authenticated"],
        ),
        ([("Impersonate-User", "system:anonymous")], ["users=system:anonymous"], "system:anonymous", ["system:unauthenticated"]),
    ],
)  # fmt: skip
async def test_who_may_act_as_somebody_is_treated_as_them(
    serve: Any, headers: Any, needed: list[str], user: str, groups: list[str]
) -> None:
    """Each header is a right of its own; without one of them nothing is done."""
    async with serve() as site:
        rules = guard(site, "list configmaps", *(f"impersonate {what}" for what in needed))
        assert (await ask(site, "bob", "GET", CM, headers=headers))[0] == 200
        caller, access = rules.asked[-1]
        assert (caller.user, list(caller.groups), access.verb) == (user, groups, "list")
        for what in needed:
            rules.allowed.discard(f"impersonate {what}")
            code, answer = await ask(site, "bob", "GET", CM, headers=headers)
            assert code == 403
            assert 'User "bob" cannot impersonate resource' in answer["message"]
            rules.allowed.add(f"impersonate {what}")


async def test_acting_as_nobody_is_refused(serve: Any) -> None:
    """A proxy that lost the user's name must not act as itself, with the user's groups."""
    async with serve() as site:
        guard(site, "list configmaps", "impersonate groups=a")
        code, answer = await ask(site, "bob", "GET", CM, headers=[("Impersonate-Group", "a")])
        assert (code, answer["message"]) == (500, "requested [groups/a] without impersonating a user")


async def test_an_apply_that_would_create_needs_the_right_to_create(serve: Any) -> None:
    """Otherwise the right to change what is there would be the right to make anything."""
    apply = {"headers": [("Content-Type", "application/apply-patch+yaml")], "params": {"fieldManager": "me"}}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}}
    async with serve() as site:
        rules = guard(site, "patch configmaps")
        code, answer = await ask(site, "bob", "PATCH", f"{CM}/x", json=body, **apply)
        assert (code, answer["message"]) == (
            403,
            f'{X_IS_FORBIDDEN} cannot create resource "configmaps" in API group "" in the namespace "default"',
        )
        rules.allowed.add("create configmaps")
        assert (await ask(site, "bob", "PATCH", f"{CM}/x", json=body, **apply))[0] == 201
        rules.allowed.discard("create configmaps")
        assert (await ask(site, "bob", "PATCH", f"{CM}/x", json=body, **apply))[0] == 200


async def test_requests_beyond_the_bound_are_told_to_come_back(serve: Any) -> None:
    """A flood must not take the server from those who could stop it."""
    async with serve(writes_max=1, reads_max=1) as site:
        guard(site, "create configmaps", "list configmaps", "watch configmaps")
        entered, leave = asyncio.Event(), asyncio.Event()

        async def hold(review: Any) -> None:
            entered.set()
            await leave.wait()

        done = site.api.add_validator(kind_of(ConfigMap), hold)
        first = asyncio.create_task(ask(site, "bob", "POST", CM, json={"metadata": {"name": "a"}}))
        await entered.wait()
        code, answer = await ask(site, "bob", "POST", CM, json={"metadata": {"name": "b"}})
        assert (code, answer["reason"], answer["details"]) == (429, "TooManyRequests", {"retryAfterSeconds": 1})
        assert answer["message"] == "Too many requests, please try again later."
        assert (await ask(site, "bob", "GET", CM))[0] == 200  # reads are counted apart
        other = asyncio.create_task(ask(site, "root", "POST", CM, json={"metadata": {"name": "c"}}))
        done()
        leave.set()
        assert [(await task)[0] for task in (first, other)] == [201, 201]
        assert (await ask(site, "bob", "POST", CM, json={"metadata": {"name": "d"}}))[0] == 201


async def test_watches_do_not_count(serve: Any) -> None:
    """A thousand of them wait, and cost nothing meanwhile."""
    async with serve(reads_max=1) as site:
        guard(site, "list configmaps", "watch configmaps")
        head = {"Authorization": "Bearer bob"}
        async with aiohttp.ClientSession() as session:
            urls = [f"{site.address.url}{CM}?watch=1" for _ in range(5)]
            watches = [await session.get(url, headers=head, ssl=site.access.tls()) for url in urls]
            assert [watch.status for watch in watches] == [200] * 5
            assert (await ask(site, "bob", "GET", CM))[0] == 200
            for watch in watches:
                watch.close()


async def test_kinds_that_are_asked_are_answered_and_not_stored(serve: Any) -> None:
    """Reviews are such kinds: POST is all they know."""

    def shout(tree: Tree, caller: Caller) -> Tree:
        return {**tree, "spec": {**tree["spec"], "domain": f"{tree['spec']['domain']}.{caller.user}"}}

    sites = "/apis/example.com/v1/namespaces/default/websites"
    async with serve() as site:
        guard(site, "create websites", "get websites", "list websites", "create configmaps/ask", "get /apis/example.com/v1")
        kind = kind_of(WebSite)
        site.api.serve_answers(kind, shout)
        code, answer = await ask(site, "bob", "POST", sites, json={"spec": {"domain": "a"}})
        assert (code, answer["spec"]) == (201, {"domain": "a.bob", "pages": 1})
        assert (await ask(site, "bob", "POST", sites, json={"spec": {"domain": "A"}}))[0] == 422
        assert (await ask(site, "bob", "GET", sites))[0] == 405
        assert (await ask(site, "bob", "GET", f"{sites}/a"))[0] == 405
        _, listed = await ask(site, "root", "GET", "/apis/example.com/v1")
        assert [(r["name"], r["verbs"]) for r in listed["resources"]] == [("websites", ["create"])]
        assert kind not in site.api.stored_kinds()


async def test_a_subresource_can_be_asked_about_its_object(serve: Any) -> None:
    """serviceaccounts/token is one: a question of another kind, and its answer."""

    def tell(about: Tree, question: Tree, caller: Caller) -> Tree:
        return {**question, "spec": {**question["spec"], "domain": f"{about['metadata']['name']}.{caller.user}"}}

    async with serve() as site:
        guard(site, "create configmaps/ask", "update configmaps/ask")
        site.api.add_answers(kind_of(ConfigMap), "ask", kind_of(WebSite), tell)
        assert (await ask(site, "bob", "POST", f"{CM}/x/ask", json={}))[0] == 404
        await site.api.create(kind_of(ConfigMap), {"metadata": {"name": "x"}}, "default")
        code, answer = await ask(site, "bob", "POST", f"{CM}/x/ask", json={"kind": "WebSite", "spec": {}})
        assert (code, answer["kind"], answer["spec"]["domain"]) == (201, "WebSite", "x.bob")
        assert (answer["metadata"]["name"], answer["metadata"]["namespace"]) == ("x", "default")
        assert (await ask(site, "bob", "PUT", f"{CM}/x/ask", json={}))[0] == 405
        _, listed = await ask(site, "root", "GET", "/api/v1")
        part = next(r for r in listed["resources"] if r["name"] == "configmaps/ask")
        assert (part["kind"], part["group"], part["version"], part["verbs"]) == ("WebSite", "example.com", "v1", ["create"])
