"""TokenRequest: what is posted to `serviceaccounts/token` for a token of that service account.

Source: K/pkg/apis/authentication/validation, https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Hooks, Resource, kind
from reconcile.resources.core.names import invalid
from reconcile.views import field, struct

from .reviews import GROUP

EXPIRES_S_MIN, EXPIRES_S_MAX, EXPIRES_S = 600, 1 << 32, 3600


@struct
class BoundObjectReference:
    """What the token lives and dies with: a Pod, a Secret or a Node."""

    kind: str = ""
    api_version: str = ""
    name: str = ""
    uid: str = ""


@struct
class TokenRequestSpec:
    """For whom the token is meant, and for how long."""

    audiences: list[str] = field(factory=list, list_type="atomic", doc="Who may take it; the API server unless given.")
    expiration_seconds: int | None = field(default=None, doc="How long it is valid; an hour unless given.")
    bound_object_ref: BoundObjectReference | None = None


@struct
class TokenRequestStatus:
    """The token."""

    token: str = ""
    expiration_timestamp: str = field(default="", format="date-time")


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    asked_s = (tree.get("spec") or {}).get("expirationSeconds")
    if asked_s is None:
        return
    if asked_s < EXPIRES_S_MIN:
        yield invalid("spec.expirationSeconds", asked_s, "may not specify a duration less than 10 minutes")
    elif asked_s > EXPIRES_S_MAX:
        yield invalid("spec.expirationSeconds", asked_s, "may not specify a duration larger than 2^32 seconds")


@kind(GROUP, "v1", plural="tokenrequests", builtin=True, has_generation=False, hooks=Hooks(validate=_validate))
class TokenRequest(Resource):
    """A question for a token of a service account."""

    spec: TokenRequestSpec = field(factory=TokenRequestSpec)
    status: TokenRequestStatus = field(factory=TokenRequestStatus)
