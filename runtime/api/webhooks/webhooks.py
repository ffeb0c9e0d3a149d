"""Who is asked about a write, in which order, and what happens when nobody answers.

Mutating webhooks are asked one after the other; one that says so is asked again when somebody changed the object after it.
Validating ones are asked all at once, and the first refusal in their order is the client's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from reconcile.clock import Clock
from reconcile.errors import ApiError, BadRequestError, InternalError, Tree
from reconcile.handling import AdmissionReview
from reconcile.identity import Authorizer
from reconcile.kinds import Kind
from reconcile.runtime.api.jsonpatch import apply_json_patch
from reconcile.runtime.api.matching import Served

from .configuration import BrokenConditionError, Webhook, webhooks_of
from .review import API_VERSION, WrongAnswerError, answer_of, denied, request_of

if TYPE_CHECKING:
    from reconcile.runtime.api.rounds import Round

log = logging.getLogger(__name__)


LabelsAround = Callable[[AdmissionReview], Awaitable[Mapping[str, str] | None]]
"""The labels of the namespace that a write is in, or is about; None where there is none."""


Convert = Callable[[Tree, Kind], Awaitable[Tree]]
"""(object, kind) -> the object in that version of its kind. Raises ConversionError."""


class Call(Protocol):
    """Reaches webhooks."""

    async def __call__(self, client: Tree, body: Tree, timeout_s: float) -> bytes:
        """Post a review to the server that a clientConfig names. Returns the body of its answer.

        Raises:
            OSError: it cannot be reached, refuses, or its answer is no success; the text says where and why.
            TimeoutError: it took longer than `timeout_s`.
        """


class Webhooks:
    """The webhooks of one API server. `configure` them; the admission asks them last."""

    def __init__(
        self, call: Call, clock: Clock, served: Served, labels_around: LabelsAround, exempt: frozenset[tuple[str, str]],
        convert: Convert, authorizer: Authorizer,
    ) -> None:  # fmt: skip
        """`exempt` names (group, plural) of the kinds that configure webhooks: a broken webhook must not lock itself in."""
        self._call = call
        self._clock = clock
        self._served = served
        self._labels_around = labels_around
        self._convert = convert
        self._exempt = exempt
        self._authorizer = authorizer
        self._mutating: list[Webhook] = []
        self._validating: list[Webhook] = []

    def configure(self, mutating: Iterable[Tree], validating: Iterable[Tree]) -> None:
        """From now on these are asked: the objects of both kinds of configuration."""
        self._mutating, self._validating = webhooks_of(mutating), webhooks_of(validating)

    def mutates(self, kind: Kind) -> bool:
        """Whether some webhook may want to change writes of this kind."""
        return bool(self._mutating) and (kind.group, kind.plural) not in self._exempt

    def validates(self, kind: Kind) -> bool:
        """Whether some webhook may want to see writes of this kind."""
        return bool(self._validating or self._mutating) and (kind.group, kind.plural) not in self._exempt

    async def mutate(self, review: AdmissionReview, round_: Round) -> None:
        """Ask the mutating webhooks; `review.tree` becomes what they make of it. Raises what refuses."""
        round_.begin(review.tree)
        for webhook in self._mutating:
            key = (webhook.configuration, webhook.name)
            if not round_.skips(key):
                asked, changed = await self._mutated(webhook, review)
                if asked:
                    round_.asked(key, changed=changed, reinvoked=webhook.reinvoked)
        round_.end(review.tree)

    async def validate(self, review: AdmissionReview) -> None:
        """Ask the validating webhooks; where nothing is written, the mutating ones too, which can but refuse.

        Raises what refuses.
        """
        wanted = [*self._mutating, *self._validating] if review.operation in ("DELETE", "CONNECT") else self._validating
        answers = await asyncio.gather(*(self._asked(webhook, review) for webhook in wanted), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _mutated(self, webhook: Webhook, review: AdmissionReview) -> tuple[bool, bool]:
        """Ask one; whether it was asked, and whether it changed the object."""
        asked, patched = await self._asked(webhook, review)
        if patched is None or patched == review.tree:
            return asked, False
        review.tree = patched
        return True, True

    async def _asked(self, webhook: Webhook, review: AdmissionReview) -> tuple[bool, Tree | None]:
        """Ask one webhook about a write, if it wants to know.

        Returns whether it did, and the object as it would have it, None: as it is.
        """
        kind = review.kind
        shown = webhook.match.version_for(kind, review, self._served)
        if shown is None:
            return False, None
        labels = None if webhook.match.namespaces.empty else await self._labels_around(review)
        if not webhook.match.wants(review, labels):
            return False, None
        uid = self._clock.uid()
        new = review.options
        if review.operation not in ("DELETE", "CONNECT"):
            new = await self._convert(review.tree, shown)
        old = None if review.old is None else await self._convert(review.old, shown)
        request = request_of(review, shown, uid, new, old)
        try:
            if webhook.conditions and not self._conditions_hold(webhook, review, request):
                return False, None
            if review.dry_run and webhook.has_side_effects:
                raise BadRequestError(f"admission webhook {webhook.name} does not support dry run", details={})
            return True, await self._answered(webhook, review, request, uid)
        except (OSError, TimeoutError, WrongAnswerError, BrokenConditionError) as error:
            _failed(webhook, error)
            return True, None

    def _conditions_hold(self, webhook: Webhook, review: AdmissionReview, request: Tree) -> bool:
        from reconcile.expressions.authorization import asking, authorizer_of

        meta, kind = review.tree.get("metadata") or {}, review.kind
        about = (kind.group, kind.plural, review.subresource, meta.get("namespace") or "", meta.get("name") or "")
        values = {
            "object": request["object"], "oldObject": request["oldObject"], "request": request,
            "authorizer": authorizer_of(*about),
        }  # fmt: skip
        with asking(review.caller, self._authorizer):
            return webhook.conditions_hold(values)

    async def _answered(self, webhook: Webhook, review: AdmissionReview, request: Tree, uid: str) -> Tree | None:
        body = {"kind": "AdmissionReview", "apiVersion": API_VERSION, "request": request}
        try:
            content = await self._call(webhook.client, body, webhook.timeout_s)
        except TimeoutError as error:
            raise TimeoutError("context deadline exceeded") from error
        except OSError as error:
            raise OSError(f"failed to call webhook: {error}") from error
        answer = answer_of(content, uid)
        review.warnings.extend(text for text in answer.warnings if text not in review.warnings)
        if not answer.allowed:
            raise denied(webhook.name, answer.status)
        if not answer.patch or request["object"] is None or review.options is not None:
            return None
        try:
            patched = apply_json_patch(request["object"], answer.patch)
        except ApiError as error:
            raise WrongAnswerError(f"its patch cannot be applied: {error}") from error
        return await self._convert(patched, review.kind)


def _failed(webhook: Webhook, error: Exception) -> None:
    """Nobody answered: go on without, or refuse, as the webhook's failurePolicy has it."""
    why = str(error)
    if webhook.ignores_failure:
        log.warning("failed calling webhook, failing open", extra={"webhook": webhook.name, "error": why})
        return
    text = f'Internal error occurred: failed calling webhook "{webhook.name}": {why}'
    raise InternalError(text, details={"causes": [{"message": f'failed calling webhook "{webhook.name}": {why}'}]}) from error
