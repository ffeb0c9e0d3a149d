"""What a real Kubernetes 1.36 server answers where it refuses (and where it grants), word for word but for uids and numbers.

The expected answers were recorded from one; each stands beside the request that brought it. Served are the built-in kinds, with
the policy of `up`.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import pytest

from reconcile.cli.guarding import Guards
from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds, question_kinds
from reconcile.resources.core import ConfigMap, Namespace
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.http import Credentials, HttpServer, HttpSettings
from reconcile.runtime.client.kubeconfig import Access
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store

NAMESPACES, CM = "/api/v1/namespaces", "/api/v1/namespaces/default/configmaps"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
JSON, APPLY = {"Content-Type": "application/json"}, {"Content-Type": "application/apply-patch+yaml"}
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def status(message: str, reason: str, code: int, details: Tree | None = None) -> Tree:
    made: Tree = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason}
    return {**made, **({} if details is None else {"details": details}), "code": code}


@attrs.frozen
class Case:
    """A request, and the answer to it: a Status, or text."""

    method: str
    path: str
    answer: Tree | str
    body: Any = None
    headers: Tree = attrs.field(factory=dict)
    code: int = 0
    anonymous: bool = False


NAMED = {"name": "x", "kind": "configmaps"}
CASES = {
    "an object that is not there": Case(
        "GET", f"{CM}/none",
        status('configmaps "none" not found', "NotFound", 404, {"name": "none", "kind": "configmaps"}),
    ),
    "a path that is none": Case("GET", "/nothing", "404 page not found\n", code=404),
    "a method that is not for this": Case(
        "POST", f"{CM}/x", status("the server does not allow this method on the requested resource", "MethodNotAllowed", 405, {}),
        body={},
    ),
    "a name that is taken": Case(
        "POST", NAMESPACES,
        status('namespaces "default" already exists', "AlreadyExists", 409, {"name": "default", "kind": "namespaces"}),
        body={"metadata": {"name": "default"}},
    ),
    "a name that cannot be": Case(
        "POST", NAMESPACES,
        status(
            f'Namespace "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": {LABEL}', "Invalid", 422,
            {"name": "Bad_Name", "kind": "Namespace", "causes": [
                {"reason": "FieldValueInvalid", "message": f'Invalid value: "Bad_Name": {LABEL}', "field": "metadata.name"}]},
        ),
        body={"metadata": {"name": "Bad_Name"}},
    ),
    "an unknown field": Case(
        "POST", f"{NAMESPACES}?fieldValidation=Strict",
        status(
            'Namespace in version "v1" cannot be handled as a Namespace: strict decoding error: unknown field "foo"',
            "BadRequest", 400,
        ),
        body={"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "a"}, "foo": 1},
    ),
    "a value of another type": Case(
        "POST", CM,
        status(
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field '
            "ConfigMap.data of type string", "BadRequest", 400,
        ),
        body={"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"a": 1}},
    ),
    "a form that nobody can give": Case(
        "GET", f"{CM}/x",
        status(
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, "
            "application/vnd.kubernetes.protobuf", "NotAcceptable", 406, {},
        ),
        headers={"Accept": "text/csv"},
    ),
    "a question as a table": Case(
        "POST", REVIEWS,
        status(
            "only the following media types are accepted: application/json, application/yaml, "
            "application/vnd.kubernetes.protobuf", "NotAcceptable", 406,
        ),
        body={"spec": {"nonResourceAttributes": {"path": "/x", "verb": "get"}}},
        headers={**JSON, "Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
    ),
    "a state that is no longer the newest": Case(
        "PUT", f"{CM}/x",
        status(
            'Operation cannot be fulfilled on configmaps "x": the object has been modified; please apply your changes to the '
            "latest version and try again", "Conflict", 409, NAMED,
        ),
        body={"metadata": {"name": "x", "resourceVersion": "1"}, "data": {"a": "2"}},
    ),
    "a uid that is another's": Case(
        "DELETE", f"{CM}/x",
        status(
            'Operation cannot be fulfilled on ConfigMap "x": the UID in the precondition (abc) does not match the UID in record '
            "(UID). The object might have been deleted and then recreated", "Conflict", 409, {"name": "x", "kind": "ConfigMap"},
        ),
        body={"preconditions": {"uid": "abc"}},
    ),
    "a watch of what is forgotten": Case(
        "GET", f"{CM}?watch=1&resourceVersion=1",
        {"type": "ERROR", "object": status("too old resource version: N (N)", "Expired", 410)}, code=200,
    ),
    "a list of what is forgotten": Case(
        "GET", f"{CM}?resourceVersion=1&resourceVersionMatch=Exact",
        status("The resourceVersion for the provided list is too old.", "Expired", 410),
    ),
    "a continue token that is none": Case(
        "GET", f"{CM}?continue=aW52YWxpZA",
        status(
            "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value",
            "BadRequest", 400,
        ),
    ),
    "a field that cannot be selected by": Case(
        "GET", f"{CM}?fieldSelector=foo%3Dbar", status("field label not supported: foo", "BadRequest", 400)
    ),
    "a deletion": Case(
        "DELETE", f"{CM}/x",
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {**NAMED, "uid": "UID"}}, code=200,
    ),
    "a patch of no known sort": Case(
        "PATCH", f"{CM}/x", status("415: Unsupported Media Type", "UnsupportedMediaType", 415, {}), body={}, headers=JSON
    ),
    "what another one applied": Case(
        "PATCH", f"{CM}/y?fieldManager=b",
        status(
            'Apply failed with 1 conflict: conflict with "a": .data.a', "Conflict", 409,
            {"causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "a"', "field": ".data.a"}]},
        ),
        body={"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "2"}}, headers=APPLY,
    ),
    "somebody without a name": Case(
        "GET", NAMESPACES,
        status(
            'namespaces is forbidden: User "system:anonymous" cannot list resource "namespaces" in API group "" at the cluster '
            "scope", "Forbidden", 403, {"kind": "namespaces"},
        ),
        anonymous=True,
    ),
}  # fmt: skip


@asynccontextmanager
async def served(credentials: Credentials) -> AsyncIterator[str]:
    """The URL of a server with the built-in kinds, two ConfigMaps, and no history."""
    clock = SystemClock()
    async with await Store.open(":memory:", clock) as store:
        api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
        for cls in (*builtin_kinds(), *question_kinds()):
            api.serve(kind_of(cls))
        Guards(clock).connect(api, None)
        await api.create(kind_of(Namespace), {"metadata": {"name": "default"}})
        await api.create(kind_of(ConfigMap), {"metadata": {"name": "x"}, "data": {"a": "1"}}, "default")
        server = HttpServer(api, HttpSettings(credentials=credentials, anonymous=True))
        address = await server.start()
        try:
            applied = Case(
                "PATCH", f"{CM}/y?fieldManager=a", "", {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}}, APPLY
            )
            assert (await asked(address.url, credentials, applied))[0] == 201
            await store.compact(store.revision)
            yield address.url
        finally:
            await server.stop()


async def asked(url: str, credentials: Credentials, case: Case) -> tuple[int, Any]:
    headers = {} if case.anonymous else {"Authorization": f"Bearer {credentials.token}"}
    body = None if case.body is None else json.dumps(case.body)
    given = {**(JSON if body is not None else {}), **headers, **case.headers}
    tls = Access(url, ca=credentials.ca_pem).tls() or False
    async with (
        aiohttp.ClientSession() as session,
        session.request(case.method, url + case.path, data=body, headers=given, ssl=tls) as answer,
    ):
        text = await answer.text()
        return answer.status, json.loads(text) if "json" in answer.headers["Content-Type"] else text


def without_numbers(answer: Any) -> Any:
    """Uids and revisions as words, since no two servers give the same."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID", json.dumps(answer))
    return json.loads(re.sub(r"version: \d+ \(\d+\)", "version: N (N)", text))


@pytest.mark.parametrize("name", CASES)
async def test_the_answer_is_the_reference_servers(name: str, credentials: Credentials) -> None:
    """Clients match on these: code, reason, message, details."""
    case = CASES[name]
    async with served(credentials) as url:
        code, answer = await asked(url, credentials, case)
        assert without_numbers(answer) == case.answer
        assert code == (case.code or (case.answer["code"] if isinstance(case.answer, dict) else 0))


async def test_what_is_applied_says_who_manages_what(credentials: Credentials) -> None:
    """Field for field; a list says where it goes on, and how much is left."""
    async with served(credentials) as url:
        _, made = await asked(url, credentials, Case("GET", f"{CM}/y", ""))
        (entry,) = made["metadata"]["managedFields"]
        assert {name: entry[name] for name in ("manager", "operation", "apiVersion", "fieldsType", "fieldsV1")} == {
            "manager": "a", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:a": {}}},
        }  # fmt: skip
        _, page = await asked(url, credentials, Case("GET", f"{CM}?limit=1", ""))
        assert (page["kind"], page["metadata"]["remainingItemCount"]) == ("ConfigMapList", 1)
        assert set(page["metadata"]) == {"resourceVersion", "continue", "remainingItemCount"}
