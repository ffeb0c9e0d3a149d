"""Who calls, and what they want: bearer tokens and client certificates in, a `Caller` out; a request in, an `Access` out.

A request that says nothing about itself is refused, but for health and version, which anybody may see.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping, Sequence

import attrs

from reconcile.errors import BadRequestError, UnauthorizedError
from reconcile.identity import ANONYMOUS, AUTHENTICATED, MASTERS, UNAUTHENTICATED, Access, Caller, Identity
from reconcile.runtime.api.security import Security
from reconcile.selectors import parse_fields

from .exchange import Request
from .location import Location
from .watches import wants_watch

ADMIN = Caller("kubernetes-admin", (MASTERS, AUTHENTICATED))
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})
_OPEN_BELOW = ("/healthz/", "/livez/", "/readyz/")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
log = logging.getLogger(__name__)

Authenticate = Callable[[Request], Caller]
"""Says who a request is from. Raises UnauthorizedError where nothing, or nothing valid, says so."""


class StaticTokens:
    """Knows callers by tokens that never change. Comparison takes the same time for every wrong token."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = [(token.encode(), caller) for token, caller in callers.items() if token]

    def __call__(self, token: str, audiences: Sequence[str]) -> Identity | None:
        """The caller behind a token, or None."""
        given, found = token.encode(), None
        for known, caller in self._callers:
            if hmac.compare_digest(known, given):
                found = caller
        # These tokens are for this server and nobody else: a review for other audiences does not find them.
        return Identity(found) if found is not None and not audiences else None


class Authenticator:
    """Tells callers apart by what the token readers of an API server know, else by client certificate.

    `anonymous`: a request without credentials is from system:anonymous, whom the policy then judges; without it such a
    request is refused at once, but for `OPEN_PATHS`.
    """

    def __init__(self, security: Security, *, anonymous: bool = False) -> None:
        self._security, self._anonymous = security, anonymous

    def __call__(self, request: Request) -> Caller:
        """Who a request is from.

        Raises:
            UnauthorizedError: nothing, or nothing valid, says who it is from.
        """
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return _authenticated(self._of_token(token.strip()))
        found = _of_certificate(request) if request.peer_cert else None
        if found is not None:
            return _authenticated(found)
        if self._anonymous or is_open(request):
            return ANONYMOUS
        raise UnauthorizedError("Unauthorized")

    def _of_token(self, token: str) -> Caller:
        try:
            found = self._security.identify(token)
        except UnauthorizedError as error:
            # The client is told no more than that, as on the reference server: why helps who guesses.
            log.info("token refused", extra={"reason": str(error)})
            raise UnauthorizedError("Unauthorized") from None
        if found is None:
            raise UnauthorizedError("Unauthorized")
        return found.caller


def everybody(_request: Request) -> Caller:
    """The authenticator of a server that is open to whoever reaches it (tests, a socket nobody else reaches)."""
    return ADMIN


def is_open(request: Request) -> bool:
    """Whether a request asks for what anybody may see: health and version."""
    return request.method in ("GET", "HEAD") and (request.path in OPEN_PATHS or request.path.startswith(_OPEN_BELOW))


def access_of(request: Request, location: Location | None) -> Access:
    """What a request wants, as authorisation knows it.

    Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go
    """
    if location is None:
        verb = "get" if request.method in ("GET", "HEAD") else request.method.lower()
        return Access(verb, path=request.path)
    name, verb, fields = location.name, verb_of(request, location), ""
    if verb in ("list", "watch", "deletecollection"):
        fields = request.query.get("fieldSelector", "")
        name = name or _only_name(fields)
    # A namespace itself is "in" that namespace, so that its owner can be allowed to see it.
    namespace = location.namespace or (location.name if location.plural == "namespaces" and not location.group else "")
    return Access(
        verb, location.group, location.plural, location.subresource, namespace, name, location.version, request.path, fields
    )  # fmt: skip


def verb_of(request: Request, location: Location) -> str:
    """The verb that authorisation knows: get, list, watch, create, update, patch, delete, deletecollection."""
    if request.method in ("GET", "HEAD"):
        if wants_watch(request, location) and not location.subresource:
            return "watch"  # below a subresource, `watch` is a parameter of whoever answers it
        return "get" if location.name else "list"
    if request.method == "DELETE":
        return "delete" if location.name else "deletecollection"
    return _VERBS.get(request.method, request.method.lower())


def _only_name(fields: str) -> str:
    """The one name that a field selector lets through, so that a policy for this name covers a watch of it."""
    if "metadata.name" not in fields:
        return ""
    try:
        return parse_fields(fields).exact("metadata.name") or ""
    except BadRequestError:
        return ""  # who may, will be told what is wrong with it


def _authenticated(caller: Caller) -> Caller:
    """The caller with the group of all who were told apart."""
    if AUTHENTICATED in caller.groups or UNAUTHENTICATED in caller.groups:
        return caller
    return attrs.evolve(caller, groups=(*caller.groups, AUTHENTICATED))


def _of_certificate(request: Request) -> Caller | None:
    """Common name is the user, organisations are the groups; TLS has checked the signature already."""
    subject = dict[str, list[str]]()
    for part in (request.peer_cert or {}).get("subject", ()):
        for key, value in part:
            subject.setdefault(key, []).append(value)
    if "commonName" not in subject:
        return None
    return Caller(subject["commonName"][0], tuple(subject.get("organizationName", ())))
