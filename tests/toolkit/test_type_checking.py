"""Expressions checked against schemas: what is wrong with their types, in the reference server's words."""

from __future__ import annotations

import pytest

from reconcile.errors import Tree
from reconcile.expressions import BrokenExpressionError

pytest.importorskip("cel_expr_python")
from reconcile.expressions.checking import NAMESPACE, REQUEST, Types, root_schema

TEXT: Tree = {"type": "string"}
SCHEMA = root_schema(
    {
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "replicas": {"type": "integer"}, "ratio": {"type": "number"}, "on": {"type": "boolean"},
                    "until": {**TEXT, "format": "date-time"}, "data": {**TEXT, "format": "byte"}, "namespace": TEXT, "x-y": TEXT,
                    "foo_bar": TEXT, "fooBar": {"type": "integer"},
                    "labels": {"type": "object", "additionalProperties": TEXT},
                    "lists": {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}},
                    "items": {"type": "array", "items": {"type": "object", "properties": {"name": TEXT}}},
                    "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                    "size": {"x-kubernetes-int-or-string": True}, "any": {"x-kubernetes-preserve-unknown-fields": True},
                },
            }
        }
    }
)  # fmt: skip


def types() -> Types:
    return Types({"object": SCHEMA, "oldObject": SCHEMA, "request": REQUEST, "namespaceObject": NAMESPACE}, ("authorizer",))


@pytest.mark.parametrize(
    "text",
    [
        "object.spec.replicas > 1 && object.spec.ratio > 1.5 && object.spec.on", "object.apiVersion + object.kind == 'a'",
        "object.spec.until > timestamp('2026-01-01T00:00:00Z') && object.spec.data == b'x'",
        "object.spec.namespace == object.spec.__namespace__ && object.spec.x__dash__y == 'a'",
        "object.spec.foo_bar == 'a' && object.spec.fooBar == 1", "object.spec.labels['a'].startsWith('b')",
        "has(object.spec.labels.a) && 'a' in object.spec.labels", "object.spec.lists['a'][0] == 'x'",
        "object.spec.items.all(i, i.name == 'a') && object.spec.grid[0][0] == 1",
        "object.spec.size == '10%' || object.spec.size == 10", "oldObject == null || object.spec == oldObject.spec",
        "object.metadata.labels.a == 'b' && object.metadata.ownerReferences[0].uid == ''",
        "object.?spec.?replicas.orValue(1) == 1",
        "request.userInfo.groups.exists(g, g == 'a') && request.dryRun", "namespaceObject.metadata.labels.a == 'b'",
        "authorizer.requestResource.check('x').allowed()",
    ],
)  # fmt: skip
def test_what_fits_is_not_complained_about(text: str) -> None:
    """A warning about something that works would be worse than none."""
    assert types().check(text).name() == "BOOL"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("object.spec.replicas > '1'",
         ("ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n"
         " | object.spec.replicas > '1'\n | .....................^")),
        ("'a' +\n  object.spec.replicas",
         "ERROR: <input>:1:5: found no matching overload for '_+_' applied to '(string, int)'\n | 'a' +\n | ....^"),
        ("object.spec.nosuch.a.b == 1",
         "ERROR: <input>:1:12: undefined field 'nosuch'\n | object.spec.nosuch.a.b == 1\n | ...........^"),
        ("object.spec.replicas.a",
         "ERROR: <input>:1:21: type 'int' does not support field selection\n | object.spec.replicas.a\n | ....................^"),
        ("object.spec.any == 1", "ERROR: <input>:1:12: undefined field 'any'\n | object.spec.any == 1\n | ...........^"),
        ("object.spec.items.all(i, i.nosuch)",
         "ERROR: <input>:1:27: undefined field 'nosuch'\n | object.spec.items.all(i, i.nosuch)\n | ..........................^"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_place(text: str, why: str) -> None:
    """As a compiler tells it, the line and all; and what follows from it is not told."""
    with pytest.raises(BrokenExpressionError) as broken:
        types().check(text)
    assert str(broken.value) == why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("quantity('1') + 1 == 2", "found no matching overload for '_+_' applied to '(kubernetes.Quantity, int)'"),
        ("quantity('1').isGreaterThan(semver('1.0.0'))",
         "found no matching overload for 'isGreaterThan' applied to 'kubernetes.Quantity.(kubernetes.Semver)'"),
        ("ip('1.2.3.4').containsIP('1')", "found no matching overload for 'containsIP' applied to 'net.IP.(string)'"),
        ("url('x').getHost() == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
        ("authorizer.group('').check('x').allowed()",
         "found no matching overload for 'check' applied to 'kubernetes.authorization.GroupCheck.(string)'"),
        ("duration('1s') > 1", "found no matching overload for '_>_' applied to '(duration, int)'"),
        ("'a'.findAll('b', 'c').size() == 1", "found no matching overload for 'findAll' applied to 'string.(string, string)'"),
        ("format.uuid().validate(1).hasValue()", "for 'validate' applied to '(kubernetes.NamedFormat, int)'"),
        ("1 == 1.0", "found no matching overload for '_==_' applied to '(int, double)'"),
    ],
)  # fmt: skip
def test_values_that_the_language_has_no_type_for_have_one_when_they_are_checked(text: str, why: str) -> None:
    """A comparison of a quantity with a number never holds; better to be told than to wonder."""
    with pytest.raises(BrokenExpressionError) as broken:
        types().check(text)
    assert why in str(broken.value)


@pytest.mark.parametrize(
    "text",
    [
        "quantity('1').add(1).sub(quantity('1')).isGreaterThan(quantity('2')) && sign(quantity('1')) == 1",
        "cidr('10.0.0.0/8').containsIP(ip('1.2.3.4')) && cidr('10.0.0.0/8').ip() == ip('1.2.3.4') && string(ip('::1')) == 'a'",
        "semver('v1', true).major() == 1 && url('x').getQuery()['a'][0] == 'b' && authorizer == authorizer",
        "authorizer.group('').resource('x').namespace('y').name('z').subresource('w').check('c').allowed()",
        "authorizer.serviceAccount('a', 'b').path('/').check('get').reason() == ''",
        "format.named('uuid').hasValue() && format.uuid().validate('x').value()[0] == 'y'",
        "1 < 1.5 && 2u >= 1 && object.spec.replicas < 1.5",
    ],
)
def test_values_of_such_types_can_be_used(text: str) -> None:
    """Each function takes what it takes when it is evaluated."""
    assert types().check(text).name() == "BOOL"


def test_variables_have_the_types_of_their_expressions() -> None:
    """One that does not compile may be anything, so that nothing else is complained about."""
    checked = types()
    checked.declare("variables.replicas", "object.spec.replicas")
    checked.declare("variables.names", "object.spec.items.map(i, i.name)")
    checked.declare("variables.broken", "object.spec.nosuch")
    checked.declare("variables.next", "variables.replicas + 1")
    assert checked.check("variables.next > 1 && variables.names[0] == 'a' && variables.broken == 1").name() == "BOOL"
    with pytest.raises(BrokenExpressionError, match=r"'_\+_' applied to '\(int, string\)'"):
        checked.check("variables.next + 'a'")


def test_a_schema_that_goes_in_circles_ends_somewhere() -> None:
    """Definitions of definitions do: below a depth, anything goes."""
    node: Tree = {"type": "object", "properties": {}}
    node["properties"]["inner"] = node
    checked = Types({"object": node})
    assert checked.check("object.inner.inner.inner == null").name() == "BOOL"
