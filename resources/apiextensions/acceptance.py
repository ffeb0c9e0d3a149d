"""Which names a definition gets, and the conditions that say so: who was there first keeps them.

Names are shared by all kinds of a group: plural, singular and short names among one another, kinds and list kinds likewise.

Source: k8s.io/apiextensions-apiserver/pkg/controller/status/naming_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from reconcile.conditions import is_true
from reconcile.errors import Tree
from reconcile.expressions.rules import why_not_evaluated
from reconcile.kinds import Kind


@attrs.frozen
class Taken:
    """The names of a group that others have."""

    resources: frozenset[str]
    kinds: frozenset[str]


def taken_names(name: str, group: str, plural: str, definitions: Iterable[Tree], kinds: Iterable[Kind]) -> Taken:
    """What other definitions were given, and what kinds that are declared by classes have."""
    resources: set[str | None] = set()
    kind_names: set[str | None] = set()
    for other in definitions:
        if other["metadata"]["name"] == name or other["spec"]["group"] != group:
            continue
        accepted = (other.get("status") or {}).get("acceptedNames") or {}
        resources.update((accepted.get("plural"), accepted.get("singular"), *(accepted.get("shortNames") or ())))
        kind_names.update((accepted.get("kind"), accepted.get("listKind")))
    for kind in kinds:
        if kind.cls is not None and kind.group == group and kind.plural != plural:
            resources.update((kind.plural, kind.singular, *kind.short_names))
            kind_names.update((kind.kind, f"{kind.kind}List"))
    return Taken(frozenset(filter(None, resources)), frozenset(filter(None, kind_names)))


def accepted_names(definition: Tree, taken: Taken) -> tuple[Tree, Tree]:
    """The names that the definition has now, and its condition NamesAccepted.

    A name that is taken keeps what was accepted before, so that a running kind does not vanish over a rename.
    """
    wanted = definition["spec"]["names"]
    accepted = dict((definition.get("status") or {}).get("acceptedNames") or {})
    refusal: tuple[str, str] | None = None
    for name, reason, used in (
        ("plural", "PluralConflict", taken.resources), ("singular", "SingularConflict", taken.resources),
        ("shortNames", "ShortNamesConflict", taken.resources), ("kind", "KindConflict", taken.kinds),
        ("listKind", "ListKindConflict", taken.kinds),
    ):  # fmt: skip
        value = wanted.get(name)
        values = value if isinstance(value, list) else [value] if value else []
        clashes = [v for v in values if v in used]
        if clashes:
            texts = [f'"{v}" is already in use' for v in clashes]
            refusal = (reason, texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
        elif value:
            accepted[name] = value
        else:
            accepted.pop(name, None)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    else:
        accepted.pop("categories", None)
    if refusal is None:
        return accepted, _condition("NamesAccepted", "True", "NoConflicts", "no conflicts found")
    return accepted, _condition("NamesAccepted", "False", *refusal)


def established(definition: Tree, names: Tree) -> Tree:
    """The condition Established: once true, it stays."""
    if is_true((definition.get("status") or {}).get("conditions"), "Established"):
        return _condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
    if names["status"] == "True":
        return _condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
    return _condition("Established", "False", "NotAccepted", "not all names are accepted")


def rules_enforced(unevaluated: list[str]) -> Tree | None:
    """A condition that says which rules of the schemas are not evaluated; None: all are."""
    if not unevaluated:
        return None
    shown = "; ".join(unevaluated[:5]) + (f"; and {len(unevaluated) - 5} more" if len(unevaluated) > 5 else "")
    return _condition(
        "reconcile.dev/RulesEnforced", "False", "NoExpressions",
        f"these x-kubernetes-validations are not evaluated ({why_not_evaluated()}): {shown}",
    )  # fmt: skip


def _condition(type_: str, status: str, reason: str, message: str) -> Tree:
    return {"type": type_, "status": status, "reason": reason, "message": message}
