"""What clients send: JSON, YAML and protobuf bodies as trees, with the duplicate keys that fieldValidation asks about.

Values are orjson's: it refuses what JSON has no word for, and gives doubles where a number is beyond 64 bits, as Go does. It
keeps the last of two equal keys without a word; unless that does not matter (fieldValidation=Ignore), the standard decoder's
pair hook looks for doubles as well.

Source: k8s.io/apimachinery/pkg/runtime/serializer/json, sigs.k8s.io/json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson

from reconcile.errors import BadRequestError, Tree, UnsupportedMediaTypeError
from reconcile.kinds import Kind

from .exchange import JSON, PROTOBUF, YAML

if TYPE_CHECKING:
    from .protobuf import Messages

FieldValidation = Literal["Ignore", "Warn", "Strict"]
Wire = Callable[[], "Messages"]
"""Gives what reads protobuf bodies; called only when one comes."""
_OPTIONS: dict[str, tuple[type, str]] = {
    "dryRun": (list, "[]string"), "preconditions": (dict, "v1.Preconditions"), "gracePeriodSeconds": (int, "int64"),
    "propagationPolicy": (str, "v1.DeletionPropagation"), "orphanDependents": (bool, "bool"),
    "ignoreStoreReadErrorWithClusterBreakingPotential": (bool, "bool"),
}  # fmt: skip
_YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "application/apply-patch+yaml")


class _Pairs(list[tuple[str, Any]]):
    """An object with its keys in order, doubles included: made only when a body has doubles."""


def media_type(header: str) -> str:
    """The bare media type of a Content-Type header; JSON where there is none."""
    return header.partition(";")[0].strip().lower() or JSON


def decode(
    raw: bytes, content_type: str, kind: Kind, validation: FieldValidation, warnings: list[str], wire: Wire,
    unknown: Callable[[Tree], list[str]] = lambda _: [],
) -> Tree:  # fmt: skip
    """The tree in a body of `kind`.

    Duplicate keys end in `warnings` (Warn) or in an error (Strict), which names the fields that `unknown` finds, too.

    Raises:
        BadRequestError: malformed, no mapping, or (Strict) duplicate keys.
        UnsupportedMediaTypeError: another media type, or protobuf for a kind whose fields have no numbers.
    """
    media = media_type(content_type)
    if media == PROTOBUF:
        return _protobuf(raw, kind, wire())
    duplicates: list[str] = []
    if media == JSON:
        tree = _json(raw, kind, validation != "Ignore", duplicates)
    elif media in _YAML_TYPES:
        tree = _yaml_or_json(raw, kind, validation != "Ignore", duplicates)
    else:
        raise unsupported()
    further: list[str] = []
    if duplicates and validation == "Strict" and isinstance(tree, dict):
        further = [f'unknown field "{path}"' for path in unknown(tree)]
    # Go's decoder meets both as it reads JSON; YAML's duplicates, and what a custom kind's schema lacks, are found apart.
    together = media == JSON and kind.builtin
    _judge([*further, *duplicates] if together else [*duplicates, *further], kind, validation, warnings)
    if not isinstance(tree, dict):
        raise _unreadable(kind, f"json: cannot unmarshal {_go_type(tree)} into Go value of type {kind.version}.{kind.kind}")
    return tree


def decode_patch(raw: bytes, content_type: str, kind: Kind, validation: FieldValidation, warnings: list[str]) -> Any:
    """The body of a PATCH: a tree, or the operations of a JSON patch (left for the patch engine to judge)."""
    media = media_type(content_type)
    duplicates: list[str] = []
    if media in _YAML_TYPES:
        tree = _yaml_or_json(raw, kind, validation != "Ignore", duplicates)
    else:
        tree = _json(raw, kind, validation != "Ignore", duplicates)
    _judge(duplicates, kind, validation, warnings)
    if media != "application/json-patch+json" and not isinstance(tree, dict):
        raise BadRequestError(
            f"error decoding patch: json: cannot unmarshal {_go_type(tree)} into Go value of type map[string]interface {{}}"
        )
    return tree


def decode_options(raw: bytes, content_type: str, wire: Wire) -> Tree:
    """A small options body (DeleteOptions) that may be absent."""
    if not raw.strip():
        return {}
    media = media_type(content_type)
    try:
        if media == PROTOBUF:
            return _protobuf_options(raw, wire())
        tree = yaml_tree(raw, []) if media in _YAML_TYPES else orjson.loads(raw)
    except ValueError as error:
        raise BadRequestError(f"the body is no DeleteOptions: {error}") from None
    if not isinstance(tree, dict):
        raise BadRequestError("the body is no DeleteOptions: give a mapping such as {}")
    for name, (type_, word) in _OPTIONS.items():
        if tree.get(name) is not None and type(tree[name]) is not type_:
            raise BadRequestError(
                f"json: cannot unmarshal {_go_type(tree[name])} into Go struct field DeleteOptions.{name} of type {word}"
            )
    return cast(Tree, tree)


def unsupported() -> UnsupportedMediaTypeError:
    """A body in a media type that is not read here."""
    return UnsupportedMediaTypeError("415: Unsupported Media Type", details={})


def yaml_tree(raw: bytes, duplicates: list[str]) -> Any:
    """One YAML document as JSON values (dates stay text); keys given twice are named in `duplicates`.

    Raises:
        ValueError: it is no YAML, or no UTF-8.
    """
    from .yamlbody import load

    return load(raw, duplicates)


def _protobuf(raw: bytes, kind: Kind, messages: Messages) -> Tree:
    """The object in a protobuf body, which need not be of `kind`: a Pod's binding is a Binding."""
    from .protobuf import envelope

    try:
        outer = envelope(raw)
        api_version, name = outer.api_version or kind.api_version, outer.kind or kind.kind
        message = f"{api_version}.{name}"
        if message in messages:
            return {"apiVersion": api_version, "kind": name, **messages.tree(message, outer.raw)}
    except ValueError as error:
        shown = raw[:30].hex() + (" ..." if len(raw) > 30 else "") if raw else "<empty>"
        raise BadRequestError(f"the object provided is unrecognized (must be of type {kind.kind}): {error} ({shown})") from None
    if f"{kind.api_version}.{kind.kind}" not in messages:
        raise _not_in_protobuf()
    raise BadRequestError(f'no kind "{name}" is registered for version "{api_version}"')


