"""Refusals on the wire, in the reference server's words and shapes."""

from __future__ import annotations

import io
from typing import Any

import aiohttp
import pytest

from reconcile.identity import Caller, Decision, Identity
from reconcile.kinds import kind_of
from reconcile.resources.coordination import Lease

CM = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


async def ask(site: Any, method: str, path: str, **options: Any) -> tuple[int, str, Any]:
    headers = {"Authorization": f"Bearer {site.access.token}"} if site.access.token else {}
    headers.update(options.pop("headers", {}))
    async with aiohttp.ClientSession() as session:
        tls = site.access.tls() or False
        async with session.request(method, site.address.url + path, headers=headers, ssl=tls, **options) as response:
            kind = response.headers["Content-Type"]
            return response.status, kind, await (response.json() if kind.startswith("application/json") else response.text())


def status(message: str, reason: str, code: int, details: Any = None) -> Any:
    made = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason}
    return {**made, **({} if details is None else {"details": details}), "code": code}


@pytest.mark.parametrize("path", ["/api/v1/nothing", f"{CM}/a/nothing", f"{CM}/a/status"])
async def test_what_is_not_there_beside_built_in_kinds_is_a_status_that_names_nothing(serve: Any, path: str) -> None:
    """kubectl tells "no such resource" from "no such object" by this."""
    async with serve(tls=False) as site:
        code, _, answer = await ask(site, "GET", path)
        assert (code, answer) == (404, status("the server could not find the requested resource", "NotFound", 404, {}))


@pytest.mark.parametrize("path", ["/nothing", "/apis/none/v1/x", "/apis/none"])
async def test_an_unknown_path_is_a_plain_text_404(serve: Any, path: str) -> None:
    """As the reference answers where it serves nothing at all, or kinds of definitions."""
    async with serve(tls=False) as site:
        assert await ask(site, "GET", path) == (404, "text/plain; charset=utf-8", "404 page not found\n")


async def test_refusals_are_the_reference_servers_word_for_word(serve: Any) -> None:
    """Clients match on these texts."""
    async with serve(tls=False) as site:
        _, _, answer = await ask(site, "GET", f"{CM}/none")
        assert answer == status('configmaps "none" not found', "NotFound", 404, {"name": "none", "kind": "configmaps"})
        _, _, answer = await ask(site, "POST", f"{CM}/none")
        assert answer == status("the server does not allow this method on the requested resource", "MethodNotAllowed", 405, {})
        _, _, answer = await ask(site, "POST", "/api/v1/namespaces", json={"metadata": {"name": "default"}})
        assert answer == status(
            'namespaces "default" already exists', "AlreadyExists", 409, {"name": "default", "kind": "namespaces"}
        )
        _, _, answer = await ask(site, "GET", f"{CM}?fieldSelector=foo%3Dbar")
        assert answer == status("field label not supported: foo", "BadRequest", 400)
        _, _, answer = await ask(site, "PATCH", f"{CM}/x", data="{}", headers={"Content-Type": "application/json"})
        assert answer == status("415: Unsupported Media Type", "UnsupportedMediaType", 415, {})
        code, _, answer = await ask(site, "GET", f"{CM}/x", headers={"Accept": "text/csv"})
        assert (code, answer["reason"], answer["message"][:20]) == (406, "NotAcceptable", "406: Not Acceptable\n")


async def test_a_stale_update_is_a_conflict_in_the_known_words(serve: Any) -> None:
    """Every controller's retry hangs on this answer."""
    async with serve(tls=False) as site:
        await ask(site, "POST", CM, json={"metadata": {"name": "x"}, "data": {"a": "1"}})
        stale = {"metadata": {"name": "x", "resourceVersion": "1"}, "data": {"a": "2"}}
        _, _, answer = await ask(site, "PUT", f"{CM}/x", json=stale)
        assert answer == status(
            'Operation cannot be fulfilled on configmaps "x": the object has been modified; please apply your changes to the '
            "latest version and try again", "Conflict", 409, {"name": "x", "kind": "configmaps"},
        )  # fmt: skip


async def test_metadata_that_is_none_is_refused_where_a_revision_is_asked_for(serve: Any) -> None:
    """The fuzzer sent a number, and was answered 500."""
    async with serve(tls=False) as site:
        site.api.serve(kind_of(Lease))
        leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
        await ask(site, "POST", leases, json={"metadata": {"name": "x"}})
        code, _, answer = await ask(site, "PUT", f"{leases}/x", json={"metadata": 3})
        assert (code, answer["reason"]) == (400, "BadRequest")


