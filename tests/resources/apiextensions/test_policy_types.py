"""The types of a policy's expressions are looked at for the kinds that it names, those of definitions among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources.policy_status import ValidatingAdmissionPolicy, expression_warnings, policy_status
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.resources.apiextensions.declaring import GROUP, Declare, Declaring, definition, version

pytest.importorskip("cel_expr_python")
POLICY = kind_of(ValidatingAdmissionPolicy)
SPEC: Tree = {"type": "object", "properties": {"size": {"type": "integer"}}}


def rule(*resources: str, group: str = GROUP) -> Tree:
    return {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": list(resources)}


def policy(*validations: Tree, rules: Sequence[Tree] = (rule("widgets"),), **spec: Any) -> Tree:
    matching = {"resourceRules": list(rules)}
    return {"metadata": {"name": "p"}, "spec": {"matchConstraints": matching, "validations": list(validations), **spec}}


async def checked(plane: Declaring, generation: int) -> Tree:
    """What a policy's status says of its types, once it says something of this generation."""

    async def there() -> Tree | None:
        status = (await plane.client.get(POLICY, "p")).get("status") or {}
        return status if status.get("observedGeneration") == generation else None

    found: Tree = await plane.until(there, f"generation {generation} is looked at")
    return found


@virtual
async def test_warnings_come_with_a_policy_and_go_with_its_mistakes(clock: VirtualClock, declaring: Declare) -> None:
    """In the status, for whoever wrote it to find; the policy itself is in force all the same."""
    wrong = {"expression": "object.spec.size > '1'", "messageExpression": "'size: ' + object.spec.size"}
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=SPEC)))
        await plane.engine.start(policy_status(plane.api.kinds))
        await plane.client.create(POLICY, policy(wrong, {"expression": "object.spec.sizes < 10"}))
        found = (await checked(plane, 1))["typeChecking"]["expressionWarnings"]
        assert [warning["fieldRef"] for warning in found] == [
            "spec.validations[0].expression", "spec.validations[0].messageExpression", "spec.validations[1].expression",
        ]  # fmt: skip
        assert found[0]["warning"] == (
            f"{GROUP}/v1, Kind=Widget: ERROR: <input>:1:18: found no matching overload for '_>_' applied to '(int, string)'\n"
            " | object.spec.size > '1'\n | .................^\n"
        )
        assert "undefined field 'sizes'" in found[2]["warning"]
        right = {"spec": {"validations": [{"expression": "object.spec.size > 1"}]}}
        await plane.client.patch(POLICY, "p", Patch(MERGE_PATCH, right))
        assert (await checked(plane, 2))["typeChecking"] == {}


@virtual
async def test_what_a_policy_means_with_a_star_is_not_looked_at(clock: VirtualClock, declaring: Declare) -> None:
    """It may be for kinds of any shape; and so may parameters whose kind is not served."""
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=SPEC)))
        kinds = plane.api.kinds()
        wrong = {"expression": "object.spec.sizes < params.data.x && variables.v == 1"}
        common: dict[str, Any] = {
            "variables": [{"name": "v", "expression": "object.spec.size"}],
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        }  # fmt: skip
        for rules in ([rule("*")], [rule("widgets", group="*")], [rule("widgets/status", "nosuch")]):
            assert not list(expression_warnings(policy(wrong, rules=rules, **common), kinds))
        (found,) = expression_warnings(policy(wrong, rules=[rule("widgets", "*")], **common), kinds)
        assert "undefined field 'sizes'" in found["warning"]
        (found,) = expression_warnings(policy({"expression": "params.data.x == 1"}, **common), kinds)
        assert "'_==_' applied to '(string, int)'" in found["warning"]
        unknown = {"apiVersion": "v1", "kind": "Nosuch"}
        assert not list(expression_warnings(policy({"expression": "params.data.x == 1"}, paramKind=unknown), kinds))
        two = [rule("widgets"), rule("pods", group="")]
        (found,) = expression_warnings(policy({"expression": "object.spec.nosuch == 1"}, rules=two), kinds)
        assert [line.partition(": ")[0] for line in found["warning"].splitlines() if "Kind=" in line] == [
            "v1, Kind=Pod", f"{GROUP}/v1, Kind=Widget",
        ]  # fmt: skip
