"""Which objects are this replica's, where several replicas of an operator share them: rendezvous hashing of namespace and name.

Every member of a set scores every object, and the highest score has it. So a member that comes takes its share from all others
and nothing else moves; one that goes leaves its own objects alone to be shared out.

An object is known by namespace and name, not by its uid: queues and caches know it so, what it yields is named after it, and so
one that is made again under its name meets whoever still works on the one before. Its kind does not count: what belongs
together often has one name, and is then in one place.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6(1), 1998
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import attrs

from reconcile.kinds import Resource

from .queue import ObjectKey, Owns

if TYPE_CHECKING:
    from .informer import Informer

Members = frozenset[str]
NOBODY: Members = frozenset()
_KNOWN_MAX = 100_000
_MASK = (1 << 64) - 1


@lru_cache(maxsize=1024)
def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _mixed(number: int) -> int:
    """A number whose bits all depend on all bits of the given one: the finalizer of SplitMix64."""
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & _MASK
    return number ^ (number >> 31)


def best(members: Iterable[str], key: ObjectKey) -> str:
    """The member with the highest score for an object; an empty string of no members. O(members)."""
    number = int.from_bytes(hashlib.blake2b("/".join(key).encode(), digest_size=8).digest(), "big")
    return max(((_mixed(number ^ _hash(member)), member) for member in members), default=(0, ""))[1]


@attrs.frozen
class Assignment:
    """What a member works on: what is its own among `claim`, and what no `blocker` may still work on.

    A blocker is another member that acts on a claim from before: one of the two does not know of the other. `narrowed` are claims
    to come: what is not the member's in all of them is being let go.
    """

    member: str
    claim: Members = NOBODY
    blockers: frozenset[tuple[str, Members]] = frozenset()
    narrowed: tuple[Members, ...] = ()
    _known: dict[ObjectKey, bool] = attrs.field(factory=dict, eq=False, init=False, repr=False)

    def __call__(self, key: ObjectKey) -> bool:
        """Whether the member works on an object."""
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = self._known[key] = self._judge(key)
        return known

    def narrow(self, claim: Members) -> Assignment:
        """Without what is not the member's under `claim`."""
        return self if claim in self.narrowed else attrs.evolve(self, narrowed=(*self.narrowed, claim))

    def _judge(self, key: ObjectKey) -> bool:
        return (
            best(self.claim, key) == self.member
            and all(best(claim, key) == self.member for claim in self.narrowed)
            and not any(best(claim, key) == other for other, claim in self.blockers)
        )


class Sharer(Protocol):
    """A controller, as far as objects come to it from other replicas, and go to them."""

    def gained(self, key: ObjectKey, obj: Resource) -> None:
        """An object is ours from now on: as at the start of the operator."""

    def lost(self, key: ObjectKey) -> None:
        """An object is ours no more: begin nothing for it, and forget it."""

    async def handed_over(self) -> None:
        """Wait until nothing runs for objects that are not ours."""


def share(informer: Informer, sharers: Iterable[Sharer], before: Owns, after: Owns, gains: Callable[[Resource], None]) -> None:
    """Tell the controllers of a kind what came and what went; `gains` is called before they hear of what came."""
    sharers = tuple(sharers)
    for key, obj in list(informer.cache.objects.items()):
        ours = after(key)
        if ours == before(key):
            continue
        if ours:
            gains(obj)
        for sharer in sharers:
            if ours:
                sharer.gained(key, obj)
            else:
                sharer.lost(key)
