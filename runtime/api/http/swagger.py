"""The OpenAPI v2 document in protobuf, as far as old clients need it: who may be patched with which query parameters.

client-go asks for v2 in protobuf only, and kubectl before 1.29 does nothing without it: it looks for a PATCH of the kind with
a `fieldValidation` parameter, and then leaves validation to the server. Definitions are left out: such a kubectl merges
built-in kinds by its own structs and all others as JSON, and explains by v3.

Source: github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto, k8s.io/cli-runtime/pkg/resource/query_param_verifier.go
"""

from __future__ import annotations

import orjson

from reconcile.errors import Tree

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_ASKED = ("com.github.proto-openapi.spec.v2.v1.0+protobuf", "com.github.proto-openapi.spec.v2@v1.0+protobuf")
"""What clients accept. The elder name, which all of them send, is no media type by the RFC: never answer with it."""

# Field numbers of the messages named in front.
_DOCUMENT_SWAGGER, _DOCUMENT_INFO, _DOCUMENT_PATHS = 1, 2, 8
_INFO_TITLE, _INFO_VERSION = 1, 2
_PATHS_PATH = 2
_NAMED_NAME, _NAMED_VALUE = 1, 2
_PATH_ITEM_PATCH = 8
_OPERATION_PARAMETERS, _OPERATION_EXTENSION = 8, 13
_ITEM_PARAMETER, _PARAMETER_NON_BODY, _NON_BODY_QUERY = 1, 2, 3
_QUERY_IN, _QUERY_NAME, _QUERY_TYPE = 2, 4, 6
_ANY_YAML = 2
_GVK = "x-kubernetes-group-version-kind"


def swagger_protobuf(document: Tree) -> bytes:
    """The PATCH operations of a v2 document, as protobuf."""
    paths = b"".join(
        _field(_PATHS_PATH, _named(path, _field(_PATH_ITEM_PATCH, _operation(item["patch"]))))
        for path, item in document["paths"].items()
        if "patch" in item
    )
    info = _text(_INFO_TITLE, document["info"]["title"]) + _text(_INFO_VERSION, document["info"]["version"])
    return _text(_DOCUMENT_SWAGGER, document["swagger"]) + _field(_DOCUMENT_INFO, info) + _field(_DOCUMENT_PATHS, paths)


def _operation(operation: Tree) -> bytes:
    parameters = b"".join(
        _field(_OPERATION_PARAMETERS, _field(_ITEM_PARAMETER, _field(_PARAMETER_NON_BODY, _field(_NON_BODY_QUERY, query))))
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
        for query in (_text(_QUERY_IN, "query") + _text(_QUERY_NAME, parameter["name"]) + _text(_QUERY_TYPE, parameter["type"]),)
    )
    # JSON is YAML, which is what extensions are written in.
    extension = _named(_GVK, _text(_ANY_YAML, orjson.dumps(operation[_GVK]).decode()))
    return parameters + _field(_OPERATION_EXTENSION, extension)


def _named(name: str, value: bytes) -> bytes:
    return _text(_NAMED_NAME, name) + _field(_NAMED_VALUE, value)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)
