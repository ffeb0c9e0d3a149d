"""The OpenAPI v2 document in protobuf, the form in which old clients ask for it.

client-go asks for v2 in protobuf only, and kubectl before 1.29 does nothing without it: it looks for a PATCH of the kind with
a `fieldValidation` parameter, and then leaves validation to the server; it merges by the definitions what is no built-in kind
of its own, and can explain them.

The messages stand here in the notation of `protobuf`, as far as our documents use them; a document is brought into their shape
and then marshalled like any object.

Source: github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto, k8s.io/cli-runtime/pkg/resource/query_param_verifier.go
"""

from __future__ import annotations

from typing import Any

import orjson

from reconcile.errors import Tree

from .marshalling import Marshaller
from .protobuf import Tables

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_ASKED = ("com.github.proto-openapi.spec.v2.v1.0+protobuf", "com.github.proto-openapi.spec.v2@v1.0+protobuf")
"""What clients accept. The elder name, which all of them send, is no media type by the RFC: never answer with it."""

_VERBS = ("get", "put", "post", "delete", "patch")
_NUMBERS = {
    "multipleOf": ("6", "double"), "maximum": ("7", "double"), "exclusiveMaximum": ("8", "bool"), "minimum": ("9", "double"),
    "exclusiveMinimum": ("10", "bool"), "maxLength": ("11", "int64"), "minLength": ("12", "int64"), "maxItems": ("14", "int64"),
    "minItems": ("15", "int64"), "uniqueItems": ("16", "bool"), "maxProperties": ("17", "int64"),
    "minProperties": ("18", "int64"),
}  # fmt: skip
_PLAIN = {"$ref", "format", "title", "description", "pattern", "required", *_NUMBERS}
# A repeated message of a name and a value is on the wire what a map is.
_TABLES: Tables = {
    "Document": {"1": ("swagger", "string"), "2": ("info", "Info"), "8": ("paths", "Paths"), "9": ("definitions", "Schemas")},
    "Info": {"1": ("title", "string"), "2": ("version", "string")},
    "Paths": {"2": ("all", "{}PathItem")},
    "PathItem": {
        "2": ("get", "Operation"), "3": ("put", "Operation"), "4": ("post", "Operation"), "5": ("delete", "Operation"),
        "8": ("patch", "Operation"), "9": ("parameters", "[]ParametersItem"),
    },
    "Operation": {
        "3": ("description", "string"), "8": ("parameters", "[]ParametersItem"), "9": ("responses", "Responses"),
        "13": ("extensions", "{}Any"),
    },
    "ParametersItem": {"1": ("parameter", "Parameter")},
    "Parameter": {"1": ("body", "BodyParameter"), "2": ("other", "NonBodyParameter")},
    "BodyParameter": {"2": ("name", "string"), "3": ("in", "string"), "4": ("required", "bool"), "5": ("schema", "Schema")},
    "NonBodyParameter": {"3": ("query", "QueryParameter"), "4": ("path", "PathParameter")},
    "QueryParameter": {"2": ("in", "string"), "4": ("name", "string"), "6": ("type", "string")},
    "PathParameter": {"1": ("required", "bool"), "2": ("in", "string"), "4": ("name", "string"), "5": ("type", "string")},
    "Responses": {"1": ("all", "{}ResponseValue")},
    "ResponseValue": {"1": ("response", "Response")},
    "Response": {"1": ("description", "string"), "2": ("schema", "SchemaItem")},
    "SchemaItem": {"1": ("schema", "Schema")},
    "Schema": {
        "1": ("$ref", "string"), "2": ("format", "string"), "3": ("title", "string"), "4": ("description", "string"),
        "5": ("default", "Any"), "13": ("pattern", "string"), "19": ("required", "[]string"), "20": ("enum", "[]Any"),
        "21": ("additionalProperties", "AdditionalProperties"), "22": ("type", "Types"), "23": ("items", "Items"),
        "25": ("properties", "Schemas"), "30": ("example", "Any"), "31": ("extensions", "{}Any"),
        **{number: (name, type_) for name, (number, type_) in _NUMBERS.items()},
    },
    "Schemas": {"1": ("all", "{}Schema")},
    "AdditionalProperties": {"1": ("schema", "Schema"), "2": ("boolean", "bool")},
    "Types": {"1": ("all", "[]string")},
    "Items": {"1": ("all", "[]Schema")},
    "Any": {"2": ("yaml", "string")},
}  # fmt: skip


def swagger_protobuf(document: Tree) -> bytes:
    """A v2 document as protobuf; words that v2 does not know are left out."""
    shaped = {
        "swagger": document["swagger"], "info": document["info"],
        "paths": {"all": {path: _path_item(item) for path, item in document["paths"].items()}},
        "definitions": _schemas(document["definitions"]),
    }  # fmt: skip
    return Marshaller(_TABLES).message("Document")(shaped)


def _path_item(item: Tree) -> Tree:
    shaped = {verb: _operation(item[verb]) for verb in _VERBS if verb in item}
    return {**shaped, "parameters": list(map(_parameter, item.get("parameters", ())))}


def _operation(operation: Tree) -> Tree:
    responses = {}
    for code, response in operation.get("responses", {}).items():
        responses[code] = {"response": {**response, "schema": {"schema": _schema(response["schema"])}}}
    return {
        "description": operation.get("description"), "parameters": list(map(_parameter, operation.get("parameters", ()))),
        "responses": {"all": responses}, "extensions": _extensions(operation),
    }  # fmt: skip


def _parameter(parameter: Tree) -> Tree:
    if parameter["in"] == "body":
        return {"parameter": {"body": {**parameter, "schema": _schema(parameter["schema"])}}}
    return {"parameter": {"other": {parameter["in"]: parameter}}}


def _schemas(schemas: Tree) -> Tree:
    return {"all": {name: _schema(schema) for name, schema in schemas.items()}}


def _schema(schema: Tree) -> Tree:
    shaped = {name: schema[name] for name in schema if name in _PLAIN}
    for name in ("default", "example"):
        if name in schema:
            shaped[name] = _any(schema[name])
    if "enum" in schema:
        shaped["enum"] = list(map(_any, schema["enum"]))
    if "type" in schema:
        shaped["type"] = {"all": [schema["type"]]}
    if "items" in schema:
        shaped["items"] = {"all": [_schema(schema["items"])]}
    if "properties" in schema:
        shaped["properties"] = _schemas(schema["properties"])
    further = schema.get("additionalProperties")
    if further is not None:
        shaped["additionalProperties"] = {"schema": _schema(further)} if isinstance(further, dict) else {"boolean": further}
    return {**shaped, "extensions": _extensions(schema)}


def _extensions(node: Tree) -> Tree:
    return {name: _any(value) for name, value in node.items() if name.startswith("x-")}


def _any(value: Any) -> Tree:
    """A value as the YAML that these messages carry it in; JSON is YAML."""
    return {"yaml": orjson.dumps(value).decode()}
