"""The Maintenance service: Status, Alarm, HashKV, Hash, Defragment, Snapshot, MoveLeader, Downgrade.

Nothing here stops writers: a defragmentation goes slice by slice, a snapshot is copied beside them.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.store.hashkv import varint

from . import errors, snapshots, wire
from .member import ALARM_NAMES, VERSION, Alarm, Member
from .methods import Call, Methods, parse

_BLOB_BYTES = 32 << 10
_GET, _ACTIVATE, _DEACTIVATE = range(3)
_VALIDATE, _ENABLE, _CANCEL = range(3)


class Maintenance:
    """Looks after the one member."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._store = member.store

    def register(self, methods: Methods) -> None:
        """Serve it."""
        methods.unary(
            "etcdserverpb.Maintenance",
            Status=self.status,
            Alarm=self.alarm,
            HashKV=self.hash_kv,
            Hash=self.hash,
            Defragment=self.defragment,
            MoveLeader=self.move_leader,
            Downgrade=self.downgrade,
        )
        methods.stream("etcdserverpb.Maintenance", Snapshot=self.snapshot)

    def _header(self) -> bytes:
        return self._member.header(self._store.revision)

    async def status(self, _: bytes) -> bytes:
        """Status. There is no raft: its indexes are the revision, which grows with each write."""
        member = self._member
        size_bytes, used_bytes = await self._store.sizes_bytes()
        answer: bytes = pb.StatusResponse(
            version=VERSION,
            dbSize=size_bytes,
            dbSizeInUse=used_bytes,
            leader=member.member_id,
            raftIndex=self._store.revision,
            raftAppliedIndex=self._store.revision,
            raftTerm=wire.RAFT_TERM,
            errors=map(str, member.alarms()),
        ).SerializeToString()
        return self._header() + answer

    async def alarm(self, raw: bytes) -> bytes:
        """Alarm: list, raise or disarm; what was raised or disarmed is told. Clients disarm what they listed, one by one."""
        request = parse(pb.AlarmRequest, raw)
        member, told = self._member, []
        alarm = Alarm(request.alarm, request.memberID)
        if request.action == _GET:
            told = member.alarms(request.alarm)
        elif request.action == _ACTIVATE and request.alarm in ALARM_NAMES:
            await member.raise_alarm(alarm)
            told = [alarm]
        elif request.action == _DEACTIVATE and await member.disarm(alarm):
            told = [alarm]
        alarms = [pb.AlarmMember(memberID=each.member_id, alarm=each.kind) for each in told]
        answer: bytes = pb.AlarmResponse(alarms=alarms).SerializeToString()
        return self._header() + answer

    async def hash_kv(self, raw: bytes) -> bytes:
        """HashKV: equal to a real etcd's for the same history."""
        revision = parse(pb.HashKVRequest, raw).revision
        number = await self._store.hash_kv(revision)
        compacted = self._store.compacted
        tail = b"\x18" + varint(compacted) if compacted else b""
        return self._header() + b"\x10" + varint(number) + tail

    async def hash(self, _: bytes) -> bytes:
        """Hash: of the whole history that is there. A real etcd hashes its file, so its number is another."""
        return self._header() + b"\x10" + varint(await self._store.hash_kv())

    async def defragment(self, _: bytes) -> bytes:
        """Defragment; the answer is empty, as in etcd."""
        await self._store.defragment()
        return b""

    async def snapshot(self, call: Call) -> None:
        """Snapshot: the database as it is at one moment, in etcd's own form, and the SHA-256 of it.

        `etcdctl snapshot save` takes it; `etcdutl snapshot restore` and `reconcile store restore` read it.
        """
        await call.read()
        with tempfile.TemporaryDirectory(prefix="reconcile-snapshot-") as folder:
            path = Path(folder) / "snapshot.db"
            await self._store.copy_to(path, snapshots.save)
            remaining = os.stat(path).st_size
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while blob := file.read(_BLOB_BYTES):
                    digest.update(blob)
                    remaining -= len(blob)
                    await call.write(_piece(remaining, blob))
        await call.write(_piece(0, digest.digest()))

    async def move_leader(self, raw: bytes) -> bytes:
        """MoveLeader: there is nobody to move to; to itself it is nothing to do, as in etcd."""
        if parse(pb.MoveLeaderRequest, raw).targetID != self._member.member_id:
            raise errors.bad_leader_transferee()
        return self._header()

    async def downgrade(self, raw: bytes) -> bytes:
        """Downgrade: there is nothing older to go back to."""
        request = parse(pb.DowngradeRequest, raw)
        if request.action == _CANCEL:
            raise errors.no_downgrade()
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", request.version):
            raise errors.bad_downgrade_version()
        raise errors.bad_downgrade_target()


def _piece(remaining_bytes: int, blob: bytes) -> bytes:
    front = b"\x10" + varint(remaining_bytes) if remaining_bytes else b""
    return front + wire.field(b"\x1a", blob)
