"""Requests that no client of good will sends, made from a seed: half-right objects, odd parameters, broken bytes.

Objects are drawn from the kinds' own schemas, so that they get far enough to be stored now and then; at each node chance may
put something else in place of what belongs there.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.kinds import Kind

DEPTH_MAX = 7
AHEAD = "999999999999"
"""A revision that is not there yet: a server that waits for it in vain answers 504."""
NAMES = ("a", "b", "c.d", "node", "default", "x" * 63, "Über", "", "..", "a/b", "%2e", "\x00")
NAMESPACES = ("default", "other", "nosuch", "", "kube-system", "Ä")
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1 << 31, 1 << 63, 1 << 70, -(1 << 80), 0.5, 1e308, "", "a", "a" * 300, "1Gi", "25%", "\ud83d\ude00",
    "2026-01-01T00:00:00Z", [], {}, [[]], [None], {"": None}, {"a": {"a": {}}}, [1, "1", {}], "\x00", "{{", "null",
)  # fmt: skip
QUERIES: dict[str, tuple[str, ...]] = {
    "fieldManager": ("me", "", "x" * 200, "\n"), "dryRun": ("All", "None", ""), "force": ("true", "x"),
    "fieldValidation": ("Strict", "Warn", "Ignore", "Odd"), "limit": ("1", "-1", "x", "9" * 30), "continue": ("x", "e30", ""),
    "labelSelector": ("a=b", "a in (b,c)", "!a", "a==", ",", "a in ("), "fieldSelector": ("metadata.name=a", "x=y", "=", "a"),
    "resourceVersion": ("0", "1", AHEAD, "x", "-1"), "resourceVersionMatch": ("Exact", "NotOlderThan", "x"),
    "gracePeriodSeconds": ("0", "-5", "x"), "propagationPolicy": ("Foreground", "Orphan", "x"), "pretty": ("true",),
    "includeObject": ("None", "x"), "timeoutSeconds": ("1", "x"),
}  # fmt: skip
ACCEPTS = (
    "application/json", "application/yaml", "*/*", "text/html", "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf,application/json", ";;,",
)  # fmt: skip
PATCHES = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip
DIRECTIVES = ("$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "$odd")
TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", "", *PATCHES)
SUBRESOURCES = ("", "", "", "", "status", "scale", "binding", "log", "eviction", "token", "finalize", "approval", "odd")


@attrs.frozen
class Sent:
    """One request, as it can be repeated."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@attrs.define
