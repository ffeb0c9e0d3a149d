"""RBAC: roles say what may be done, bindings say who may; the policy decides, and nobody grants more than they hold.

role, binding   the kinds
rules           a role's rules, compiled; whether rules cover others
policy          the index that decides, kept by watch events
escalation      admission: no write grants what its writer does not hold
bootstrap       the roles and bindings that every cluster has
operator        puts all of it to work, and aggregates ClusterRoles
"""

from .binding import ClusterRoleBinding, RoleBinding, RoleRef, Subject
from .role import AggregationRule, ClusterRole, PolicyRule, Role

__all__ = ["AggregationRule", "ClusterRole", "ClusterRoleBinding", "PolicyRule", "Role", "RoleBinding", "RoleRef", "Subject"]
