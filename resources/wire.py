"""The numbers, names and types of the built-in kinds' fields in protobuf bodies; the HTTP face reads and writes bodies by them.

They stand in `wire.json`, one message a line: `{field number: [JSON name, type]}`, with the types' notation of
`reconcile.runtime.api.http.protobuf`. There is a message for each served kind, all that it reaches, what is sent to
subresources and with deletions (Scale, Binding, Eviction, DeleteOptions), and what is answered for any kind (Status, metadata
alone, the plain lists of discovery).

Source: the interface of k8s.io/api, k8s.io/apimachinery and k8s.io/apiextensions-apiserver, release 1.36
"""

from __future__ import annotations

import json
from importlib import resources
from typing import cast


def wire_tables() -> dict[str, dict[str, list[str]]]:
    """Read the tables; 40 KB, so only when the first protobuf body comes."""
    text = resources.files(__package__).joinpath("wire.json").read_text("utf-8")
    return cast(dict[str, dict[str, list[str]]], json.loads(text))