def _protobuf_options(raw: bytes, messages: Messages) -> Tree:
    """DeleteOptions, which clients send in whichever group they happen to speak."""
    from .protobuf import envelope

    if "meta.k8s.io/v1.DeleteOptions" not in messages:
        raise _not_in_protobuf()
    outer = envelope(raw)
    if outer.kind not in ("", "DeleteOptions"):
        raise ValueError(f"it is of the kind {outer.kind}")
    return messages.tree("meta.k8s.io/v1.DeleteOptions", outer.raw)


def _not_in_protobuf() -> UnsupportedMediaTypeError:
    return UnsupportedMediaTypeError(
        f"the body of the request was in an unknown format - accepted media types include: {JSON}, {YAML}"
    )


def _judge(wrong: list[str], kind: Kind, validation: FieldValidation, warnings: list[str]) -> None:
    if not wrong:
        return
    if validation == "Strict":
        raise _unreadable(kind, "strict decoding error: " + ", ".join(wrong))
    warnings.extend(wrong)


def _unreadable(kind: Kind, why: str) -> BadRequestError:
    return BadRequestError(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}')


def _json(raw: bytes, kind: Kind, count: bool, duplicates: list[str]) -> Any:
    try:
        tree = orjson.loads(raw)
        if not count or _comes_back(tree, raw):
            return tree
        doubled = False

        def look(pairs: list[tuple[str, Any]]) -> None:
            nonlocal doubled
            doubled = doubled or len(dict(pairs)) != len(pairs)

        json.loads(raw, object_pairs_hook=look, parse_int=_left, parse_float=_left)
        if doubled:
            found = json.loads(raw, object_pairs_hook=_Pairs, parse_int=_left, parse_float=_left)
            duplicates.extend(f'duplicate field "{path}"' for path in _doubles(found, ""))
        return tree
    except ValueError as error:
        raise BadRequestError(
            f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; "
            f"json parse error: {error}"
        ) from None
    except RecursionError:
        raise BadRequestError(f"the {kind.kind} in the body is nested too deeply") from None


def _comes_back(tree: Any, raw: bytes) -> bool:
    """Whether a tree, written anew, is what came: then no key was lost for standing twice. Most clients write so compactly."""
    try:
        return orjson.dumps(tree) == raw.rstrip()
    except TypeError:
        return False  # nested more deeply than orjson writes: the slow way judges it


def _left(text: str) -> str:
    """A number that nobody looks at: thousands of digits would take long to read."""
    return text


def _yaml_or_json(raw: bytes, kind: Kind, count: bool, duplicates: list[str]) -> Any:
    """JSON is YAML too, and what kubectl sends as YAML nearly always is JSON: that parser is 30 times as fast."""
    if raw.lstrip()[:1] in (b"{", b"["):
        try:
            return _json(raw, kind, count, duplicates)
        except BadRequestError:
            duplicates.clear()
    try:
        return yaml_tree(raw, duplicates if count else [])
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"error decoding YAML: {error}") from None


def _doubles(node: Any, path: str) -> Iterator[str]:
    """The path of every key that stands twice in its object."""
    if isinstance(node, _Pairs):
        seen = set()
        for key, value in node:
            here = f"{path}.{key}" if path else key
            if key in seen:
                yield here
            seen.add(key)
            yield from _doubles(value, here)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _doubles(item, f"{path}[{index}]")


def _go_type(value: Any) -> str:
    """The word that the reference uses for a JSON value in its errors."""
    if isinstance(value, bool):
        return "bool"
    names: dict[type, str] = {str: "string", int: "number", float: "number", list: "array", dict: "object", type(None): "null"}
    return names.get(type(value), "value")
