"""Admits, approves, signs and clears away certificate requests.

Who asks is written into the request by the server. To approve needs the verb `approve` on the signer, to sign `sign`. Signed
here is, once approved, what is asked of `kubernetes.io/kube-apiserver-client` (and of the kubelets' variant): client
certificates that the API server itself takes. Other signers are for controllers of yours.

Source: K/plugin/pkg/admission/certificates, K/pkg/controller/certificates/{signer,cleaner}
"""

from __future__ import annotations

import base64

import attrs

from reconcile.clock import Clock, parse_timestamp, timestamp
from reconcile.errors import ForbiddenError, Tree
from reconcile.handling import AdmissionReview, Cluster
from reconcile.identity import MASTERS, Access, Authorizer, Caller
from reconcile.kinds import kind_of
from reconcile.registry import Operator
from reconcile.views import tree_of

from .authority import Authority, groups_of
from .request import APPROVED, DENIED, FAILED, GROUP, CertificateSigningRequest, conditions_of, decided, has

CLIENT, KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet"
_SIGNED_HERE = (CLIENT, KUBELET_CLIENT)
_ALLOWED = frozenset({"client auth", "digital signature", "key encipherment"})
_LASTS_S = 365 * 86400.0
_LOOK_S = 3600.0
_KEPT_S = {"Approved": 3600.0, "Denied": 3600.0, "Pending": 24 * 3600.0}


def certificates(authority: Authority, authorize: Authorizer, *, signs: bool = True, clears: bool = True) -> Operator:
    """The operator; `authorize` decides who may approve and sign.

    Without `signs` and `clears` it only judges what is written: somebody else signs, and clears old requests away.
    """
    app = Operator("certificates")
    gate = Gate(authorize)
    if signs:
        _sign(app, authority)
    if clears:
        _clear(app)

    @app.on.mutate(CertificateSigningRequest, subresource="*")
    def admitted(review: AdmissionReview, clock: Clock) -> None:
        if review.old is None:
            gate.asked(review.tree, review.caller)
        elif review.subresource == "status":
            _keep_decision(review.tree, review.old)
        if review.subresource:
            _note_times(review.tree, review.old or {}, timestamp(clock.now()))

    @app.on.validate(CertificateSigningRequest, subresource="*")
    def allowed(review: AdmissionReview) -> None:
        gate.check(review)

    return app


def _sign(app: Operator, authority: Authority) -> None:
    @app.on.reconcile(CertificateSigningRequest)
    async def signed(obj: CertificateSigningRequest, cluster: Cluster, clock: Clock) -> None:
        tree = tree_of(obj)
        status = signature(tree, authority, clock.now())
        if status:
            change = {"metadata": {"resourceVersion": obj.metadata.resource_version}, "status": status}
            await cluster.patch(obj, change, subresource="status")


def _clear(app: Operator) -> None:
    @app.on.timer(CertificateSigningRequest, interval_s=_LOOK_S)
    async def cleared(obj: CertificateSigningRequest, cluster: Cluster, clock: Clock) -> None:
        tree = tree_of(obj)
        state = DENIED if has(tree, DENIED) else APPROVED if has(tree, APPROVED) else "Pending"
        since = max((c.get("lastUpdateTime") or "" for c in decided(tree)), default="") or obj.metadata.creation_timestamp
        waits_for_signer = state == APPROVED and not tree["status"].get("certificate") and not has(tree, FAILED)
        if not waits_for_signer and clock.now() - parse_timestamp(since) > _KEPT_S[state]:
            await cluster.delete(obj)


