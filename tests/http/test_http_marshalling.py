"""Protobuf as answers have it: what the writer does with values that JSON has and protobuf has not, and single bytes."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from reconcile.kinds import Kind
from reconcile.runtime.api.http.lines import ProtobufLines
from reconcile.runtime.api.http.marshalling import Marshaller, varint
from reconcile.runtime.api.http.negotiation import Rendering
from reconcile.runtime.api.http.rendering import Renderer
from reconcile.runtime.api.stored import Stored
from reconcile.runtime.clock import SystemClock

TABLES: dict[str, dict[str, list[str]]] = {
    "v1.Thing": {
        "1": ["metadata", "v1.Meta"], "2": ["count", "int32?"], "3": ["large", "int64"], "4": ["yes", "bool?"],
        "5": ["texts", "[]string"], "6": ["labels", "{}string"], "7": ["at", "Time"], "8": ["exactly", "MicroTime"],
        "9": ["port", "IntOrString"], "10": ["size", "Quantity"], "11": ["more", "RawExtension"], "12": ["ratio", "double"],
        "13": ["source", ">v1.Source"], "14": ["raw", "bytes"], "15": ["numbers", "[]int64"], "16": ["deep", "v1.Thing"],
        "17": ["values", "[]RawExtension"], "200": ["far", "string"],
    },
    "v1.Source": {"1": ["empty", "v1.Meta"]},
    "v1.Meta": {"1": ["name", "string?"]},
    "meta.k8s.io/v1.Status": {"1": ["metadata", "meta.k8s.io/v1.ListMeta"], "3": ["message", "string?"]},
    "meta.k8s.io/v1.ListMeta": {"2": ["resourceVersion", "string?"]},
    "meta.k8s.io/v1.PartialObjectMetadata": {"1": ["metadata", "v1.Meta"]},
}  # fmt: skip
KIND = Kind(group="", version="v1", kind="Thing", plural="things")


def raw(tree: dict[str, Any]) -> bytes:
    return Marshaller(TABLES).message("v1.Thing")(tree)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({}, b""), ({"texts": [], "labels": {}, "numbers": [], "at": None, "count": None, "metadata": None}, b""),
        ({"nobody": {"knows": 1}, "apiVersion": "v1", "kind": "Thing"}, b""),
        ({"metadata": {}}, b"\x0a\x00"), ({"metadata": {"name": "a"}}, b"\x0a\x03\x0a\x01a"),
        ({"count": 0}, b"\x10\x00"), ({"count": 300}, b"\x10\xac\x02"), ({"count": 5.0}, b"\x10\x05"),
        ({"count": -1}, b"\x10" + b"\xff" * 9 + b"\x01"), ({"large": -(1 << 63)}, b"\x18" + b"\x80" * 9 + b"\x01"),
        ({"yes": True}, b"\x20\x01"), ({"yes": False}, b"\x20\x00"), ({"texts": ["", "b"]}, b"\x2a\x00\x2a\x01b"),
        ({"labels": {"a": "b", "": None}}, b"\x32\x06\x0a\x01a\x12\x01b\x32\x02\x0a\x00"),
        ({"at": "2025-06-15T08:00:00Z"}, b"\x3a\x06\x08\x80\xfb\xb9\xc2\x06"),
        ({"at": "2025-06-15T10:00:00.9+02:00"}, b"\x3a\x06\x08\x80\xfb\xb9\xc2\x06"),
        ({"at": "0001-01-01T00:00:00Z"}, b"\x3a\x00"),
        ({"exactly": "1970-01-01T00:00:01.000002Z"}, b"\x42\x05\x08\x01\x10\xd0\x0f"),
        ({"port": 80}, b"\x4a\x04\x08\x00\x10\x50"), ({"port": "a"}, b"\x4a\x05\x08\x01\x1a\x01a"),
        ({"size": "1Gi"}, b"\x52\x05\x0a\x031Gi"), ({"size": 2}, b"\x52\x03\x0a\x012"),
        ({"more": {"a": [None]}}, b'\x5a\x0e\x0a\x0c{"a":[null]}'), ({"ratio": 5}, b"\x61" + struct.pack("<d", 5)),
        ({"empty": {}}, b"\x6a\x02\x0a\x00"), ({"raw": "AAE="}, b"\x72\x02\x00\x01"),
        ({"numbers": [1, -1]}, b"\x78\x01\x78" + varint(-1)),
        ({"deep": {"deep": {}}}, b"\x82\x01\x03\x82\x01\x00"), ({"far": "a"}, b"\xc2\x0c\x01a"),
        ({"values": [None, 1]}, b"\x8a\x01\x06\x0a\x04null\x8a\x01\x03\x0a\x011"),
    ],
)  # fmt: skip
def test_values_are_written_as_protobuf_says(tree: dict[str, Any], expected: bytes) -> None:
    """Hand-made, so that a mistake that the reader has, too, cannot hide."""
    assert raw(tree) == expected


@pytest.mark.parametrize(
    "unfit",
    [
        {"count": "three"}, {"count": 1.5}, {"texts": [1]}, {"labels": ["a"]}, {"at": "yesterday"}, {"raw": "AAE"},
        {"ratio": "x"}, {"metadata": "a"}, {"deep": {"count": []}}, {"far": {}},
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_left_out_and_told(unfit: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """One odd object, stored by an older version maybe, must not keep a client from its whole list."""
    made = raw({"yes": True, **unfit, "large": 7})
    assert b"\x20\x01" in made
    assert b"\x18\x07" in made
    assert [record.message for record in caplog.records] == ["left out of protobuf"]


def test_sizes_around_a_byte_more_are_right() -> None:
    """A length of one byte goes to 127."""
    for size in (127, 128, 4095, 4096, 1 << 21):
        assert raw({"far": "x" * size}) == b"\xc2\x0c" + varint(size) + b"x" * size


def test_a_body_names_its_kind_and_a_list_holds_its_items() -> None:
    """The envelope that clients look at first."""
    marshaller = Marshaller(TABLES)
    head = b"k8s\0\x0a\x0b\x0a\x02v1\x12\x05Thing\x12\x02\x20\x01\x1a\x00\x22\x00"
    assert marshaller.body({"apiVersion": "v1", "kind": "Thing", "yes": True}) == head
    items = (b"\x20\x01", b"")
    assert marshaller.listing("v1", "ThingList", {"resourceVersion": "7"}, items) == (
        b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ThingList\x12\x0b\x0a\x03\x12\x017\x12\x02\x20\x01\x12\x00\x1a\x00\x22\x00"
    )
    # Its first form has the fields the other way round.
    older = marshaller.listing("meta.k8s.io/v1beta1", "PartialObjectMetadataList", {}, [b"\x0a\x00"])
    assert older.endswith(b"\x12\x06\x12\x00\x0a\x02\x0a\x00\x1a\x00\x22\x00")


def test_an_object_is_marshalled_once_and_an_event_once_for_all_watches() -> None:
    """Making the bytes costs tens of microseconds: not for each of a thousand watches, and not at each list."""
    marshaller = Marshaller(TABLES)
    stored = Stored(KIND, {"apiVersion": "v1", "kind": "Thing", "yes": True}, revision=1)
    assert marshaller.raw_of(stored) is marshaller.raw_of(stored)
    lines = ProtobufLines(marshaller)
    event = lines.of("ADDED", stored)
    assert lines.of("ADDED", stored) is event
    body = marshaller.body_of(stored)
    inner = b"\x0a\x05ADDED\x12" + bytes([len(body) + 2]) + b"\x0a" + bytes([len(body)]) + body
    assert event == len(inner).to_bytes(4, "big") + inner


async def test_a_list_of_many_lets_others_have_their_turn() -> None:
    """A thousand Pods take tens of milliseconds when they are first asked for; a heartbeat must not wait for them."""
    things = [Stored(KIND, {"apiVersion": "v1", "kind": "Thing", "large": number}, revision=1) for number in range(250)]
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    renderer = Renderer(SystemClock(), lambda: TABLES)
    answer = await renderer.many(KIND, things, {"resourceVersion": "7"}, Rendering("application/vnd.kubernetes.protobuf"), "None")
    task.cancel()
    assert turns >= 2
    raws = [raw(each.tree) for each in things]
    assert answer.body == renderer.marshaller.listing("v1", "ThingList", {"resourceVersion": "7"}, raws)
