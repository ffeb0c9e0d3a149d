"""OpenAPI documents, derived from the served kinds: v3 (one a group-version, what kubectl reads) and a v2 in JSON.

kubectl's `explain`, `apply` and `edit` look for three things in a v3 document: the schema of a kind (with
x-kubernetes-group-version-kind), a PATCH operation of that kind with a `fieldValidation` query parameter, and the merge keys
of its lists. Documents are made when first asked for and kept until the set of kinds changes. The hash in their URL lets
clients cache them for ever.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reconcile.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from reconcile.errors import Tree
from reconcile.kinds import Kind

from .discovery import Discovery, Document, answer_of, document_from, document_of
from .exchange import JSON, YAML, Answer, Request, no_such_path
from .metaschemas import DELETE_OPTIONS, LIST_META, META_SCHEMAS, OBJECT_META, SCALE, SCALE_SCHEMA
from .swagger import PROTOBUF, PROTOBUF_ASKED, swagger_protobuf

_INFO = {"title": "Kubernetes", "version": "unversioned"}
_IMMUTABLE = (("Cache-Control", "public, immutable"), ("Expires", "Tue, 31 Dec 2099 00:00:00 GMT"))
_REVALIDATE = (("Cache-Control", "no-cache, private"),)
_LIST_QUERY = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_WRITE_QUERY = ("dryRun", "fieldManager", "fieldValidation")
_PRESERVES = "x-kubernetes-preserve-unknown-fields"
# What an object's schema says of its type, wherever it is used.
_OF_A_TYPE = ("type", "properties", "required", _PRESERVES, "x-kubernetes-validations")
_SCALARS: dict[str | None, tuple[str, Tree]] = {
    "quantity": (
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        {"description": "An amount, such as 1.5, 500m or 2Gi.", "oneOf": [{"type": "string"}, {"type": "number"}]},
    ),
    "": (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {
            "description": "A number, or text such as 25%.", "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
        },
    ),
}  # fmt: skip
_PACKAGES = {
    "apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
}
_BUILTIN = "io.k8s."
_NOT_IN_V2 = ("nullable", "allOf", "anyOf", "oneOf", "not")
_DELETE_QUERY = (
    "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents", "propagationPolicy",
)  # fmt: skip
_TYPES = {
    "allowWatchBookmarks": "boolean", "limit": "integer", "sendInitialEvents": "boolean", "timeoutSeconds": "integer",
    "watch": "boolean", "force": "boolean", "gracePeriodSeconds": "integer", "orphanDependents": "boolean",
    "ignoreStoreReadErrorWithClusterBreakingPotential": "boolean",
}  # fmt: skip


Texts = Mapping[str, Mapping[str, str]]
"""Type -> field -> what it is, for fields that do not say so themselves; those of the type "" hold for fields of any type."""


class OpenApi:
    """The documents of one API server; `texts` are about built-in types."""

    def __init__(self, kinds: Callable[[], Sequence[Kind]], discovery: Discovery, texts: Callable[[], Texts]) -> None:
        self._kinds = kinds
        self._texts = texts
        self._discovery = discovery
        self._documents: dict[str, Document] = {}

    def forget(self) -> None:
        """The served kinds changed."""
        self._documents.clear()

    def answer(self, request: Request) -> Answer:
        """Answer a GET below /openapi."""
        path = request.path.strip("/").removeprefix("openapi/")
        if path == "v2" and any(name in request.headers.get("Accept", "") for name in PROTOBUF_ASKED):
            if PROTOBUF not in self._documents:
                self._documents[PROTOBUF] = document_from(swagger_protobuf(self._swagger()), PROTOBUF)
            return answer_of(self._documents[PROTOBUF], request, _REVALIDATE)
        if path == "v2":
            return answer_of(self._made("v2", self._swagger), request, _REVALIDATE)
        if path == "v3":
            return answer_of(self._made("v3", self._index), request, _REVALIDATE)
        root = path.removeprefix("v3/")
        chosen = self._group_versions().get(root) if path.startswith("v3/") else None
        if chosen is None:
            return no_such_path()
        document = self._made(root, lambda: self._document(*chosen))
        asked = request.query.get("hash", "")
        return answer_of(document, request, _IMMUTABLE if asked and asked == _hash(document) else _REVALIDATE)

    def _made(self, key: str, make: Callable[[], Tree]) -> Document:
        if key not in self._documents:
            self._documents[key] = document_of(make())
        return self._documents[key]

    def _group_versions(self) -> dict[str, tuple[str, str]]:
        return {
            f"apis/{group}/{version}" if group else f"api/{version}": (group, version)
            for group, versions in self._discovery.groups().items()
            for version in versions
        }

    def _index(self) -> Tree:
        paths = {}
        for root, chosen in self._group_versions().items():
            document = self._made(root, lambda chosen=chosen: self._document(*chosen))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            paths[root] = {"serverRelativeURL": f"/openapi/v3/{root}?hash={_hash(document)}"}
        return {"paths": paths}

    def _document(self, group: str, version: str) -> Tree:
        kinds = [kind for kind in self._kinds() if (kind.group, kind.version) == (group, version)]
        schemas: Tree = dict(META_SCHEMAS)
        paths: Tree = {}
        for kind in kinds:
            schemas[schema_name(kind)] = _schema(kind, schemas)
            schemas[schema_name(kind) + "List"] = _list_schema(kind)
            if kind.scale is not None:
                schemas[SCALE] = SCALE_SCHEMA
            paths.update({path: _without_empty(item) for path, item in self._paths(kind).items()})
        schemas = _described(schemas, self._texts())
        return {"openapi": "3.0.0", "info": _INFO, "paths": dict(sorted(paths.items())), "components": {"schemas": schemas}}

    def _paths(self, kind: Kind) -> Tree:
        top = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        collection = f"{top}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{top}/{kind.plural}"
        scope = ["namespace"] if kind.namespaced else []
        own, many = schema_name(kind), schema_name(kind) + "List"
        paths: Tree = {
            collection: {
                "get": _operation(kind, "list", many, _LIST_QUERY),
                "post": _operation(kind, "post", own, _WRITE_QUERY, body=own, code="201"),
                "delete": _operation(kind, "deletecollection", many, _LIST_QUERY + _DELETE_QUERY, body=DELETE_OPTIONS),
                "parameters": _in_path(*scope),
            },
            f"{collection}/{{name}}": {**_item(kind, own), "parameters": _in_path("name", *scope)},
        }
        if kind.namespaced:
            paths[f"{top}/{kind.plural}"] = {"get": _operation(kind, "list", many, _LIST_QUERY), "parameters": []}
        parts = {"status": own} if kind.status else {}
        parts |= dict.fromkeys(kind.hooks.parts, own)
        for name, schema in (parts | ({"scale": SCALE} if kind.scale is not None else {})).items():
            item = _item(kind, schema)
            del item["delete"]
            paths[f"{collection}/{{name}}/{name}"] = {**item, "parameters": _in_path("name", *scope)}
        return paths

    def _swagger(self) -> Tree:
        """The v2 document: definitions of every kind; paths without more than their names and verbs."""
        definitions: Tree = dict(META_SCHEMAS)
        paths: Tree = {}
        for kind in self._kinds():
            definitions[schema_name(kind)] = _schema_v2(kind, definitions)
            definitions[schema_name(kind) + "List"] = _list_schema(kind)
            for path, item in self._paths(kind).items():
                paths[path] = {
                    "parameters": [{**_in_v2(p), "required": True} for p in item["parameters"]],
                    **{verb: _operation_v2(op) for verb, op in item.items() if verb != "parameters"},
                }
        if any(kind.scale is not None for kind in self._kinds()):
            definitions[SCALE] = SCALE_SCHEMA
        for name, schema in _SCALARS.values():
            definitions[name] = {**schema, "type": "string"}  # v2 knows no alternatives
        definitions = _described(definitions, self._texts())
        return {"swagger": "2.0", "info": _INFO, "paths": paths, "definitions": _v2_refs(definitions, named=True)}


def schema_name(kind: Kind) -> str:
    """`com.example.v1.WebSite`; kinds of the groups that Kubernetes itself has are named as there: `io.k8s.api.apps.v1.*`."""
    return f"{_package(kind)}.{kind.kind}"


def _package(kind: Kind) -> str:
    if kind.group in _PACKAGES:
        return f"{_PACKAGES[kind.group]}.{kind.version}"
    if kind.group and "." in kind.group and not kind.group.endswith(".k8s.io"):
        return ".".join([*reversed(kind.group.split(".")), kind.version])
    return f"io.k8s.api.{kind.group.removesuffix('.k8s.io').partition('.')[0] or 'core'}.{kind.version}"


def _schema(kind: Kind, types: Tree) -> Tree:
    """The schema of a kind; the named types in it are put into `types`, and it refers to them."""
    schema: Tree = _named(kind.schema, _package(kind), types) if kind.builtin else dict(kind.schema)
    properties = dict(schema.get("properties") or {})
    properties["metadata"] = {"allOf": [_ref(OBJECT_META)], "default": {}, "description": "Standard object's metadata."}
    schema["properties"] = properties
    schema["x-kubernetes-group-version-kind"] = [_gvk(kind)]
    return schema


def _schema_v2(kind: Kind, types: Tree) -> Tree:
    """As `_schema`. A kind that takes unknown fields says nothing of those it knows: kubectl would refuse all others.

    Source: k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder
    """
    if kind.schema.get(_PRESERVES):
        return {"type": "object", "x-kubernetes-group-version-kind": [_gvk(kind)]}
    schema = _schema(kind, types)
    return schema if kind.builtin else _understood(schema)


def _understood(node: Tree) -> Tree:
    """A schema of a custom kind without what kubectl would take for more than it says: closed lists of fields, no nulls.

    Source: k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2
    """
    loose = node.get("nullable") or node.get(_PRESERVES)
    made = {key: value for key, value in node.items() if not (loose and key in ("items", "properties"))}
    kind = made.get("type")
    if node.get("nullable") or (kind == "object" and node.get(_PRESERVES)) or (kind == "array" and "items" not in made):
        made.pop("type", None)
    if "properties" in made:
        made["properties"] = {name: _understood(child) for name, child in made["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(made.get(name), dict):
            made[name] = _understood(made[name])
    return made


def _named(node: Tree, package: str, types: Tree) -> Tree:
    """A node with its named types made references. What a field says beyond its type stands beside the reference."""
    made = dict(node)
    if "properties" in made:
        made["properties"] = {name: _named(child, package, types) for name, child in made["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(made.get(name), dict):
            made[name] = _named(made[name], package, types)
    if made.get("format") == "micro-time":
        made["format"] = "date-time"
    about = made.pop("x-type", None)
    if about is None:
        scalar = _SCALARS.get(made.get("format", "") if made.get("x-kubernetes-int-or-string") else None)
        if scalar is None:
            return made
        types.setdefault(*scalar)
        said = {key: value for key, value in made.items() if key not in ("format", "x-kubernetes-int-or-string")}
        return {"allOf": [_ref(scalar[0])], **said}
    # A short name is one of the kind's own package.
    name = about["name"] if "." in about["name"] else f"{package}.{about['name']}"
    own = {key: made.pop(key) for key in _OF_A_TYPE if key in made}
    if about["description"]:
        own["description"] = about["description"]
    if made.get("description") == about["description"]:
        del made["description"]
    if name not in META_SCHEMAS and types.setdefault(name, own) != own:
        return {**own, **made}  # another kind means something else by the name
    return {"allOf": [_ref(name)], **made}


def _described(schemas: Tree, texts: Texts) -> Tree:
    """The schemas of types, with a text for each field of a built-in one that has none."""
    everywhere = texts.get("", {})
    described: Tree = {}
    for name, schema in schemas.items():
        own = texts.get(name.rpartition(".")[2], {})
        properties = schema.get("properties")
        if properties and name.startswith(_BUILTIN):
            named = {}
            for field, node in properties.items():
                text = "" if node.get("description") else own.get(field) or everywhere.get(field)
                named[field] = {**node, "description": text} if text else node
            schema = {**schema, "properties": named}
        described[name] = schema
    return described


def _list_schema(kind: Kind) -> Tree:
    return {
        "type": "object",
        "description": f"{kind.kind}List is a list of {kind.kind}.",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [_ref(LIST_META)], "default": {}},
            "items": {"type": "array", "items": {"allOf": [_ref(schema_name(kind))], "default": {}}},
        },
        "x-kubernetes-group-version-kind": [{**_gvk(kind), "kind": f"{kind.kind}List"}],
    }


def _item(kind: Kind, schema: str) -> Tree:
    media = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH, *([STRATEGIC_PATCH] if kind.builtin else [])]
    patch = _operation(kind, "patch", schema, (*_WRITE_QUERY, "force"))
    patch["requestBody"] = {"required": True, "content": {m: {"schema": {"type": "object"}} for m in media}}
    return {
        "get": _operation(kind, "get", schema, ()),
        "put": _operation(kind, "put", schema, _WRITE_QUERY, body=schema),
        "patch": patch,
        "delete": _operation(kind, "delete", schema if kind.hooks.answers_deleted else "", _DELETE_QUERY, body=DELETE_OPTIONS),
    }


def _operation(
    kind: Kind, action: str, answer: str, query: tuple[str, ...], *, body: str = "", code: str = "200"
) -> Tree:  # fmt: skip
    content = {media: {"schema": _ref(answer) if answer else {"type": "object"}} for media in (JSON, YAML)}
    operation: Tree = {
        "description": f"{action} {kind.plural}",
        "parameters": [_parameter(name) for name in query],
        "responses": {code: {"description": "OK", "content": content}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
    if body:
        operation["requestBody"] = {"content": {JSON: {"schema": _ref(body)}}}
    return operation


def _parameter(name: str) -> Tree:
    return {"name": name, "in": "query", "schema": {"type": _TYPES.get(name, "string"), "uniqueItems": True}}


def _in_path(*names: str) -> list[Tree]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}} for name in names]


def _in_v2(parameter: Tree) -> Tree:
    return {"name": parameter["name"], "in": parameter["in"], "type": parameter["schema"]["type"]}


def _without_empty(item: Tree) -> Tree:
    """A path without empty lists of parameters, which clients in Go cannot tell from none."""
    return {
        name: _without_empty(value) if isinstance(value, dict) and "responses" in value else value
        for name, value in item.items() if name != "parameters" or value
    }  # fmt: skip


def _operation_v2(operation: Tree) -> Tree:
    responses = {}
    for code, response in operation["responses"].items():
        responses[code] = {"description": "OK", "schema": _v2_refs(response["content"][JSON]["schema"])}
    parameters = [_in_v2(parameter) for parameter in operation["parameters"]]
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        schema = _v2_refs(next(iter(content.values()))["schema"])
        parameters.append({"name": "body", "in": "body", "required": True, "schema": schema})
    extensions = {name: value for name, value in operation.items() if name.startswith("x-")}
    return {"description": operation["description"], "parameters": parameters, "responses": responses, **extensions}


def _v2_refs(node: Any, *, named: bool = False) -> Any:
    """References where v2 keeps its schemas; what v2 cannot say (alternatives, allOf around a reference, nullable) is dropped.

    `named`: the keys are names of fields or of schemas, not words of a schema.
    """
    if isinstance(node, list):
        return [_v2_refs(item) for item in node]
    if not isinstance(node, dict):
        return node
    if named:
        return {name: _v2_refs(schema) for name, schema in node.items()}
    made = {key: _v2_refs(value, named=key == "properties") for key, value in node.items() if key not in _NOT_IN_V2}
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/components/schemas/", "#/definitions/")
    if isinstance(all_of := node.get("allOf"), list) and len(all_of) == 1:
        made.update(_v2_refs(all_of[0]))
    return made


def _gvk(kind: Kind) -> Tree:
    return {"group": kind.group, "kind": kind.kind, "version": kind.version}


def _ref(name: str) -> Tree:
    return {"$ref": f"#/components/schemas/{name}"}


def _hash(document: Document) -> str:
    return document.etag.strip('"')
