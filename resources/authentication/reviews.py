"""TokenReview: whose token is this? SelfSubjectReview: who am I?

Source: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Hooks, Resource, kind
from reconcile.resources.core.names import required
from reconcile.views import field, struct

GROUP = "authentication.k8s.io"


@struct
class UserInfo:
    """A user as the API server knows them."""

    username: str = ""
    uid: str = ""
    groups: list[str] = field(factory=list, list_type="atomic")
    extra: dict[str, list[str]] = field(factory=dict)


@struct
class TokenReviewSpec:
    """The token, and for whom it must be meant."""

    token: str = ""
    audiences: list[str] = field(factory=list, list_type="atomic", doc="Any of them will do; the API server unless given.")


@struct
class TokenReviewStatus:
    """Whose token it is, or why it is nobody's."""

    authenticated: bool = False
    user: UserInfo | None = None
    audiences: list[str] = field(factory=list, list_type="atomic")
    error: str = ""


@struct
class SelfSubjectReviewStatus:
    """Who asks."""

    user_info: UserInfo = field(factory=UserInfo)


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    if not (tree.get("spec") or {}).get("token"):
        yield required("spec.token")


@kind(GROUP, "v1", plural="tokenreviews", namespaced=False, builtin=True, has_generation=False, hooks=Hooks(validate=_validate))
class TokenReview(Resource):
    """Whose token is this?"""

    spec: TokenReviewSpec = field(factory=TokenReviewSpec)
    status: TokenReviewStatus = field(factory=TokenReviewStatus)


@kind(GROUP, "v1", plural="selfsubjectreviews", namespaced=False, builtin=True, has_generation=False)
class SelfSubjectReview(Resource):
    """Who am I? (`kubectl auth whoami`)"""

    status: SelfSubjectReviewStatus = field(factory=SelfSubjectReviewStatus)
