"""The numbers of the built-in kinds' fields: against bytes of a real kubectl, and against the kinds themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconcile.kinds import Kind, ObjectMeta, kind_of
from reconcile.resources import builtin_kinds, question_kinds
from reconcile.resources.wire import wire_tables
from reconcile.runtime.api.http.protobuf import Messages, envelope
from reconcile.views import shape_of

Tree = dict[str, Any]
TABLES = wire_tables()
RECORDED = json.loads(Path(__file__).with_name("bodies-of-a-real-kubectl.json").read_text())
VALUES = {
    "string", "bytes", "bool", "int32", "int64", "double", "Time", "MicroTime", "IntOrString", "Quantity", "FieldsV1",
    "RawExtension", "Texts",
}  # fmt: skip
KINDS = [kind_of(cls) for cls in (*builtin_kinds(), *question_kinds())]
BESIDES = (
    "policy/v1.Eviction", "v1.Binding", "autoscaling/v1.Scale", "v1.ComponentStatus",
    *(f"meta.k8s.io/v1.{name}" for name in ("DeleteOptions", "Status", "PartialObjectMetadataList", "APIGroupList",
                                             "APIResourceList", "APIVersions")),
)  # fmt: skip


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["command"])
def test_what_kubectl_sends_is_what_it_would_have_sent_as_json(recorded: Tree) -> None:
    """Bytes that kubectl 1.36 sent to a recording server, and what the same command prints with --dry-run=client -o json."""
    outer = envelope(bytes.fromhex(recorded["body"]))
    tree = Messages(TABLES).tree(f"{outer.api_version}.{outer.kind}", outer.raw)
    assert {"apiVersion": outer.api_version, "kind": outer.kind, **tree} == recorded["object"]


def test_the_tables_are_whole_and_hold_nothing_else() -> None:
    """A type without a table would be a 500 for whoever sends it."""
    reached = set()
    waiting = [*BESIDES, *(f"{kind.api_version}.{kind.kind}" for kind in KINDS)]
    while waiting:
        message = waiting.pop()
        if message in reached:
            continue
        reached.add(message)
        numbers = list(map(int, TABLES[message]))
        assert numbers == sorted(set(numbers))
        for name, type_ in TABLES[message].values():
            bare = re.fullmatch(r"(?:\[\]|\{\}|>)?\|?([^?|]+)\??", type_)
            assert bare is not None, type_
            if bare[1] in VALUES:
                assert re.fullmatch(r"\$?[A-Za-z0-9-]+", name)
            else:
                waiting.append(bare[1])
    assert reached == set(TABLES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_field_that_a_kind_declares_has_a_number(kind: Kind) -> None:
    """A field without one would be lost without a word when a typed client writes the object."""
    missing = list(numberless(f"{kind.api_version}.{kind.kind}", kind.schema, kind.kind))
    assert missing == []


def test_metadata_is_read_whole() -> None:
    """Every object carries it."""
    names = {name for name, _ in TABLES["meta.k8s.io/v1.ObjectMeta"].values()}
    assert names - {"selfLink"} == {field.name for field in shape_of(ObjectMeta).fields.values()}


def numberless(message: str, schema: Tree, path: str) -> Iterator[str]:
    """The declared fields for which the table of `message` has no number."""
    fields = dict(named(message))
    for name, part in (schema.get("properties") or {}).items():
        if name in ("apiVersion", "kind") and path.count(".") == 0:
            continue
        type_ = fields.get(name, "").rstrip("?")
        if not type_:
            # Our conditions are all alike; of the reference's, only some know what they were observed at.
            if not f"{path}.{name}".endswith(".conditions.observedGeneration"):
                yield f"{path}.{name}"
            continue
        bare = type_.removeprefix("[]")
        if bare in TABLES:
            yield from numberless(bare, part.get("items", {}) if type_.startswith("[]") else part, f"{path}.{name}")


def named(message: str) -> Iterator[tuple[str, str]]:
    """The fields of a message by name, with those that stand in it of another."""
    for name, type_ in TABLES[message].values():
        if type_.startswith(">"):
            yield from named(type_[1:])
        else:
            yield name, type_
