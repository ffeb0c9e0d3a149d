"""The claim of one control plane on a prefix: its controllers, its scheduler and its node run once.

API servers may share a prefix; controllers may not, for two of them would both create what is missing. So whoever runs them
holds the key `<prefix>/control-plane`, which hangs on a lease: it goes by itself when its owner is gone. The same owner (the
same state folder, of which only one runs at a time) takes its own claim over at once.
"""

from __future__ import annotations

import json
import logging
from typing import Self

import attrs

from reconcile.clock import Clock
from reconcile.errors import ReconcileError
from reconcile.runtime.store.errors import StoreClosedError, StoreError, UnavailableError
from reconcile.runtime.store.interface import WatchStore
from reconcile.runtime.store.model import Compare, Put, Txn

log = logging.getLogger(__name__)

KEY = b"/control-plane"
TTL_S = 15


class ClaimedError(ReconcileError):
    """Another control plane runs on the prefix."""

    def __init__(self, place: str, holder: Holder) -> None:
        super().__init__(
            f"{place} is run by another control plane ({holder.folder} on {holder.host}, pid {holder.pid}): stop that one (one "
            f"that died is forgotten after {TTL_S} s), or give another prefix with --store"
        )
        self.holder = holder


@attrs.frozen
class Holder:
    """Who runs a control plane: `id` is its state folder's, the rest is for people."""

    id: str
    host: str = "an unknown host"
    pid: int = 0
    folder: str = "an unknown folder"

    def encoded(self) -> bytes:
        """As the claim's value."""
        return json.dumps(attrs.asdict(self)).encode()

    @classmethod
    def decoded(cls, value: bytes) -> Self:
        """From a claim's value; one that cannot be read is somebody else's."""
        try:
            tree = json.loads(value)
            return cls(str(tree["id"]), str(tree["host"]), int(tree["pid"]), str(tree["folder"]))
        except (ValueError, KeyError, TypeError):
            return cls("")


class Claim:
    """A claim that is held. `keep` it up as a task of its own; `release` it in the end."""

    def __init__(self, store: WatchStore, place: str, clock: Clock, holder: Holder) -> None:
        self._store, self._place, self._clock, self._holder = store, place, clock, holder
        self._lease = 0

    @classmethod
    async def take(cls, store: WatchStore, place: str, clock: Clock, holder: Holder) -> Self:
        """Claim the prefix behind `store`; `place` names it in errors.

        Raises:
            ClaimedError: somebody else has it.
            StoreError.
        """
        claim = cls(store, place, clock, holder)
        await claim._take()
        return claim

    async def keep(self) -> None:
        """Keep the claim up; returns only when the store is closed.

        While the cluster cannot be reached nobody else can claim either, so that is no reason to stop.

        Raises:
            ClaimedError: we were silent for too long, and another control plane has taken over.
        """
        while True:
            await self._clock.sleep(TTL_S / 3)
            try:
                if not await self._store.lease_keep_alive(self._lease):
                    log.warning("the claim on the store ran out, it is taken again", extra={"place": self._place})
                    await self._take()
            except StoreClosedError:
                return
            except UnavailableError as error:
                log.warning("the claim on the store could not be kept up", extra={"error": str(error)})

    async def release(self) -> None:
        """Give the claim back; where that fails it runs out by itself."""
        try:
            await self._store.lease_revoke(self._lease)
        except StoreError as error:
            log.info("the claim on the store is left to run out", extra={"error": str(error)})

    async def _take(self) -> None:
        store = self._store
        self._lease = (await store.lease_grant(TTL_S)).id
        put = Put(KEY, self._holder.encoded(), lease=self._lease)
        while True:
            await store.catch_up()
            found = store.get(KEY)
            if found is not None:
                holder = Holder.decoded(found.value)
                if holder.id != self._holder.id:
                    await store.lease_revoke(self._lease)
                    raise ClaimedError(self._place, holder)
            compare = Compare.mod_is(KEY, found.mod_revision if found is not None else 0)
            if (await store.txn(Txn((compare,), (put,)), "control plane")).succeeded:
                return
