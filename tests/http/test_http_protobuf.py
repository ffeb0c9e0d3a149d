"""Protobuf bodies: the reader by itself, against an encoder that only these tests have, and behind the API."""

from __future__ import annotations

import base64
import struct
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.runtime.api.http.protobuf import DEPTH_MAX, MESSAGES_MAX, Messages, envelope

CM = "/api/v1/namespaces/default/configmaps"
PROTOBUF = {"Content-Type": "application/vnd.kubernetes.protobuf"}
TABLES: dict[str, dict[str, list[str]]] = {
    "v1.All": {
        "1": ["text", "string"], "2": ["texts", "[]string"], "3": ["maybe", "string?"], "4": ["raw", "bytes"],
        "5": ["yes", "bool?"], "6": ["small", "int32"], "7": ["large", "int64"], "8": ["numbers", "[]int64"],
        "9": ["labels", "{}string"], "10": ["data", "{}bytes"], "11": ["child", "v1.All"], "12": ["children", "[]v1.All"],
        "13": ["source", ">v1.Source"], "14": ["at", "Time"], "15": ["exactly", "MicroTime"], "16": ["port", "IntOrString"],
        "17": ["limits", "{}Quantity"], "18": ["extra", "RawExtension"],
        "19": ["ratio", "double"], "20": ["either", "|v1.Either"], "21": ["named", "{}v1.All"], "200": ["far", "int32?"],
    },
    "v1.Source": {"1": ["here", "string?"], "2": ["there", "v1.All"]},
    "v1.Either": {"1": ["allows", "bool"], "2": ["schema", "v1.All"], "3": ["texts", "[]string"]},
    "v1.ConfigMap": {"1": ["metadata", "v1.Meta"], "2": ["data", "{}string"]},
    "v1.Meta": {"1": ["name", "string?"]},
    "meta.k8s.io/v1.DeleteOptions": {"5": ["dryRun", "[]string"]},
}  # fmt: skip
MESSAGES = Messages(TABLES)


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def chunk(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def value_of(type_: str, value: Any) -> bytes:
    """The bytes of a counted value, as Go writes them."""
    if type_ == "string":
        return bytes(value.encode())
    if type_ == "bytes":
        return base64.b64decode(value)
    if type_ in ("Time", "MicroTime"):
        at = datetime.fromisoformat(value)
        seconds = round(at.replace(microsecond=0).timestamp())
        return number(1, seconds) + number(2, at.microsecond * 1000)
    if type_ == "IntOrString":
        return number(1, 1) + chunk(3, value) if isinstance(value, str) else number(1, 0) + number(2, value)
    if type_ == "Quantity":
        return chunk(1, value)
    if type_ == "RawExtension":
        return chunk(1, orjson.dumps(value))
    if type_ == "v1.Either":
        if isinstance(value, bool):
            return number(1, value)
        return number(1, 1) + (encoded(type_, {"texts": value}) if isinstance(value, list) else encoded(type_, {"schema": value}))
    return encoded(type_, value)


def encoded(message: str, tree: dict[str, Any]) -> bytes:
    out = b""
    for key, (name, type_) in TABLES[message].items():
        field, bare = int(key), type_.rstrip("?").lstrip("[]{}>|")
        if type_[0] == ">":
            out += chunk(field, encoded(bare, tree))
        elif name not in tree:
            if type_ == "string?":
                out += chunk(field, b"")
            elif type_.endswith("?"):
                out += number(field, 0)
        elif bare in ("bool", "int32", "int64"):
            for value in tree[name] if type_.startswith("[]") else [tree[name]]:
                out += number(field, value)
        elif bare == "double":
            out += varint(field << 3 | 1) + struct.pack("<d", tree[name])
        elif type_.startswith("{}"):
            for k, value in tree[name].items():
                out += chunk(field, chunk(1, k) + chunk(2, value_of(bare, value)))
        else:
            for value in tree[name] if type_.startswith("[]") else [tree[name]]:
                out += chunk(field, value_of(bare, value))
    return out


def body(api_version: str, kind: str, raw: bytes, **outer: str) -> bytes:
    head = chunk(1, chunk(1, api_version) + chunk(2, kind)) + chunk(2, raw)
    return b"k8s\0" + head + chunk(3, outer.get("encoding", "")) + chunk(4, outer.get("content_type", ""))


TEXT = st.text(max_size=5)
KEYS = st.text(min_size=0, max_size=3)
RAW = st.binary(max_size=4).map(lambda raw: base64.b64encode(raw).decode())
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - a bound has no zone
INT32, INT64 = st.integers(-(1 << 31), (1 << 31) - 1), st.integers(-(1 << 63), (1 << 63) - 1)
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT, "texts": st.lists(TEXT, min_size=1, max_size=3), "maybe": st.text(min_size=1, max_size=3), "raw": RAW,
    "yes": st.just(True), "small": INT32, "large": INT64, "numbers": st.lists(INT64, min_size=1, max_size=3),
    "labels": st.dictionaries(KEYS, TEXT, min_size=1, max_size=3), "data": st.dictionaries(KEYS, RAW, min_size=1, max_size=2),
    "at": TIMES.map(lambda at: at.replace(microsecond=0).isoformat().replace("+00:00", "Z")),
    "exactly": TIMES.map(lambda at: at.isoformat(timespec="microseconds").replace("+00:00", "Z")),
    "port": INT32 | TEXT, "limits": st.dictionaries(KEYS, TEXT, min_size=1, max_size=2),
    "extra": st.dictionaries(TEXT, INT32, max_size=2), "far": st.integers(1, 100), "here": st.text(min_size=1, max_size=2),
    "ratio": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    "either": st.booleans() | st.lists(TEXT, min_size=1, max_size=2),
}  # fmt: skip
TREES = st.recursive(
    st.fixed_dictionaries({}, optional=LEAVES),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            **LEAVES, "child": inner, "children": st.lists(inner, min_size=1, max_size=2), "there": inner,
            "either": inner, "named": st.dictionaries(KEYS, inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=4,
)  # fmt: skip


@given(TREES)
def test_what_is_encoded_is_read_back(tree: dict[str, Any]) -> None:
    """Whatever a typed client sends must be the JSON that it would have sent."""
    found = MESSAGES.tree("v1.All", encoded("v1.All", tree))
    assert found == tree
    assert orjson.loads(orjson.dumps(found)) == tree


@given(TREES, st.binary(max_size=8), st.integers(201, 1 << 28))
def test_unknown_fields_are_skipped_wherever_they_stand(tree: dict[str, Any], junk: bytes, field: int) -> None:
    """A newer client knows more fields than we do."""
    for unknown in (
        chunk(field, junk),
        number(field, len(junk)),
        varint(field << 3 | 1) + b"8bytes..",
        varint(field << 3 | 5) + b"four",
    ):
        raw = encoded("v1.All", tree)
        assert MESSAGES.tree("v1.All", unknown + raw + unknown) == tree


@given(st.binary(max_size=40) | TREES.map(lambda tree: encoded("v1.All", tree)), st.integers(0, 60), st.binary(max_size=3))
def test_malformed_bytes_are_value_errors_and_nothing_else(raw: bytes, cut: int, tail: bytes) -> None:
    """Any other error would be a 500."""
    for data in (raw, raw[:cut], raw[:cut] + tail, raw[cut:]):
        with suppress(ValueError):
            assert isinstance(MESSAGES.tree("v1.All", data), dict)
        with suppress(ValueError):
            assert isinstance(envelope(b"k8s\0" + data).raw, bytes)


@pytest.mark.parametrize(
    ("raw", "tree"),
    [
        (b"\x0a\x01a\x0a\x01b", {"text": "b"}),  # the last one counts
        (b"\x5a\x03\x0a\x01a\x5a\x02\x30\x07", {"child": {"text": "a", "small": 7}}),  # but messages become one
        (b"\x42\x03\x01\xac\x02\x40\x05", {"numbers": [1, 300, 5]}),  # packed and not, in one list
        (b"\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", {"small": -1}), (b"\x30\x00", {"small": 0}),
        (b"\x28\x01\x28\x00", {}), (b"\x1a\x01a\x1a\x00", {}), (b"\x72\x00", {}), (b"\x92\x01\x00", {}),
        (b"\x4a\x00", {"labels": {"": ""}}), (b"\x4a\x03\x0a\x01a", {"labels": {"a": ""}}), (b"", {}),
        (b"\x72\x06\x08\x80\xfb\xb9\xc2\x06", {"at": "2025-06-15T08:00:00Z"}), (b"\x5a\x00", {"child": {}}),
        (b"\xa2\x01\x00", {}), (b"\xa2\x01\x02\x08\x00", {"either": False}), (b"\xaa\x01\x00", {"named": {"": {}}}),
        (b"\x99\x01" + struct.pack("<d", 5.0), {"ratio": 5}), (b"\x99\x01" + struct.pack("<d", 0.5), {"ratio": 0.5}),
    ],
)  # fmt: skip
def test_bytes_mean_what_protobuf_says(raw: bytes, tree: dict[str, Any]) -> None:
    """Hand-made, so that an encoder's mistake cannot hide a reader's."""
    assert MESSAGES.tree("v1.All", raw) == tree


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\x0a\x05abc", "unexpected end"), (b"\x0a", "unexpected end"), (b"\x30\xff", "unexpected end"),
        (b"\x30", "unexpected end"),
        (b"\x5a\x01\x30\x01", "unexpected end"), (b"\x0a\x80\x80", "unexpected end"), (b"\x42\x01\xff", "unexpected end"),
        (b"\x30" + b"\xff" * 10 + b"\x01", "longer than ten bytes"), (b"\x00\x00", "number 0"), (b"\x0b\x0c", "wire type 3"),
        (b"\x08\x01", "wrong wire type 0 for field text of v1.All"), (b"\x32\x01a", "wrong wire type 2 for field small"),
        (b"\x0a\x01\xff", "utf-8"), (b"\x92\x01\x03\x0a\x01{", "unexpected"),
        (b"\x82\x01\x04\x08\x01\x18\x01", "type 0 for field 3"),
        (b"\x72\x0a\x08" + b"\xff" * 8 + b"\x7f", "9999"), (b"\x72\x02\x0a\x00", "wrong wire type 2 for field 1"),
        (varint(19 << 3 | 1) + b"\0\0\0\0\0\0\xf0\x7f", "inf is no number"), (varint(19 << 3 | 1) + b"\0", "unexpected end"),
    ],
)  # fmt: skip
def test_a_malformed_message_is_refused_with_its_reason(raw: bytes, why: str) -> None:
    """Half an object must never be stored as a whole one."""
    with pytest.raises(ValueError, match=why):
        MESSAGES.tree("v1.All", raw)


