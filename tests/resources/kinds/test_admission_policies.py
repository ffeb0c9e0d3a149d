"""Admission policies as objects: what is refused before anybody is judged by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconcile.errors import Cause, Tree
from reconcile.resources.stored import policy_rules
from reconcile.resources.stored.policy_rules import (
    validate_binding,
    validate_mutating_binding,
    validate_mutating_policy,
    validate_policy,
)

LABEL = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end "
    "with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)


def shown(causes: Iterator[Cause]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in causes]


def policy(**spec: object) -> Tree:
    rules = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}
    return {"spec": {"matchConstraints": rules, "validations": [{"expression": "true"}], **spec}}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, []),
        ({"variables": [{"name": "a", "expression": "1"}], "validations": [{"expression": "variables.a == 1"}]}, []),
        ({"matchConstraints": {}}, ["spec.matchConstraints.resourceRules: Required value"]),
        (
            {"validations": []},
            [
                f"spec.{name}: Required value: validations or auditAnnotations must contain at least one item"
                for name in ("validations", "auditAnnotations")
            ],
        ),
        ({"validations": [{}]}, ["spec.validations[0].expression: Required value: expression is not specified"]),
        (
            {"validations": [{"expression": "1 + 1"}]},
            ['spec.validations[0].expression: Invalid value: "1 + 1": must evaluate to bool but got int'],
        ),
        (
            {"validations": [{"expression": "true", "messageExpression": "1", "reason": "Unauthorized"}]},
            [
                'spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string but got int',
                (
                    'spec.validations[0].reason: Unsupported value: "Unauthorized": supported values: "Forbidden", "Invalid", '
                    '"RequestEntityTooLarge"'
                ),
            ],
        ),
        (
            {"variables": [{"name": "a", "expression": "1"}], "validations": [{"expression": "variables.b"}]},
            [
                (
                    'spec.validations[0].expression: Invalid value: "variables.b": compilation failed: ERROR: <input>:1:10: '
                    "undefined field 'b'\n | variables.b\n | .........^"
                )
            ],
        ),
        (
            {"variables": [{"name": "a", "expression": "1"}], "validations": [{"expression": "variables.a"}]},
            ['spec.validations[0].expression: Invalid value: "variables.a": must evaluate to bool but got int'],
        ),
        (
            {"validations": [{"expression": "object.spec.on"}]},
            ['spec.validations[0].expression: Invalid value: "object.spec.on": must evaluate to bool but got dyn'],
        ),
        ({"validations": [{"expression": "true", "messageExpression": "['b', 'a'].sort()[0]"}]}, []),
        (
            {"validations": [{"expression": "request.userInfo.username == 1"}]},
            [
                (
                    'spec.validations[0].expression: Invalid value: "request.userInfo.username == 1": compilation '
                    "failed: ERROR: <input>:1:27: found no matching overload for '_==_' applied to '(string, int)'\n"
                    " | request.userInfo.username == 1\n | ..........................^"
                )
            ],
        ),
        (
            {"paramKind": {"apiVersion": "a/b/c", "kind": "Config Map"}},
            [
                'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
                'spec.paramKind.kind: Invalid value: "Config Map": may have mixed case, but should otherwise match: ' + LABEL,
            ],
        ),
        (
            {"variables": [{"name": "b-c", "expression": "1"}]},
            ['spec.variables[0].name: Invalid value: "b-c": must be a valid CEL identifier'],
        ),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(spec: Tree, says: list[str]) -> None:
    """At the place, and before it keeps everybody from writing."""
    pytest.importorskip("cel_expr_python")
    assert shown(validate_policy(policy(**spec), None)) == says


def test_a_policy_that_says_nothing_is_refused() -> None:
    """The fuzzer sent one, and was answered 500."""
    assert shown(validate_policy({"metadata": {"name": "a"}}, None)) == [
        "spec.matchConstraints: Required value",
        "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
        "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
    ]


def test_an_expression_that_does_not_compile_is_refused_with_its_place() -> None:
    """And one that was stored stays editable in everything else."""
    pytest.importorskip("cel_expr_python")
    broken = policy(validations=[{"expression": "object.("}], matchConditions=[{"name": "c", "expression": "nosuch"}])
    first, second = shown(validate_policy(broken, None))
    assert first.startswith('spec.matchConditions[0].expression: Invalid value: "nosuch": compilation failed: ERROR: <input>:1:1')
    assert second.startswith('spec.validations[0].expression: Invalid value: "object.(": compilation failed: ERROR: <input>:1:')
    assert shown(validate_policy({**broken, "metadata": {"labels": {"a": "b"}}}, broken)) == []


def test_without_the_extra_a_policy_is_refused_instead_of_being_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who believes in rules that nobody enforces is worse off than who has none."""
    monkeypatch.setattr(policy_rules, "available", lambda: False)
    assert shown(validate_policy(policy(), None)) == [
        "spec.validations[0].expression: Forbidden: expressions need the extra: pip install 'reconcile-toolkit[cel]'"
    ]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"policyName": "p", "validationActions": ["Deny", "Audit"]}, []),
        (
            {},
            [
                "spec.policyName: Required value",
                "spec.validationActions: Required value: at least one validation action is required",
            ],
        ),
        ({"policyName": "p", "validationActions": ["Deny", "Warn"]}, ["spec.validationActions: Invalid value: "]),
        ({"policyName": "p", "validationActions": ["Shout"]}, ["spec.validationActions[0]: Unsupported value: "]),
        (
            {"policyName": "p", "validationActions": ["Deny"], "paramRef": {}},
            [
                "spec.paramRef: Required value: one of name or selector must be specified",
                "spec.paramRef.parameterNotFoundAction: Required value",
            ],
        ),
    ],
)
def test_a_binding_that_makes_no_sense_is_refused(spec: Tree, says: list[str]) -> None:
    """It names a policy, and says what follows."""
    found = shown(validate_binding({"spec": spec}, None))
    assert len(found) == len(says)
    assert all(text.startswith(begin) for text, begin in zip(found, says, strict=True))


