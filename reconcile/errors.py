"""Every error that a user of the toolkit can meet.

    ReconcileError
    ├── DeclarationError            a kind or a handler is declared wrongly (raised at import, names file and line)
    ├── PermanentError              a handler's word: do not try again until the object changes
    ├── TemporaryError              a handler's word: try again after `delay_s`
    └── ApiError                    what the API answered: a Kubernetes Status as an exception
        ├── BadRequestError         400
        ├── UnauthorizedError       401
        ├── ForbiddenError          403
        ├── NotFoundError           404
        ├── MethodNotAllowedError   405
        ├── NotAcceptableError      406
        ├── RequestTimeoutError     408
        ├── AlreadyExistsError      409 AlreadyExists
        ├── ConflictError           409 Conflict (stale resourceVersion, precondition, field managers)
        ├── ExpiredError            410 (the revision is compacted, or the continue token is too old)
        ├── TooLargeError           413
        ├── UnsupportedMediaTypeError 415
        ├── InvalidError            422
        ├── TooManyRequestsError    429
        ├── InternalError           500
        │   └── ConversionError     an object could not be brought from one version of its kind into another
        └── UnavailableError        503 / 504 (also: the server cannot be reached)

Messages follow the reference server word for word where clients match on them.

Source: k8s.io/apimachinery/pkg/api/errors, metav1.Status
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

Tree = dict[str, Any]  # Any: a decoded JSON object; its shape is the schema's business, not the type checker's
"""A Kubernetes object as plain JSON values."""


class ReconcileError(Exception):
    """Root of all errors that this project raises on purpose."""


class DeclarationError(ReconcileError):
    """A kind or a handler is declared wrongly; the message names file and line and what to do."""


class PermanentError(ReconcileError):
    """Raised by a handler: this will not get better by trying again; wait until the object changes.

    Source: kopf's PermanentError.
    """


class TemporaryError(ReconcileError):
    """Raised by a handler: try again after `delay_s` seconds (None: with the usual exponential back-off).

    Source: kopf's TemporaryError.
    """

    def __init__(self, message: str = "", delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = delay_s


# A NamedTuple, because every fast command of the CLI imports this module, and attrs alone takes 15 ms.
class Cause(NamedTuple):
    """One reason of an ApiError: what is wrong (`reason`, `message`) and where (`field`, a path such as `spec.replicas`)."""

    reason: str
    message: str
    field: str = ""

    def tree(self) -> Tree:
        """The cause as it stands in Status.details.causes."""
        parts = {"reason": self.reason, "message": self.message, "field": self.field}
        return {name: text for name, text in parts.items() if text}


class ApiError(ReconcileError):
    """A request was refused: a Kubernetes Status as an exception.

    `details` holds name, group, kind (the plural resource name for most reasons, as the reference server does), uid,
    causes and retryAfterSeconds, as in metav1.StatusDetails.
    """

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(self, message: str, *, details: Tree | None = None, causes: Sequence[Cause] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details: Tree = dict(details or {})
        self.causes = tuple(causes)
        # Some refusals have details that say nothing, on the reference server too.
        self._says_details = details is not None

    def status(self) -> Tree:
        """The Status object that goes over the wire."""
        details = dict(self.details)
        if self.causes:
            details["causes"] = [cause.tree() for cause in self.causes]
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            **({"details": details} if details or self._says_details else {}),
            "code": self.code,
        }


class BadRequestError(ApiError):
    """The request cannot be understood. HTTP 400."""

    code, reason = 400, "BadRequest"


class UnauthorizedError(ApiError):
    """No, or no valid, credentials. HTTP 401."""

    code, reason = 401, "Unauthorized"


class ForbiddenError(ApiError):
    """The request is understood and refused (also: created in a namespace that is going away). HTTP 403."""

    code, reason = 403, "Forbidden"


class NotFoundError(ApiError):
    """There is no such object, or no such kind. HTTP 404."""

    code, reason = 404, "NotFound"


class MethodNotAllowedError(ApiError):
    """The resource has no such verb. HTTP 405."""

    code, reason = 405, "MethodNotAllowed"


class NotAcceptableError(ApiError):
    """No rendering that the client accepts. HTTP 406."""

    code, reason = 406, "NotAcceptable"


class RequestTimeoutError(ApiError):
    """The rest of the request did not come in time. HTTP 408."""

    code, reason = 408, "RequestTimeout"


class AlreadyExistsError(ApiError):
    """An object of that name is there already. HTTP 409, reason AlreadyExists."""

    code, reason = 409, "AlreadyExists"


class ConflictError(ApiError):
    """A stale resourceVersion, a failed precondition, or a field of another manager. HTTP 409, reason Conflict."""

    code, reason = 409, "Conflict"


class ExpiredError(ApiError):
    """The revision asked for is compacted: list again. HTTP 410, reason Expired."""

    code, reason = 410, "Expired"


class TooLargeError(ApiError):
    """The request is larger than the server takes. HTTP 413."""

    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaTypeError(ApiError):
    """The body's media type is not understood here. HTTP 415."""

    code, reason = 415, "UnsupportedMediaType"


class InvalidError(ApiError):
    """The object is understood and breaks a rule; `causes` names each field. HTTP 422."""

    code, reason = 422, "Invalid"


class TooManyRequestsError(ApiError):
    """The server is busy; details.retryAfterSeconds says for how long to wait. HTTP 429."""

    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    """The server made a mistake. HTTP 500."""

    code, reason = 500, "InternalError"


class ConversionError(InternalError):
    """An object could not be brought from one version of its kind into another. HTTP 500.

    It has no reason, as on the reference server, which has no word for it.
    """

    reason = ""


class UnavailableError(ApiError):
    """The server cannot answer now, or cannot be reached. HTTP 503."""

    code, reason = 503, "ServiceUnavailable"


_BY_REASON: dict[str, type[ApiError]] = {
    cls.reason: cls
    for cls in (
        BadRequestError, UnauthorizedError, ForbiddenError, NotFoundError, MethodNotAllowedError, NotAcceptableError,
        RequestTimeoutError, AlreadyExistsError, ConflictError, ExpiredError, TooLargeError, UnsupportedMediaTypeError,
        InvalidError, TooManyRequestsError, InternalError, UnavailableError,
    )
}  # fmt: skip
_BY_CODE: dict[int, type[ApiError]] = {cls.code: cls for cls in reversed(_BY_REASON.values())} | {504: UnavailableError}


def error_from_status(status: Tree) -> ApiError:
    """Turn a Status of the wire back into the exception it was: by reason, else by code."""
    details = dict(status.get("details") or {})
    causes = [
        Cause(str(c.get("reason", "")), str(c.get("message", "")), str(c.get("field", ""))) for c in details.pop("causes", ())
    ]
    cls = _BY_REASON.get(str(status.get("reason"))) or _BY_CODE.get(int(status.get("code", 500)), InternalError)
    return cls(str(status.get("message", "")), details=details, causes=causes)
