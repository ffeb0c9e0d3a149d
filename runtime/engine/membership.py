"""Membership by Leases: the replicas of an operator share its objects, and no two work on one at once.

Every member renews a Lease of its own, and writes into it its claim: the members among which it shares the objects out. It works
on what is its own under its claim (`sharding.best`), and only

- after it published the claim and *then* read the claims of all others: of two that claim one object, one sees the other's;
- except for what another member has by a claim of before, if one of the two does not know of the other yet;
- while it may write: `WRITING_S` after it began its last renewal, whereas others count it as gone `LEASE_S` after they saw its
  Lease change last. A claim counts for as long, also one whose Lease was removed.

When the members change, it first narrows: of what is no more its own it begins nothing, waits until what runs has ended, and only
then publishes its new claim. Before it takes up anything new, all its caches are read anew: they show what others wrote of it.
A member that could not renew in time has lost everything, and comes back as one that is new. Nobody presides over this, and there
is no record that all write.

Source: the claims are an entry section as Dekker's and Lamport's bakery have it; the Lease is that of `election`
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import Protocol

import attrs

from reconcile.client import Client, DeleteOptions
from reconcile.clock import Clock, timestamp_micro
from reconcile.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError, Tree

from .election import LEASE, LEASE_S, RETRY_S, WRITING_S
from .queue import Owns
from .sharding import NOBODY, Assignment, Members, best

log = logging.getLogger(__name__)

CLAIM = "reconcile.dev/shard-members"
"""The annotation of a Lease that holds its member's claim."""
SHARDS = "reconcile.dev/shards"
"""The label of the Leases of one operator's replicas."""
_AT_ONCE_S = 0.1
BURIED_LEASES = 4
"""After how many times its duration the Lease of a member that is gone is removed."""


class Shared(Protocol):
    """What works on the objects: an engine."""

    def assign(self, owns: Owns) -> None:
        """Work on these alone, from now on."""

    async def handed_over(self) -> None:
        """Wait until nothing runs for any other."""

    async def refresh(self) -> None:
        """Wait until the caches hold all that was written before."""


@attrs.define
class Seen:
    """What is known of another member: its claim, and when on our own clock its Lease was first seen so."""

    claim: Members
    revision: str
    seen_s: float
    lasts_s: float
    lease: str
    uid: str


