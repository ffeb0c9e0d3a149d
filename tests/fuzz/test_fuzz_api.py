"""Whatever is sent, the API answers: with an object or with a reason, never with a mistake of its own, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import attrs
import pytest

from reconcile.kinds import kind_of
from reconcile.resources import bootstrap_objects, builtin_kinds
from reconcile.resources.core import Namespace
from reconcile.resources.wire import wire_tables
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.http import HttpServer, HttpSettings
from reconcile.runtime.api.http.exchange import Answer, Request
from reconcile.runtime.api.http.face import Face
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import MEMORY, InlineDatabase, Store
from tests.fuzz.fuzzer import AHEAD, Fuzzer, Sent

ANSWER_S_MAX = 30.0


async def ask(face: Face, sent: Sent) -> tuple[int, bytes]:
    """The whole answer to a request."""

    async def read() -> bytes:
        return sent.body

    async with asyncio.timeout(ANSWER_S_MAX):
        answer = await face.handle(Request(sent.method, sent.path, sent.query, sent.headers, read))
        assert isinstance(answer, Answer), "nothing that streams is asked for"
        return answer.status, answer.body


async def kept(face: Face, body: bytes) -> None:
    """What was acknowledged is there."""
    tree: Any = json.loads(body)
    meta = tree.get("metadata") or {}
    if not meta.get("uid") or "selfLink" in meta or not meta.get("resourceVersion"):
        return  # a Status, or an answer to a question
    if "deletionTimestamp" in meta:
        return  # the write may have let it go
    group, _, version = tree["apiVersion"].rpartition("/")
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    place = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
    plural = PLURALS.get((group, tree["kind"]))
    if plural is None:
        return
    status, found = await ask(face, Sent("GET", f"{root}{place}/{plural}/{meta['name']}", {}, {}, b""))
    assert status == 200, (tree["kind"], meta["name"], found)
    assert int(json.loads(found)["metadata"]["resourceVersion"]) >= int(meta["resourceVersion"])


PLURALS: dict[tuple[str, str], str] = {}


@pytest.mark.time_limit_s(7200)  # each answer has a limit of its own
async def test_no_request_meets_a_mistake_of_the_server_and_no_write_is_lost(seed: int, requests: int) -> None:
    """A 500 is a bug that a client found; a hang is one that nobody sees."""
    clock = SystemClock()
    async with await Store.open(MEMORY, clock, database=InlineDatabase) as store:
        api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
        for declared in builtin_kinds():
            api.serve(kind_of(declared))
        for tree in bootstrap_objects():
            found = api.find("", "v1", "namespaces") if tree["kind"] == "Namespace" else None
            if found is not None:
                await api.create(found, tree)
        PLURALS.update({(kind.group, kind.kind): kind.plural for kind in api.stored_kinds()})
        face = HttpServer(api, HttpSettings(wire=wire_tables))._face
        fuzzer = Fuzzer(api.kinds(), random.Random(seed))
        answers: dict[int, int] = {}
        for number in range(requests):
            sent = fuzzer.request()
            status, body = await ask(face, sent)
            answers[status] = answers.get(status, 0) + 1
            ahead = status == 504 and sent.query.get("resourceVersion") == AHEAD
            assert status < 500 or ahead, f"request {number} of seed {seed}: {attrs.asdict(sent)}\n{body.decode()}"
            wrote = status in (200, 201) and sent.method in ("POST", "PUT", "PATCH") and "dryRun" not in sent.query
            if wrote and body.startswith(b"{"):
                await kept(face, body)
        enough = min(requests, 3000) / 100  # there are few names: sooner or later all objects are there
        assert answers.get(201, 0) > enough, f"hardly anything got through: {answers}"
        assert answers.get(422, 0) > enough, f"hardly anything was judged: {answers}"
        assert (await ask(face, Sent("GET", "/readyz", {}, {}, b"")))[0] == 200
