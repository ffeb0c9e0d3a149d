"""Node selectors, node affinity, taints and tolerations, compiled to functions of a node.

Source: k8s.io/component-helpers/scheduling/corev1/nodeaffinity, k8s.io/api/core/v1/toleration.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.selectors import LabelSelector, Requirement

NodeTest = Callable[[str, Mapping[str, str]], bool]
"""(node name, node labels) -> whether the node is meant."""
_OPERATORS: dict[str, Any] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": ">", "Lt": "<"}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@attrs.frozen
class Taint:
    """A node's taint."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return f"{{{self.key}: {self.value}}}"


@attrs.frozen
class Toleration:
    """A taint that a Pod bears."""

    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, taint: Taint) -> bool:
        """Whether it covers the taint. An empty key or effect covers all of them."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        if self.operator in ("Lt", "Gt"):
            return _compared(taint.value, self.value, greater=self.operator == "Gt")
        return self.value == taint.value


def _compared(taint: str, bound: str, *, greater: bool) -> bool:
    try:
        return int(taint) > int(bound) if greater else int(taint) < int(bound)
    except ValueError:
        return False


def tolerations(spec: Tree) -> tuple[Toleration, ...]:
    """A Pod's tolerations."""
    return tuple(
        Toleration(t.get("key") or "", t.get("operator") or "Equal", t.get("value") or "", t.get("effect") or "")
        for t in spec.get("tolerations") or ()
    )


def taints(node: Tree) -> tuple[Taint, ...]:
    """A node's taints."""
    return tuple(
        Taint(t["key"], t.get("value") or "", t.get("effect") or "") for t in (node.get("spec") or {}).get("taints") or ()
    )


def untolerated(taint_list: Iterable[Taint], tolerated: Iterable[Toleration], effects: tuple[str, ...]) -> Taint | None:
    """The first taint of one of these effects that nothing tolerates."""
    for taint in taint_list:
        if taint.effect in effects and not any(t.tolerates(taint) for t in tolerated):
            return taint
    return None


def node_tests(spec: Tree) -> NodeTest | None:
    """What nodeSelector and required node affinity ask of a node; None where they ask nothing."""
    tests: list[NodeTest] = []
    wanted = tuple((spec.get("nodeSelector") or {}).items())
    if wanted:
        tests.append(lambda _, labels: all(labels.get(key) == value for key, value in wanted))
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED)
    if required:
        terms = [_term(term) for term in required.get("nodeSelectorTerms") or ()]
        tests.append(lambda name, labels: any(term(name, labels) for term in terms))
    if not tests:
        return None
    return tests[0] if len(tests) == 1 else lambda name, labels: all(test(name, labels) for test in tests)


def preferred_node_tests(spec: Tree) -> tuple[tuple[int, NodeTest], ...]:
    """The weights and tests of preferred node affinity."""
    wishes = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_PREFERRED) or ()
    return tuple((wish["weight"], _term(wish.get("preference") or {}, empty=True)) for wish in wishes if wish["weight"])


def _term(term: Tree, *, empty: bool = False) -> NodeTest:
    """One term: all its rules must hold; a required term without rules matches nothing, a preferred one everything."""
    labels = _rules(term.get("matchExpressions"))
    fields = _rules(term.get("matchFields"))
    if labels is None and fields is None:
        return lambda _name, _labels: empty
    return lambda name, given: (
        (labels is None or labels.matches(given)) and (fields is None or fields.matches({"metadata.name": name}))
    )


def _rules(rules: Iterable[Tree] | None) -> LabelSelector | None:
    found = [Requirement(r["key"], _OPERATORS[r["operator"]], tuple(map(str, r.get("values") or ()))) for r in rules or ()]
    return LabelSelector(tuple(found)) if found else None
