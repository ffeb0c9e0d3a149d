"""Patches that go together over HTTP: fewer requests, and for each of them all as if it had gone alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from reconcile.causality import TRIGGER, Cause, Trigger
from reconcile.client import APPLY_PATCH, BATCH_MEDIA, BATCH_PATH, MERGE_PATCH, WHOLE, Patch
from reconcile.errors import ApiError, ConflictError, InvalidError, NotFoundError, UnavailableError
from reconcile.identity import Decision
from reconcile.kinds import Kind
from reconcile.runtime.client import batching

from .test_http_access import read_token

COUNT = 12


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Company is there from the second patch on."""
    monkeypatch.setattr(batching, "UNDER_WAY_MAX", 1)


class Requests:
    """Counts what a site's client sends."""

    def __init__(self, site: Any) -> None:
        self.sent: list[tuple[str, str]] = []
        ask = site.client._ask

        async def counted(connections: Any, request: Any) -> Any:
            self.sent.append((request.method, request.target.partition("?")[0]))
            return await ask(connections, request)

        site.client._ask = counted


async def made(site: Any, count: int = COUNT) -> Kind:
    kind: Kind = site.kind("WebSite")
    for number in range(count):
        await site.api.create(kind, {"metadata": {"name": f"w{number}"}}, "default")
    await site.client.list(kind)
    return kind


async def patched(site: Any, kind: Kind, number: int, body: Any, **options: Any) -> Any:
    return await site.client.patch(kind, f"w{number}", Patch(MERGE_PATCH, body), "default", **options)


async def test_patches_go_together_and_each_has_its_own_answer(serve: Any) -> None:
    """Eleven of twelve share one request, and none of them an error."""
    async with serve() as site:
        kind, requests = await made(site), Requests(site)
        bodies: list[Any] = [{"spec": {"pages": number}} for number in range(COUNT)]
        bodies[3] = {"spec": {"pages": -1}}
        bodies[5] = {"metadata": {"resourceVersion": "1"}, "spec": {"pages": 5}}
        asked = [patched(site, kind, number if number != 7 else 77, body) for number, body in enumerate(bodies)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(a) for a in answers if isinstance(a, Exception)] == [InvalidError, ConflictError, NotFoundError]
        alone = [await site.api.get(kind, f"w{number}", "default") for number in (0, 1, 2, 11)]
        assert [answers[number] for number in (0, 1, 2, 11)] == [stored.tree for stored in alone]
        assert len(requests.sent) == 2
        assert requests.sent[1] == ("POST", BATCH_PATH)


async def test_each_is_what_it_is_and_has_its_cause(serve: Any) -> None:
    """Applies, patches of a part, of the whole, and the handlers that ask for them."""
    async with serve() as site:
        kind = await made(site, 4)

        async def ask(number: int, patch: Patch, **options: Any) -> Any:
            TRIGGER.set(Trigger(f"op/handler{number}", 7, attempt=number))
            return await site.client.patch(kind, f"w{number}", patch, "default", **options)

        await asyncio.gather(
            ask(0, Patch(MERGE_PATCH, {"spec": {"pages": 9}})),
            ask(1, Patch(MERGE_PATCH, {"spec": {"pages": 9}, "metadata": {"labels": {"a": "b"}}}), subresource=WHOLE),
            ask(2, Patch(APPLY_PATCH, {"metadata": {"name": "w2"}, "spec": {"pages": 9}}), field_manager="op", force=True),
            ask(8, Patch(APPLY_PATCH, {"metadata": {"name": "w8"}, "spec": {"pages": 9}}), field_manager="op"),
        )
        for number in (0, 1, 2, 8):
            stored = await site.api.get(kind, f"w{number}", "default")
            assert stored.tree["spec"]["pages"] == 9
            cause = Cause.decode(await site.api.store.cause(stored.revision))
            assert cause is not None
            assert (cause.handler, cause.attempt, cause.revision) == (f"op/handler{number}", number, 7)


async def test_one_alone_waits_for_nobody(serve: Any) -> None:
    """And is a plain PATCH, as to any server."""
    async with serve() as site:
        kind, requests = await made(site, 1), Requests(site)
        await patched(site, kind, 0, {"spec": {"pages": 2}})
        await patched(site, kind, 0, {"spec": {"pages": 3}})
        assert [method for method, _ in requests.sent] == ["PATCH", "PATCH"]


async def test_servers_that_take_no_batches_get_none(serve: Any) -> None:
    """Those that never said so, and one that says no more so: nothing is lost on the way."""
    async with serve() as site:
        kind, requests = await made(site), Requests(site)
        site.client._patches.taken = False
        await asyncio.gather(*(patched(site, kind, number, {"spec": {"pages": 2}}) for number in range(COUNT)))
        assert ("POST", BATCH_PATH) not in requests.sent
        site.client._patches.taken = True
        ask = site.client._ask

        async def older(connections: Any, request: Any) -> Any:
            if request.target == BATCH_PATH:
                raise NotFoundError("404 page not found")
            return await ask(connections, request)

        site.client._ask = older
        await asyncio.gather(*(patched(site, kind, number, {"spec": {"pages": 3}}) for number in range(COUNT)))
        assert {item.tree["spec"]["pages"] for item in (await site.api.list(kind)).items} == {3}
        assert not site.client._patches.taken


