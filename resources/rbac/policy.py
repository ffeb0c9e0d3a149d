"""The policy: an index of roles and bindings that watch events keep, and that decides without waiting.

Bindings are found by namespace and subject, so that a decision costs as many look-ups as the caller has groups, whatever
the number of bindings; the rules of each role are tables (see `rules`).

Source: K/plugin/pkg/auth/authorizer/rbac/rbac.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from reconcile.errors import Tree
from reconcile.identity import Access, Caller, Decision
from reconcile.kinds import Kind

from .binding import account_name
from .role import GROUP
from .rules import CompiledRules

_EVERYTHING: tuple[Tree, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]},
)  # fmt: skip
_NO_DECISION = Decision(False)
_Name = tuple[str, str]
"""Namespace (empty: cluster-wide) and name."""


@attrs.frozen(eq=False)
class _Role:
    rules: Sequence[Tree]
    compiled: CompiledRules


@attrs.frozen(eq=False)
class _Binding:
    name: _Name
    role_kind: str
    role: _Name
    subjects: tuple[tuple[str, str], ...]
    """(what callers are looked up by, how it is shown) of each subject."""

    def why(self, subject: str) -> str:
        """How a decision explains itself."""
        namespace, name = self.name
        title = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
        return f'RBAC: allowed by {title} of {self.role_kind} "{self.role[1]}" to {subject}'


class Policy:
    """All roles and bindings of a cluster. An `Authorizer`."""

    def __init__(self) -> None:
        self._roles: dict[_Name, _Role] = {}
        self._bindings: dict[_Name, _Binding] = {}
        self._found: dict[tuple[str, str], list[tuple[_Binding, str]]] = {}

    # Keeping it

    def saw(self, kind: Kind, tree: Tree, *, gone: bool) -> None:
        """Take in one change of a role or a binding; O(its rules or subjects)."""
        meta = tree["metadata"]
        name = (meta.get("namespace") or "", meta["name"])
        if kind.plural in ("roles", "clusterroles"):
            if gone:
                self._roles.pop(name, None)
            else:
                rules = tree.get("rules") or ()
                self._roles[name] = _Role(rules, CompiledRules(rules))
            return
        self._unbind(name)
        if not gone:
            self._bind(_binding_of(name, tree))

    def _bind(self, binding: _Binding) -> None:
        self._bindings[binding.name] = binding
        for key, text in binding.subjects:
            self._found.setdefault((binding.name[0], key), []).append((binding, text))

    def _unbind(self, name: _Name) -> None:
        binding = self._bindings.pop(name, None)
        for key, _ in binding.subjects if binding is not None else ():
            place = (name[0], key)
            left = [entry for entry in self._found.get(place, ()) if entry[0] is not binding]
            if left:
                self._found[place] = left
            else:
                self._found.pop(place, None)

    # Deciding

    def __call__(self, caller: Caller, access: Access) -> Decision:
        """Whether `caller` may; a few microseconds."""
        missing: list[str] = []
        for binding, subject in self._of(caller, access.namespace):
            role = self._roles.get(binding.role)
            if role is None:
                missing.append(_missing(binding))
            elif role.compiled.allow(access):
                return Decision(True, binding.why(subject))
        return Decision(False, f"RBAC: {_together(missing)}") if missing else _NO_DECISION

    def rules_of(self, caller: Caller, namespace: str) -> tuple[list[Tree], list[str]]:
        """Every rule that holds for `caller` in a namespace, and what is wrong with the bindings behind them."""
        if caller.all_powerful:
            return list(_EVERYTHING), []
        rules: list[Tree] = []
        missing: list[str] = []
        for binding, _ in self._of(caller, namespace):
            role = self._roles.get(binding.role)
            if role is None:
                missing.append(_missing(binding))
            else:
                rules.extend(role.rules)
        return rules, missing

    def rules_in(self, role_kind: str, name: str, namespace: str) -> Sequence[Tree] | None:
        """The rules of a role that a binding in `namespace` names; None: there is none."""
        role = self._roles.get(("" if role_kind == "ClusterRole" else namespace, name))
        return role.rules if role is not None else None

    def _of(self, caller: Caller, namespace: str) -> Iterator[tuple[_Binding, str]]:
        """The bindings that concern a caller, the cluster-wide ones first."""
        keys = (f"u:{caller.user}", *(f"g:{group}" for group in caller.groups))
        found = self._found
        for place in ("", namespace) if namespace else ("",):
            for key in keys:
                yield from found.get((place, key), ())


def _binding_of(name: _Name, tree: Tree) -> _Binding:
    role = tree.get("roleRef") or {}
    kind = role.get("kind", "")
    subjects = tuple(_subjects_of(tree.get("subjects") or (), name[0]))
    return _Binding(name, kind, ("" if kind == "ClusterRole" else name[0], role.get("name", "")), subjects)


def _subjects_of(subjects: Iterable[Tree], namespace: str) -> Iterator[tuple[str, str]]:
    for subject in subjects:
        name = subject.get("name", "")
        match subject.get("kind"):
            case "User":
                yield f"u:{name}", f'User "{name}"'
            case "Group":
                yield f"g:{name}", f'Group "{name}"'
            case "ServiceAccount":
                place = subject.get("namespace") or namespace
                yield f"u:{account_name(place, name)}", f'ServiceAccount "{name}/{place}"'


def _missing(binding: _Binding) -> str:
    return f'{binding.role_kind.lower()}.{GROUP} "{binding.role[1]}" not found'


def _together(texts: Sequence[str]) -> str:
    texts = list(dict.fromkeys(texts))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
