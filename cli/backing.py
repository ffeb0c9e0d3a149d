"""Which store a control plane runs on: the embedded one in its state folder, or an etcd cluster (`up --store`).

A state folder belongs to one of them for good: its processes, its node and its addresses are those of the objects in it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reconcile.clock import Clock
from reconcile.runtime.cluster import STORE
from reconcile.runtime.store import WatchStore

from .errors import CommandError

if TYPE_CHECKING:
    from reconcile.runtime.store.remote.claim import Claim

NOTE = "store-address"
_KEYS = b"/"
"""What all keys of a control plane begin with: /registry/pods/..."""
_ID = "control-plane-id"


class EtcdBacking:
    """An etcd cluster as the store of the control plane of a state folder."""

    def __init__(self, text: str, data_dir: Path, folder: Path, clock: Clock) -> None:
        """Read the address.

        Raises:
            CommandError: gRPC is not installed, or the state folder has an embedded store.
            AddressFormError: it is no address.
        """
        try:
            from reconcile.runtime.store.remote import EtcdAddress
        except ModuleNotFoundError as error:
            raise CommandError(f"`--store` needs {error.name}: pip install 'reconcile-toolkit[etcd]'") from error
        self.address = EtcdAddress.parse(text)
        self._data_dir, self._folder, self._clock = data_dir, folder, clock
        self._claim: Claim | None = None
        if (data_dir / STORE).exists():
            raise CommandError(
                f"the state folder {data_dir} has a store of its own, whose objects are not in {self.address}: name another "
                f"one with --data-dir, or leave --store out"
            )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[WatchStore]:
        """The store, claimed for this control plane.

        Raises:
            UnreachableError, EtcdRefusal, ClaimedError.
            CommandError: the state folder belongs to another store.
        """
        from reconcile.runtime.store.remote import EtcdStore
        from reconcile.runtime.store.remote.claim import Claim, Holder

        async with await EtcdStore.open(self.address, self._clock, below=_KEYS) as store:
            self._belongs(store.identity)
            holder = Holder(self._id(), socket.gethostname(), os.getpid(), str(self._folder))
            self._claim = await Claim.take(store, str(self.address), self._clock, holder)
            try:
                yield store
            finally:
                await self._claim.release()

    async def keep(self) -> None:
        """Keep the claim up; ends when it is lost. Raises ClaimedError."""
        assert self._claim is not None, "the store is open"
        await self._claim.keep()

    def _belongs(self, identity: str) -> None:
        """Refuse a store that is not the one that this state folder began with: its endpoints may change, its data not."""
        note = self._data_dir / NOTE
        try:
            before = note.read_text().splitlines()[0]
        except (OSError, IndexError):
            before = identity
        if before != identity:
            raise CommandError(
                f"the state folder {self._data_dir} belongs to another store than {self.address}: name another one with "
                f"--data-dir, or the store that it began with ({note})"
            )
        note.write_text(f"{identity}\n{self.address}\n")

    def _id(self) -> str:
        note = self._data_dir / _ID
        try:
            return note.read_text().strip()
        except OSError:
            made = self._clock.uid()
            note.write_text(f"{made}\n")
            return made


def refuse_embedded(data_dir: Path) -> None:
    """Refuse to run on an embedded store in a state folder that belongs to an etcd cluster.

    Raises:
        CommandError.
    """
    try:
        address = (data_dir / NOTE).read_text().splitlines()[1]
    except (OSError, IndexError):
        return
    raise CommandError(
        f"the state folder {data_dir} belongs to {address}: run `up` with --store {address}, or name another one with --data-dir"
    )