async def test_unknown_and_double_fields_are_refused_warned_about_or_ignored(serve: Any) -> None:
    """`fieldValidation` is the client's choice; a double key is only visible in the bytes."""
    async with serve(tls=False) as site:
        twice = '{"metadata":{"name":"%s"},"data":{"a":"1","a":"2"}}'
        headers = {"Content-Type": "application/json"}
        _, _, answer = await ask(site, "POST", f"{CM}?fieldValidation=Strict", data=twice % "s", headers=headers)
        assert answer["message"] == (
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "data.a"'
        )
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{site.address.url}{CM}", data=twice % "w", headers=headers) as response:
                assert (response.status, response.headers["Warning"]) == (201, '299 - "duplicate field \\"data.a\\""')
            async with session.post(
                f"{site.address.url}{CM}?fieldValidation=Ignore", data=twice % "i", headers=headers
            ) as response:
                assert "Warning" not in response.headers
        _, _, answer = await ask(site, "POST", f"{CM}?fieldValidation=Strict", json={"metadata": {"name": "u"}, "foo": 1})
        assert 'strict decoding error: unknown field "foo"' in answer["message"]
        yaml = "metadata:\n  name: y\ndata:\n  a: '1'\n  a: '2'\n"
        _, _, answer = await ask(
            site, "POST", f"{CM}?fieldValidation=Strict", data=yaml, headers={"Content-Type": "application/yaml"}
        )
        assert 'line 5: key "a" already set in map' in answer["message"]
        both = '{"metadata":{"name":"u"},"foo":1,"data":{"a":"1","a":"2"}}'
        _, _, answer = await ask(site, "POST", f"{CM}?fieldValidation=Strict", data=both, headers=headers)
        assert 'strict decoding error: unknown field "foo", duplicate field "data.a"' in answer["message"]
        _, _, answer = await ask(
            site, "POST", f"{CM}?fieldValidation=Strict", data=f"foo: 1\n{yaml}", headers={"Content-Type": "application/yaml"}
        )
        assert answer["message"].endswith('key "a" already set in map, unknown field "foo"')


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ("{", "application/json", 400), ("[]", "application/json", 400), ("a: [", "application/yaml", 400),
        ("3", "application/yaml", 400), ("[" * 100_000, "application/json", 400), (b"\xff\xfe", "application/json", 400),
        ("k8s\0", "application/vnd.kubernetes.protobuf", 415), ("<x/>", "text/xml", 415),
        ('{"kind":"Pod"}', "application/json", 400), ('{"apiVersion":"apps/v1"}', "application/json", 400),
    ],
)  # fmt: skip
async def test_a_body_that_cannot_be_read_is_refused_and_hurts_nothing(serve: Any, body: Any, kind: str, code: int) -> None:
    """Whatever comes in, a Status goes out and the next request is served."""
    async with serve(tls=False) as site:
        got, _, answer = await ask(site, "POST", CM, data=body, headers={"Content-Type": kind})
        assert (got, answer["kind"], answer["code"]) == (code, "Status", code)
        assert (await ask(site, "GET", "/readyz"))[0] == 200


async def test_a_body_beyond_three_mebibytes_is_413(serve: Any) -> None:
    """The limit is the reference's; without one a client could fill the memory."""
    async with serve(tls=False) as site:
        body = io.BytesIO(b'{"metadata":{"name":"big"},"data":{"a":"%b"}}' % (b"x" * (3 << 20)))
        code, _, answer = await ask(site, "POST", CM, data=body, headers={"Content-Type": "application/json"})
        assert (code, answer["reason"]) == (413, "RequestEntityTooLarge")


async def test_what_cannot_be_read_is_deleted_by_who_may_and_by_its_name_alone(serve: Any) -> None:
    """The option breaks clusters: it has a verb of its own, and does not go with what only makes sense for what can be read."""
    option = "ignoreStoreReadErrorWithClusterBreakingPotential"
    allowed = {"delete", "deletecollection"}
    bob = Caller("bob", ("system:authenticated",))
    async with serve() as site:
        site.api.security.add_token_reader(lambda token, _: Identity(bob) if token == "bob" else None)
        site.api.security.authorize_with(lambda _, access: Decision(access.verb in allowed))
        await site.api.store.put(b"/registry/configmaps/default/bad", b"-")

        async def delete(path: str, **body: Any) -> tuple[int, str]:
            headers = {"Authorization": "Bearer bob", "Content-Type": "application/json"}
            found = {"kind": "DeleteOptions", "apiVersion": "v1", **body}
            code, _, answer = await ask(site, "DELETE", path, json=found, headers=headers)
            return code, answer.get("message", "")

        code, message = await delete(f"{CM}/bad")
        assert (code, "Key: /registry/configmaps/default/bad" in message) == (500, True)
        code, message = await delete(f"{CM}/bad", **{option: True})
        assert (code, 'cannot unsafe-delete-ignore-read-errors resource "configmaps"' in message) == (403, True)
        allowed.add("unsafe-delete-ignore-read-errors")
        code, message = await delete(f"{CM}/bad", propagationPolicy="Orphan", **{option: True})
        assert (code, "Invalid value: true: cannot be set together with .propagationPolicy" in message) == (422, True)
        code, message = await delete(CM, **{option: True})
        assert (code, "is not allowed with DELETECOLLECTION" in message) == (422, True)
        assert (await delete(f"{CM}/bad", **{option: "yes"}))[0] == 400
        assert await delete(f"{CM}/bad", **{option: True}) == (200, "")
        assert (await delete(f"{CM}/bad", **{option: True}))[0] == 404


