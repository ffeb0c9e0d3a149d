"""Leader election by a Lease: of several replicas of an operator one works; fenced, so that a former leader writes nothing.

The right to write ends on the holder's own monotonic clock, `WRITING_S` after it *began* its last successful renewal; others
take the Lease `LEASE_S` after they saw it change last. So clocks need not agree, only run at about the same speed, and there is
a pause between two leaders in which nobody writes. `fencing.FencedClient` holds it to that.

Source: k8s.io/client-go/tools/leaderelection
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from reconcile.client import Client
from reconcile.clock import Clock, timestamp_micro
from reconcile.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError, Tree
from reconcile.kinds import Kind

log = logging.getLogger(__name__)

LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
LEASE_S, WRITING_S, RETRY_S = 15.0, 10.0, 2.0


class Election:
    """One candidate for one Lease. `campaign` until elected, then `lead` until the Lease is lost."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        name: str,
        namespace: str,
        identity: str,
        lease_s: float = LEASE_S,
        writing_s: float = WRITING_S,
        retry_s: float = RETRY_S,
    ) -> None:
        assert retry_s < writing_s < lease_s, "the right to write must end before others may take the lease"
        self.name, self.namespace, self.identity = name, namespace, identity
        self.transitions = 0
        self._client, self._clock = client, clock
        self._lease_s, self._writing_s, self._retry_s = lease_s, writing_s, retry_s
        self._may_write_until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)  # the newest revision of the lease, and when it was first seen
        self._lease: Tree | None = None

    @property
    def left_s(self) -> float:
        """For how long this replica may still write; 0 if it may not."""
        return max(0.0, self._may_write_until - self._clock.monotonic())

    @property
    def leading(self) -> bool:
        """Whether this replica may write now."""
        return self.left_s > 0

    async def campaign(self) -> None:
        """Return once the Lease is ours."""
        while not await self._try():
            spread = 1 + self._clock.random.random() / 5  # candidates that started together must not ask together for ever
            await self._clock.sleep(self._retry_s * spread)

    async def lead(self) -> None:
        """Renew the Lease; return once it is lost: somebody else has it, or it could not be renewed in time."""
        while self.leading:
            await self._clock.sleep(min(self._retry_s, self.left_s))
            try:
                async with asyncio.timeout(max(self.left_s, 0.001)):
                    held = await self._try()
            except TimeoutError:
                break
            if not held and self._holder() not in ("", self.identity):
                break  # while nobody else has it, an error is only an error
        self._may_write_until = 0.0
        log.warning("the lease %s/%s is lost to %r", self.namespace, self.name, self._holder() or "nobody")

    async def keep(self) -> None:
        """Renew the Lease while handlers end."""
        await self.lead()

    async def resign(self) -> None:
        """Give the Lease back, so that the next leader need not wait for it to run out."""
        held, self._may_write_until = self.leading, 0.0
        if held and self._lease is not None:
            spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._now()}
            with contextlib.suppress(ApiError):
                await self._client.update(LEASE, {**self._lease, "spec": spec}, self.namespace, field_manager=self.identity)

    def _holder(self) -> str:
        return str((self._lease or {}).get("spec", {}).get("holderIdentity") or "")

    def _now(self) -> str:
        return timestamp_micro(self._clock.now())

    async def _try(self) -> bool:
        """Take or renew the lease; whether it is ours."""
        began = self._clock.monotonic()
        try:
            lease = await self._read()
            if lease is not None and not self._free(lease):
                return False
            self._lease = await self._write(lease)
        except (AlreadyExistsError, ConflictError):
            return False  # somebody else was faster
        except ApiError as error:
            log.warning("the lease %s/%s cannot be had: %s", self.namespace, self.name, error)
            return False
        if not self.leading:
            log.info("leading: the lease %s/%s is held by %s", self.namespace, self.name, self.identity)
        self._may_write_until = began + self._writing_s
        return True

    async def _read(self) -> Tree | None:
        try:
            lease = await self._client.get(LEASE, self.name, self.namespace)
        except NotFoundError:
            self._lease = None
            return None
        revision = str(lease["metadata"].get("resourceVersion"))
        if revision != self._seen[0]:
            self._seen = (revision, self._clock.monotonic())
        self._lease = lease
        return lease

    def _free(self, lease: Tree) -> bool:
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") in (None, "", self.identity):
            return True
        lasts_s = max(float(spec.get("leaseDurationSeconds") or self._lease_s), 1.0)
        return self._clock.monotonic() >= self._seen[1] + lasts_s

    async def _write(self, lease: Tree | None) -> Tree:
        before = (lease or {}).get("spec") or {}
        ours = before.get("holderIdentity") == self.identity
        self.transitions = int(before.get("leaseTransitions") or 0) + (0 if ours or lease is None else 1)
        now = self._now()
        spec = {
            **before,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._lease_s),
            "acquireTime": before.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": self.transitions,
        }
        if lease is None:
            tree: Tree = {"metadata": {"name": self.name, "namespace": self.namespace}, "spec": spec}
            return await self._client.create(LEASE, tree, self.namespace, field_manager=self.identity)
        return await self._client.update(LEASE, {**lease, "spec": spec}, self.namespace, field_manager=self.identity)