def test_depth_and_number_of_messages_are_bounded() -> None:
    """Two bytes on the wire are a hundred in memory, and a level is a Python frame."""
    deep = b""
    for _ in range(DEPTH_MAX - 1):
        deep = chunk(11, deep)
    assert MESSAGES.tree("v1.All", deep)
    for raw in (chunk(11, deep), chunk(12, b"") * MESSAGES_MAX):
        with pytest.raises(ValueError, match="levels or"):
            MESSAGES.tree("v1.All", raw)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not appear to be a protobuf message"), (b"k8s", "does not appear"),
        (b'{"kind":"ConfigMap"}', "does not appear"),
        (b"k8s\0\xff", "unexpected end"), (b"k8s\0\x08\x01", "wrong wire type 0"),
        (body("v1", "ConfigMap", b"", encoding="gzip"), "encoded as protobuf gzip"),
        (body("v1", "ConfigMap", b"{}", content_type="application/json"), "encoded as application/json"),
    ],
)  # fmt: skip
def test_an_envelope_that_is_none_is_refused(data: bytes, why: str) -> None:
    """What is no such body must not be taken for an empty object."""
    with pytest.raises(ValueError, match=why):
        envelope(data)


async def ask(site: Any, method: str, path: str, data: bytes) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, site.address.url + path, data=data, headers=PROTOBUF) as response,
    ):
        return response.status, await response.json()


