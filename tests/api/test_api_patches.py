"""JSON, merge and strategic merge patches as pure functions."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcile.errors import ApiError, BadRequestError, InvalidError
from reconcile.runtime.api.jsonpatch import apply_json_patch, equal
from reconcile.runtime.api.mergepatch import apply_merge_patch
from reconcile.runtime.api.strategic import apply_strategic_patch

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "y"])
names = st.sampled_from(["a", "b", "c/d", "e~f", "0"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
documents = st.dictionaries(names, values, max_size=4)
steps = st.sampled_from(["a", "b", "c~1d", "e~0f", "0", "1", "-"])
pointers = st.lists(steps, min_size=1, max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts))
operations = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": pointers, "value": values}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": pointers}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": pointers, "from": pointers}),
)


def has_bool(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, bool) or any(map(has_bool, items))


@settings(max_examples=400, deadline=None)
@given(documents, st.lists(operations, max_size=4))
def test_a_json_patch_does_what_the_oracle_does_and_leaves_the_original_alone(document: Any, patch: list[Any]) -> None:
    """The store hands out shared trees: one changed in place corrupts every cache."""
    before = copy.deepcopy(document)
    try:
        wanted, failed = jsonpatch.apply_patch(copy.deepcopy(document), copy.deepcopy(patch)), False
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
        wanted, failed = None, True
    try:
        found, refused = apply_json_patch(document, patch), False
    except ApiError:
        found, refused = None, True
    assert equal(document, before)
    # The oracle follows the RFC and Python: True is 1, "-" may be read, what is not there can be neither replaced nor copied.
    lenient = any(
        o["op"] == "test" and (has_bool(o["value"]) or o["value"] in (0, 1, None) or isinstance(o["value"], list | dict))
        for o in patch
    )
    odd = any("-" in o["path"] + o.get("from", "") or o["op"] in ("move", "copy", "replace", "test") for o in patch)
    if not lenient and not odd:
        assert refused == failed
    if not refused and not failed:
        assert found == wanted


DOCUMENT = {"a": {"k": "v"}, "l": ["x", "y"], "s": "t"}


@pytest.mark.parametrize(
    ("operations", "made"),
    [
        ([{"op": "replace", "path": "/a/new", "value": 1}], {**DOCUMENT, "a": {"k": "v", "new": 1}}),
        ([{"op": "add", "path": "/a/new"}], {**DOCUMENT, "a": {"k": "v", "new": None}}),
        ([{"op": "copy", "from": "/a/nosuch", "path": "/a/new"}], {**DOCUMENT, "a": {"k": "v", "new": None}}),
        ([{"op": "add", "path": "/l/-1", "value": "z"}], {**DOCUMENT, "l": ["x", "y", "z"]}),
        ([{"op": "remove", "path": "/l/-1"}, {"op": "replace", "path": "/l/-1", "value": "z"}], {**DOCUMENT, "l": ["z"]}),
        ([{"op": "test", "path": "/nosuch", "value": None}, {"op": "test", "path": "/nosuch"}], DOCUMENT),
        ([{"op": "replace", "path": "", "value": {"b": 1}}], {"b": 1}),
        ([{"op": "move", "from": "/a/k", "path": "/l/0"}], {**DOCUMENT, "a": {}, "l": ["v", "x", "y"]}),
    ],
)
def test_a_json_patch_is_as_lenient_as_the_references(operations: Any, made: Any) -> None:
    """Clients have come to rely on it: a patch that works there must work here."""
    assert apply_json_patch(DOCUMENT, operations) == made


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ({"op": "remove", "path": "/a/x"},
         "error in remove for path: '/a/x': Unable to remove nonexistent key: x: missing value"),
        ({"op": "remove", "path": "/x/y"}, 'remove operation does not apply: doc is missing path: "/x/y": missing value'),
        ({"op": "remove", "path": ""}, 'remove operation does not apply: doc is missing path: "": missing value'),
        ({"op": "remove", "path": "/l/5"},
         "error in remove for path: '/l/5': Unable to access invalid index: 5: invalid index referenced"),
        ({"op": "remove", "path": "/l/-3"},
         "error in remove for path: '/l/-3': Unable to access invalid index: -3: invalid index referenced"),
        ({"op": "add", "path": "/s/x", "value": 1}, 'add operation does not apply: doc is missing path: "/s/x": missing value'),
        ({"op": "add", "path": "/l/x", "value": 1},
         "error in add for path: '/l/x': value was not a proper array index: 'x': strconv.Atoi: parsing \"x\": invalid syntax"),
        ({"op": "add", "path": "/l/9", "value": 1},
         "error in add for path: '/l/9': Unable to access invalid index: 9: invalid index referenced"),
        ({"op": "replace", "path": "/l/9", "value": 1},
         "replace operation does not apply: doc is missing key: /l/9: missing value"),
        ({"op": "replace", "path": "/x/y"}, "replace operation does not apply: doc is missing path: /x/y: missing value"),
        ({"op": "replace", "path": "", "value": 1}, "replace operation value must be object or array"),
        ({"op": "test", "path": "/x/y", "value": 1}, "test operation does not apply: is missing path: /x/y: missing value"),
        ({"op": "test", "path": "/l/x"}, 'error in test for path: \'/l/x\': strconv.Atoi: parsing "x": invalid syntax'),
        ({"op": "move", "from": "/a/x", "path": "/b"},
         "error in move for path: 'x': Unable to remove nonexistent key: x: missing value"),
        ({"op": "move", "from": "/a", "path": "/a/x"},
         "move operation does not apply: doc is missing destination path: /a/x: missing value"),
        ({"op": "move", "from": "/x/y", "path": "/a/x"},
         "move operation does not apply: doc is missing from path: /x/y: missing value"),
        ({"op": "move", "path": "/a/x"}, "move operation failed to decode from: operation, missing from field: missing value"),
        ({"op": "copy", "from": "/x/y", "path": "/a/x"},
         "copy operation does not apply: doc is missing from path: /x/y: missing value"),
        ({"op": "copy", "from": "/l/7", "path": "/a/x"},
         "error in copy for from: '/l/7': Unable to access invalid index: 7: invalid index referenced"),
        ({"op": "copy", "from": "/s", "path": "/x/y"},
         "copy operation does not apply: doc is missing destination path: /x/y: missing value"),
        ({"op": "copy", "from": "/s", "path": "/l/7"},
         "error while adding value during copy: Unable to access invalid index: 7: invalid index referenced"),
        ({"op": "sing", "path": "/a"}, "Unexpected kind: sing"), ({"path": "/a"}, "Unexpected kind: unknown"),
        ({"op": "test"}, "test operation failed to decode path: operation missing path field: missing value"),
        ({"op": "add"}, "add operation failed to decode path: missing value"),
    ],
)  # fmt: skip
def test_what_a_json_patch_cannot_do_is_told_in_the_references_words(operation: Any, why: str) -> None:
    """Those of its library, which reach whoever wrote a policy that patches."""
    with pytest.raises(InvalidError) as refused:
        apply_json_patch(DOCUMENT, [operation])
    assert refused.value.message == f"the server rejected our request due to an error in our request: {why}"


def test_a_json_patch_shares_what_it_does_not_touch() -> None:
    """Copying whole objects for each patch is what makes patches slow."""
    document = {"a": {"x": [1]}, "b": {"y": [2]}}
    patched = apply_json_patch(document, [{"op": "add", "path": "/a/z", "value": 1}])
    assert patched["b"] is document["b"]
    assert patched["a"]["x"] is document["a"]["x"]
    assert document == {"a": {"x": [1]}, "b": {"y": [2]}}


def test_a_failed_test_refuses_the_whole_json_patch() -> None:
    """Clients use `test` as a compare-and-swap; kopf reads the 422."""
    with pytest.raises(InvalidError, match="testing value /a failed: test failed"):
        apply_json_patch({"a": 1}, [{"op": "replace", "path": "/a", "value": 2}, {"op": "test", "path": "/a", "value": True}])


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ({}, "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        (["x"], "error decoding patch: json: cannot unmarshal string into Go value of type handlers.jsonPatchOp"),
    ],
)
def test_what_is_no_json_patch_is_a_bad_request(patch: Any, why: str) -> None:
    """A malformed patch is the client's mistake, not the object's."""
    with pytest.raises(BadRequestError) as refused:
        apply_json_patch({}, patch)
    assert refused.value.message == why


@pytest.mark.parametrize(
    ("document", "patch", "wanted"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, {"b": {"c": {"d": None}}}, {"a": "foo", "b": {"c": {}}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": 1}, {"a": True}, {"a": True}),
    ],
)  # fmt: skip
def test_a_merge_patch_follows_the_examples_of_the_rfc(document: Any, patch: Any, wanted: Any) -> None:
    """RFC 7386, appendix A."""
    before = copy.deepcopy(document)
    assert equal(apply_merge_patch(document, patch), wanted)
    assert document == before


def test_a_merge_patch_that_changes_nothing_gives_the_very_same_object() -> None:
    """That is how a write that changes nothing is noticed without comparing whole objects."""
    document = {"a": {"b": 1}, "c": [1]}
    assert apply_merge_patch(document, {"a": {"b": 1, "z": None}, "c": [1]}) is document


SCHEMA = {
    "properties": {
        "items": {
            "type": "array", "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name",
            "items": {"properties": {"args": {"type": "array"}}},
        },
        "tags": {"type": "array", "x-kubernetes-patch-strategy": "merge"},
        "strategy": {"type": "object", "x-kubernetes-patch-strategy": "retainKeys"},
        "whole": {"type": "object", "x-kubernetes-patch-strategy": "replace"},
    }
}  # fmt: skip


@pytest.mark.parametrize(
    ("document", "patch", "wanted"),
    [
        ({"items": [{"name": "a", "x": 1}]}, {"items": [{"name": "b"}]}, {"items": [{"name": "b"}, {"name": "a", "x": 1}]}),
        ({"items": [{"name": "a", "x": 1}]}, {"items": [{"name": "a", "y": 2}]}, {"items": [{"name": "a", "x": 1, "y": 2}]}),
        ({"items": [{"name": "a"}, {"name": "b"}]}, {"items": [{"name": "a", "$patch": "delete"}]}, {"items": [{"name": "b"}]}),
        ({"items": [{"name": "a"}]}, {"items": [{"$patch": "replace"}, {"name": "z"}]}, {"items": [{"name": "z"}]}),
        ({"items": [{"name": "a", "args": [1, 2]}]}, {"items": [{"name": "a", "args": [3]}]},
         {"items": [{"name": "a", "args": [3]}]}),
        ({"tags": ["a"]}, {"tags": ["b", "a"]}, {"tags": ["b", "a"]}),
        ({"tags": ["a", "b"]}, {"$deleteFromPrimitiveList/tags": ["a"]}, {"tags": ["b"]}),
        ({"strategy": {"type": "R", "r": {}}}, {"strategy": {"$retainKeys": ["type"], "type": "S"}}, {"strategy": {"type": "S"}}),
        ({"whole": {"a": 1}}, {"whole": {"b": 2}}, {"whole": {"b": 2}}),
        ({"other": {"a": 1}}, {"other": {"$patch": "replace", "b": 2}}, {"other": {"b": 2}}),
        ({"other": {"a": 1}, "x": 1}, {"x": None}, {"other": {"a": 1}}),
        (
            {"items": [{"name": "a"}, {"name": "b"}]},
            {"$setElementOrder/items": [{"name": "b"}, {"name": "a"}], "items": [{"name": "c"}]},
            {"items": [{"name": "b"}, {"name": "a"}, {"name": "c"}]},
        ),
    ],
)  # fmt: skip
def test_a_strategic_patch_merges_as_the_schema_says(document: Any, patch: Any, wanted: Any) -> None:
    """kubectl edit, set and scale depend on each of these."""
    before = copy.deepcopy(document)
    assert apply_strategic_patch(document, patch, SCHEMA) == wanted
    assert document == before


def test_an_item_without_its_merge_key_is_refused_with_the_reference_text() -> None:
    """Otherwise it would silently become a second item."""
    with pytest.raises(BadRequestError, match="does not contain declared merge key: name"):
        apply_strategic_patch({"items": []}, {"items": [{"x": 1}]}, SCHEMA)
