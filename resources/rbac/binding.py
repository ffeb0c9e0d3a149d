"""RoleBinding and ClusterRoleBinding: who may do what a role says.

Source: K/pkg/apis/rbac/validation, K/pkg/apis/rbac/v1/defaults.go
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.resources.core.cells import AGE
from reconcile.resources.core.names import invalid, is_subdomain, required, unsupported
from reconcile.views import field, struct

from .role import GROUP, wrong_path_segment

ACCOUNT_PREFIX = "system:serviceaccount:"


@struct
class Subject:
    """A user, a group, or a service account."""

    kind: str = field(doc="User, Group or ServiceAccount.")
    api_group: str = field(default="", doc="rbac.authorization.k8s.io for users and groups, none for service accounts.")
    name: str
    namespace: str = field(default="", doc="The service account's namespace.")


@struct
class RoleRef:
    """The role that is meant. It can never be changed: make another binding."""

    api_group: str = ""
    kind: str = field(default="", doc="Role or ClusterRole.")
    name: str = ""


def account_name(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"{ACCOUNT_PREFIX}{namespace}:{name}"


def _default(tree: Tree) -> None:
    role = tree.get("roleRef")
    if role is not None and not role.get("apiGroup"):
        role["apiGroup"] = GROUP
    for subject in tree.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = GROUP


def _check_subject(subject: Tree, path: str, namespaced: bool) -> Iterator[Cause]:
    name, group = subject.get("name") or "", subject.get("apiGroup") or ""
    if not name:
        yield required(f"{path}.name")
    match subject.get("kind"):
        case "ServiceAccount":
            if name:
                yield from is_subdomain(name, f"{path}.name")
            if group:
                yield unsupported(f"{path}.apiGroup", group, ("",))
            if not namespaced and not subject.get("namespace"):
                yield required(f"{path}.namespace")
        case "User" | "Group":
            if group != GROUP:
                yield unsupported(f"{path}.apiGroup", group, (GROUP,))
        case other:
            yield unsupported(f"{path}.kind", other, ("Group", "ServiceAccount", "User"))


def _check(tree: Tree, old: Tree | None, *, namespaced: bool) -> Iterator[Cause]:
    role = tree.get("roleRef") or {}
    if role.get("apiGroup") != GROUP:
        yield unsupported("roleRef.apiGroup", role.get("apiGroup") or "", (GROUP,))
    kinds = ("ClusterRole", "Role") if namespaced else ("ClusterRole",)
    if role.get("kind") not in kinds:
        yield unsupported("roleRef.kind", role.get("kind") or "", kinds)
    if not role.get("name"):
        yield required("roleRef.name")
    elif why := wrong_path_segment(role["name"]):
        yield invalid("roleRef.name", role["name"], why)
    for position, subject in enumerate(tree.get("subjects") or ()):
        yield from _check_subject(subject, f"subjects[{position}]", namespaced)
    if old is not None and old.get("roleRef") != tree.get("roleRef"):
        yield invalid("roleRef", role, "cannot change roleRef")


def _validate_role_binding(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    yield from _check(tree, old, namespaced=True)


def _validate_cluster_role_binding(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    yield from _check(tree, old, namespaced=False)


def _role_cell(tree: Tree, _now_s: float) -> str:
    role = tree.get("roleRef") or {}
    return f"{role.get('kind', '')}/{role.get('name', '')}"


def _subjects(kind: str) -> Column:
    def cell(tree: Tree, _now_s: float) -> str:
        found = [subject for subject in tree.get("subjects") or () if subject.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{subject.get('namespace', '')}/{subject['name']}" for subject in found)
        return ", ".join(subject["name"] for subject in found)

    return Column(f"{kind}s", cell=cell, priority=1, doc=f"The {kind}s that are bound.")


_COLUMNS = (
    Column("Role", cell=_role_cell, doc="What they may do."), AGE, _subjects("User"), _subjects("Group"),
    _subjects("ServiceAccount"),
)  # fmt: skip


@kind(
    GROUP, "v1", plural="rolebindings", builtin=True, has_generation=False, columns=_COLUMNS,
    hooks=Hooks(default=_default, validate=_validate_role_binding, wrong_name=wrong_path_segment),
)  # fmt: skip
class RoleBinding(Resource):
    """Who may do, in one namespace, what a Role or ClusterRole says."""

    subjects: list[Subject] = field(factory=list, list_type="atomic")
    role_ref: RoleRef = field(factory=RoleRef, map_type="atomic")


@kind(
    GROUP, "v1", plural="clusterrolebindings", namespaced=False, builtin=True, has_generation=False, columns=_COLUMNS,
    hooks=Hooks(default=_default, validate=_validate_cluster_role_binding, wrong_name=wrong_path_segment),
)  # fmt: skip
class ClusterRoleBinding(Resource):
    """Who may do everywhere what a ClusterRole says."""

    subjects: list[Subject] = field(factory=list, list_type="atomic")
    role_ref: RoleRef = field(factory=RoleRef, map_type="atomic")
