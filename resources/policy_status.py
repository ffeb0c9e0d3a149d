"""Tells what is wrong with the types of a ValidatingAdmissionPolicy's expressions, in its status.

It changes nothing of what a policy does: expressions are evaluated without types. What is served when a policy is written counts;
a definition that comes later is looked at with the policy's next change.

Source: K/pkg/controller/validatingadmissionpolicystatus, k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

from reconcile.errors import Tree
from reconcile.expressions import BrokenExpressionError, available
from reconcile.handling import Cluster
from reconcile.kinds import Kind
from reconcile.registry import Operator
from reconcile.views import tree_of

from .stored.declaration import class_of
from .stored.policies import validating_policy_kinds

if TYPE_CHECKING:
    from reconcile.expressions.checking import Types

Kinds = Callable[[], Iterable[Kind]]
"""All kinds that are served now."""
_KINDS_MAX = 10
ValidatingAdmissionPolicy = class_of(validating_policy_kinds()[0])


def policy_status(kinds: Kinds) -> Operator:
    """The operator that writes `status.typeChecking`."""
    app = Operator("validatingadmissionpolicy-status-controller")

    @app.on.reconcile(ValidatingAdmissionPolicy)
    async def type_checking(policy: ValidatingAdmissionPolicy, cluster: Cluster) -> None:  # type: ignore[valid-type]  # made
        tree = tree_of(policy)
        generation = tree["metadata"].get("generation", 0)
        if generation <= (tree.get("status") or {}).get("observedGeneration", 0) or not available():
            return
        found = list(expression_warnings(tree, tuple(kinds())))
        checked = {"expressionWarnings": found or None}
        await cluster.patch(
            policy, {"status": {"observedGeneration": generation, "typeChecking": checked}}, subresource="status"
        )  # fmt: skip

    return app


def expression_warnings(policy: Tree, kinds: Sequence[Kind]) -> Iterator[Tree]:
    """What is wrong with a policy's validations and their messages, for the kinds that it names: ExpressionWarnings."""
    from reconcile.expressions.checking import NAMESPACE, REQUEST, Types, root_schema

    spec = policy["spec"]
    named = spec.get("paramKind")
    parameters: dict[str, Tree | None] = {}
    if named:
        found = next((k for k in kinds if (k.api_version, k.kind) == (named.get("apiVersion"), named.get("kind"))), None)
        parameters["params"] = root_schema(found.schema) if found is not None else None
    checked = []
    for kind in _named(spec, kinds):
        schema = root_schema(kind.schema)
        about = {"object": schema, "oldObject": schema, "request": REQUEST, "namespaceObject": NAMESPACE, **parameters}
        types = Types(about, ("authorizer",))
        for variable in spec.get("variables") or ():
            types.declare(f"variables.{variable['name']}", variable["expression"])
        checked.append((f"{kind.api_version}, Kind={kind.kind}", types))
    for number, rule in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            text = rule.get(field) or "true"
            wrong = [f"{name}: {why}\n" for name, types in checked if (why := _wrong(types, text))]
            if wrong:
                yield {"fieldRef": f"spec.validations[{number}].{field}", "warning": "\n".join(wrong)}


def _wrong(types: Types, text: str) -> str:
    try:
        types.check(text)
    except BrokenExpressionError as error:
        return str(error)
    return ""


def _named(spec: Tree, kinds: Sequence[Kind]) -> list[Kind]:
    """The kinds that a policy names one by one, in the order of group, version and kind; not those that it means with a `*`."""
    served = {(kind.group, kind.version, kind.plural): kind for kind in kinds}
    found: dict[tuple[str, str, str], Kind] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = sorted(rule.get("apiGroups") or ()), sorted(rule.get("apiVersions") or ())
        if any("*" in word for word in (*groups, *versions)):
            continue
        resources = sorted(word for word in rule.get("resources") or () if "*" not in word and "/" not in word)
        for key in product(groups, versions, resources):
            if key in served and len(found) < _KINDS_MAX:
                found[key] = served[key]
    return sorted(found.values(), key=lambda kind: (kind.group, kind.version, kind.kind))
