"""Eviction: a polite deletion of a Pod, which its PodDisruptionBudget may refuse for now.

A granted eviction is written into the budget first, on condition that nobody else changed it: two who ask at the same
moment do not both get the last one.

Source: k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go
"""

from __future__ import annotations

import attrs

from reconcile.client import MERGE_PATCH, Client, DeleteOptions, Patch
from reconcile.clock import Clock, timestamp
from reconcile.conditions import is_true, with_condition
from reconcile.errors import (
    Cause,
    ConflictError,
    ForbiddenError,
    InternalError,
    NotFoundError,
    TooManyRequestsError,
    Tree,
)
from reconcile.identity import Caller
from reconcile.kinds import ObjectMeta, Resource, kind, kind_of
from reconcile.selectors import label_selector
from reconcile.views import field, struct

from .budget import PodDisruptionBudget
from .budget_controller import ALLOWED, INSUFFICIENT

ATTEMPTS_MAX = 20
DISRUPTED_MAX = 2000
BUSY_RETRY_S = 10
_WHY = {
    "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
}  # fmt: skip
_DONE: Tree = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


@struct
class Preconditions:
    """What must hold of the Pod."""

    uid: str | None = None
    resource_version: str | None = None


@struct
class EvictionDeleteOptions:
    """How the Pod is deleted."""

    grace_period_seconds: int | None = None
    preconditions: Preconditions | None = None
    orphan_dependents: bool | None = None
    propagation_policy: str | None = None
    dry_run: list[str] = field(factory=list, list_type="atomic")


@kind("policy", "v1", plural="evictions", builtin=True, has_generation=False)
class Eviction(Resource):
    """Asks for a Pod to be deleted, if its budget allows that."""

    metadata: ObjectMeta = field(factory=ObjectMeta)
    delete_options: EvictionDeleteOptions | None = None


