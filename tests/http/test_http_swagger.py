"""OpenAPI v2 in protobuf: kubectl 1.27 and 1.28 do nothing without it."""

from __future__ import annotations

from typing import Any

import aiohttp

from reconcile.runtime.api.http.swagger import swagger_protobuf

# What those kubectls send, and a name that is no media type by the RFC.
_ASKED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


def fields(data: bytes) -> list[tuple[int, bytes]]:
    """The fields of a message; numbers as they stand, which is one byte or eight here."""
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
        if tag & 7 == 0:
            found.append((tag >> 3, bytes([varint()])))
            continue
        if tag & 7 == 1:
            found.append((tag >> 3, data[at : at + 8]))
            at += 8
            continue
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


def test_a_document_is_encoded_by_the_numbers_of_its_description() -> None:
    """The numbers are those of OpenAPIv2.proto: path 8.2, patch 8, parameters 8, extension 13; definitions 9."""
    gvk = {"group": "g", "kind": "K", "version": "v1"}
    query = {"name": "fieldValidation", "in": "query", "type": "string"}
    patch = {
        "parameters": [query, {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/K"}}],
        "responses": {"200": {"description": "OK", "schema": {"type": "object"}}}, "x-kubernetes-group-version-kind": gvk,
    }  # fmt: skip
    named = {"name": "name", "in": "path", "type": "string", "required": True}
    definition = {
        "type": "object", "description": "A thing.", "required": ["a"], "nullable": True, "x-kubernetes-list-type": "map",
        "properties": {
            "a": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
            "b": {"additionalProperties": {"type": "string"}},
            "c": {"additionalProperties": True, "maximum": 1, "minLength": 2, "enum": ["y"]},
        },
    }  # fmt: skip
    encoded = swagger_protobuf(
        {
            "swagger": "2.0", "info": {"title": "T" * 200, "version": "u"}, "definitions": {"K": definition},
            "paths": {"/a": {"patch": patch, "parameters": [named]}},
        }
    )  # fmt: skip
    assert only(encoded, 1) == b"2.0"
    assert only(encoded, 2, 1) == b"T" * 200
    assert only(encoded, 8, 2, 1) == b"/a"
    operation = only(encoded, 8, 2, 2, 8)
    (first, body) = [value for number, value in fields(operation) if number == 8]
    assert only(first, 1, 2, 3, 4) == b"fieldValidation"
    assert only(body, 1, 1, 2) == b"body"
    assert only(body, 1, 1, 5, 1) == b"#/definitions/K"
    assert only(operation, 9, 1, 1) == b"200"
    assert only(operation, 9, 1, 2, 1, 2, 1, 22, 1) == b"object"
    assert only(operation, 13, 1) == b"x-kubernetes-group-version-kind"
    assert only(operation, 13, 2, 2) == b'{"group":"g","kind":"K","version":"v1"}'
    assert only(encoded, 8, 2, 2, 9, 1, 2, 4, 4) == b"name"
    assert only(encoded, 8, 2, 2, 9, 1, 2, 4, 1) == b"\x01"
    assert only(encoded, 9, 1, 1) == b"K"
    schema = only(encoded, 9, 1, 2)
    assert {number for number, _ in fields(schema)} == {4, 19, 22, 25, 31}
    a, b, c = (only(value, 2) for _, value in fields(only(schema, 25)))
    assert only(a, 23, 1, 22, 1) == b"string"
    assert only(a, 5, 2) == b'["x"]'
    assert only(b, 21, 1, 22, 1) == b"string"
    assert only(c, 21, 2) == b"\x01"
    assert only(c, 20, 2) == b'"y"'
    assert {number for number, _ in fields(c)} == {7, 12, 20, 21}


async def test_the_server_answers_those_who_ask_for_protobuf_with_a_media_type_that_parses(serve: Any) -> None:
    """Go refuses the name that it asks with itself as the Content-Type of an answer."""
    async with serve(tls=False) as site, aiohttp.ClientSession(site.address.url) as session:
        async with session.get("/openapi/v2", headers={"Accept": _ASKED}) as answer:
            body, etag = await answer.read(), answer.headers["ETag"]
            assert answer.headers["Content-Type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        paths = {only(path, 1) for number, path in fields(only(body, 8)) if number == 2}
        assert b"/apis/apps/v1/namespaces/{namespace}/deployments/{name}" in paths
        definitions = {only(each, 1) for _, each in fields(only(body, 9))}
        assert {b"io.k8s.api.apps.v1.Deployment", b"com.example.v1.WebSite"} <= definitions
        async with session.get("/openapi/v2", headers={"Accept": _ASKED, "If-None-Match": etag}) as answer:
            assert answer.status == 304
        async with session.get("/openapi/v2", headers={"Accept": "application/json"}) as answer:
            assert (await answer.json(content_type=None))["swagger"] == "2.0"
