"""Protobuf by a library that is not ours: descriptors made of the wire tables, and Google's parser over them.

It checks the bytes (numbers, wire types, lengths, nesting) and nothing of our encoder or reader is in it. Besides, it makes
objects of any kind to put through them, with the values at which encoders stumble.
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields

Tree = dict[str, Any]
Tables = Mapping[str, Mapping[str, Sequence[str]]]
_NUMBERS = {"bool": 8, "int32": 5, "int64": 3, "double": 1, "string": 9, "bytes": 12}
_MESSAGE = 11
_VALUES: dict[str, dict[str, list[str]]] = {
    "Time": {"1": ["seconds", "int64"], "2": ["nanos", "int32"]},
    "MicroTime": {"1": ["seconds", "int64"], "2": ["nanos", "int32"]},
    "IntOrString": {"1": ["type", "int64"], "2": ["number", "int32"], "3": ["text", "string"]},
    "Quantity": {"1": ["string", "string"]}, "RawExtension": {"1": ["raw", "bytes"]}, "FieldsV1": {"1": ["raw", "bytes"]},
    "Texts": {"1": ["items", "[]string"]},
    "TypeMeta": {"1": ["apiVersion", "string"], "2": ["kind", "string"]},
    "Unknown": {"1": ["about", "TypeMeta"], "2": ["raw", "bytes"], "3": ["encoding", "string"], "4": ["type", "string"]},
    "Event": {"1": ["type", "string"], "2": ["object", "Raw"]}, "Raw": {"1": ["raw", "bytes"]},
    "List": {"1": ["metadata", "meta.k8s.io/v1.ListMeta"], "2": ["items", "[]bytes"]},
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Oracle:
    """Decodes messages of some tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = {**tables, **_VALUES}
        file = descriptor_pb2.FileDescriptorProto(name="all.proto", package="k", syntax="proto2")
        for message in self._tables:
            self._describe(file, message)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._classes = {
            message: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"k.{_mangled(message)}"))
            for message in self._tables
        }

    def _describe(self, file: Any, message: str) -> None:
        made = file.message_type.add(name=_mangled(message))
        for number, (_, type_) in self._tables[message].items():
            field = made.field.add(name=f"f{number}", number=int(number), label=3 if type_[:2] in ("[]", "{}") else 1)
            if type_.startswith("{}"):
                entry = made.nested_type.add(name=f"F{number}Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=1, type=9)
                self._type(entry.field.add(name="value", number=2, label=1), type_)
                field.type, field.type_name = _MESSAGE, f".k.{_mangled(message)}.F{number}Entry"
            else:
                self._type(field, type_)

    @staticmethod
    def _type(field: Any, type_: str) -> None:
        bare = type_.strip("[]{}>|?")
        if bare in _NUMBERS:
            field.type = _NUMBERS[bare]
        else:
            field.type, field.type_name = _MESSAGE, f".k.{_mangled(bare)}"

    def tree(self, message: str, raw: bytes) -> Tree:
        """The JSON object in the bytes of a message; the bytes must hold nothing else."""
        return self._tree(message, self._classes[message].FromString(raw))

    def body(self, body: bytes) -> Tree:
        """The object in a body, with its kind."""
        assert body[:4] == b"k8s\0"
        outer = self.tree("Unknown", body[4:])
        api_version, kind = outer["about"]["apiVersion"], outer["about"]["kind"]
        raw = base64.b64decode(outer["raw"])
        item = f"{api_version}.{kind.removesuffix('List')}"
        if f"{api_version}.{kind}" in self._tables:
            tree = self.tree(f"{api_version}.{kind}", raw)
        elif kind.endswith("List") and item in self._tables:
            tree = self.tree("List", raw)
            tree["items"] = [self.tree(item, base64.b64decode(each)) for each in tree.get("items", ())]
        else:
            tree = self.tree(f"meta.k8s.io/v1.{kind}", raw)
        return {"apiVersion": api_version, "kind": kind, **tree}

    def events(self, stream: bytes) -> list[tuple[str, Tree]]:
        """The events in the bytes of a watch."""
        found = []
        while stream:
            size = int.from_bytes(stream[:4], "big")
            event = self.tree("Event", stream[4 : 4 + size])
            found.append((event["type"], self.body(base64.b64decode(event["object"]["raw"]))))
            stream = stream[4 + size :]
        return found

    def _tree(self, message: str, found: Any) -> Tree:
        assert not len(unknown_fields.UnknownFieldSet(found)), f"{message} has fields that the tables do not know"
        tree: Tree = {}
        for number, (name, type_) in self._tables[message].items():
            value = getattr(found, f"f{number}")
            bare = type_.rstrip("?")
            if bare[:2] == "[]":
                if len(value):
                    tree[name] = [self._json(bare[2:], each) for each in value]
            elif bare[:2] == "{}":
                if len(value):
                    tree[name] = {key: self._json(bare[2:], each) for key, each in value.items()}
            elif found.HasField(f"f{number}"):
                if bare[0] == ">":
                    tree.update(self._tree(bare[1:], value))
                else:
                    tree[name] = self._json(bare, value)
        return tree

    def _json(self, type_: str, value: Any) -> Any:
        if type_ in _NUMBERS:
            return base64.b64encode(value).decode() if type_ == "bytes" else value
        if type_ in ("Time", "MicroTime"):
            return _moment(type_, value)
        if type_ == "IntOrString":
            return value.f3 if value.f1 else value.f2
        if type_ == "Quantity":
            return value.f1
        if type_ in ("RawExtension", "FieldsV1"):
            return orjson.loads(value.f1)
        if type_ == "Texts":
            return list(value.f1)
        if type_[0] == "|":
            fields = self._tree(type_[1:], value)
            return next(fields[name] for name, _ in reversed([*self._tables[type_[1:]].values()]) if name in fields)
        return self._tree(type_, value)


def _mangled(message: str) -> str:
    return re.sub(r"\W", "_", message)


def _moment(type_: str, value: Any) -> str | None:
    if not value.HasField("f1"):
        return None
    at = _EPOCH + timedelta(seconds=value.f1)
    stem = at.isoformat().removesuffix("+00:00")
    return f"{stem}.{value.f2 // 1000:06d}Z" if type_ == "MicroTime" else f"{stem}Z"


TEXTS = ("", "a", "True", "ä€😀", "x" * 127, "x" * 128, "y" * 4095, "y" * 4096, "z" * 70_000, "a/b.c-d: {}")
WHOLE = (0, 1, -1, 127, 128, 300, (1 << 31) - 1, -(1 << 31))
LONG = (*WHOLE, 1 << 32, (1 << 63) - 1, -(1 << 63))
JSON_VALUES: tuple[Any, ...] = ({}, [], {"a": [1, -2, None, "x", {"b": 0.5}]}, "text", 7, True)
TIMES = ("1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-11-22T22:47:03Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:01Z")


class Made:
    """Objects of the messages of some tables, by chance."""

    def __init__(self, tables: Tables, chance: random.Random) -> None:
        self._tables, self._chance = tables, chance

    def tree(self, message: str, depth: int = 0) -> Tree:
        """Some of the fields of a message, in any order."""
        fields = list(self._tables[message].values())
        self._chance.shuffle(fields)
        share = (0.8, 0.5, 0.4, 0.3, 0.2, 0.1)[min(depth, 5)]
        tree: Tree = {}
        for name, type_ in fields:
            if self._chance.random() < share and not (depth > 7 and "." in type_):
                if type_[0] == ">":
                    tree.update(self.tree(type_[1:], depth))
                else:
                    tree[name] = self._value(type_.rstrip("?"), depth)
        return tree

    def _value(self, type_: str, depth: int) -> Any:
        pick, chance = self._chance.choice, self._chance
        if type_[:2] == "[]":
            return [self._value(type_[2:], depth + 1) for _ in range(chance.choice((1, 1, 2, 3)))]
        if type_[:2] == "{}":
            return {pick(TEXTS[:6]) + str(n): self._value(type_[2:], depth + 1) for n in range(chance.choice((1, 2)))}
        if type_[0] == "|":
            return self._one_of(type_[1:], depth)
        if type_ in self._tables:
            return self.tree(type_, depth + 1)
        match type_:
            case "string":
                return pick(TEXTS) if chance.random() < 0.1 else pick(TEXTS[:5])
            case "bool":
                return pick((True, False))
            case "int32":
                return pick(WHOLE)
            case "int64":
                return pick(LONG)
            case "double":
                return pick((0, 1, -5, 0.5, -1e300, 1e-9))
            case "bytes":
                return base64.b64encode(chance.randbytes(chance.randrange(300))).decode()
            case "Time":
                return pick(TIMES)
            case "MicroTime":
                return pick(TIMES)[:-1] + pick((".000000Z", ".000001Z", ".999999Z"))
            case "IntOrString":
                return pick((0, 80, -1, "", "http", "25%"))
            case "Quantity":
                return pick(("1", "500m", "2Gi", "1e3", "-1"))
            case "FieldsV1":
                return {"f:metadata": {".": {}, 'k:{"a":"b"}': {}}}
            case "RawExtension":
                return pick(JSON_VALUES)
            case "Texts":
                return [pick(TEXTS[:5]) for _ in range(chance.choice((1, 2)))]
        raise AssertionError(type_)

    def _one_of(self, message: str, depth: int) -> Any:
        types = {type_: name for name, type_ in self._tables[message].values()}
        many = next((type_ for type_ in types if type_.startswith("[]")), "")
        one = next(type_ for type_ in types if type_ != "bool" and not type_.startswith("[]"))
        choices: list[Any] = [self.tree(one, depth + 1)]
        if many:
            choices.append(self._value(many, depth))
        if "bool" in types:
            choices.append(self._chance.choice((True, False)))
        return self._chance.choice(choices)
