"""Who calls, and what they may: bearer tokens and client certificates in, a `Caller` out; and the seam for authorisation.

Today the admin's token (and a client certificate of our authority) may do all, and nobody else anything but health and
version. An `Authorizer` is a function, so that RBAC can take its place without a change here.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

import attrs

from reconcile.errors import ForbiddenError, UnauthorizedError
from reconcile.runtime.api.stored import ANONYMOUS, Caller

from .exchange import Request
from .location import Location

ADMIN = Caller("kubernetes-admin", ("system:masters", "system:authenticated"))
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})


@attrs.frozen
class Attributes:
    """What somebody wants to do: a verb on a resource, or (`location` None) on a bare path."""

    verb: str
    path: str
    location: Location | None


Authenticate = Callable[[Request], Caller | None]
"""Says who a request is from; None: nothing known about it. Raises UnauthorizedError for bad credentials."""
Authorize = Callable[[Caller, Attributes], bool]


class TokenAuthenticator:
    """Knows callers by bearer token. Comparison takes the same time for every wrong token."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = [(token.encode(), caller) for token, caller in callers.items() if token]

    def __call__(self, request: Request) -> Caller | None:
        """The caller behind the Authorization header, else behind the client certificate, else nobody.

        Raises:
            UnauthorizedError: there is a token and it is wrong.
        """
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            given, found = token.strip().encode(), None
            for known, caller in self._callers:
                if hmac.compare_digest(known, given):
                    found = caller
            if found is None:
                raise UnauthorizedError("Unauthorized")
            return found
        return _of_certificate(request) if request.peer_cert else None


def everybody(_request: Request) -> Caller:
    """The authenticator of a server that is open to whoever reaches it (tests, a socket nobody else reaches)."""
    return ADMIN


def admins_may_all(caller: Caller, attributes: Attributes) -> bool:
    """The authoriser of today: members of system:masters may all, others see health and version."""
    if "system:masters" in caller.groups:
        return True
    return attributes.verb == "get" and (attributes.path in OPEN_PATHS or attributes.path.startswith(("/livez/", "/readyz/")))


def authenticated(request: Request, authenticate: Authenticate) -> Caller:
    """The caller of a request; anonymous where it says nothing about itself."""
    return authenticate(request) or ANONYMOUS


def forbidden(caller: Caller, attributes: Attributes) -> ForbiddenError:
    """The refusal in the reference server's words.

    Source: k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go
    """
    user = f'User "{caller.user}"'
    location = attributes.location
    if location is None:
        return ForbiddenError(f'forbidden: {user} cannot {attributes.verb} path "{attributes.path}"', details={})
    resource = f"{location.plural}/{location.subresource}" if location.subresource else location.plural
    where = f'in the namespace "{location.namespace}"' if location.namespace else "at the cluster scope"
    qualified = f"{location.plural}.{location.group}" if location.group else location.plural
    name = f' "{location.name}"' if location.name else ""
    details = {
        **({"name": location.name} if location.name else {}),
        **({"group": location.group} if location.group else {}),
        "kind": location.plural,
    }
    return ForbiddenError(
        f'{qualified}{name} is forbidden: {user} cannot {attributes.verb} resource "{resource}" in API group '
        f'"{location.group}" {where}',
        details=details,
    )


def _of_certificate(request: Request) -> Caller | None:
    """Common name is the user, organisations are the groups; TLS has checked the signature already."""
    subject = dict[str, list[str]]()
    for part in (request.peer_cert or {}).get("subject", ()):
        for key, value in part:
            subject.setdefault(key, []).append(value)
    if "commonName" not in subject:
        return None
    return Caller(subject["commonName"][0], (*subject.get("organizationName", ()), "system:authenticated"))