async def test_who_gives_up_takes_nobody_along(serve: Any) -> None:
    """One in the batch, and one that waits for its turn."""
    async with serve() as site:
        kind = await made(site)
        tasks = [asyncio.ensure_future(patched(site, kind, number, {"spec": {"pages": 2}})) for number in range(COUNT)]
        await asyncio.sleep(0)
        tasks[4].cancel()
        done: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[4], asyncio.CancelledError)
        assert [answer["spec"]["pages"] for number, answer in enumerate(done) if number != 4] == [2] * (COUNT - 1)


async def test_a_batch_that_breaks_is_not_known_to_be_done_or_not(serve: Any) -> None:
    """As with a single patch: who asked has to look again."""
    async with serve() as site:
        kind = await made(site)
        ask = site.client._ask

        async def breaks(connections: Any, request: Any) -> Any:
            if request.target == BATCH_PATH:
                raise UnavailableError("it broke")
            return await ask(connections, request)

        site.client._ask = breaks
        asked = [patched(site, kind, number, {"spec": {"pages": 2}}) for number in range(COUNT)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers[1:]] == [UnavailableError] * (COUNT - 1)


async def test_each_patch_of_a_batch_is_judged_by_itself(serve: Any) -> None:
    """Who may patch one object does not get at another by sending both; nobody is asked for the batch as such."""
    async with serve() as site:
        await made(site, 3)
        site.api.security.add_token_reader(read_token)
        site.api.security.authorize_with(lambda _, access: Decision((access.verb, access.name) == ("patch", "w1")))
        code, answers = await batch(site, [patch_of(number) for number in range(3)], token="bob")
        assert (code, [status for status, _ in answers]) == (200, [403, 200, 403])
        assert answers[0][1]["details"]["name"] == "w0"
        assert (await batch(site, [patch_of(1)], token="nobody"))[0] == 401


WEBSITES = "/apis/example.com/v1/namespaces/default/websites"


def patch_of(number: int) -> list[Any]:
    return [f"{WEBSITES}/w{number}", MERGE_PATCH, "", False, {"spec": {"pages": 4}}]


async def batch(site: Any, patches: list[Any], *, token: str = "", raw: bytes | None = None, method: str = "POST") -> Any:
    """The code, and the code and body of each answer."""
    bodies = [json.dumps(body).encode() for *_, body in patches]
    heads = [[*head, len(body)] for (*head, _), body in zip(patches, bodies, strict=True)]
    data = json.dumps(heads).encode() + b"\n" + b"".join(bodies) if raw is None else raw
    headers = {"Authorization": f"Bearer {token or site.access.token}", "Content-Type": BATCH_MEDIA}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, site.address.url + BATCH_PATH, data=data, headers=headers, ssl=site.access.tls()) as response,
    ):
        text = await response.read()
    if response.status != 200:
        return response.status, json.loads(text)
    first, _, rest = text.partition(b"\n")
    found, at = [], 0
    for status, _, size in json.loads(first):
        body = rest[at : at + size]
        found.append((status, json.loads(body) if body.startswith(b"{") else body))
        at += size
    return response.status, found


async def test_what_is_no_patch_of_an_object_is_not_done_so(serve: Any) -> None:
    """Streams, collections, other subresources and other batches."""
    async with serve() as site:
        await made(site, 1)
        paths = [
            WEBSITES,
            f"{WEBSITES}/w0/log",
            f"{WEBSITES}/w0/status/x",
            BATCH_PATH,
            "/healthz",
            "",
            f"{WEBSITES}/w0?dryRun=All",
        ]
        code, answers = await batch(site, [[path, MERGE_PATCH, "", False, {"spec": {"pages": 4}}] for path in paths])
        assert (code, [status for status, _ in answers]) == (200, [404, 404, 404, 404, 404, 404, 200])
        assert (await site.api.get(site.kind("WebSite"), "w0", "default")).tree.get("spec") is None


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]\n", b"{}\n", b"[1]\n{}", b'[["/a"]]\n{}', b'[["/a","b","",false,3]]\n{}', b'[["/a","b","",false,1]]\n{}',
        b'[["/a","b","",false,-1]]\n', b'[["/a","b",null,false,2]]\n{}', b'[["/a","b","",false,true]]\n{', b"\xff\n",
        b"[" + b",".join([b'["/a","b","",false,0]'] * 101) + b"]\n",
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_refused_as_a_whole(serve: Any, raw: bytes) -> None:
    """Nothing of it is done, and the server goes on."""
    async with serve() as site:
        code, answer = await batch(site, [], raw=raw)
        assert (code, answer["reason"]) == (400, "BadRequest")
        assert (await batch(site, [], raw=b"", method="PUT"))[0] == 405


async def test_an_answer_that_is_no_batch_leaves_nobody_waiting(serve: Any) -> None:
    """A proxy's page, say."""
    async with serve() as site:
        kind = await made(site)

        async def page(_: bytes) -> bytes:
            return b"<html>"

        site.client._patches._post = page
        asked = [patched(site, kind, number, {"spec": {"pages": 2}}) for number in range(COUNT)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, ApiError) for answer in answers[1:])


async def test_a_client_that_closes_sends_nothing_more(serve: Any) -> None:
    """Those that wait for their turn are told, instead of being sent over a connection that nobody closes."""
    async with serve() as site:
        kind, requests = await made(site), Requests(site)
        tasks = [asyncio.ensure_future(patched(site, kind, number, {"spec": {"pages": 2}})) for number in range(COUNT)]
        await asyncio.sleep(0)
        await site.client.close()
        done: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in done[1:]] == [UnavailableError] * (COUNT - 1)
        assert len(requests.sent) <= 1
