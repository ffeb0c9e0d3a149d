"""The Cluster service: one member, who cannot be joined or left.

Whoever needs more members runs a real etcd cluster; nothing here replicates or elects.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aetcd.rpc import rpc_pb2 as pb

from . import errors
from .member import Member
from .methods import Methods, parse


class Cluster:
    """Tells of the one member."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def register(self, methods: Methods) -> None:
        """Serve it."""
        methods.unary(
            "etcdserverpb.Cluster",
            MemberList=self.members,
            MemberAdd=self.add,
            MemberRemove=self.remove,
            MemberUpdate=self.update,
            MemberPromote=self.promote,
        )

    async def members(self, _: bytes) -> bytes:
        """MemberList; its header has no revision, as in etcd."""
        member = self._member
        urls = member.settings.client_urls
        one = pb.Member(ID=member.member_id, name=member.settings.name, peerURLs=urls, clientURLs=urls)
        answer: bytes = pb.MemberListResponse(members=[one]).SerializeToString()
        return member.header(0) + answer

    async def add(self, raw: bytes) -> bytes:
        """MemberAdd: refused, for one of two reasons."""
        self._check_urls(parse(pb.MemberAddRequest, raw).peerURLs)
        raise errors.one_member_only()

    async def remove(self, raw: bytes) -> bytes:
        """MemberRemove: refused."""
        self._check_id(parse(pb.MemberRemoveRequest, raw).ID)
        raise errors.one_member_only()

    async def update(self, raw: bytes) -> bytes:
        """MemberUpdate: refused."""
        request = parse(pb.MemberUpdateRequest, raw)
        self._check_urls(request.peerURLs)
        self._check_id(request.ID)
        raise errors.one_member_only()

    async def promote(self, raw: bytes) -> bytes:
        """MemberPromote: refused, for the member is no learner."""
        self._check_id(parse(pb.MemberPromoteRequest, raw).ID)
        raise errors.not_a_learner()

    def _check_id(self, member_id: int) -> None:
        if member_id != self._member.member_id:
            raise errors.member_not_found()

    def _check_urls(self, urls: list[str]) -> None:
        for url in urls:
            parts = urlsplit(url)
            # etcd wants scheme://host:port, and no path.
            if parts.scheme not in ("http", "https", "unix", "unixs") or ":" not in parts.netloc or parts.path:
                raise errors.bad_member_urls()
        if not urls:
            raise errors.bad_member_urls()
