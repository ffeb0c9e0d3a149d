"""Reads the Go type declarations of the Kubernetes API: enough of the language for `types.go`, and no more.

A field's tag names its JSON key and its number on the wire, its comment carries markers (`+optional`, `+listType=map`, ...).
From this come the field tables that `make_kinds` writes; texts of comments are left behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

_TYPE = re.compile(r"^type (\w+) (.+)$")
_FIELD = re.compile(r"^\t(?:(?P<name>\w+)\s+)?(?P<type>[\w.\[\]*]+)\s+`(?P<tag>[^`]*)`")
_CONST = re.compile(r'^(?:const )?\t?(\w+)\s+(\w+)\s+=\s+"([^"]*)"')
_IMPORT = re.compile(r'^(?:import |\t)(?:(\w+) )?"(k8s\.io/[^"]+)"')
_TAG = re.compile(r'(\w+):"([^"]*)"')


@attrs.frozen
class Field:
    """One field of a struct, as its tag and its comment declare it."""

    go_name: str
    type: str
    json: str
    number: int
    proto_name: str
    inline: bool
    omitempty: bool
    tag: str
    markers: dict[str, list[str]]

    @property
    def optional(self) -> bool:
        """Whether an object may be without it."""
        return self.omitempty or "optional" in self.markers


@attrs.frozen
class Package:
    """The declarations of one folder: structs by name, other types by name, the words of each enumeration, its imports."""

    path: str
    structs: dict[str, list[Field]]
    others: dict[str, str]
    words: dict[str, list[str]]
    constants: dict[str, str]
    imports: dict[str, str]
    struct_markers: dict[str, dict[str, list[str]]]
    enums: frozenset[str]


def read_package(path: str, files: list[Path]) -> Package:
    """Read the Go files of one package."""
    made = Package(path, {}, {}, {}, {}, {}, {}, frozenset())
    enums: set[str] = set()
    for file in files:
        _read_file(file.read_text(), made, enums)
    return attrs.evolve(made, enums=frozenset(enums))


def _read_file(text: str, made: Package, enums: set[str]) -> None:
    lines = iter(text.splitlines())
    comment: list[str] = []
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("//"):
            comment.append(stripped[2:].strip())
            continue
        if found := _IMPORT.match(line):
            made.imports[found[1] or found[2].rsplit("/", 1)[1]] = found[2]
        elif found := _TYPE.match(line):
            markers = _markers(comment)
            if found[2].startswith("struct"):
                made.structs[found[1]] = [] if found[2].endswith("}") else list(_fields(lines))
                made.struct_markers[found[1]] = markers
            else:
                made.others[found[1]] = found[2].split("//")[0].strip()
                if "enum" in markers:
                    enums.add(found[1])
        elif found := _CONST.match(line):
            made.words.setdefault(found[2], []).append(found[3])
            made.constants[found[1]] = found[3]
        if stripped and not stripped.startswith("//"):
            comment = []


def _fields(lines: Iterator[str]) -> Iterator[Field]:
    comment: list[str] = []
    for line in lines:
        if line.startswith("}"):
            return
        stripped = line.strip()
        if stripped.startswith("//"):
            comment.append(stripped[2:].strip())
        elif found := _FIELD.match(line):
            if made := _field(found, comment):
                yield made
            comment = []
        elif not stripped:
            comment = []


def _field(found: re.Match[str], comment: list[str]) -> Field | None:
    tag = dict(_TAG.findall(found["tag"]))
    name, *options = tag.get("json", "").split(",")
    wire = tag.get("protobuf", "").split(",")
    if len(wire) < 2 or not wire[1].isdigit():
        return None
    proto_name = next((part[5:] for part in wire if part.startswith("name=")), name)
    go_name = found["name"] or found["type"].rsplit(".", 1)[-1].lstrip("*")
    return Field(
        go_name, found["type"], name or go_name[:1].lower() + go_name[1:], int(wire[1]), proto_name,
        inline="inline" in options, omitempty="omitempty" in options or "omitzero" in options, tag=found["tag"],
        markers=_markers(comment),
    )  # fmt: skip


def _markers(comment: list[str]) -> dict[str, list[str]]:
    markers: dict[str, list[str]] = {}
    for line in comment:
        if line.startswith("+"):
            name, _, value = line[1:].partition("=")
            markers.setdefault(name.strip(), []).append(value.strip())
    return markers
