"""Types of messages for the compiler of expressions, made of names: descriptors in a pool of their own.

Nothing of them is ever evaluated: what they are for is to find out what an expression comes to, and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.duration_pb2 import DESCRIPTOR as DURATION
from google.protobuf.struct_pb2 import DESCRIPTOR as STRUCT
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP

from .exact import OWN_MESSAGES

ANYTHING = ".google.protobuf.Value"
_JSON_PATCH = ("op", "path", "from")


def add_patches(file: FileDescriptorProto, messages: Mapping[str, Sequence[str]]) -> None:
    """Add JSONPatch, and these messages, whose fields may hold anything."""
    patch = add_message(file, "JSONPatch")
    for name in _JSON_PATCH:
        add_field(patch, name, FieldDescriptorProto.TYPE_STRING)
    add_field(patch, "value", ANYTHING)
    for message, fields in messages.items():
        made = add_message(file, message)
        for name in fields:
            add_field(made, name, ANYTHING)


def pool_with(file: FileDescriptorProto) -> DescriptorPool:
    """A pool with what a file describes, and what it needs."""
    pool = DescriptorPool()
    for known in (STRUCT, TIMESTAMP, DURATION):
        pool.AddSerializedFile(known.serialized_pb)
    packages: dict[str, FileDescriptorProto] = {}
    for name in OWN_MESSAGES:
        package, _, message = name.rpartition(".")
        packages.setdefault(package, FileDescriptorProto(name=f"{package}.proto", syntax="proto3", package=package))
        packages[package].message_type.add(name=message)
    for each in packages.values():
        pool.Add(each)
    pool.Add(file)
    return pool


def add_message(file: FileDescriptorProto, name: str) -> DescriptorProto:
    """Add a message without fields."""
    made = file.message_type.add(name=name)
    # Names that differ in nothing but their underscores are one in JSON, which would otherwise be refused.
    made.options.deprecated_legacy_json_field_conflicts = True
    return made


def add_field(message: DescriptorProto, name: str, type_: int | str, *, repeated: bool = False) -> None:
    """Add a field of a type of protobuf's, or (a text) of a message."""
    number = len(message.field) + 1
    made = message.field.add(name=name, number=number)
    made.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    if isinstance(type_, str):
        made.type, made.type_name = FieldDescriptorProto.TYPE_MESSAGE, type_
    else:
        made.type = type_
