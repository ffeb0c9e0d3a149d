"""Objects of each kind: what is made of the least that it takes, and what is said of each field that is wrong.

The wrong ones are made by the reference's own schema: every field of it (to a depth, once for each place in it) gets values of
the wrong type, below zero, empty, or badly spelled, and is asked for with `dryRun=All`, so that nothing stays behind.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .asking import Ask, Tree

STRICT = "fieldValidation=Strict"
DEPTH_MAX = 9
_BAD: dict[str, tuple[Any, ...]] = {
    "string": ("", "Bad_Value!", "x" * 300, 7), "integer": (-1, 0, 70_000, "x"), "number": (-1,), "boolean": ("x",),
}  # fmt: skip


class Served(NamedTuple):
    """An object of the file, and where its kind is served."""

    tree: Tree
    group_path: str
    plural: str
    namespaced: bool

    @property
    def about(self) -> str:
        """What a report calls its kind."""
        return f"{self.tree['apiVersion']} {self.tree['kind']}"

    def path(self, namespace: str, name: str = "") -> str:
        """Of its collection, or of an object."""
        place = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{self.group_path}{place}/{self.plural}" + (f"/{name}" if name else "")


def objects(find: Any, namespace: str) -> list[Served]:
    """All of the file; `find` gives the resource of an apiVersion and kind."""
    served = []
    for tree in yaml.safe_load_all(Path(__file__).with_name("objects.yaml").read_text().replace("NAMESPACE", namespace)):
        version = tree["apiVersion"]
        resource = find(version, tree["kind"])
        served.append(Served(tree, f"/apis/{version}" if "/" in version else f"/api/{version}", *resource))
    return served


def creation(one: Served, namespace: str, tree: Tree | None = None, query: str = "", about: str = "") -> Ask:
    """Create it, or what was made of it."""
    target = one.path(namespace) + (f"?{query}" if query else "")
    return Ask(about or f"create {one.about}", "POST", target, tree or one.tree, {"Content-Type": "application/json"})


class Schemas:
    """The schemas of one OpenAPI v3 document."""

    def __init__(self, document: Tree) -> None:
        self._schemas: Tree = (document.get("components") or {}).get("schemas") or {}

    def of_kind(self, group: str, version: str, kind: str) -> Tree | None:
        """The schema of a kind."""
        for schema in self._schemas.values():
            for named in schema.get("x-kubernetes-group-version-kind") or ():
                if named == {"group": group, "version": version, "kind": kind}:
                    return self.whole(schema)
        return None

    def whole(self, schema: Tree) -> Tree:
        """A schema with what it refers to in its place."""
        while True:
            inner = schema.get("allOf")
            reference = schema.get("$ref") or (inner[0].get("$ref") if inner else None)
            if reference is None:
                return schema
            schema = self._schemas[reference.rpartition("/")[2]]


Step = str | int


def leaves(schemas: Schemas, schema: Tree, tree: Any, where: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], Tree]]:
    """The path and the schema of each field that has no fields of its own. Lists: of their first item."""
    schema = schemas.whole(schema)
    if len(where) > DEPTH_MAX:
        return
    kind = schema.get("type")
    if where:
        yield where, schema
    if kind == "array":
        first = tree[0] if isinstance(tree, list) and tree else None
        yield from leaves(schemas, schema.get("items") or {}, first, (*where, 0))
    elif kind == "object":
        for name, inner in (schema.get("properties") or {}).items():
            if where or name not in ("apiVersion", "kind", "metadata", "status"):
                present = tree.get(name) if isinstance(tree, dict) else None
                yield from leaves(schemas, inner, present, (*where, name))


def put(tree: Tree, where: tuple[Step, ...], value: Any) -> Tree:
    """A copy with a value at a path; what is missing on the way is made."""
    made = copy.deepcopy(tree)
    at: Any = made
    for step, following in zip(where, (*where[1:], None), strict=True):
        last = following is None
        if isinstance(step, int):
            while len(at) <= step:
                at.append([] if isinstance(following, int) else {})
            if last:
                at[step] = value
            at = at[step]
        elif last:
            at[step] = value
        else:
            if at.get(step) is None:
                at[step] = [] if isinstance(following, int) else {}
            at = at[step]
    return made


def bad(one: Served, schemas: Schemas, schema: Tree, namespace: str) -> Iterator[Ask]:
    """Requests for objects with one field wrong, each a dry run."""
    for where, leaf in leaves(schemas, schema, one.tree):
        kind = leaf.get("type", "string")
        if kind == "array":
            values: tuple[Any, ...] = ([], "x", [{}])
        elif kind == "object":
            values = ({}, "x", {"Bad Key": "v"}) if "additionalProperties" in leaf else ({}, "x")
        else:
            values = _BAD[kind]
        spelled = ".".join(map(str, where))
        for value in values:
            about = f"{one.tree['kind']} {spelled} = {str(value)[:20]!r}"
            yield creation(one, namespace, put(one.tree, where, value), "dryRun=All", about)
    yield creation(one, namespace, {**one.tree, "bogus": 1}, f"dryRun=All&{STRICT}", f"{one.about} with an unknown field")
