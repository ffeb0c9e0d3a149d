"""The one member: who it is, which alarms are raised, and whether there is room for a write.

Ids and alarms are kept in the store's file as notes, so that they outlive a restart. The quota is etcd's: when the file
would grow beyond it the NOSPACE alarm is raised; from then on only what frees space is served, until somebody disarms it.
"""

from __future__ import annotations

import contextlib

import attrs

from reconcile.clock import Clock
from reconcile.runtime.store.errors import NoSpaceError
from reconcile.runtime.store.store import Store

from . import errors
from .tls import TlsFiles
from .wire import Header

VERSION = "3.5.30"
"""The etcd whose behaviour this is. Below 3.5.13 a kube-apiserver would not ask for watch progress."""

NOSPACE, CORRUPT = 1, 2
ALARM_NAMES = {NOSPACE: "NOSPACE", CORRUPT: "CORRUPT"}
_PUT_OVERHEAD_BYTES = 256
_ALARM = "alarm "


@attrs.frozen(order=True)
class Alarm:
    """An alarm: of which kind, and of which member (0: whoever raised it named none)."""

    kind: int
    member_id: int

    def __str__(self) -> str:
        # As a Go server prints the message, the blank at its end included.
        return f"memberID:{self.member_id} alarm:{ALARM_NAMES[self.kind]} ".removeprefix("memberID:0 ")

    @property
    def note(self) -> str:
        """The name under which it is kept."""
        return f"{_ALARM}{self.kind} {self.member_id}"

    @classmethod
    def of(cls, note: str) -> Alarm:
        """The alarm that is kept under that name."""
        kind, member_id = note.removeprefix(_ALARM).split()
        return cls(int(kind), int(member_id))


@attrs.frozen
class EtcdSettings:
    """What can be set on the face. The defaults are etcd's."""

    name: str = "default"
    client_urls: tuple[str, ...] = ()
    """What MemberList tells; clients that synchronise their endpoints dial these."""
    quota_bytes: int = 2 << 30
    """The file may not grow beyond; 0: no limit."""
    request_bytes_max: int = 1_572_864
    message_overhead_bytes: int = 512 << 10
    """A message may be that much larger than a request before the transport refuses it."""
    progress_interval_s: float = 600.0
    """How often a quiet watch with progress_notify is told how far it has come."""
    tls: TlsFiles | None = None
    """None: without TLS."""
    client_cert_auth: bool = False
    """While callers must say who they are, a client without a token is whom its certificate's common name says."""
    open_address: bool = False
    """Listen beyond loopback even where clients need not show a certificate."""
    auth_token: str = "simple"  # noqa: S105 (a kind of tokens, none itself)
    """Which tokens are given out, as etcd's option of that name says it: simple, or jwt with its options."""
    token_ttl_s: float = 300.0
    """How long a simple token is valid that nobody uses."""

    @property
    def message_bytes_max(self) -> int:
        """Above it, the transport refuses."""
        return self.request_bytes_max + self.message_overhead_bytes


class Member:
    """Identity, alarms and quota of the one member, shared by all services."""

    def __init__(self, store: Store, clock: Clock, settings: EtcdSettings, cluster_id: int, member_id: int) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.cluster_id = cluster_id
        self.member_id = member_id
        self.header = Header(cluster_id, member_id)
        self._alarms = {Alarm.of(name) for name in store.notes if name.startswith(_ALARM)}
        self._size_bytes = 0
        self._size_known = False

    @classmethod
    async def of(cls, store: Store, clock: Clock, settings: EtcdSettings) -> Member:
        """The member that lives in `store`; its ids are made when there are none."""
        for name in ("cluster_id", "member_id"):
            if name not in store.notes:
                await store.note({name: clock.random.getrandbits(62) | 1 << 61})
        return cls(store, clock, settings, int(store.notes["cluster_id"]), int(store.notes["member_id"]))

    def tell_urls(self, urls: tuple[str, ...]) -> None:
        """Have MemberList tell `urls`: where it listens is known only once it does."""
        self.settings = attrs.evolve(self.settings, client_urls=urls)

    def alarms(self, kind: int = 0) -> list[Alarm]:
        """The alarms that are raised: all, or those of a kind."""
        return sorted(alarm for alarm in self._alarms if kind in (0, alarm.kind))

    def check_serving(self) -> None:
        """Refuse everything while a CORRUPT alarm is raised."""
        if self._alarms and self.alarms(CORRUPT):
            raise errors.corrupt()

    async def check_room(self, size_bytes: int) -> None:
        """Refuse a write of `size_bytes` when the quota is used up.

        The size of the file is estimated between two looks at it: it grows by what is written at most.
        """
        if self._alarms:
            self.check_serving()
            raise NoSpaceError(self._place())
        quota = self.settings.quota_bytes
        if not quota:
            return
        self._size_bytes += size_bytes + _PUT_OVERHEAD_BYTES
        if self._size_known and self._size_bytes < quota:
            return
        self._size_bytes = (await self.store.sizes_bytes())[0] + size_bytes + _PUT_OVERHEAD_BYTES
        self._size_known = True
        if self._size_bytes >= quota:
            await self.no_space()
            raise NoSpaceError(self._place())

    async def no_space(self) -> None:
        """Raise the NOSPACE alarm of this member."""
        await self.raise_alarm(Alarm(NOSPACE, self.member_id))

    async def raise_alarm(self, alarm: Alarm) -> None:
        """Raise an alarm; it stays until it is disarmed, also over a restart.

        A disk that is so full that this cannot be kept does not keep it: it is full after the restart, too.
        """
        if alarm not in self._alarms:
            self._alarms.add(alarm)
            with contextlib.suppress(NoSpaceError):
                await self.store.note({alarm.note: 1})

    async def disarm(self, alarm: Alarm) -> bool:
        """Disarm exactly this alarm, if it is raised; the size is looked at anew."""
        if alarm not in self._alarms:
            return False
        await self.store.note({alarm.note: None})
        self._alarms.discard(alarm)
        self._size_known = False
        return True

    def _place(self) -> str:
        return f"the quota of {self.settings.quota_bytes} bytes"
