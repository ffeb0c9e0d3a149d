"""The service account tokens of one pod: fetched when first needed, renewed when four fifths of their life are over.

Source: pkg/kubelet/token/token_manager.go
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree

from .environment import Sources

_RENEWED_AFTER = 0.8
_OLD_S_MAX = 24 * 3600.0


@attrs.frozen
class Held:
    """A token, and when to fetch another one."""

    token: str
    renew_at: float


class PodTokens:
    """What was fetched for one pod."""

    def __init__(self, sources: Sources, now_s: Callable[[], float]) -> None:
        self._sources, self._now_s = sources, now_s
        self._held: dict[tuple[str, int], Held] = {}

    @property
    def due_at(self) -> float | None:
        """When the first of them has to be renewed."""
        return min((held.renew_at for held in self._held.values()), default=None)

    async def token(self, pod: Tree, audience: str, lasts_s: int) -> str:
        """A token for `audience` (empty: the API) that is good for a while.

        Raises:
            ApiError: none can be had.
        """
        held = self._held.get((audience, lasts_s))
        if held is None or self._now_s() >= held.renew_at:
            token, expires = await self._sources.token(pod, audience, lasts_s)
            # What was granted counts, not what was asked for.
            left_s = parse_timestamp(expires) - self._now_s()
            held = self._held[audience, lasts_s] = Held(token, self._now_s() + min(left_s * _RENEWED_AFTER, _OLD_S_MAX))
        return held.token
