"""What a Pod may say about where it runs.

Source: validateAffinity, ValidateTolerations and validateTopologySpreadConstraints in
K/pkg/apis/core/validation/validation.go
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconcile.errors import Cause, Tree

from .names import check_selector, duplicate, forbidden, invalid, is_qualified_name, required, unsupported

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHT_MAX = 100


def check_tolerations(tolerations: Sequence[Tree], path: str) -> Iterator[Cause]:
    """Yield what is wrong with the tolerations at `path`."""
    for position, toleration in enumerate(tolerations):
        at = f"{path}[{position}]"
        key, operator, effect = toleration.get("key"), toleration.get("operator"), toleration.get("effect")
        if key:
            yield from is_qualified_name(key, f"{at}.key")
        elif operator != "Exists":
            yield invalid(
                f"{at}.operator", operator or "",
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )  # fmt: skip
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            yield invalid(f"{at}.effect", effect or "", "effect must be 'NoExecute' when `tolerationSeconds` is set")
        if operator == "Exists":
            if toleration.get("value"):
                yield invalid(f"{at}.operator", toleration, "value must be empty when `operator` is 'Exists'")
        elif operator not in (None, "", "Equal", "Lt", "Gt"):
            yield unsupported(f"{at}.operator", operator, ("Equal", "Exists"))
        if effect and effect not in _EFFECTS:
            yield unsupported(f"{at}.effect", effect, _EFFECTS)


def check_spreading(constraints: Sequence[Tree], path: str) -> Iterator[Cause]:
    """Yield what is wrong with the topology spread constraints at `path`."""
    seen = set()
    for position, constraint in enumerate(constraints):
        at = f"{path}[{position}]"
        if (constraint.get("maxSkew") or 0) <= 0:
            yield invalid(f"{at}.maxSkew", constraint.get("maxSkew"), "must be greater than zero")
        topology, action = constraint.get("topologyKey"), constraint.get("whenUnsatisfiable")
        if not topology:
            yield required(f"{at}.topologyKey", "can not be empty")
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            yield unsupported(f"{at}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        if (topology, action) in seen:
            yield duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{topology}, {action}}}")
        seen.add((topology, action))
        yield from check_selector(constraint.get("labelSelector"), f"{at}.labelSelector")


def check_affinity(affinity: Tree, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the affinity at `path`."""
    node = affinity.get("nodeAffinity") or {}
    needed = node.get(_REQUIRED)
    if needed is not None:
        terms = needed.get("nodeSelectorTerms") or ()
        at = f"{path}.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
        if not terms:
            yield required(at, "must have at least one node selector term")
        for position, term in enumerate(terms):
            yield from _check_term(term, f"{at}[{position}]")
    for position, wish in enumerate(node.get(_PREFERRED) or ()):
        at = f"{path}.nodeAffinity.{_PREFERRED}[{position}]"
        yield from _check_weight(wish, at)
        yield from _check_term(wish.get("preference") or {}, f"{at}.preference")
    for name in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(name) or {}
        for position, term in enumerate(rules.get(_REQUIRED) or ()):
            yield from _check_pod_term(term, f"{path}.{name}.{_REQUIRED}[{position}]")
        for position, wish in enumerate(rules.get(_PREFERRED) or ()):
            at = f"{path}.{name}.{_PREFERRED}[{position}]"
            yield from _check_weight(wish, at)
            yield from _check_pod_term(wish.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")


def _check_weight(wish: Tree, at: str) -> Iterator[Cause]:
    if not 1 <= (wish.get("weight") or 0) <= _WEIGHT_MAX:
        yield invalid(f"{at}.weight", wish.get("weight"), f"must be in the range 1-{_WEIGHT_MAX}")


def _check_term(term: Tree, at: str) -> Iterator[Cause]:
    for field in ("matchExpressions", "matchFields"):
        for position, rule in enumerate(term.get(field) or ()):
            where = f"{at}.{field}[{position}]"
            operator, values = rule.get("operator"), rule.get("values") or ()
            if operator in ("In", "NotIn"):
                if not values:
                    yield required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
            elif operator in ("Exists", "DoesNotExist"):
                if values:
                    yield forbidden(f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            elif operator in ("Gt", "Lt"):
                if len(values) != 1:
                    yield required(f"{where}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
            else:
                yield invalid(f"{where}.operator", operator, "not a valid selector operator")
            if field == "matchExpressions":
                yield from is_qualified_name(rule.get("key") or "", f"{where}.key")
            elif rule.get("key") != "metadata.name":
                yield invalid(f"{where}.key", rule.get("key"), "not a valid field selector key")


def _check_pod_term(term: Tree, at: str) -> Iterator[Cause]:
    if not term.get("topologyKey"):
        yield required(f"{at}.topologyKey", "can not be empty")
    else:
        yield from is_qualified_name(term["topologyKey"], f"{at}.topologyKey")
    yield from check_selector(term.get("labelSelector"), f"{at}.labelSelector")
    yield from check_selector(term.get("namespaceSelector"), f"{at}.namespaceSelector")