def config_map(name: str, **data: str) -> bytes:
    return body("v1", "ConfigMap", encoded("v1.ConfigMap", {"metadata": {"name": name}, "data": data}))


async def test_objects_and_options_come_in_protobuf_and_answers_go_out_in_json(serve: Any) -> None:
    """What client-go's typed clients do, for which there is no way back to JSON."""
    async with serve(tls=False, wire=lambda: TABLES) as site:
        code, made = await ask(site, "POST", CM, config_map("a", x="1"))
        assert (code, made["kind"], made["data"]) == (201, "ConfigMap", {"x": "1"})
        code, made = await ask(site, "PUT", f"{CM}/a", config_map("a", x="2"))
        assert (code, made["data"]) == (200, {"x": "2"})
        code, made = await ask(site, "POST", CM, body("", "", chunk(1, chunk(1, "b"))))
        assert (code, made["metadata"]["name"]) == (201, "b")
        dry = body("apps/v1", "DeleteOptions", chunk(5, "All"))
        assert (await ask(site, "DELETE", f"{CM}/a", dry))[0] == 200
        assert (await ask(site, "DELETE", f"{CM}/a", body("v1", "DeleteOptions", b"")))[0] == 200
        assert (await ask(site, "DELETE", f"{CM}/a", body("v1", "DeleteOptions", b"")))[0] == 404