class Membership:
    """One member. `campaign` until it may write, then `lead` until it may not; `shared` is told what is its own."""

    def __init__(
        self, client: Client, clock: Clock, *, name: str, namespace: str, identity: str,
        lease_s: float = LEASE_S, writing_s: float = WRITING_S, retry_s: float = RETRY_S,
    ) -> None:  # fmt: skip
        assert retry_s < writing_s < lease_s, "the right to write must end before others may take over"
        self.shards, self.namespace, self.identity = name, namespace, identity
        self.name = re.sub(r"[^a-z0-9.-]", "-", f"{name}-{identity}".lower())
        self.assignment = Assignment(identity)
        self.moves = 0
        """How often the objects were shared out anew."""
        self._client, self._clock = client, clock
        self._lease_s, self._writing_s, self._retry_s = lease_s, writing_s, retry_s
        self._may_write_until = 0.0
        self._shared: Shared | None = None
        self._lease: Tree | None = None
        self._claim: Members = NOBODY
        self._seen: dict[str, Seen] = {}
        self._narrowing: asyncio.Task[None] | None = None
        self._widening: asyncio.Task[None] | None = None

    def share(self, shared: Shared) -> None:
        """Tell it what is our own; nothing is, to begin with."""
        self._shared = shared
        shared.assign(self.assignment)

    @property
    def left_s(self) -> float:
        """For how long this replica may still write; 0 if it may not."""
        return max(0.0, self._may_write_until - self._clock.monotonic())

    @property
    def leading(self) -> bool:
        """Whether this replica may write now."""
        return self.left_s > 0

    @property
    def members(self) -> Members:
        """Who is there, as far as we know."""
        return frozenset({self.identity, *self._others()})

    async def campaign(self) -> None:
        """Return once we are a member, with an assignment that holds."""
        while not await self._join():
            await self._clock.sleep(self._retry_s * (1 + self._clock.random.random() / 5))
        log.info("member %s of %d shares the objects of %s", self.identity, len(self.members), self.shards)

    async def lead(self) -> None:
        """Renew the Lease and follow the others; return once the Lease could not be renewed in time."""
        try:
            while self.leading:
                await self._pause()
                if not self.leading:
                    break  # this process stood still: a renewal now would only seem to be one
                try:
                    async with asyncio.timeout(self.left_s):
                        await self._round()
                except TimeoutError:
                    break
        finally:
            self._settle()
        self._may_write_until = 0.0
        self._assign(Assignment(self.identity))
        log.warning("the lease %s/%s could not be renewed in time; its objects are the others'", self.namespace, self.name)

    async def keep(self) -> None:
        """Renew the Lease alone, while handlers end."""
        while self.leading:
            with contextlib.suppress(ApiError, TimeoutError):
                async with asyncio.timeout(self.left_s):
                    await self._renew()
            await self._clock.sleep(min(self._retry_s, self.left_s))

    async def resign(self) -> None:
        """Claim nothing any more, so that the others need not wait for the Lease to run out."""
        held, self._may_write_until = self.leading, 0.0
        if held and self._lease is not None:
            with contextlib.suppress(ApiError):
                await self._publish(NOBODY)

    async def _join(self) -> bool:
        try:
            await self._look()
            began = self._clock.monotonic()
            self._claim = self.members
            await self._publish(self._claim)
            await self._look()
        except ApiError as error:
            log.warning("the lease %s/%s cannot be had: %s", self.namespace, self.name, error)
            return False
        self._may_write_until = began + self._writing_s
        self._assign(self._computed())
        return self.leading

    async def _pause(self) -> None:
        """Until the next round is due: after a while, or when everything is let go that is to be."""
        sleeping = asyncio.ensure_future(self._clock.sleep(min(self._retry_s, self.left_s)))
        waiting = {sleeping}
        if self._narrowing is not None and not self._narrowing.done():
            waiting.add(self._narrowing)
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()

    async def _round(self) -> None:
        """Renew, look at the others, and do the next step towards what should be ours."""
        try:
            await self._renew()
            await self._look()
            members = self.members
            if members != self._claim and await self._narrowed(members):
                # Nothing runs any more for what is not ours under the new claim: now others may know.
                self._claim = members
                await self._renew()
                await self._look()
        except ApiError as error:
            log.warning("the lease %s/%s cannot be renewed: %s", self.namespace, self.name, error)
            return
        if self.members == self._claim:
            self._stop_narrowing()  # who came, or went, did not mean it
            self._widen(self._computed())
        await self._bury()

    async def _narrowed(self, members: Members) -> bool:
        """Let go of what is not ours among these members; whether that is done."""
        assert self._shared is not None, "somebody works on the objects"
        if self._widening is not None:
            self._widening.cancel()
            self._widening = None
        if self.assignment.narrowed[-1:] != (members,):
            self._assign(self.assignment.narrow(members))
            self._stop_narrowing()
            self._narrowing = asyncio.ensure_future(self._shared.handed_over())
            await asyncio.wait({self._narrowing}, timeout=_AT_ONCE_S)  # most often nothing is under way
        if self._narrowing is None or not self._narrowing.done():
            return False
        self._narrowing.result()
        self._narrowing = None
        return True

    def _widen(self, wanted: Assignment) -> None:
        """Take up what is ours by a claim that is published, once the caches show what others wrote of it."""
        if self._widening is not None and not self._widening.done():
            return  # the next round looks again
        if wanted != self.assignment:
            self._widening = asyncio.ensure_future(self._take_up(wanted))

    async def _take_up(self, wanted: Assignment) -> None:
        assert self._shared is not None, "somebody works on the objects"
        await self._shared.refresh()
        self._assign(wanted)

    def _assign(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.moves += 1
        if self._shared is not None:
            self._shared.assign(assignment)

    def _computed(self) -> Assignment:
        others = self._others()
        # Where two members are in each other's claims, one score decides between them under both.
        blockers = {
            (name, seen.claim) for name, seen in others.items() if self.identity not in seen.claim or name not in self._claim
        }
        return Assignment(self.identity, self._claim, frozenset(blockers))

    def _settle(self) -> None:
        self._stop_narrowing()
        if self._widening is not None:
            self._widening.cancel()
            self._widening = None

    def _stop_narrowing(self) -> None:
        if self._narrowing is not None:
            self._narrowing.cancel()
            self._narrowing = None

    def _others(self) -> dict[str, Seen]:
        """The other members whose claims count."""
        now = self._clock.monotonic()
        return {name: seen for name, seen in self._seen.items() if seen.claim and now < seen.seen_s + seen.lasts_s}

    async def _look(self) -> None:
        """Read the Leases of all members, as they are now."""
        page = await self._client.list(LEASE, self.namespace, labels=f"{SHARDS}={self.shards}")
        now, there = self._clock.monotonic(), set()
        for tree in page.items:
            meta, spec = tree["metadata"], tree.get("spec") or {}
            if meta["name"] == self.name:
                continue
            name = str(spec.get("holderIdentity") or meta["name"])
            there.add(name)
            revision, known = str(meta.get("resourceVersion")), self._seen.get(name)
            if known is None or known.revision != revision:
                claim = frozenset(((meta.get("annotations") or {}).get(CLAIM) or "").split())
                lasts_s = max(float(spec.get("leaseDurationSeconds") or self._lease_s), 1.0)
                self._seen[name] = Seen(claim, revision, now, lasts_s, meta["name"], str(meta.get("uid")))
        for name, seen in list(self._seen.items()):
            if name not in there and now >= seen.seen_s + seen.lasts_s:
                del self._seen[name]

    async def _renew(self) -> None:
        """Publish the claim, and be allowed to write for longer.

        Raises:
            TimeoutError: the right to write ended meanwhile.
        """
        began = self._clock.monotonic()
        await self._publish(self._claim)
        if not self.leading:
            raise TimeoutError  # others may have taken over what we still think to be ours
        self._may_write_until = began + self._writing_s

    async def _publish(self, claim: Members) -> None:
        """Write the Lease, with a claim."""
        tree, lease = self._written(claim), self._lease
        try:
            if lease is None:
                try:
                    self._lease = await self._client.create(LEASE, tree, self.namespace, field_manager=self.identity)
                    return
                except AlreadyExistsError:
                    lease = await self._client.get(LEASE, self.name, self.namespace)
            self._lease = await self._client.update(LEASE, _onto(lease, tree), self.namespace, field_manager=self.identity)
        except (ConflictError, NotFoundError):
            self._lease = None  # somebody else touched it, or our own write arrived though we never heard so
            raise

    def _written(self, claim: Members) -> Tree:
        now = timestamp_micro(self._clock.now())
        labels, annotations = {SHARDS: self.shards}, {CLAIM: " ".join(sorted(claim))}
        return {
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": labels, "annotations": annotations},
            "spec": {"holderIdentity": self.identity, "leaseDurationSeconds": int(self._lease_s), "renewTime": now},
        }

    async def _bury(self) -> None:
        """Remove the Lease of one that is long gone; one member does it for all."""
        now = self._clock.monotonic()
        for name, seen in list(self._seen.items()):
            if now < seen.seen_s + BURIED_LEASES * seen.lasts_s or best(self.members, ("", name)) != self.identity:
                continue
            options = DeleteOptions(uid=seen.uid, resource_version=seen.revision)  # not one that came back meanwhile
            try:
                await self._client.delete(LEASE, seen.lease, self.namespace, options)
            except ApiError as error:
                log.debug("the lease %s/%s is not removed: %s", self.namespace, seen.lease, error)
            self._seen.pop(name, None)


def _onto(lease: Tree, tree: Tree) -> Tree:
    """The Lease with what we write in it; its revision stays a precondition."""
    meta, ours = lease["metadata"], tree["metadata"]
    merged = {name: {**(meta.get(name) or {}), **ours[name]} for name in ("labels", "annotations")}
    return {**lease, "metadata": {**meta, **merged}, "spec": {**(lease.get("spec") or {}), **tree["spec"]}}
