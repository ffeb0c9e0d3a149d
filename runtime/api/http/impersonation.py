"""Acting as somebody else: the Impersonate-* headers, each of which the real caller must be allowed to use.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation,
k8s.io/apiserver/pkg/endpoints/filters/impersonation
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

import attrs

from reconcile.errors import BadRequestError, InternalError
from reconcile.identity import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, Access, Authorizer, Caller, forbidden

from .exchange import Request

_USER, _UID, _GROUP, _EXTRA = "Impersonate-User", "Impersonate-Uid", "Impersonate-Group", "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_AUTHENTICATION = "authentication.k8s.io"


def impersonated(request: Request, caller: Caller, authorize: Authorizer) -> Caller:
    """Whom the request is to be treated as: the caller, unless its headers say otherwise.

    Raises:
        BadRequestError: a header asks for groups, a uid or extras of nobody.
        ForbiddenError: the caller may not act as this user, or in this group.
    """
    if not any(name.lower().startswith("impersonate-") for name in request.headers):
        return caller
    wanted = _wanted(request)
    if wanted is None:
        return caller
    for access in _needed(wanted):
        decision = authorize(caller, access)
        if not decision.allowed:
            raise forbidden(caller, access, decision.reason)
    return _completed(wanted)


def _wanted(request: Request) -> Caller | None:
    user, uid = request.headers.get(_USER, ""), request.headers.get(_UID, "")
    groups = tuple(request.every(_GROUP))
    extra: dict[str, list[str]] = {}
    for name in request.headers:
        if name.lower().startswith(_EXTRA):
            key = unquote(name.lower().removeprefix(_EXTRA))
            extra.setdefault(key, request.every(name))
    if not user:
        if not (uid or groups or extra):
            return None
        raise InternalError(f"requested [{', '.join(_asked(uid, groups, extra))}] without impersonating a user")
    if user.startswith(_ACCOUNT) and len(user.split(":")) != 4:
        raise BadRequestError(f"{_USER}: {user!r} is no service account; give system:serviceaccount:NAMESPACE:NAME")
    return Caller(user, groups, uid, extra)


def _asked(uid: str, groups: tuple[str, ...], extra: dict[str, list[str]]) -> Iterator[str]:
    yield from (f"groups/{group}" for group in groups)
    yield from (f"userextras/{key}/{value}" for key, values in extra.items() for value in values)
    if uid:
        yield f"uids/{uid}"


def _needed(wanted: Caller) -> Iterator[Access]:
    """What the caller must be allowed to do, one access a header."""
    if wanted.user.startswith(_ACCOUNT):
        _, _, namespace, name = wanted.user.split(":")
        yield Access("impersonate", "", "serviceaccounts", "", namespace, name)
    else:
        yield Access("impersonate", "", "users", name=wanted.user)
    for group in wanted.groups:
        yield Access("impersonate", "", "groups", name=group)
    for key, values in wanted.extra.items():
        for value in values:
            yield Access("impersonate", _AUTHENTICATION, "userextras", key, name=value)
    if wanted.uid:
        yield Access("impersonate", _AUTHENTICATION, "uids", name=wanted.uid)


def _completed(wanted: Caller) -> Caller:
    """The caller with the groups that authentication would have added."""
    groups = wanted.groups
    if not groups and wanted.user.startswith(_ACCOUNT):
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{wanted.user.split(':')[2]}")
    if wanted.user == ANONYMOUS.user:
        groups = groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    elif AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    return attrs.evolve(wanted, groups=groups)