def mutating(**spec: object) -> Tree:
    rules = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}
    return {"spec": {"matchConstraints": rules, "mutations": [mutation], "reinvocationPolicy": "Never", **spec}}


def patch(kind: str, **given: object) -> list[Tree]:
    return [{"patchType": kind, **given}]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, []),
        ({"mutations": [], "reinvocationPolicy": "Always"},
         ["spec.mutations: Required value: mutations must contain at least one item",
          'spec.reinvocationPolicy: Unsupported value: "Always": supported values: "IfNeeded", "Never"']),
        ({"reinvocationPolicy": ""}, ["spec.reinvocationPolicy: Required value"]),
        ({"mutations": [{}]}, ["spec.mutations[0].patchType: Required value"]),
        ({"mutations": patch("Merge")},
         ['spec.mutations[0].patchType: Unsupported value: "Merge": supported values: "ApplyConfiguration", "JSONPatch"']),
        ({"mutations": patch("JSONPatch", applyConfiguration={"expression": "Object{}"})},
         ["spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
          ('spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is '
          "JSONPatch")]),
        ({"mutations": patch("ApplyConfiguration", applyConfiguration={})},
         ["spec.mutations[0].applyConfiguration.expression: Required value"]),
        ({"mutations": patch("ApplyConfiguration", applyConfiguration={"expression": "'a'"})},
         ["spec.mutations[0].applyConfiguration.expression: Invalid value: \"'a'\": must evaluate to Object but got string"]),
        ({"mutations": patch("JSONPatch", jsonPatch={"expression": "[JSONPatch{op: variables.a}]"})},
         [('spec.mutations[0].jsonPatch.expression: Invalid value: "[JSONPatch{op: variables.a}]": compilation failed: ERROR: '
           "<input>:1:25: undefined field 'a'\n | [JSONPatch{op: variables.a}]\n | ........................^")]),
        ({"mutations": patch("ApplyConfiguration", applyConfiguration={"expression": "Object{spec: params.a}"}),
          "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}, []),
        ({"matchConditions": [{"name": "a", "expression": "true"}, {"name": "a", "expression": "true"}, {"expression": ""}]},
         ['spec.matchConditions[1].name: Duplicate value: "a"', "spec.matchConditions[2].expression: Required value",
          "spec.matchConditions[2].name: Required value"]),
    ],
)  # fmt: skip
def test_a_policy_that_mutates_and_makes_no_sense_is_refused(spec: Tree, says: list[str]) -> None:
    """At the place, and before it changes anything."""
    pytest.importorskip("cel_expr_python")
    assert shown(validate_mutating_policy(mutating(**spec), None)) == says


