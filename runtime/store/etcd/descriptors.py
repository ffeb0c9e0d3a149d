"""The messages that aetcd's stubs lack: locks and elections, described in code.

They stand in a descriptor pool of their own, so that they clash with nobody's generated code in the same process.

Source: etcd server/etcdserver/api/v3lock/v3lockpb/v3lock.proto, v3election/v3electionpb/v3election.proto
"""

from __future__ import annotations

from aetcd.rpc import auth_pb2, kv_pb2, rpc_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from .requests import Message

_BYTES, _INT64, _MESSAGE = 12, 3, 11
_HEADER = ("header", _MESSAGE, ".etcdserverpb.ResponseHeader")
_LEADER = ("leader", _MESSAGE, ".v3electionpb.LeaderKey")
_NAME = ("name", _BYTES, "")

_FILES: dict[str, dict[str, tuple[tuple[str, int, str], ...]]] = {
    "v3lockpb": {
        "LockRequest": (_NAME, ("lease", _INT64, "")),
        "LockResponse": (_HEADER, ("key", _BYTES, "")),
        "UnlockRequest": (("key", _BYTES, ""),),
        "UnlockResponse": (_HEADER,),
    },
    "v3electionpb": {
        "LeaderKey": (_NAME, ("key", _BYTES, ""), ("rev", _INT64, ""), ("lease", _INT64, "")),
        "CampaignRequest": (_NAME, ("lease", _INT64, ""), ("value", _BYTES, "")),
        "CampaignResponse": (_HEADER, _LEADER),
        "LeaderRequest": (_NAME,),
        "LeaderResponse": (_HEADER, ("kv", _MESSAGE, ".mvccpb.KeyValue")),
        "ResignRequest": (_LEADER,),
        "ResignResponse": (_HEADER,),
        "ProclaimRequest": (_LEADER, ("value", _BYTES, "")),
        "ProclaimResponse": (_HEADER,),
    },
}
"""Messages with their fields, numbered in their order from 1."""


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for known in (auth_pb2, kv_pb2, rpc_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for package, messages in _FILES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{package}.proto", package=package, syntax="proto3", dependency=["rpc.proto", "kv.proto"]
        )
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for number, (field, kind, type_name) in enumerate(fields, 1):
                message.field.add(name=field, number=number, type=kind, label=1, type_name=type_name or None)
        pool.Add(file)
    return pool


_POOL = _pool()


def _message(name: str) -> Message:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


LockRequest = _message("v3lockpb.LockRequest")
LockResponse = _message("v3lockpb.LockResponse")
UnlockRequest = _message("v3lockpb.UnlockRequest")
UnlockResponse = _message("v3lockpb.UnlockResponse")
LeaderKey = _message("v3electionpb.LeaderKey")
CampaignRequest = _message("v3electionpb.CampaignRequest")
CampaignResponse = _message("v3electionpb.CampaignResponse")
LeaderRequest = _message("v3electionpb.LeaderRequest")
LeaderResponse = _message("v3electionpb.LeaderResponse")
ResignRequest = _message("v3electionpb.ResignRequest")
ResignResponse = _message("v3electionpb.ResignResponse")
ProclaimRequest = _message("v3electionpb.ProclaimRequest")
ProclaimResponse = _message("v3electionpb.ProclaimResponse")
