"""Expressions that say how an object is to be changed: what they come to, and what is told where they make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.expressions import BrokenExpressionError, EvaluationError

pytest.importorskip("cel_expr_python")
from reconcile.expressions.mutations import Patch, compile_mutation

VARIABLES = ("object", "x")
MATCHES = "which matches field name path from root Object type"
VALUES = {"object": {"spec": {"replicas": 3}}, "x": True}


def value(text: str, kind: Patch) -> Any:
    mutation = compile_mutation(text, VARIABLES, kind)
    found = mutation.expression.evaluate(VALUES)
    return mutation.configuration_of(found) if kind == "Object" else mutation.operations_of(found)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Object{}", {}),
        ("Object{spec: Object.spec{replicas: object.spec.replicas + 1}}", {"spec": {"replicas": 4}}),
        ("Object {spec: Object . spec {a: 1,},}", {"spec": {"a": 1}}),
        ("Object{// a } comment\n spec: Object.spec{ // and } another\n a: '}'}}", {"spec": {"a": "}"}}),
        ("Object{spec: Object.spec{l: [Object.spec.l{a: 1}, Object.spec.l{}]}}", {"spec": {"l": [{"a": 1}, {}]}}),
        ("Object{spec: Object.spec{m: {'k': Object.spec.m{a: 1}}}}", {"spec": {"m": {"k": {"a": 1}}}}),
        ("Object{?spec: optional.none()}", {}),
        ("Object{?spec: optional.of(Object.spec{a: 1}), b: 2}", {"spec": {"a": 1}, "b": 2}),
        ("Object{?spec: optional.ofNonZeroValue(Object.spec{?a: Object{}.?a})}", {}),
        ("Object{?spec: optional.ofNonZeroValue(Object.spec{?a: optional.of(1)})}", {"spec": {"a": 1}}),
        ("x ? Object{a: 1} : Object{b: 'c'}", {"a": 1}),
        ("Object{spec: object.spec}", {"spec": {"replicas": 3}}),
        ("Object{a: [1, 2, 3].map(i, Object.a{i: i * 2})}", {"a": [{"i": 2}, {"i": 4}, {"i": 6}]}),
        ("Object{a: {'k': 1}.transformMap(k, v, Object.a{v: v})}", {"a": {"k": {"v": 1}}}),
        ("Object{a: Object{l: [1, 2, 3]}.l.sum()}", {"a": 6}),
        ("Object{a: Object{b: 1} == Object{b: 1}, c: Object{b: 1} == Object{b: 2}}", {"a": True, "c": False}),
        ("Object{a: has(Object{b: 1}.b), c: has(Object{b: 1}.c)}", {"a": True, "c": False}),
        ("Object{foo_bar: 1, fooBar: 2, Object: 3}", {"foo_bar": 1, "fooBar": 2, "Object": 3}),
        ("Object{a: duration('90s'), b: timestamp('2026-01-02T03:04:05Z'), c: b'hi'}",
         {"a": "90s", "b": "2026-01-02T03:04:05Z", "c": "aGk="}),
        ("Object{a: 'Object{b: 1}'}", {"a": "Object{b: 1}"}),
    ],
)  # fmt: skip
def test_an_apply_configuration(text: str, made: Any) -> None:
    """Types have any name that a field may have."""
    assert value(text, "Object") == made


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("[JSONPatch{op: 'add', path: '/a', value: 1}]", [{"op": "add", "path": "/a", "value": 1}]),
        ("[JSONPatch{op: 'move', from: '/a', path: '/b'}]", [{"op": "move", "from": "/a", "path": "/b"}]),
        ("[JSONPatch{op: 'add', path: '/a', value: null}]", [{"op": "add", "path": "/a", "value": None}]),
        ("x ? [JSONPatch{op: 'remove', path: '/a'}] : []", [{"op": "remove", "path": "/a"}]),
        ("['a/b', 'c~d'].map(k, JSONPatch{op: 'remove', path: '/' + jsonpatch.escapeKey(k)})",
         [{"op": "remove", "path": "/a~1b"}, {"op": "remove", "path": "/c~0d"}]),
        ("[JSONPatch{op: 'add', path: '/a', value: Object.a{b: Object.a.b{c: [1]}}}]",
         [{"op": "add", "path": "/a", "value": {"b": {"c": [1]}}}]),
        ("[JSONPatch{op: JSONPatch{op: 'add'}.op, path: string(has(JSONPatch{}.path))}]", [{"op": "add", "path": "false"}]),
        ("[JSONPatch{}]", [{"op": "", "path": ""}]),
    ],
)  # fmt: skip
def test_a_json_patch(text: str, made: Any) -> None:
    """Its values are any that JSON has."""
    assert value(text, "JSONPatch") == made


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("'a'", "Object", "must evaluate to Object but got string"),
        ("Object.spec{}", "Object", "must evaluate to Object but got Object.spec"),
        ("{'a': 1}", "Object", "must evaluate to Object but got map(string, int)"),
        ("object", "Object", "must evaluate to Object but got dyn"),
        ("JSONPatch{}", "JSONPatch", "must evaluate to list(JSONPatch) but got JSONPatch"),
        ("[JSONPatch{op: 1}]", "JSONPatch", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("[JSONPatch{nosuch: 1}]", "JSONPatch", "undefined field 'nosuch'"),
        ("Object{\n  a: Invalid{}}", "Object", "ERROR: <input>:2:13: undeclared reference to 'Invalid'"),
        ("Object{a: nosuch}", "Object", "undeclared reference to 'nosuch'"),
        ("x ? Object{} : Object.spec{}", "Object", "no matching overload for '_?_:_' applied to '(dyn, Object, Object.spec)'"),
        ("Object{a: 1", "Object", "Syntax error"),
        ("  ", "Object", "it is empty"),
    ],
)
def test_what_makes_no_sense_does_not_compile(text: str, kind: Patch, why: str) -> None:
    """At the place where it stands, and with types named as they were written."""
    with pytest.raises(BrokenExpressionError) as broken:
        compile_mutation(text, VARIABLES, kind)
    assert why in str(broken.value)


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        (
            "Object{spec: Object.spec{a: Object.a{b: 1}, c: [Object.c{d: 1}]}}", "Object",
            f'"Object.a", expected "Object.spec.a", {MATCHES}\nunexpected type name "Object.c", expected "Object.spec.c"',
        ),
        ("[JSONPatch{value: Object.a{b: Object.c{d: 1}}}]", "JSONPatch", 'expected "Object.a.b"'),
        ("Object{a: {1: 2}}", "Object", 'map key "1" is of type int, not string'),
        ("Object{a: object.nosuch}", "Object", "no such key: nosuch"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_told_when_it_is_evaluated(text: str, kind: Patch, why: str) -> None:
    """Types of parts are only names, so that nobody can tell before."""
    with pytest.raises(EvaluationError) as broken:
        value(text, kind)
    assert why in str(broken.value)