class Fuzzer:
    """Draws requests; the same seed draws the same ones."""

    kinds: Sequence[Kind]
    chance: random.Random

    def request(self) -> Sent:
        """The next request."""
        chance = self.chance
        kind = chance.choice(self.kinds)
        method = chance.choice(("GET", "POST", "POST", "POST", "PUT", "PATCH", "PATCH", "DELETE", "HEAD", "OPTIONS"))
        name = "" if method == "POST" and chance.random() < 0.9 else chance.choice(NAMES[:4] if chance.random() < 0.9 else NAMES)
        query = {key: chance.choice(QUERIES[key]) for key in chance.sample(tuple(QUERIES), chance.choice((0, 0, 0, 1, 2)))}
        media = chance.choice(PATCHES if method == "PATCH" and chance.random() < 0.9 else TYPES)
        if method in ("POST", "PUT", "DELETE") and chance.random() < 0.8:
            media = "application/json"
        headers = {"Content-Type": media, "Accept": chance.choice(ACCEPTS) if chance.random() < 0.3 else "application/json"}
        body = b"" if method in ("GET", "HEAD", "OPTIONS") else self._body(method, media, kind, name)
        return Sent(method, self._path(kind, name), query, headers, body)

    def _path(self, kind: Kind, name: str) -> str:
        chance = self.chance
        if chance.random() < 0.02:
            return "/" + "/".join(chance.choice(("api", "apis", "v1", "openapi", "v3", "..", "", "x")) for _ in range(3))
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        place = ""
        if kind.namespaced:
            place = f"/namespaces/{'default' if chance.random() < 0.8 else chance.choice(NAMESPACES)}"
        part = chance.choice(SUBRESOURCES) if name else ""
        return f"{root}{place}/{kind.plural}" + (f"/{name}" if name else "") + (f"/{part}" if part else "")

    def _body(self, method: str, media: str, kind: Kind, name: str) -> bytes:
        chance = self.chance
        if chance.random() < 0.05:
            return chance.randbytes(chance.randrange(60))
        if method == "DELETE":
            tree: Any = {key: self._odd() for key in ("dryRun", "preconditions", "gracePeriodSeconds") if chance.random() < 0.3}
        elif "json-patch" in media:
            tree = [self._operation() for _ in range(chance.randrange(4))]
        else:
            tree = self.tree(kind, name or chance.choice(NAMES[:4]))
        text = json.dumps(tree).encode()
        if chance.random() < 0.03:
            at = chance.randrange(len(text))
            text = text[:at] + chance.randbytes(1) + text[at + 1 :]
        return b"k8s\x00" + text if "protobuf" in media else text

    def _operation(self) -> Any:
        path = chance_path(self.chance)
        return {"op": self.chance.choice(("add", "remove", "replace", "test", "move", "copy", "odd")), "path": path, "from": path,
                "value": self._odd()} if self.chance.random() < 0.95 else self._odd()  # fmt: skip

    def tree(self, kind: Kind, name: str) -> Tree:
        """An object of a kind, more or less."""
        made = self._value({**kind.schema, "type": "object"}, 0)
        tree: Tree = made if isinstance(made, dict) else {"spec": made}
        tree["apiVersion"], tree["kind"] = kind.api_version, kind.kind
        metadata: Tree = {"name": name, "labels": {"a": "b"}}
        for key in ("annotations", "finalizers", "ownerReferences", "resourceVersion", "uid", "generateName", "managedFields",
                    "creationTimestamp", "deletionTimestamp", "generation", "namespace", "labels"):  # fmt: skip
            if self.chance.random() < 0.04:
                metadata[key] = self._odd()
        tree["metadata"] = metadata if self.chance.random() < 0.98 else self._odd()
        if self.chance.random() < 0.02:
            tree[self.chance.choice(("apiVersion", "kind", "extra"))] = self._odd()
        return tree

    def _value(self, schema: Tree, depth: int) -> Any:
        chance = self.chance
        if chance.random() < 0.015 or depth > DEPTH_MAX:
            return self._odd()
        if schema.get("enum"):
            return chance.choice(schema["enum"])
        if schema.get("x-kubernetes-int-or-string"):
            return chance.choice((1, "25%", "a", 8080))
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return [self._value(schema.get("items") or {}, depth + 1) for _ in range(chance.choice((0, 1, 1, 2)))]
            case "integer":
                return chance.choice((0, 1, 2, 80, 30000, -1))
            case "number":
                return chance.choice((0, 1.5, -2))
            case "boolean":
                return chance.random() < 0.5
            case "string":
                return chance.choice(("a", "b", "Always", "TCP", "1Gi", "100m", "10.0.0.1", "/x", "", "2026-01-01T00:00:00Z"))
        return self._odd()

    def _object(self, schema: Tree, depth: int) -> Tree:
        properties: Tree = schema.get("properties") or {}
        required = schema.get("required") or ()
        share = 0.9 if len(properties) < 4 else 2.5 / len(properties)
        made = {
            name: self._value(node, depth + 1) for name, node in properties.items()
            if name not in ("apiVersion", "kind", "metadata") or depth
            if (name in required and self.chance.random() < 0.97) or self.chance.random() < share
        }  # fmt: skip
        if self.chance.random() < 0.01:
            made[self.chance.choice(DIRECTIVES)] = self._odd()
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and self.chance.random() < 0.7:
            made[self.chance.choice(("a", "app", "x/y", ""))] = self._value(extra, depth + 1)
        return made

    def _odd(self) -> Any:
        return copy.deepcopy(self.chance.choice(ODD))  # what is drawn may get further fields


def chance_path(chance: random.Random) -> Any:
    """A JSON pointer, more or less."""
    parts = ("metadata", "labels", "a", "spec", "replicas", "0", "-", "status", "containers", "", "~1", "~", "finalizers")
    if chance.random() < 0.05:
        return chance.choice(ODD)
    return "".join("/" + chance.choice(parts) for _ in range(chance.randrange(4)))