async def test_anonymous_callers_are_refused_in_the_reference_servers_words(serve: Any) -> None:
    """Where a server lets them in at all, its policy judges them like anybody."""
    async with serve(anonymous=True) as site:
        nobody = {"Authorization": ""}
        assert await ask(site, "GET", "/api/v1/namespaces", headers=nobody) == (
            403, "application/json",
            status(
                'namespaces is forbidden: User "system:anonymous" cannot list resource "namespaces" in API group "" at the '
                "cluster scope", "Forbidden", 403, {"kind": "namespaces"},
            ),
        )  # fmt: skip
        _, _, answer = await ask(site, "GET", f"{DEPLOYMENTS}/web", headers=nobody)
        assert answer["message"] == (
            'deployments.apps "web" is forbidden: User "system:anonymous" cannot get resource "deployments" in API group "apps" '
            'in the namespace "default"'
        )
        _, _, answer = await ask(site, "GET", "/apis", headers=nobody)
        assert answer["message"] == 'forbidden: User "system:anonymous" cannot get path "/apis"'


async def test_who_shows_no_token_or_a_wrong_one_is_unauthorized(serve: Any) -> None:
    """By default nobody is anonymous; only health and version are for everybody, because who watches over us has no token."""
    async with serve() as site:
        for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
            code, _, answer = await ask(site, "GET", "/api", headers=headers)
            assert (code, answer) == (401, status("Unauthorized", "Unauthorized", 401))
            for path in ("/version", "/healthz", "/livez", "/readyz"):
                wanted = 401 if "wrong" in headers["Authorization"] else 200
                assert (await ask(site, "GET", path, headers=headers))[0] == wanted


async def test_deletion_tells_what_is_gone(serve: Any) -> None:
    """A Status with the uid, or the object while it lingers: clients wait on the difference."""
    async with serve(tls=False) as site:
        _, _, made = await ask(site, "POST", CM, json={"metadata": {"name": "x"}})
        _, _, answer = await ask(site, "DELETE", f"{CM}/x", json={"preconditions": {"uid": "abc"}})
        assert answer["message"].startswith('Operation cannot be fulfilled on ConfigMap "x": the UID in the precondition (abc)')
        _, _, answer = await ask(site, "DELETE", f"{CM}/x")
        details = {"name": "x", "kind": "configmaps", "uid": made["metadata"]["uid"]}
        assert answer == {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        await ask(site, "POST", CM, json={"metadata": {"name": "y", "finalizers": ["a.b/c"]}})
        _, _, answer = await ask(site, "DELETE", f"{CM}/y?propagationPolicy=Background")
        assert answer["metadata"]["deletionTimestamp"]
        code, _, answer = await ask(site, "DELETE", f"{CM}/y?propagationPolicy=Sideways")
        assert (code, answer["reason"]) == (422, "Invalid")


async def test_an_error_of_our_own_is_a_status_500_and_the_server_lives(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The traceback belongs into the log, not to the client."""
    async with serve(tls=False) as site:

        def broken(review: Any) -> None:
            raise ZeroDivisionError("secret")

        site.api.add_mutator(site.kind("ConfigMap"), broken)
        code, _, answer = await ask(site, "POST", CM, json={"metadata": {"name": "x"}})
        assert code == 500
        assert "secret" not in str(answer)
        assert (await ask(site, "GET", "/readyz"))[0] == 200


async def test_readyz_says_which_check_fails(serve: Any) -> None:
    """One word is for machines, the lines are for people."""
    async with serve(tls=False) as site:
        assert await ask(site, "GET", "/readyz") == (200, "text/plain; charset=utf-8", "ok")
        site.server.add_check("store", lambda: "closed")
        code, _, text = await ask(site, "GET", "/readyz?verbose")
        assert (code, text) == (500, "[+]ping ok\n[-]store failed: closed\nreadyz check failed\n")
        assert (await ask(site, "GET", "/readyz/ping"))[2] == "ok"
