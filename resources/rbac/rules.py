"""Rules at work: a role's rules compiled for deciding, and the question whether some rules cover others.

Source: K/pkg/registry/rbac/validation (policy_comparator.go, policy_compact.go), K/plugin/pkg/auth/authorizer/rbac
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence

from reconcile.errors import Tree
from reconcile.identity import Access

_ANY = "*"
_PARTS = ("apiGroups", "resources", "nonResourceURLs", "resourceNames", "verbs")


class CompiledRules:
    """A role's rules as tables: a decision looks a resource up instead of going through the rules."""

    __slots__ = ("_resources", "_urls")

    def __init__(self, rules: Iterable[Tree]) -> None:
        self._resources: dict[tuple[str, str], list[tuple[frozenset[str], frozenset[str]]]] = {}
        self._urls: list[tuple[frozenset[str], frozenset[str], tuple[str, ...]]] = []
        for rule in rules:
            verbs = frozenset(rule.get("verbs") or ())
            names = frozenset(rule.get("resourceNames") or ())
            for key in itertools.product(rule.get("apiGroups") or (), rule.get("resources") or ()):
                self._resources.setdefault(key, []).append((verbs, names))
            urls = rule.get("nonResourceURLs") or ()
            if urls:
                # "/api/*" is everything below /api/, as the trailing star alone is special.
                begins = tuple(url[:-1] for url in urls if url.endswith(_ANY))
                self._urls.append((verbs, frozenset(urls), begins))

    def allow(self, access: Access) -> bool:
        """Whether the rules allow it."""
        verb = access.verb
        if not access.resource:
            path = access.path
            return any(
                (verb in verbs or _ANY in verbs) and (path in exact or path.startswith(begins))
                for verbs, exact, begins in self._urls
            )
        table, name = self._resources, access.name
        for group in (access.group, _ANY):
            for part in _names_of(access):
                for verbs, names in table.get((group, part), ()):
                    if (verb in verbs or _ANY in verbs) and (not names or name in names):
                        return True
        return False


def _names_of(access: Access) -> tuple[str, ...]:
    """What a rule may call the resource: pods/log, the log of anything, anything."""
    if access.subresource:
        return (access.part, f"*/{access.subresource}", _ANY)
    return (access.resource, _ANY)


def uncovered(wanted: Sequence[Tree], held: Sequence[Tree]) -> list[Tree]:
    """The parts of `wanted` that no rule of `held` covers, one verb, group and resource each."""
    return [part for rule in wanted for part in _broken_down(rule) if not any(_covers(own, part) for own in held)]


def _broken_down(rule: Tree) -> Iterator[Tree]:
    """The rule as rules of one verb on one thing each."""
    verbs = rule.get("verbs") or ()
    for group, resource, verb in itertools.product(rule.get("apiGroups") or (), rule.get("resources") or (), verbs):
        part = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
        if not rule.get("resourceNames"):
            yield part
        for name in rule.get("resourceNames") or ():
            yield {**part, "resourceNames": [name]}
    for url, verb in itertools.product(rule.get("nonResourceURLs") or (), verbs):
        yield {"nonResourceURLs": [url], "verbs": [verb]}


def _covers(own: Tree, part: Tree) -> bool:
    if not _has(own, "verbs", part):
        return False
    if "nonResourceURLs" in part:
        return any(_url_covers(url, part["nonResourceURLs"][0]) for url in own.get("nonResourceURLs") or ())
    names = own.get("resourceNames")
    if names and not ("resourceNames" in part and part["resourceNames"][0] in names):
        return False
    if not _has(own, "apiGroups", part):
        return False
    resource = part["resources"][0]
    if _has(own, "resources", part):
        return True
    # */scale covers deployments/scale.
    return "/" in resource and f"*/{resource.partition('/')[2]}" in (own.get("resources") or ())


def _has(own: Tree, field: str, part: Tree) -> bool:
    values = own.get(field) or ()
    return _ANY in values or part[field][0] in values


def _url_covers(own: str, wanted: str) -> bool:
    if own in (_ANY, wanted):
        return True
    return own.endswith(_ANY) and wanted.startswith(own.rstrip(_ANY))


def shown(rules: Sequence[Tree]) -> list[str]:
    """Rules as refusals show them, those about the same thing with their verbs together, in order."""
    together: dict[str, Tree] = {}
    for rule in rules:
        about = {part: rule[part] for part in _PARTS[:-1] if rule.get(part)}
        key = json.dumps(about, sort_keys=True)
        known = together.setdefault(key, {**about, "verbs": []})
        known["verbs"] += [verb for verb in rule["verbs"] if verb not in known["verbs"]]
    return sorted(_text(rule) for rule in together.values())


def _text(rule: Tree) -> str:
    parts = [f"{part[0].upper()}{part[1:]}:[{_words(rule[part])}]" for part in _PARTS if rule.get(part)]
    return "{" + ", ".join(parts).replace("ApiGroups:", "APIGroups:") + "}"


def _words(values: Iterable[str]) -> str:
    return " ".join(json.dumps(value) for value in values)
