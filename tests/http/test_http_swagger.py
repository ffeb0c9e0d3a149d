"""OpenAPI v2 in protobuf: kubectl 1.27 and 1.28 do nothing without it."""

from __future__ import annotations

from typing import Any

import aiohttp

from reconcile.runtime.api.http.swagger import swagger_protobuf

# What those kubectls send, and a name that is no media type by the RFC.
_ASKED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


def fields(data: bytes) -> list[tuple[int, bytes]]:
    """The length-delimited fields of a message; that is all there are here."""
    found, at = list[tuple[int, bytes]](), 0

    def varint() -> int:
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        assert tag & 7 == 2
        length = varint()
        found.append((tag >> 3, data[at : at + length]))
        assert at + length <= len(data)
        at += length
    return found


def only(data: bytes, *numbers: int) -> bytes:
    """What stands at a path of field numbers, each of which occurs once."""
    for number in numbers:
        (data,) = [value for found, value in fields(data) if found == number]
    return data


def test_patch_operations_are_encoded_with_kind_and_parameters() -> None:
    """The numbers are those of OpenAPIv2.proto: path 8.2, patch 8, parameters 8, extension 13."""
    gvk = {"group": "g", "kind": "K", "version": "v1"}
    query = {"name": "fieldValidation", "in": "query", "type": "string"}
    patch = {"parameters": [query, {"name": "body", "in": "body"}], "x-kubernetes-group-version-kind": gvk}
    document = {
        "swagger": "2.0", "info": {"title": "T" * 200, "version": "u"}, "paths": {"/a": {"patch": patch}, "/b": {"get": {}}},
    }  # fmt: skip
    encoded = swagger_protobuf(document)
    assert only(encoded, 1) == b"2.0"
    assert only(encoded, 2, 1) == b"T" * 200
    assert only(encoded, 8, 2, 1) == b"/a"
    operation = only(encoded, 8, 2, 2, 8)
    assert only(operation, 8, 1, 2, 3, 4) == b"fieldValidation"
    assert only(operation, 13, 1) == b"x-kubernetes-group-version-kind"
    assert only(operation, 13, 2, 2) == b'{"group":"g","kind":"K","version":"v1"}'


async def test_the_server_answers_those_who_ask_for_protobuf_with_a_media_type_that_parses(serve: Any) -> None:
    """Go refuses the name that it asks with itself as the Content-Type of an answer."""
    async with serve(tls=False) as site, aiohttp.ClientSession(site.address.url) as session:
        async with session.get("/openapi/v2", headers={"Accept": _ASKED}) as answer:
            body, etag = await answer.read(), answer.headers["ETag"]
            assert answer.headers["Content-Type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        paths = {only(path, 1) for number, path in fields(only(body, 8)) if number == 2}
        assert b"/apis/apps/v1/namespaces/{namespace}/deployments/{name}" in paths
        async with session.get("/openapi/v2", headers={"Accept": _ASKED, "If-None-Match": etag}) as answer:
            assert answer.status == 304
        async with session.get("/openapi/v2", headers={"Accept": "application/json"}) as answer:
            assert (await answer.json(content_type=None))["swagger"] == "2.0"
