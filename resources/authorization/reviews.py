"""The kinds of authorization.k8s.io: questions that are answered in their status and stored nowhere.

Source: K/pkg/apis/authorization/validation
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import Cause, Tree
from reconcile.kinds import Hooks, Resource, kind
from reconcile.resources.core.names import invalid
from reconcile.views import field, struct

GROUP = "authorization.k8s.io"


@struct
class ResourceAttributes:
    """A verb on a resource; * stands for all, and an empty name too."""

    namespace: str = ""
    verb: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    field_selector: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    label_selector: dict[str, Any] | None = field(default=None, preserve_unknown=True)


@struct
class NonResourceAttributes:
    """A verb on a URL path."""

    path: str = ""
    verb: str = ""


@struct
class SelfSubjectAccessReviewSpec:
    """What the caller wants to do."""

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None


@struct
class SubjectAccessReviewSpec:
    """What somebody wants to do."""

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None
    user: str = ""
    groups: list[str] = field(factory=list, list_type="atomic")
    extra: dict[str, list[str]] = field(factory=dict)
    uid: str = ""


@struct
class SubjectAccessReviewStatus:
    """The answer."""

    allowed: bool = False
    denied: bool = False
    reason: str = ""
    evaluation_error: str = ""


@struct
class SelfSubjectRulesReviewSpec:
    """Where the caller's rules are wanted."""

    namespace: str = ""


@struct
class ResourceRule:
    """Verbs on resources."""

    verbs: list[str] = field(factory=list, list_type="atomic")
    api_groups: list[str] = field(factory=list, list_type="atomic")
    resources: list[str] = field(factory=list, list_type="atomic")
    resource_names: list[str] = field(factory=list, list_type="atomic")


@struct
class NonResourceRule:
    """Verbs on URL paths."""

    verbs: list[str] = field(factory=list, list_type="atomic")
    non_resource_urls: list[str] = field(factory=list, name="nonResourceURLs", list_type="atomic")


@struct
class SubjectRulesReviewStatus:
    """All that is allowed."""

    resource_rules: list[ResourceRule] = field(factory=list, list_type="atomic")
    non_resource_rules: list[NonResourceRule] = field(factory=list, list_type="atomic")
    incomplete: bool = False
    evaluation_error: str = ""


def _check_wanted(spec: Tree) -> Iterator[Cause]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        yield invalid("spec.nonResourceAttributes", path, "cannot be specified in combination with resourceAttributes")
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        yield invalid("spec.resourceAttributes", None, why)


def _validate_own(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    yield from _check_wanted(tree.get("spec") or {})


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    spec = tree.get("spec") or {}
    yield from _check_wanted(spec)
    if not spec.get("user") and not spec.get("groups"):
        yield invalid("spec.user", "", "at least one of user or group must be specified")


def _validate_local(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    yield from _validate(tree, old)
    spec, namespace = tree.get("spec") or {}, tree["metadata"].get("namespace", "")
    resource = spec.get("resourceAttributes")
    if spec.get("nonResourceAttributes") is not None:
        yield invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"], "disallowed on this kind of request")
    if resource is not None and (resource.get("namespace") or "") != namespace:
        why = "must match metadata.namespace"
        yield invalid("spec.resourceAttributes.namespace", resource.get("namespace") or "", why)


@kind(
    GROUP, "v1", plural="subjectaccessreviews", namespaced=False, builtin=True, has_generation=False,
    hooks=Hooks(validate=_validate),
)  # fmt: skip
class SubjectAccessReview(Resource):
    """May somebody do something?"""

    spec: SubjectAccessReviewSpec = field(factory=SubjectAccessReviewSpec)
    status: SubjectAccessReviewStatus = field(factory=SubjectAccessReviewStatus)


@kind(GROUP, "v1", plural="localsubjectaccessreviews", builtin=True, has_generation=False, hooks=Hooks(validate=_validate_local))
class LocalSubjectAccessReview(Resource):
    """May somebody do something in this namespace? Who owns a namespace may be allowed to ask."""

    spec: SubjectAccessReviewSpec = field(factory=SubjectAccessReviewSpec)
    status: SubjectAccessReviewStatus = field(factory=SubjectAccessReviewStatus)


@kind(
    GROUP, "v1", plural="selfsubjectaccessreviews", namespaced=False, builtin=True, has_generation=False,
    hooks=Hooks(validate=_validate_own),
)  # fmt: skip
class SelfSubjectAccessReview(Resource):
    """May I do something? (`kubectl auth can-i`)"""

    spec: SelfSubjectAccessReviewSpec = field(factory=SelfSubjectAccessReviewSpec)
    status: SubjectAccessReviewStatus = field(factory=SubjectAccessReviewStatus)


@kind(GROUP, "v1", plural="selfsubjectrulesreviews", namespaced=False, builtin=True, has_generation=False)
class SelfSubjectRulesReview(Resource):
    """What may I do in a namespace? (`kubectl auth can-i --list`)"""

    spec: SelfSubjectRulesReviewSpec = field(factory=SelfSubjectRulesReviewSpec)
    status: SubjectRulesReviewStatus = field(factory=SubjectRulesReviewStatus)