async def test_a_protobuf_body_that_cannot_be_read_is_a_400_that_says_why(serve: Any) -> None:
    """A client's mistake is neither a 500 nor half an object."""
    async with serve(tls=False, wire=lambda: TABLES) as site:
        for data, why in (
            (b"", "does not appear to be a protobuf message, expected prefix [107 56 115 0] (<empty>)"),
            (config_map("a")[:-9], "(must be of type ConfigMap): unexpected end of the protobuf message (6b3873000a"),
            (body("v1", "Meta", b""), 'kind is "Meta"'),
            (body("v2", "ConfigMap", b""), 'no kind "ConfigMap" is registered for version "v2"'),
        ):
            code, answer = await ask(site, "POST", CM, data)
            assert (code, answer["reason"]) == (400, "BadRequest")
            assert why in answer["message"]
        for data in (b"x", body("v1", "Meta", b""), body("v1", "DeleteOptions", b"\xff")):
            code, answer = await ask(site, "DELETE", f"{CM}/a", data)
            assert (code, answer["message"][:29]) == (400, "the body is no DeleteOptions:")
        assert (await ask(site, "PATCH", f"{CM}/a", config_map("a")))[0] == 415


async def test_a_kind_without_numbers_is_a_415_that_names_what_is_read(serve: Any) -> None:
    """The fields of a user's kind have no numbers: its clients must know to send JSON."""
    told = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml"
    async with serve(tls=False, wire=lambda: TABLES) as site:
        sites = "/apis/example.com/v1/namespaces/default/websites"
        code, answer = await ask(site, "POST", sites, body("example.com/v1", "WebSite", b""))
        assert (code, answer["message"]) == (415, told)
    async with serve(tls=False) as site:
        assert (await ask(site, "POST", CM, config_map("a")))[1]["message"] == told
        assert (await ask(site, "DELETE", f"{CM}/a", body("v1", "DeleteOptions", b"")))[1]["message"] == told