@attrs.frozen
class Evictions:
    """Answers evictions of Pods; `pods` is their kind."""

    client: Client
    clock: Clock
    pods: type[Resource]

    async def respond(self, pod: Tree, eviction: Tree, _caller: Caller) -> Tree:
        """Delete the Pod, or say why not now.

        Raises:
            TooManyRequestsError: its budget has nothing left.
            ApiError: the deletion is refused.
        """
        options = eviction.get("deleteOptions") or {}
        dry_run = bool(options.get("dryRun"))
        for _ in range(ATTEMPTS_MAX):
            budget = await self._budget(pod)
            if budget is None:
                break
            try:
                await self._granted(pod, budget, dry_run=dry_run)
                break
            except ConflictError:
                continue  # somebody else was granted one meanwhile: look again
        else:
            raise TooManyRequestsError(
                "the disruption budget is written all the time", details={"retryAfterSeconds": BUSY_RETRY_S}
            )  # fmt: skip
        await self._delete(pod, options, dry_run=dry_run)
        return _DONE

    async def _budget(self, pod: Tree) -> Tree | None:
        """The budget that has a say; None: there is none, or the Pod does not count."""
        meta, status = pod["metadata"], pod.get("status") or {}
        if meta.get("deletionTimestamp") or status.get("phase") in ("Pending", "Succeeded", "Failed"):
            return None
        page = await self.client.list(kind_of(PodDisruptionBudget), meta["namespace"])
        found = [each for each in page.items if _selects(each, meta.get("labels") or {})]
        if len(found) > 1:
            raise InternalError(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        if not found:
            return None
        if not is_true(status.get("conditions"), "Ready"):
            # One that is not ready is not counted on: it may go, unless the others are too few already.
            if found[0]["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
                return None
            counted = found[0].get("status") or {}
            if counted.get("desiredHealthy", 0) > 0 and counted.get("currentHealthy", 0) >= counted["desiredHealthy"]:
                return None
        return found[0]

    async def _granted(self, pod: Tree, budget: Tree, *, dry_run: bool) -> None:
        """Take one of the budget's disruptions. Raises ConflictError: it was changed meanwhile."""
        meta, status = budget["metadata"], dict(budget.get("status") or {})
        name, allowed = meta["name"], int(status.get("disruptionsAllowed") or 0)
        if int(status.get("observedGeneration") or 0) < int(meta.get("generation") or 0):
            raise _too_many(f"The disruption budget {name} is still being processed by the server.", retry_s=BUSY_RETRY_S)
        if len(status.get("disruptedPods") or {}) > DISRUPTED_MAX:
            raise ForbiddenError(
                f'pods.policy "{name}" is forbidden: DisruptedPods map too big - too many evictions not confirmed'
            )
        if allowed <= 0:
            raise _too_many(
                f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and has "
                f"{status.get('currentHealthy', 0)} currently"
            )  # fmt: skip
        now_s = self.clock.now()
        status["disruptionsAllowed"] = allowed - 1
        status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod["metadata"]["name"]: timestamp(now_s)}
        if allowed == 1:
            said = {
                "type": ALLOWED, "status": "False", "reason": INSUFFICIENT, "message": "",
                "observedGeneration": meta.get("generation", 0),
            }  # fmt: skip  # one field a word reads better packed
            status["conditions"] = with_condition(status.get("conditions"), said, now_s)
        await self.client.update(
            kind_of(PodDisruptionBudget), {**budget, "status": status}, meta["namespace"], subresource="status", dry_run=dry_run
        )

    async def _delete(self, pod: Tree, options: Tree, *, dry_run: bool) -> None:
        meta, given = pod["metadata"], options.get("preconditions") or {}
        if given.get("uid") and given["uid"] != meta["uid"]:
            raise ConflictError(
                f'Operation cannot be fulfilled on pods "{meta["name"]}": the UID in the precondition ({given["uid"]}) does not '
                f"match the UID in record ({meta['uid']}). The object might have been deleted and then recreated"
            )
        version = str(given.get("resourceVersion") or "")
        try:
            if not dry_run:
                told = await self._tell(pod, version)
                version = version and told["metadata"]["resourceVersion"]
            wanted = DeleteOptions(
                grace_s=options.get("gracePeriodSeconds"), uid=meta["uid"], resource_version=version, dry_run=dry_run
            )
            await self.client.delete(kind_of(self.pods), meta["name"], meta["namespace"], wanted)
        except NotFoundError as error:
            raise NotFoundError(f'pods "{meta["name"]}" not found', details={"name": meta["name"], "kind": "pods"}) from error

    async def _tell(self, pod: Tree, version: str) -> Tree:
        """Write on the Pod why it goes: a Job does not count it as a failure of its own then."""
        meta, kind_ = pod["metadata"], kind_of(self.pods)
        for _ in range(ATTEMPTS_MAX):
            newest = await self.client.get(kind_, meta["name"], meta["namespace"])
            conditions = with_condition((newest.get("status") or {}).get("conditions"), _WHY, self.clock.now())
            own = {"uid": meta["uid"], "resourceVersion": version or newest["metadata"]["resourceVersion"]}
            change = Patch(MERGE_PATCH, {"metadata": own, "status": {"conditions": conditions}})
            try:
                return await self.client.patch(kind_, meta["name"], change, meta["namespace"], subresource="status")
            except ConflictError:
                if version or newest["metadata"]["uid"] != meta["uid"]:
                    raise
        raise ConflictError(f'Operation cannot be fulfilled on pods "{meta["name"]}": it is written all the time')


def _selects(budget: Tree, labels: dict[str, str]) -> bool:
    selector = budget["spec"].get("selector")
    return selector is not None and label_selector(selector).matches(labels)


def _too_many(why: str, *, retry_s: int = 0) -> TooManyRequestsError:
    details = {"retryAfterSeconds": retry_s} if retry_s else {}
    return TooManyRequestsError(
        "Cannot evict pod as it would violate the pod's disruption budget.", details=details,
        causes=[Cause("DisruptionBudget", why)],
    )  # fmt: skip


__all__ = ["Eviction", "Evictions"]
