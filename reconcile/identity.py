"""Who asks the API, what they want, and whether they may: the words that authentication and authorisation share.

The API server makes a `Caller` and an `Access` of each request that comes over the wire and asks an `Authorizer`. Admission
handlers find the caller in their review. Controllers that run in the server's own process are `SYSTEM` and are not asked.

Source: k8s.io/apiserver/pkg/authentication/user, k8s.io/apiserver/pkg/authorization/authorizer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from .errors import ForbiddenError, Tree

MASTERS = "system:masters"
"""The group whose members may do everything, whatever the policy says."""
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"


@attrs.frozen
class Caller:
    """Who asks."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = attrs.field(factory=dict, eq=False)

    @property
    def all_powerful(self) -> bool:
        """Whether no policy binds them."""
        return MASTERS in self.groups

    def tree(self) -> Tree:
        """The caller as a UserInfo of authentication.k8s.io/v1."""
        info: Tree = {"username": self.user}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra.items()}
        return info


SYSTEM = Caller("system:apiserver", (MASTERS,))
"""The control plane itself."""
ANONYMOUS = Caller("system:anonymous", (UNAUTHENTICATED,))


@attrs.frozen
class Identity:
    """Who a token stands for, and which of the wanted audiences it is meant for (none: it is for the API server)."""

    caller: Caller
    audiences: tuple[str, ...] = ()


@attrs.frozen
class Access:
    """What somebody wants to do: a verb on a resource, or (with a `path`, and no `resource`) on a bare URL path."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    version: str = ""
    path: str = ""
    fields: str = ""
    """The field selector of a list or watch, as it was sent: a policy may allow a part of what there is."""

    @property
    def part(self) -> str:
        """`pods/log`, or `pods`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@attrs.frozen
class Decision:
    """Whether it is allowed, and why (may be empty)."""

    allowed: bool
    reason: str = ""


Authorizer = Callable[[Caller, Access], Decision]
"""Decides what callers may do. It is asked for every request over the wire, so it must not wait for anything."""


def forbidden(caller: Caller, access: Access, reason: str = "") -> ForbiddenError:
    """The refusal in the reference server's words.

    Source: k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go
    """
    user, because = f'User "{caller.user}"', f": {reason}" if reason else ""
    if not access.resource:
        return ForbiddenError(f'forbidden: {user} cannot {access.verb} path "{access.path}"{because}', details={})
    where = f'in the namespace "{access.namespace}"' if access.namespace else "at the cluster scope"
    qualified = f"{access.resource}.{access.group}" if access.group else access.resource
    name = f' "{access.name}"' if access.name else ""
    details = {
        **({"name": access.name} if access.name else {}),
        **({"group": access.group} if access.group else {}),
        "kind": access.resource,
    }
    return ForbiddenError(
        f'{qualified}{name} is forbidden: {user} cannot {access.verb} resource "{access.part}" in API group "{access.group}" '
        f"{where}{because}",
        details=details,
    )
