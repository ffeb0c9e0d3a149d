"""What a webhook is: what it asks to see, how it is reached, and its conditions in CEL.

Source: k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.expressions import BrokenExpressionError, EvaluationError, Expression, available, compile_expression
from reconcile.runtime.api.matching import Match, match_of

VARIABLES = ("object", "oldObject", "request", "authorizer")
TIMEOUT_S = 10.0


class BrokenConditionError(Exception):
    """A match condition came to no value; the message says which and why."""


@attrs.frozen
class Webhook:
    """One webhook of a configuration."""

    name: str
    configuration: str
    client: Tree = attrs.field(eq=False)
    """Its clientConfig: how it is reached."""
    match: Match
    ignores_failure: bool
    timeout_s: float
    has_side_effects: bool
    reinvoked: bool
    conditions: tuple[tuple[str, Expression | None], ...]
    """Names and expressions; None: there is nothing here that evaluates expressions."""

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
        match=match_of(given, given.get("rules") or ()),
        ignores_failure=given.get("failurePolicy") == "Ignore", timeout_s=float(given.get("timeoutSeconds") or TIMEOUT_S),
        has_side_effects=given.get("sideEffects") not in ("None", "NoneOnDryRun"),
        reinvoked=given.get("reinvocationPolicy") == "IfNeeded",
        conditions=tuple(_condition(condition) for condition in given.get("matchConditions") or ()),
    )  # fmt: skip


def _condition(given: Tree) -> tuple[str, Expression | None]:
    try:
        return str(given.get("name")), _compiled(str(given.get("expression") or ""))
    except BrokenExpressionError:
        return str(given.get("name")), None  # it was stored when nobody could tell


def _compiled(text: str) -> Expression | None:
    return compile_expression(text, VARIABLES) if available() else None
