"""Laws of server-side apply that hold whatever several managers apply in whatever order."""

from __future__ import annotations

import copy
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.runtime.api.apply import applied
from reconcile.runtime.api.catalog import Served
from reconcile.runtime.api.fieldsets import difference, intersection, union
from reconcile.runtime.api.ownership import owners_of
from reconcile.runtime.api.structure import changes, elements, rooted

PORTS: Tree = {
    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
    "items": {"type": "object", "properties": {
        "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"},
    }},
}  # fmt: skip
SPEC: Tree = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "data": {"type": "object", "additionalProperties": {"type": "string"}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "args": {"type": "array", "items": {"type": "string"}},
        "selector": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "items": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "image": {"type": "string"}, "ports": PORTS,
            }},
        },
    },
}  # fmt: skip
SERVED = Served(
    Kind("x.com", "v1", "Thing", "things", schema_given={"type": "object", "properties": {"spec": SPEC}}), provider=None
)

words = st.sampled_from(["a", "b", "c"])
texts = st.dictionaries(words, words, max_size=2)
ports = st.lists(
    st.fixed_dictionaries({"port": st.integers(1, 2)}, optional={"name": words}), max_size=2, unique_by=lambda p: p["port"]
)
items = st.lists(
    st.fixed_dictionaries({"name": words}, optional={"image": words, "ports": ports}), max_size=3, unique_by=lambda i: i["name"]
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 2), "data": texts, "tags": st.lists(words, unique=True, max_size=2),
        "args": st.lists(words, max_size=2), "selector": texts, "items": items,
    },
)  # fmt: skip
histories = st.lists(st.tuples(st.sampled_from(["ann", "bob", "eve"]), specs), min_size=1, max_size=6)


def apply(live: Tree | None, manager: str, spec: Tree) -> Tree:
    body = {"apiVersion": "x.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec}
    applying = applied(SERVED, live, body, manager, "", True, 0.0)
    try:
        applying.send(None)  # nothing is to be waited for where nothing is converted
    except StopIteration as done:
        return cast(Tree, done.value)
    raise AssertionError("it waits for somebody")


def holds(value: Any, config: Any, schema: Tree) -> bool:
    """Whether `value` says everything that `config` says."""
    if isinstance(config, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        inner = schema.get("properties") or {}
        return all(
            (not item and isinstance(item, list | dict) and not value.get(key))
            or (key in value and holds(value[key], item, inner.get(key, {})))
            for key, item in config.items()
        )
    if isinstance(config, list) and "x-kubernetes-list-type" in schema:
        there = elements(value, schema)
        return all(name in there and holds(there[name], item, schema["items"]) for name, item in elements(config, schema).items())
    return bool(value == config)


@settings(max_examples=150, deadline=None)
@given(histories)
def test_what_is_applied_is_there_owned_by_who_applied_it_and_stable(history: list[tuple[str, Tree]]) -> None:
    """Four laws at once: nothing applied is lost, applying again changes nothing, owners own what exists, inputs stay."""
    live: Tree | None = None
    for manager, spec in history:
        before = copy.deepcopy(live)
        after = apply(live, manager, spec)
        assert live == before
        assert holds(after.get("spec", {}), spec, SPEC), (before, manager, spec, after)
        assert apply(after, manager, spec) == after
        present = changes({}, after, rooted(SERVED.schema))[0]
        for owner in owners_of(after["metadata"]):
            assert not (lost := difference(owner.fields, present)), (owner.manager, lost, after)
        live = after
    assert live is not None
    for manager in ("ann", "bob", "eve"):
        live = apply(live, manager, {})
    assert not live.get("spec"), live


sets: Any = st.recursive(
    st.just({}),
    lambda inner: (
        st.dictionaries(st.sampled_from(["f:a", "f:b", 'k:{"n":1}']), inner, min_size=1, max_size=3)
        | st.dictionaries(st.sampled_from(["f:a", "f:b"]), inner, min_size=1, max_size=2).map(lambda d: {**d, ".": {}})
    ),
    max_leaves=8,
)
tops: Any = st.dictionaries(st.sampled_from(["f:x", "f:y"]), sets, max_size=2)


@settings(max_examples=150, deadline=None)
@given(tops, tops)
def test_field_sets_are_sets(left: Any, right: Any) -> None:
    """Union, difference and intersection that disagree lose owners."""
    both = intersection(left, right)
    assert both == intersection(right, left)
    assert union(left, right) == union(right, left)
    assert union(difference(left, right), both) == left
    assert intersection(difference(left, right), right) == {}
    assert difference(left, left) == {}
    assert union(left, left) == left
