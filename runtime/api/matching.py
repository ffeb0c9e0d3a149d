"""Which writes somebody wants to see: operations, resources and their names, namespaces, labels.

Webhooks and admission policies say it in the same words.

Source: k8s.io/apiserver/pkg/admission/plugin/webhook/{rules,predicates}, k8s.io/apiserver/pkg/admission/plugin/policy/matching
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from reconcile.errors import Tree
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind
from reconcile.selectors import LabelSelector, label_selector

Served = Callable[[str, str, str], Kind | None]
"""(group, version, plural) -> the served kind."""


@attrs.frozen
class Rule:
    """Which requests; `*` stands for any, `pods/*` for any subresource."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: frozenset[str]
    scope: str
    names: frozenset[str] = frozenset()
    """Of these objects only, where there are any."""

    def sees(self, kind: Kind, review: AdmissionReview) -> bool:
        """Whether the request is meant, whatever the version."""
        return (
            _any(self.operations, review.operation)
            and _any(self.groups, kind.group)
            and self._sees_resource(kind.plural, review.subresource)
            and self.scope in ("*", "Namespaced" if kind.namespaced else "Cluster")
            and (not self.names or review.tree["metadata"].get("name") in self.names)
        )

    def _sees_resource(self, plural: str, subresource: str) -> bool:
        if not subresource:
            return _any(self.resources, plural) or "*/*" in self.resources
        return bool({"*/*", f"*/{subresource}", f"{plural}/*", f"{plural}/{subresource}"} & self.resources)


@attrs.frozen
class Match:
    """Which writes are meant."""

    rules: tuple[Rule, ...]
    equivalent: bool
    """Whether a rule for another version of the resource counts too; the object is then shown in that version."""
    namespaces: LabelSelector
    objects: LabelSelector
    excluded: tuple[Rule, ...] = ()

    def version_for(self, kind: Kind, review: AdmissionReview, served: Served) -> Kind | None:
        """The kind, in the version in which the request is to be shown; None: it is not meant."""
        if any(rule.sees(kind, review) and _any(rule.versions, kind.version) for rule in self.excluded):
            return None
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


def match_of(given: Tree, rules: Iterable[Tree], excluded: Iterable[Tree] = ()) -> Match:
    """What a webhook, a policy or a binding says it wants to see."""
    return Match(
        tuple(map(_rule, rules)), given.get("matchPolicy", "Equivalent") == "Equivalent",
        label_selector(given.get("namespaceSelector") or {}), label_selector(given.get("objectSelector") or {}),
        tuple(map(_rule, excluded)),
    )  # fmt: skip


def _rule(given: Tree) -> Rule:
    def words(name: str) -> frozenset[str]:
        return frozenset(given.get(name) or ())

    return Rule(
        words("operations"), words("apiGroups"), words("apiVersions"), words("resources"), str(given.get("scope") or "*"),
        words("resourceNames"),
    )  # fmt: skip


_ALL = frozenset("*")
EVERYTHING = (Rule(_ALL, _ALL, _ALL, frozenset({"*", "*/*"}), "*"),)
"""Rules of somebody who names none, and wants all."""


def _any(words: frozenset[str], word: str) -> bool:
    return "*" in words or word in words
