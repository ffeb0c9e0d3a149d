"""A patch of the status and all else over HTTP: one request to a server that makes one write of it, else two."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.client import MERGE_PATCH, WHOLE, WHOLE_HEADER, Patch
from reconcile.errors import ConflictError, ForbiddenError, Tree
from reconcile.runtime.api.http import objects

from .test_http_access import ask, guard

BODY: Tree = {"metadata": {"labels": {"a": "b"}}, "status": {"readyReplicas": 1}}
SPEC: Tree = {"template": {"spec": {"containers": []}}}
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/a"


async def made(site: Any) -> Tree:
    tree: Tree = await site.client.create(site.kind("Deployment"), {"metadata": {"name": "a"}, "spec": SPEC}, "default")
    return tree


async def whole(site: Any, body: Tree) -> Tree:
    tree: Tree = await site.client.patch(
        site.kind("Deployment"), "a", Patch(MERGE_PATCH, body), "default", subresource=WHOLE, field_manager="op"
    )  # fmt: skip
    return tree


def cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the server is one that does not know of this."""
    monkeypatch.setattr(objects, "WHOLE_HEADER", "X-Nobody-Knows")
    monkeypatch.setattr(objects, "_MAKES_WHOLE", ())


async def test_it_is_one_write_once_the_server_has_said_that_it_makes_one(serve: Any) -> None:
    """A list says so, which every informer begins with."""
    async with serve() as site:
        await made(site)
        before = site.api.store.revision
        told = await whole(site, BODY)
        assert site.api.store.revision == before + 2, "nobody has said anything yet"
        assert (told["metadata"]["labels"], told["status"]) == ({"a": "b"}, {"readyReplicas": 1})
        await site.client.list(site.kind("Deployment"))
        before = site.api.store.revision
        told = await whole(site, {"metadata": {"labels": {"a": "c"}}, "status": {"readyReplicas": 2}})
        assert site.api.store.revision == before + 1
        assert (told["metadata"]["labels"], told["status"]) == ({"a": "c"}, {"readyReplicas": 2})
        config = site.kind("ConfigMap")
        await site.client.create(config, {"metadata": {"name": "a"}}, "default")
        patch = Patch(MERGE_PATCH, {"data": {"a": "b"}})
        assert (await site.client.patch(config, "a", patch, "default", subresource=WHOLE))["data"] == {"a": "b"}


async def test_another_server_behind_the_same_address_loses_nothing(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a rolling update an older one may take the request: it leaves the status out, and does not say that it has not."""
    async with serve() as site:
        await made(site)
        await site.client.list(site.kind("Deployment"))
        cannot(monkeypatch)
        told = await whole(site, BODY)
        assert (told["metadata"]["labels"], told["status"]) == ({"a": "b"}, {"readyReplicas": 1})
        revision = told["metadata"]["resourceVersion"]
        guarded = {"metadata": {"labels": {"a": "c"}, "resourceVersion": revision}, "status": {"readyReplicas": 2}}
        told = await whole(site, guarded)
        assert (told["metadata"]["labels"], told["status"]) == ({"a": "c"}, {"readyReplicas": 2})
        with pytest.raises(ConflictError):
            await whole(site, guarded)
        monkeypatch.undo()
        await site.client.list(site.kind("Deployment"))
        cannot(monkeypatch)
        guarded["metadata"]["resourceVersion"] = told["metadata"]["resourceVersion"]
        guarded["status"] = {"readyReplicas": 3}
        assert (await whole(site, guarded))["status"] == {"readyReplicas": 3}


async def test_both_rights_are_needed(serve: Any) -> None:
    """Who may patch objects, but not their status, does not get at it so."""
    async with serve() as site:
        await made(site)
        rules = guard(site, "patch deployments")
        headers = [("Content-Type", MERGE_PATCH), (WHOLE_HEADER, "status")]
        code, answer = await ask(site, "bob", "PATCH", DEPLOYMENT, json=BODY, headers=headers)
        assert code == ForbiddenError.code
        assert 'cannot patch resource "deployments/status"' in answer["message"]
        assert (await ask(site, "bob", "PATCH", DEPLOYMENT, json=BODY, headers=headers[:1]))[0] == 200
        rules.allowed.add("patch deployments/status")
        code, answer = await ask(site, "bob", "PATCH", DEPLOYMENT, json=BODY, headers=headers)
        assert (code, answer["status"]) == (200, {"readyReplicas": 1})
