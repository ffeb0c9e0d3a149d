"""A conversion webhook: a ConversionReview as it goes over the wire, and what its answer may be.

A webhook may change everything but the names, the uid, and of the metadata only labels and annotations; the rest of the
metadata is the server's, whatever comes back.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from reconcile.errors import ConversionError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api.names import check_annotations, check_labels

Post = Callable[[Tree, Tree, float], Awaitable[bytes]]
"""(clientConfig, body, time-out in seconds) -> the body of the answer. See `reconcile.runtime.api.webhooks.Call`."""
GROUP = "apiextensions.k8s.io"
SUPPORTED = ("v1", "v1beta1")
TIMEOUT_S = 30.0
OBJECTS_MAX = 250
"""How many objects are converted with one call."""
BYTES_MAX = 1 << 20
"""How long the objects of one call are together, unless it is one alone."""
_GO_TYPES = {str: "string", int: "int64", float: "float64", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}


class _BrokenAnswerError(Exception):
    """What came back is no answer."""


async def ask(post: Post, webhook: Tree, uid: str, trees: Sequence[Tree], kind: Kind) -> list[Tree]:
    """Have a webhook (`spec.conversion.webhook` of a definition) bring objects into the version of `kind`.

    Raises:
        ConversionError: it cannot be reached, refuses, or answers with something else.
    """
    first = trees[0]
    about = f"conversion webhook for {first['apiVersion']}, Kind={first['kind']}"
    version = next((v for v in webhook.get("conversionReviewVersions") or () if v in SUPPORTED), None)
    if version is None:
        raise ConversionError("no supported conversion review versions")
    request = {"uid": uid, "desiredAPIVersion": kind.api_version, "objects": list(trees)}
    body = {"kind": "ConversionReview", "apiVersion": f"{GROUP}/{version}", "request": request}
    try:
        converted = _answer(await post(webhook["clientConfig"], body, TIMEOUT_S), uid, version)
    except (OSError, _BrokenAnswerError) as error:
        raise ConversionError(f"{about} failed: {error}") from error
    if len(converted) != len(trees):
        raise ConversionError(f"{about} returned {len(converted)} objects, expected {len(trees)}")
    several = len(trees) > 1
    return [
        _checked(about, at if several else None, original, made, kind)
        for at, (original, made) in enumerate(zip(trees, converted, strict=True))
    ]


def _answer(content: bytes, uid: str, version: str) -> list[Any]:
    try:
        review = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _BrokenAnswerError(f"couldn't get version/kind; json parse error: {error}") from error
    if not isinstance(review, dict):
        raise _BrokenAnswerError(f"couldn't get version/kind; json parse error: {type(review).__name__} is no ConversionReview")
    # Answers of v1beta1 are not looked at closer, for those who wrote webhooks for it.
    if version == "v1" and (review.get("apiVersion"), review.get("kind")) != (f"{GROUP}/v1", "ConversionReview"):
        found = f"{review.get('apiVersion', '')}, Kind={review.get('kind', '')}"
        raise _BrokenAnswerError(f"expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {found}")
    response = review.get("response")
    if not isinstance(response, dict):
        raise _BrokenAnswerError("no response provided")
    if version == "v1" and response.get("uid") != uid:
        raise _BrokenAnswerError(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result")
    status = result.get("status") if isinstance(result, dict) else None
    if status != "Success":
        message = result.get("message") if isinstance(result, dict) else None
        raise _BrokenAnswerError(str(message or f"response.result.status was '{status or ''}', not 'Success'"))
    converted = response.get("convertedObjects")
    return converted if isinstance(converted, list) else []


def _checked(about: str, at: int | None, original: Tree, made: Any, kind: Kind) -> Tree:
    """What a webhook made of `original`, with the metadata that is the server's; `at` is its place among several."""
    which, where = ("object", "") if at is None else ("converted object", f" at index {at}")
    if not isinstance(made, dict):
        raise ConversionError(
            f"{about} returned invalid {which} at index {at or 0}: Object 'Kind' is missing in '{_short(made)}'"
        )
    for name, shown, wanted in (("apiVersion", "groupVersion", kind.api_version), ("kind", "kind", original["kind"])):
        if made.get(name) != wanted:
            raise ConversionError(
                f"{about} returned invalid {which} at index {at or 0}: invalid {shown} "
                f"(expected {wanted}, received {made.get(name) or ''})"
            )
    given = made.get("metadata")
    before = original["metadata"]
    for name, shown in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        found = given.get(name) if isinstance(given, dict) else None
        if (found or "") != (before.get(name) or ""):
            raise ConversionError(
                f"{about} returned invalid {which}{where}: must have the same {shown}: {before.get(name) or ''} != {found or ''}"
            )
    assert isinstance(given, dict), "an object without metadata has no name"
    try:
        metadata = _restored(before, given)
    except _BrokenAnswerError as error:
        what = "metadata" if at is None else f"metadata in object at index {at}"
        raise ConversionError(f"{about} returned invalid {what}: {error}") from error
    return {**made, "metadata": metadata}


def _restored(before: Tree, given: Tree) -> Tree:
    """The original's metadata with the converted object's labels and annotations."""
    metadata = {name: value for name, value in before.items() if name not in ("labels", "annotations")}
    for name, check in (("labels", check_labels), ("annotations", check_annotations)):
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise _BrokenAnswerError(f"invalid metadata.{name} of type {_go_type(value)} in converted object")
        for key, text in value.items():
            if type(text) is not str:
                raise _BrokenAnswerError(f"metadata.{name}[{key}] must be a string, but is {_go_type(text)} in converted object")
        if value != before.get(name):
            causes = [f"{cause.field}: {cause.message}" for cause in check(value)]
            if causes:
                raise _BrokenAnswerError(causes[0] if len(causes) == 1 else f"[{', '.join(causes)}]")
        if value:
            metadata[name] = value
    return metadata


def _go_type(value: Any) -> str:
    return _GO_TYPES.get(type(value), "<nil>")


def _short(value: Any) -> str:
    return orjson.dumps(value).decode()[:100]
