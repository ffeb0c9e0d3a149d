"""Admission policies as objects: what is refused before anybody is judged by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconcile.errors import Cause, Tree
from reconcile.resources.stored import policy_rules
from reconcile.resources.stored.policy_rules import validate_binding, validate_policy


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
            ["spec.validations: Required value: validations or auditAnnotations must contain at least one item"],
        ),
        ({"validations": [{}]}, ["spec.validations[0].expression: Required value: expression is not specified"]),
        (
            {"validations": [{"expression": "1 + 1"}]},
            ['spec.validations[0].expression: Invalid value: "1 + 1": must evaluate to bool'],
        ),
        (
            {"validations": [{"expression": "true", "messageExpression": "1", "reason": "Gone"}]},
            [
                'spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string',
                (
                    'spec.validations[0].reason: Unsupported value: "Gone": supported values: "Forbidden", "Invalid", '
                    '"RequestEntityTooLarge", "Unauthorized"'
                ),
            ],
        ),
        (
            {"validations": [{"expression": "variables.b"}]},
            ["spec.validations[0].expression: Invalid value: \"variables.b\": compilation failed: undefined field 'b'"],
        ),
        (
            {"variables": [{"name": "b-c", "expression": "1"}]},
            ['spec.variables[0].name: Invalid value: "b-c": name is not a valid CEL identifier'],
        ),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(spec: Tree, says: list[str]) -> None:
    """At the place, and before it keeps everybody from writing."""
    pytest.importorskip("cel_expr_python")
    assert shown(validate_policy(policy(**spec), None)) == says


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
                "spec.paramRef: Required value: one of name or selector must be specified, and not both",
                "spec.paramRef.parameterNotFoundAction: Required value: must be Allow or Deny",
            ],
        ),
    ],
)
def test_a_binding_that_makes_no_sense_is_refused(spec: Tree, says: list[str]) -> None:
    """It names a policy, and says what follows."""
    found = shown(validate_binding({"spec": spec}, None))
    assert len(found) == len(says)
    assert all(text.startswith(begin) for text, begin in zip(found, says, strict=True))
