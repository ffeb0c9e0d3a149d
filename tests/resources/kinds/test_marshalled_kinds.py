"""Every built-in kind in protobuf, as answers have it: against Google's parser, our own reader, and bytes of a real client."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds, question_kinds
from reconcile.resources.wire import wire_tables
from reconcile.runtime.api.http.marshalling import Marshaller
from reconcile.runtime.api.http.protobuf import Messages, envelope
from tests.protobuf_oracle import Made, Oracle

Tree = dict[str, Any]
TABLES = wire_tables()
MARSHALLER, READER, ORACLE = Marshaller(TABLES), Messages(TABLES), Oracle(TABLES)
RECORDED = json.loads(Path(__file__).with_name("bodies-of-a-real-kubectl.json").read_text())
KINDS = [kind_of(cls) for cls in (*builtin_kinds(), *question_kinds())]
NAMES = [
    *(f"{kind.api_version}.{kind.kind}" for kind in KINDS), "autoscaling/v1.Scale", "policy/v1.Eviction", "v1.Binding",
    "meta.k8s.io/v1.Status", "meta.k8s.io/v1.PartialObjectMetadata", "meta.k8s.io/v1.APIGroupList",
    "meta.k8s.io/v1.APIResourceList", "meta.k8s.io/v1.APIVersions", "apiextensions.k8s.io/v1.JSONSchemaProps",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=3)
@given(st.integers(0, 1 << 32))
@example(7)
def test_an_object_of_any_kind_comes_back_from_its_bytes(name: str, seed: int) -> None:
    """A wrong number, wire type or length is another object to a client, or none."""
    tree = Made(TABLES, random.Random(seed)).tree(name)
    raw = MARSHALLER.message(name)(tree)
    assert ORACLE.tree(name, raw) == tree
    assert READER.tree(name, raw) == shown(name, tree)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["command"])
def test_the_bytes_mean_what_those_of_a_real_client_mean(recorded: Tree) -> None:
    """Go writes empty texts and zeros, too, where we write nothing: beyond those, the fields must be the same."""
    outer = envelope(bytes.fromhex(recorded["body"]))
    name = f"{outer.api_version}.{outer.kind}"
    theirs = ORACLE.tree(name, outer.raw)
    ours = ORACLE.tree(name, MARSHALLER.message(name)(recorded["object"]))
    assert bare(ours) == bare(theirs)


def test_kinds_of_users_are_not_covered_and_all_others_are() -> None:
    """What is not covered is answered in JSON, or refused."""
    assert all(MARSHALLER.covers(kind.api_version, kind.kind) for kind in KINDS)
    assert not MARSHALLER.covers("example.com/v1", "WebSite")
    assert not MARSHALLER.covers("meta.k8s.io/v1", "Table")


def shown(message: str, tree: Tree) -> Tree:
    """The object as our reader has it: without what Go's omitempty leaves out."""
    made: Tree = {}
    for name, type_ in TABLES[message].values():
        bare_type = type_.rstrip("?").strip("[]{}>")
        if type_[0] == ">":
            made.update(shown(bare_type, tree))
        elif name in tree and not (type_.endswith("?") and tree[name] in ("", 0, False)):
            made[name] = shown_value(bare_type, tree[name], type_[:2])
    return made


def shown_value(message: str, value: Any, container: str) -> Any:
    if container == "[]":
        return [shown_value(message, each, "") for each in value]
    if container == "{}":
        return {key: shown_value(message, each, "") for key, each in value.items()}
    if message[0] != "|":
        return shown(message, value) if message in TABLES else value
    for _, type_ in TABLES[message[1:]].values():
        if isinstance(value, dict) and type_ in TABLES:
            return shown(type_, value)
        if isinstance(value, list) and type_[:2] == "[]":
            return [shown_value(type_[2:], each, "") for each in value]
    return value


def bare(tree: Any) -> Any:
    """A tree without what is empty."""
    if isinstance(tree, dict):
        made = {key: bare(value) for key, value in tree.items()}
        return {key: value for key, value in made.items() if value not in (None, "", 0, False, [], {})}
    return [bare(each) for each in tree] if isinstance(tree, list) else tree