def test_expressions_know_no_names_that_are_not_there() -> None:
    """Parameters without a kind of them, variables in conditions, the authorizer in messages."""
    pytest.importorskip("cel_expr_python")
    rule = {"expression": "true", "messageExpression": "authorizer.path('/').check('get').reason()"}
    condition = {"name": "c", "expression": "variables.a == 1"}
    given = policy(validations=[rule], matchConditions=[condition], variables=[{"name": "a", "expression": "params.a"}])
    found = shown(validate_policy(given, None))
    for text, name in zip(found, ("variables", "params", "authorizer"), strict=True):
        assert f"undeclared reference to '{name}" in text


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"operations": ["DELETE"]},
         [("spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: "
          '"*", "CONNECT", "CREATE", "UPDATE"')]),
        ({"operations": ["*", "CREATE"]}, ['RULE.operations: Invalid value: ["*","CREATE"]: if ']),
        ({"apiGroups": [], "apiVersions": [""], "resources": []},
         ["RULE.apiGroups: Required value", "RULE.apiVersions[0]: Required value", "RULE.resources: Required value"]),
        ({"resources": ["pods/*", "pods/status"]},
         ["RULE.resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status"]),
        ({"resources": ["*", "pods"]},
         [('RULE.resources: Invalid value: ["*","pods"]: if \'*\' is present, must not specify other resources without '
          "subresources")]),
        ({"resourceNames": ["a", "a"]}, ['RULE.resourceNames[1]: Duplicate value: "a"']),
    ],
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(rule: Tree, says: list[str]) -> None:
    """A policy that is for nothing, or for more than it says, protects nobody."""
    pytest.importorskip("cel_expr_python")
    given = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], **rule}
    wanted = [text.replace("RULE", "spec.matchConstraints.resourceRules[0]") for text in says]
    found = shown(validate_mutating_policy(mutating(matchConstraints={"resourceRules": [given]}), None))
    assert len(found) == len(wanted)
    assert all(text.startswith(begin) for text, begin in zip(found, wanted, strict=True))


def test_a_binding_of_a_policy_that_mutates() -> None:
    """It names a policy, and can be for no more than that."""
    assert shown(validate_mutating_binding({"spec": {"policyName": "p"}}, None)) == []
    reference = {"name": "a", "selector": {}, "parameterNotFoundAction": "Perhaps"}
    assert shown(validate_mutating_binding({"spec": {"policyName": "P", "paramRef": reference}}, None))[1:] == [
        "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
        "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
        'spec.paramRef.parameterNotFoundAction: Unsupported value: "Perhaps": supported values: "Allow", "Deny"',
    ]


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        ({"key": "a", "valueExpression": "'x'"}, []),
        ({"key": "a", "valueExpression": "null"}, []),
        (
            {"key": "-", "valueExpression": "1"},
            ["spec.auditAnnotations[0].key: Invalid value", "spec.auditAnnotations[0].valueExp"],
        ),
        ({"key": "a"}, ["spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified"]),
        (
            {"key": "a", "valueExpression": "'" + "x" * 6000 + "'"},
            ["spec.auditAnnotations[0].valueExpression: Required value: must"],
        ),
    ],
)
def test_audit_annotations_are_checked(annotation: Tree, says: list[str]) -> None:
    """They are kept for nobody to read; but a policy that is refused elsewhere is refused here."""
    pytest.importorskip("cel_expr_python")
    found = shown(validate_policy({**policy(auditAnnotations=[annotation]), "metadata": {"name": "p.example.com"}}, None))
    assert len(found) == len(says)
    assert all(text.startswith(begin) for text, begin in zip(found, says, strict=True))
