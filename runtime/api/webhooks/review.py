"""An AdmissionReview as it goes over the wire, and what its answer means.

Source: k8s.io/api/admission/v1, k8s.io/apiserver/pkg/admission/plugin/webhook/{request,errors}
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import attrs
import orjson

from reconcile.errors import ApiError, ForbiddenError, Tree, error_from_status
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind

API_VERSION = "admission.k8s.io/v1"
_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class WrongAnswerError(Exception):
    """What came back is no answer to the review."""


@attrs.frozen
class Answer:
    """What a webhook said."""

    allowed: bool
    status: Tree
    patch: Sequence[Any]
    """A JSON patch; empty where nothing shall change."""
    warnings: Sequence[str]


def request_of(review: AdmissionReview, shown: Kind, uid: str, new: Tree | None, old: Tree | None) -> Tree:
    """The `request` of a review; `shown` is the kind in the version that the webhook sees, `new` and `old` the object in it."""
    kind = review.kind
    meta = review.tree.get("metadata") or {}
    request: Tree = {
        "uid": uid, "kind": _kind(shown), "resource": _resource(shown), "requestKind": _kind(kind),
        "requestResource": _resource(kind), "operation": review.operation, "userInfo": review.caller.tree(), "object": new,
        "oldObject": old, "dryRun": review.dry_run, "options": None,
    }  # fmt: skip
    if review.options is not None:
        request["kind"] = request["requestKind"] = {**_kind(kind), "kind": review.options["kind"]}
    else:
        request["options"] = {"kind": _OPTIONS[review.operation], "apiVersion": "meta.k8s.io/v1"}
    if review.subresource:
        request["subResource"] = request["requestSubResource"] = review.subresource
    for name in ("name", "namespace"):
        if meta.get(name):
            request[name] = meta[name]
    return request


def answer_of(body: bytes, uid: str) -> Answer:
    """Read what a webhook sent.

    Raises:
        WrongAnswerError: it is no answer to the review `uid`.
    """
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WrongAnswerError(f"couldn't get version/kind; json parse error: {error}") from error
    if not isinstance(review, dict) or (review.get("apiVersion"), review.get("kind")) != (API_VERSION, "AdmissionReview"):
        found = {name: review.get(name) for name in ("apiVersion", "kind")} if isinstance(review, dict) else type(review).__name__
        raise WrongAnswerError(f"expected webhook response of {API_VERSION}, Kind=AdmissionReview, got {found}")
    response = review.get("response")
    if not isinstance(response, dict):
        raise WrongAnswerError("webhook response was absent")
    if response.get("uid") != uid:
        raise WrongAnswerError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    patch: Any = []
    if response.get("patch") is not None:
        if response.get("patchType") != "JSONPatch":
            found = response.get("patchType", "")
            raise WrongAnswerError(f'webhook returned response.patchType of "{found}", expected "JSONPatch"')
        try:
            patch = orjson.loads(base64.b64decode(response["patch"]))
        except (binascii.Error, TypeError, ValueError) as error:
            raise WrongAnswerError(f"webhook returned a response.patch that is no JSON in base64: {error}") from error
    warnings = [str(text) for text in response.get("warnings") or ()]
    return Answer(response.get("allowed") is True, response.get("status") or {}, patch, warnings)


def denied(webhook: str, status: Tree) -> ApiError:
    """The refusal that the client gets: the webhook's own code and reason, and who said so."""
    message, reason = str(status.get("message") or ""), str(status.get("reason") or "")
    why = f"the request: {message or reason}" if message or reason else "the request without explanation"
    text = f'admission webhook "{webhook}" denied {why}'
    code = int(status.get("code") or 0)
    if code < 400 and not reason:
        return ForbiddenError(text, details={})
    return error_from_status({**status, "message": text, "code": code if code >= 400 else 403})


def _kind(kind: Kind) -> Tree:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _resource(kind: Kind) -> Tree:
    return {"group": kind.group, "version": kind.version, "resource": kind.plural}
