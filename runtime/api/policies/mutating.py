"""Has policies that mutate change a write: one after the other, each sees what those before it did.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/mutating/dispatcher.go, .../generic/policy_dispatcher.go
"""

from __future__ import annotations

from collections.abc import Iterable

from reconcile.errors import BadRequestError, ForbiddenError, InternalError, InvalidError, Tree
from reconcile.expressions import EvaluationError
from reconcile.expressions.mutations import Mutation
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind
from reconcile.runtime.api.errors import PolicyFailedError
from reconcile.runtime.api.jsonpatch import REFUSED, TestFailedError, apply_json_patch
from reconcile.runtime.api.rounds import Round

from .configuration import UnfitError, configured
from .policy import MutatingPolicy, mutating_policy_of
from .selection import Bound, Invocation, Surroundings


class MutatingPolicies:
    """All MutatingAdmissionPolicies that bindings put into force."""

    def __init__(
        self, surroundings: Surroundings, exempt: frozenset[tuple[str, str]], policies: Iterable[Tree], bindings: Iterable[Tree]
    ) -> None:  # fmt: skip
        """`exempt` names (group, plural) of the kinds that configure admission: a broken policy must not lock itself in."""
        self._surroundings = surroundings
        self._bound = Bound(surroundings, exempt, map(mutating_policy_of, policies), bindings)

    def mutates(self, kind: Kind) -> bool:
        """Whether some policy may change writes of this kind."""
        return self._bound.may_see(kind)

    async def mutate(self, review: AdmissionReview, round_: Round) -> None:
        """Have all that are for this write change it; `review.tree` becomes what they make of it. Raises what refuses."""
        round_.begin(review.tree)
        asked, problems, around = await self._bound.asked(review)
        wrong: list[tuple[str, type[ForbiddenError]]] = [
            (_denied(each.policy, each.binding.name if each.binding else "", each.message), ForbiddenError)
            for each in problems if not each.policy.ignores_failure
        ]  # fmt: skip
        touched = False
        for each in asked:
            before = review.tree
            found = await self._changed(each, review, round_, around)
            touched |= review.tree is not before
            if not each.policy.ignores_failure:
                wrong += [(_denied(each.policy, each.binding.name, why), PolicyFailedError) for why in found]
        round_.end(review.tree, touched=touched)
        if wrong:
            raise _refusal(review, wrong)

    async def _changed(
        self, asked: Invocation[MutatingPolicy], review: AdmissionReview, round_: Round, around: Tree | None
    ) -> list[str]:  # fmt: skip
        """Let one policy change the write; returns what is wrong."""
        policy, before = asked.policy, review.tree
        values = {**await self._surroundings.values(review, asked.shown, around), "params": asked.parameters}
        try:
            with self._surroundings.asking(review):
                if not policy.holds(values):
                    return []
        except EvaluationError as error:
            return [str(error)]
        if round_.skips(asked.key):
            return []
        wrong = []
        for mutation in policy.mutations:
            if values["object"] is None:
                continue
            try:
                with self._surroundings.asking(review):
                    found = policy.mutation(mutation, values)
                made = self._applied(mutation, found, values["object"], asked.shown)
            except (EvaluationError, UnfitError) as error:
                wrong.append(str(error))
                continue
            changed = await self._surroundings.convert(made, review.kind)
            if changed["metadata"].get("namespace") != review.tree["metadata"].get("namespace"):
                raise BadRequestError("the namespace of the provided object does not match the namespace sent on the request")
            review.tree, values["object"] = changed, made
        round_.asked(asked.key, changed=review.tree != before, reinvoked=policy.reinvoked)
        return wrong

    def _applied(self, mutation: Mutation, found: object, tree: Tree, kind: Kind) -> Tree:
        """The object as a mutation that came to `found` has it, with its defaults.

        Raises:
            EvaluationError, UnfitError: that cannot be applied.
            InternalError: the result of a JSON patch is none of a built-in kind.
        """
        if mutation.kind == "Object":
            made = configured(tree, mutation.configuration_of(found), self._surroundings.schema(kind))
        else:
            made = _patched(tree, mutation.operations_of(found))
        if made is tree:
            return tree
        try:
            completed, unknown, why = self._surroundings.complete(kind, made)
        except BadRequestError as error:
            raise UnfitError(error.message) from error
        if why and mutation.kind == "JSONPatch":
            raise _internal(why)
        if why:
            raise UnfitError(f"unable to convert unstructured object to {kind.api_version}, Kind={kind.kind}: {why}")
        if unknown and mutation.kind == "JSONPatch" and kind.builtin:
            listed = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise _internal(f"strict decoding error: {listed}")
        return completed


def _patched(tree: Tree, operations: list[Tree]) -> Tree:
    try:
        made = apply_json_patch(tree, operations)
    except TestFailedError:
        return tree  # whose patch is not applied at all
    except (BadRequestError, InvalidError) as error:
        raise UnfitError(f"JSON Patch: {error.message.removeprefix(f'{REFUSED}: ')}") from error
    if not isinstance(made, dict):
        raise UnfitError("JSON Patch: the result is no object")
    return made


def _internal(why: str) -> InternalError:
    return InternalError(f"Internal error occurred: {why}", details={"causes": [{"message": why}]})


def _denied(policy: MutatingPolicy, binding: str, why: str) -> str:
    if binding:
        return f"policy '{policy.name}' with binding '{binding}' denied request: {why}"
    return f'policy "{policy.name}" denied request: {why}'


def _refusal(review: AdmissionReview, wrong: list[tuple[str, type[ForbiddenError]]]) -> ForbiddenError:
    kind, name = review.kind, review.tree["metadata"].get("name") or ""
    details = {
        "name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural,
        "causes": [{"message": message} for message, _ in wrong],
    }  # fmt: skip
    message, cls = wrong[0]
    return cls(message, details=details)
