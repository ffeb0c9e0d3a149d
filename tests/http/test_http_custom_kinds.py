"""Kinds without a class, as a CustomResourceDefinition makes them, on the wire."""

from __future__ import annotations

from typing import Any

import aiohttp
import attrs

from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.runtime.api.http.discovery import storage_version_hash

SCHEMA: Tree = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "nullable": {"type": "string", "nullable": True},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {"type": "string"}}},
                "not": {"type": "object", "properties": {"allOf": {"type": "integer"}}},
                "choice": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            },
        }
    },
}


def widgets(version: str, deprecation: str = "") -> Kind:
    return Kind(
        "shop.example.com", version, "Widget", "widgets", schema_given=SCHEMA, storage_version="v1", deprecation=deprecation
    )


async def get(site: Any, path: str) -> tuple[Any, Any]:
    async with aiohttp.ClientSession() as session, session.get(site.address.url + path) as response:
        assert response.status == 200
        return response.headers, await response.json()


async def test_fields_named_like_words_of_a_schema_are_documented(serve: Any) -> None:
    """The second version of OpenAPI lacks those words, but a field may have any name."""
    async with serve(tls=False) as site:
        site.api.serve_declared(widgets("v1"))
        _, body = await get(site, "/openapi/v2")
        spec = body["definitions"]["com.example.shop.v1.Widget"]["properties"]["spec"]["properties"]
        assert spec == {
            "nullable": {},
            "open": {"x-kubernetes-preserve-unknown-fields": True},
            "not": {"type": "object", "properties": {"allOf": {"type": "integer"}}},
            "choice": {"x-kubernetes-int-or-string": True},
        }


async def test_a_kind_that_takes_any_field_is_documented_as_nothing_but_an_object(serve: Any) -> None:
    """kubectl refuses what the second version of OpenAPI does not name, as soon as it names anything."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"spec": {"type": "object"}}}
    async with serve(tls=False) as site:
        site.api.serve_declared(attrs.evolve(widgets("v1"), schema_given=schema))
        _, body = await get(site, "/openapi/v2")
        assert body["definitions"]["com.example.shop.v1.Widget"] == {
            "type": "object",
            "x-kubernetes-group-version-kind": [{"group": "shop.example.com", "kind": "Widget", "version": "v1"}],
        }
        _, body = await get(site, "/openapi/v3/apis/shop.example.com/v1")
        assert "spec" in body["components"]["schemas"]["com.example.shop.v1.Widget"]["properties"]


async def test_clients_of_a_deprecated_version_are_told(serve: Any) -> None:
    """Each answer says so, not only the definition that nobody reads."""
    async with serve(tls=False) as site:
        site.api.serve_declared(widgets("v1"))
        site.api.serve_declared(widgets("v1beta1", "use v1"))
        told = {}
        for version in ("v1", "v1beta1"):
            headers, _ = await get(site, f"/apis/shop.example.com/{version}/widgets")
            told[version] = headers.get("Warning")
        assert told == {"v1": None, "v1beta1": '299 - "use v1"'}


async def test_discovery_says_in_which_version_objects_are_stored(serve: Any) -> None:
    """Who migrates stored objects waits for this: a definition may be newer than what the server does."""
    assert storage_version_hash(Kind("", "v1", "Pod", "pods")) == "xPOwRZ+Yhw8=", "as every cluster has it"
    async with serve(tls=False) as site:
        for version in ("v1", "v1beta1"):
            site.api.serve_declared(widgets(version))
        wanted = storage_version_hash(widgets("v1"))
        for version in ("v1", "v1beta1"):
            _, body = await get(site, f"/apis/shop.example.com/{version}")
            assert [resource.get("storageVersionHash") for resource in body["resources"]] == [wanted]