@attrs.frozen
class Gate:
    """What writes to requests are let in."""

    authorize: Authorizer

    def asked(self, tree: Tree, caller: Caller) -> None:
        """Write down who asks, whatever the request says itself."""
        spec = tree.get("spec")
        if not isinstance(spec, dict):
            return  # the schema's rules say so
        for name in ("username", "uid", "groups", "extra"):
            spec.pop(name, None)
        spec |= caller.tree()

    def check(self, review: AdmissionReview) -> None:
        """Refuse what the caller may not ask for, approve or sign.

        Raises:
            ForbiddenError: they may not.
        """
        tree, old = review.tree, review.old
        if review.operation == "CREATE":
            _check_groups(tree)
        elif review.operation == "UPDATE" and old is not None:
            signer = old["spec"]["signerName"]
            if review.subresource == "approval" and decided(tree) != decided(old):
                self._may(tree, review.caller, "approve", signer)
            elif review.subresource == "status" and _signing(tree, old):
                self._may(tree, review.caller, "sign", signer)

    def _may(self, tree: Tree, caller: Caller, verb: str, signer: str) -> None:
        """Whether the caller may for this signer, or for all of its domain."""
        for name in (signer, f"{signer.partition('/')[0]}/*"):
            if self.authorize(caller, Access(verb, GROUP, "signers", name=name)).allowed:
                return
        raise _forbidden(tree, f'user not permitted to {verb} requests with signerName "{signer}"')


def _check_groups(tree: Tree) -> None:
    spec = tree.get("spec") or {}
    if spec.get("signerName") == CLIENT and MASTERS in groups_of(base64.b64decode(spec["request"])):
        raise _forbidden(tree, f"use of {CLIENT} signer with {MASTERS} group is not allowed")


def _signing(tree: Tree, old: Tree) -> bool:
    """Whether a write of the status says anything that is the signer's to say."""
    status, before = tree.get("status") or {}, old.get("status") or {}
    return status.get("certificate") != before.get("certificate") or has(tree, FAILED) != has(old, FAILED)


def _keep_decision(tree: Tree, old: Tree) -> None:
    """Approval has a subresource of its own: nothing else changes it."""
    status = tree.setdefault("status", {})
    others = [condition for condition in conditions_of(tree) if condition.get("type") not in (APPROVED, DENIED)]
    conditions = [*decided(old), *others]
    if conditions:
        status["conditions"] = conditions


def _note_times(tree: Tree, old: Tree, now: str) -> None:
    """Say of each condition since when it holds."""
    before = {condition.get("type"): condition for condition in conditions_of(old)}
    for condition in conditions_of(tree):
        known = before.get(condition.get("type")) or {}
        same = known.get("status") == condition.get("status")
        if not condition.get("lastUpdateTime"):
            condition["lastUpdateTime"] = now
        if not condition.get("lastTransitionTime"):
            condition["lastTransitionTime"] = (known.get("lastTransitionTime") if same else "") or now


def signature(tree: Tree, authority: Authority, now_s: float) -> Tree:
    """The status of an approved request that is signed here: with its certificate, or why there is none; else nothing."""
    spec, status = tree["spec"], tree.get("status") or {}
    if spec["signerName"] not in _SIGNED_HERE or not has(tree, APPROVED) or has(tree, DENIED) or has(tree, FAILED):
        return {}
    if status.get("certificate"):
        return {}
    wrong = _wrong_usages(spec.get("usages") or [])
    if wrong:
        at = timestamp(now_s)
        failed = {
            "type": FAILED, "status": "True", "reason": "SignerValidationFailure", "message": wrong, "lastUpdateTime": at,
            "lastTransitionTime": at,
        }  # fmt: skip
        return {"conditions": [*conditions_of(tree), failed]}
    lasts_s = float(spec.get("expirationSeconds") or _LASTS_S)
    certificate = authority.sign(base64.b64decode(spec["request"]), spec["usages"], now_s, min(lasts_s, _LASTS_S))
    return {"certificate": base64.b64encode(certificate).decode()}


def _wrong_usages(usages: list[str]) -> str:
    if "client auth" not in usages:
        return "usages did not contain client auth"
    others = sorted(set(usages) - _ALLOWED)
    return f"usages contained {', '.join(others)}, which this signer does not certify" if others else ""


def _forbidden(tree: Tree, why: str) -> ForbiddenError:
    kind, name = kind_of(CertificateSigningRequest), tree["metadata"].get("name") or ""
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return ForbiddenError(f'{kind.resource} "{name}" is forbidden: {why}', details=details)
