"""What a webhook asks to see: operations, resources, namespaces, labels, and conditions in CEL.

Source: k8s.io/apiserver/pkg/admission/plugin/webhook/{rules,predicates,matchconditions}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.expressions import BrokenExpressionError, EvaluationError, Expression, available, compile_expression
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind
from reconcile.selectors import LabelSelector, label_selector

VARIABLES = ("object", "oldObject", "request")
TIMEOUT_S = 10.0
Served = Callable[[str, str, str], Kind | None]
"""(group, version, plural) -> the served kind."""


class BrokenConditionError(Exception):
    """A match condition came to no value; the message says which and why."""


@attrs.frozen
class Rule:
    """Which requests; `*` stands for any, `pods/*` for any subresource."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: frozenset[str]
    scope: str

    def sees(self, kind: Kind, review: AdmissionReview) -> bool:
        """Whether the request is meant, whatever the version."""
        return (
            _any(self.operations, review.operation)
            and _any(self.groups, kind.group)
            and self._sees_resource(kind.plural, review.subresource)
            and self.scope in ("*", "Namespaced" if kind.namespaced else "Cluster")
        )

    def _sees_resource(self, plural: str, subresource: str) -> bool:
        if not subresource:
            return _any(self.resources, plural) or "*/*" in self.resources
        return bool({"*/*", f"*/{subresource}", f"{plural}/*", f"{plural}/{subresource}"} & self.resources)


@attrs.frozen
class Webhook:
    """One webhook of a configuration."""

    name: str
    configuration: str
    client: Tree = attrs.field(eq=False)
    """Its clientConfig: how it is reached."""
    rules: tuple[Rule, ...]
    ignores_failure: bool
    timeout_s: float
    equivalent: bool
    """Whether a rule for another version of the resource counts too; the object is then sent in that version."""
    has_side_effects: bool
    reinvoked: bool
    namespaces: LabelSelector
    objects: LabelSelector
    conditions: tuple[tuple[str, Expression | None], ...]
    """Names and expressions; None: there is nothing here that evaluates expressions."""

    def version_for(self, kind: Kind, review: AdmissionReview, served: Served) -> Kind | None:
        """The kind, in the version in which this webhook wants to see the request; None: it does not."""
        rules = [rule for rule in self.rules if rule.sees(kind, review)]
        if any(_any(rule.versions, kind.version) for rule in rules):
            return kind
        if not self.equivalent:
            return None
        others = sorted({version for rule in rules for version in rule.versions})
        return next((found for version in others if (found := served(kind.group, version, kind.plural))), None)

    def wants(self, review: AdmissionReview, labels: Mapping[str, str] | None) -> bool:
        """Whether labels select the request; `labels` are its namespace's, None where it has none."""
        if labels is not None and not self.namespaces.matches(labels):
            return False
        if self.objects.empty:
            return True
        trees = [tree for tree in (review.tree, review.old) if tree is not None]
        return any(self.objects.matches((tree.get("metadata") or {}).get("labels")) for tree in trees)

    def conditions_hold(self, values: Mapping[str, Any]) -> bool:
        """Whether all match conditions are true.

        Raises:
            BrokenConditionError: none is false, and one has no value.
        """
        broken = ""
        for name, expression in self.conditions:
            if expression is None:
                broken = f"{name}: install the extra: pip install 'reconcile-toolkit[cel]'"
                continue
            try:
                if expression.evaluate(values) is not True:
                    return False
            except EvaluationError as error:
                broken = broken or f"{name}: {error}"
        if broken:
            raise BrokenConditionError(broken)
        return True


def webhooks_of(configurations: Iterable[Tree]) -> list[Webhook]:
    """All webhooks in the order in which they are asked: by the names of their configurations."""
    ordered = sorted(configurations, key=lambda tree: str(tree["metadata"]["name"]))
    return [_webhook(tree["metadata"]["name"], given) for tree in ordered for given in tree.get("webhooks") or ()]


def _webhook(configuration: str, given: Tree) -> Webhook:
    return Webhook(
        name=given["name"], configuration=configuration, client=given["clientConfig"],
        rules=tuple(_rule(rule) for rule in given.get("rules") or ()),
        ignores_failure=given.get("failurePolicy") == "Ignore", timeout_s=float(given.get("timeoutSeconds") or TIMEOUT_S),
        equivalent=given.get("matchPolicy", "Equivalent") == "Equivalent",
        has_side_effects=given.get("sideEffects") not in ("None", "NoneOnDryRun"),
        reinvoked=given.get("reinvocationPolicy") == "IfNeeded",
        namespaces=label_selector(given.get("namespaceSelector") or {}),
        objects=label_selector(given.get("objectSelector") or {}),
        conditions=tuple(_condition(condition) for condition in given.get("matchConditions") or ()),
    )  # fmt: skip


def _rule(given: Tree) -> Rule:
    def words(name: str) -> frozenset[str]:
        return frozenset(given.get(name) or ())

    return Rule(
        words("operations"), words("apiGroups"), words("apiVersions"), words("resources"), str(given.get("scope") or "*")
    )  # fmt: skip


def _condition(given: Tree) -> tuple[str, Expression | None]:
    try:
        return str(given.get("name")), _compiled(str(given.get("expression") or ""))
    except BrokenExpressionError:
        return str(given.get("name")), None  # it was stored when nobody could tell


def _compiled(text: str) -> Expression | None:
    return compile_expression(text, VARIABLES) if available() else None


def _any(words: frozenset[str], word: str) -> bool:
    return "*" in words or word in words
