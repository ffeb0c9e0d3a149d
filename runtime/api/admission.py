"""Admission: functions that see each write before it is stored, and may change or refuse it.

Who registers for a kind sees each write in the version of that kind, whatever version the client writes in.

Mutators run first, then defaults, then what completes new objects, then the schema's rules, then validators. They are called
in the order in which they were added, those for all kinds first; policies and then webhooks are asked last, and mutating ones
see one another's changes (see `rounds`). A dry run calls them too (`review.dry_run` tells).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from reconcile.errors import ApiError, ForbiddenError, ReconcileError, Tree
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind

if TYPE_CHECKING:
    from .policies import MutatingPolicies, ValidatingPolicies
    from .webhooks import Webhooks

Admit = Callable[[AdmissionReview], Awaitable[None] | None]
Convert = Callable[[Tree, Kind], Awaitable[Tree]]
"""(object, kind) -> the object in that version of its kind. Raises ConversionError."""
_Key = tuple[str, str] | None


class Admission:
    """The registered functions, by kind."""

    def __init__(self, convert: Convert) -> None:
        self._convert = convert
        self._mutators: dict[_Key, list[Admit]] = {}
        self._validators: dict[_Key, list[Admit]] = {}
        self._initializers: dict[_Key, list[Admit]] = {}
        self.mutating_policies: MutatingPolicies | None = None
        self.policies: ValidatingPolicies | None = None
        self.webhooks: Webhooks | None = None

    def add_mutator(self, kind: Kind | None, admit: Admit) -> Callable[[], None]:
        """Register a mutator; returns a function that removes it."""
        return _add(self._mutators, kind, self._seen_in(kind, admit))

    def add_validator(self, kind: Kind | None, admit: Admit) -> Callable[[], None]:
        """Register a validator; returns a function that removes it."""
        return _add(self._validators, kind, self._seen_in(kind, admit))

    def _seen_in(self, kind: Kind | None, admit: Admit) -> Admit:
        """The same function, which is shown writes in other versions of its kind in its own version."""
        if kind is None:
            return admit
        convert = self._convert

        async def seen(review: AdmissionReview) -> None:
            shown = copy.deepcopy(await convert(review.tree, kind))
            before = copy.deepcopy(shown)
            old = await convert(review.old, kind) if review.old is not None else None
            inner = attrs.evolve(review, tree=shown, old=old, kind=kind)  # which shares the list of warnings
            await _call(admit, inner)
            if inner.tree != before:
                review.tree = await convert(inner.tree, review.kind)

        # Nothing is in between where the versions agree, as they nearly always do.
        return lambda review: admit(review) if review.kind.version == kind.version else seen(review)

    def add_initializer(self, kind: Kind, admit: Admit) -> Callable[[], None]:
        """Register what completes new objects; returns a function that removes it."""
        return _add(self._initializers, kind, admit)

    def initializes(self, kind: Kind) -> bool:
        """Whether somebody completes new objects of this kind (its tree must then be its own)."""
        return (kind.group, kind.plural) in self._initializers

    async def initialize(self, kind: Kind, review: AdmissionReview) -> None:
        """Call the initializers. Raises what refuses."""
        for admit in _of(self._initializers, kind):
            await _call(admit, review)

    def mutates(self, kind: Kind) -> bool:
        """Whether a mutator wants to see writes of this kind (its tree must then be its own)."""
        return (bool(self._mutators) and bool(_of(self._mutators, kind))) or bool(self._groups(kind))

    async def mutate(self, kind: Kind, review: AdmissionReview) -> None:
        """Call the mutators. Raises what refuses."""
        for admit in _of(self._mutators, kind):
            await _call(admit, review)
        groups = self._groups(kind)
        if not groups:
            return
        from .rounds import Round

        rounds = [(group, Round()) for group in groups]
        for group, round_ in rounds:
            await group.mutate(review, round_)
        if any(round_.changed for _, round_ in rounds):
            for group, round_ in rounds:
                round_.second = True
                await group.mutate(review, round_)

    def _groups(self, kind: Kind) -> list[MutatingPolicies | Webhooks]:
        """Who may change writes of a kind beside the registered functions, in their order."""
        groups = (self.mutating_policies, self.webhooks)
        return [group for group in groups if group is not None and group.mutates(kind)]

    async def validate(self, kind: Kind, make: Callable[[], AdmissionReview]) -> Sequence[str]:
        """Call the validators; the review is made only if there are any. Returns their warnings, raises what refuses."""
        wanted = _of(self._validators, kind) if self._validators else []
        policies = self.policies if self.policies is not None and self.policies.validates(kind) else None
        webhooks = self.webhooks if self.webhooks is not None and self.webhooks.validates(kind) else None
        if not wanted and policies is None and webhooks is None:
            return ()
        review = make()
        for admit in wanted:
            await _call(admit, review)
        if policies is not None:
            await policies.validate(review)
        if webhooks is not None:
            await webhooks.validate(review)
        return review.warnings

    async def connect(self, kind: Kind, make: Callable[[], AdmissionReview]) -> None:
        """Ask policies and webhooks about a connection; the review is made only if there are any. Raises what refuses."""
        asked = [each for each in (self.policies, self.webhooks) if each is not None and each.validates(kind)]
        if not asked:
            return
        review = make()
        for each in asked:
            await each.validate(review)


def _of(registered: dict[_Key, list[Admit]], kind: Kind) -> list[Admit]:
    return [*registered.get(None, ()), *registered.get((kind.group, kind.plural), ())]


def _add(registered: dict[_Key, list[Admit]], kind: Kind | None, admit: Admit) -> Callable[[], None]:
    key = None if kind is None else (kind.group, kind.plural)
    registered.setdefault(key, []).append(admit)

    def remove() -> None:
        wanted = registered.get(key, [])
        if admit in wanted:
            wanted.remove(admit)
            if not wanted:
                del registered[key]

    return remove


async def _call(admit: Admit, review: AdmissionReview) -> None:
    try:
        answer = admit(review)
        if inspect.isawaitable(answer):
            await answer
    except ApiError:
        raise
    except ReconcileError as error:
        # PermanentError and TemporaryError are how handlers say no.
        name = getattr(admit, "__qualname__", repr(admit))
        raise ForbiddenError(f'admission handler "{name}" denied the request: {error}') from error
