"""Who callers are and what they may do: filled by whoever composes the control plane, asked by those who serve it.

Nothing here knows a policy or a kind of token. Without an authorizer only members of `system:masters` may do anything, so
that a server that nobody composed is shut, not open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reconcile.identity import Access, Authorizer, Caller, Decision, Identity


class TokenReader(Protocol):
    """Knows one kind of bearer token."""

    def __call__(self, token: str, audiences: Sequence[str]) -> Identity | None:
        """Who the token stands for; None: it is of another kind. No audiences: it must be for the API server itself.

        Raises:
            UnauthorizedError: it is of this kind and not valid; the message says why.
        """


def masters_only(caller: Caller, _access: Access) -> Decision:
    """Nobody but members of system:masters."""
    return Decision(caller.all_powerful)


class Security:
    """The token readers and the authorizer of one API server."""

    def __init__(self) -> None:
        self._readers: list[TokenReader] = []
        self._authorizer: Authorizer = masters_only

    def add_token_reader(self, reader: TokenReader) -> None:
        """Ask `reader` too, after those that were added before."""
        self._readers.append(reader)

    def authorize_with(self, authorizer: Authorizer) -> None:
        """Let `authorizer` decide from now on."""
        self._authorizer = authorizer

    def identify(self, token: str, audiences: Sequence[str] = ()) -> Identity | None:
        """Who a bearer token stands for, or None where nobody knows it.

        Raises:
            UnauthorizedError: it is known and not valid.
        """
        for reader in self._readers:
            found = reader(token, audiences)
            if found is not None:
                return found
        return None

    def authorize(self, caller: Caller, access: Access) -> Decision:
        """Whether `caller` may. Members of system:masters always may."""
        if caller.all_powerful:
            return Decision(True)
        return self._authorizer(caller, access)
