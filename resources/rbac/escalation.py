"""Nobody grants more than they hold: admission of roles and bindings.

A role's rules must be covered by what its writer may do in its namespace, unless they may `escalate` the role; a binding's
role must be covered likewise, unless they may `bind` it. What does not change the rules (or the binding) is not looked at.

Source: K/pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased/storage.go, escalation_check.go
"""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.errors import ForbiddenError, NotFoundError, Tree
from reconcile.handling import AdmissionReview
from reconcile.identity import Access, Caller
from reconcile.kinds import Kind

from .policy import Policy
from .role import GROUP
from .rules import shown, uncovered

_ALL: Tree = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_ALL_URLS: Tree = {"verbs": ["*"], "nonResourceURLs": ["*"]}


def check_role(policy: Policy, kind: Kind, review: AdmissionReview) -> None:
    """Refuse a role that grants what its writer does not hold.

    Raises:
        ForbiddenError: it does; the message names what is missing.
    """
    old, tree, caller = review.old, review.tree, review.caller
    if review.operation == "DELETE" or caller.all_powerful:
        return
    rules, aggregation = tree.get("rules") or [], tree.get("aggregationRule")
    if old is not None and (old.get("rules") or []) == rules and old.get("aggregationRule") == aggregation:
        return
    meta = tree["metadata"]
    namespace, name = meta.get("namespace") or "", meta.get("name") or ""
    if policy(caller, Access("escalate", GROUP, kind.plural, "", namespace, name)).allowed:
        return
    if aggregation is not None and (old is None or old.get("aggregationRule") != aggregation):
        held, _ = policy.rules_of(caller, "")
        if uncovered([_ALL, _ALL_URLS], held):
            raise _refused(kind, name, "must have cluster-admin privileges to use an aggregationRule")
    _check_covered(policy, kind, name, caller, rules, namespace)


def check_binding(policy: Policy, kind: Kind, review: AdmissionReview) -> None:
    """Refuse a binding to a role that grants what its writer does not hold.

    Raises:
        ForbiddenError: it does; the message names what is missing.
        NotFoundError: there is no such role, so that nobody can tell.
    """
    old, tree, caller = review.old, review.tree, review.caller
    if review.operation == "DELETE" or caller.all_powerful:
        return
    if old is not None and old.get("roleRef") == tree.get("roleRef") and old.get("subjects") == tree.get("subjects"):
        return
    meta, role = tree["metadata"], tree["roleRef"]
    namespace, role_name = meta.get("namespace") or "", role["name"]
    plural = "clusterroles" if role["kind"] == "ClusterRole" else "roles"
    if policy(caller, Access("bind", GROUP, plural, "", namespace, role_name)).allowed:
        return
    rules = policy.rules_in(role["kind"], role_name, namespace)
    if rules is None:
        raise NotFoundError(
            f'{plural}.{GROUP} "{role_name}" not found', details={"name": role_name, "group": GROUP, "kind": plural}
        )
    _check_covered(policy, kind, meta.get("name") or "", caller, rules, namespace)


def _check_covered(policy: Policy, kind: Kind, name: str, caller: Caller, rules: Sequence[Tree], namespace: str) -> None:
    held, missing = policy.rules_of(caller, namespace)
    left = uncovered(rules, held)
    if not left:
        return
    groups = " ".join(f'"{group}"' for group in caller.groups)
    granted = "\n".join(shown(left))
    wrong = f"; resolution errors: [{', '.join(missing)}]" if missing else ""
    raise _refused(
        kind, name,
        f'user "{caller.user}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{granted}{wrong}',
    )  # fmt: skip


def _refused(kind: Kind, name: str, why: str) -> ForbiddenError:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return ForbiddenError(f'{kind.resource} "{name}" is forbidden: {why}', details=details)
