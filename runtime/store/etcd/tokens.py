"""Simple tokens: random words that stand for a user until they were not used for a while.

They live in memory: after a restart clients authenticate again, as with etcd. A token is `<16 letters>.<number>`, as
etcd's are; only that it was given out makes it one.

Source: etcd server/auth/simple_token.go
"""

from __future__ import annotations

import secrets
import string
from typing import Protocol

import attrs

from reconcile.clock import Clock

_LETTERS = 16
_TOKENS_MAX = 50_000
"""The oldest go beyond: a client that authenticates for each call must not fill the memory."""


@attrs.frozen
class Caller:
    """Who sends a request; without a name it is nobody."""

    user: str = ""
    revision: int = 0
    """The revision of users and roles that the caller was told of."""


class Tokens(Protocol):
    """Gives out tokens, and knows their owners again."""

    def issue(self, user: str, index: int, revision: int) -> str:
        """A new token for a user, at a revision of users and roles."""

    def caller(self, token: str, revision: int) -> Caller | None:
        """Whose token it is; None when it is nobody's (any more)."""

    def forget(self, user: str | None = None) -> None:
        """End the tokens of a user, or all."""


@attrs.define
class _Token:
    user: str
    until_s: float


class SimpleTokens:
    """The tokens that are valid, the least recently used first. Implements `Tokens`."""

    def __init__(self, clock: Clock, ttl_s: float) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._tokens: dict[str, _Token] = {}

    def issue(self, user: str, index: int, _: int = 0) -> str:
        """A new token for a user; `index` is etcd's habit of saying how far the server was."""
        # Not the clock's chance: a seed must never give a secret away.
        word = "".join(secrets.choice(string.ascii_letters) for _ in range(_LETTERS))
        token = f"{word}.{index}"
        self._drop_stale()
        self._tokens[token] = _Token(user, self._clock.monotonic() + self._ttl_s)
        return token

    def caller(self, token: str, revision: int) -> Caller | None:
        """Whose token it is, which is valid for the full time again, and knows of the newest revision."""
        found = self._tokens.pop(token, None)
        now_s = self._clock.monotonic()
        if found is None or found.until_s < now_s:
            return None
        found.until_s = now_s + self._ttl_s
        self._tokens[token] = found
        return Caller(found.user, revision)

    def forget(self, user: str | None = None) -> None:
        """End the tokens of a user, or all."""
        self._tokens = {} if user is None else {word: token for word, token in self._tokens.items() if token.user != user}

    def _drop_stale(self) -> None:
        now_s = self._clock.monotonic()
        while self._tokens:
            oldest = next(iter(self._tokens))
            if self._tokens[oldest].until_s >= now_s and len(self._tokens) < _TOKENS_MAX:
                return
            del self._tokens[oldest]
