"""CertificateSigningRequest: somebody asks for a certificate, somebody else approves, a signer makes it.

Source: K/pkg/apis/certificates/validation, K/pkg/registry/certificates/certificates/strategy.go
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.resources.core.age import age
from reconcile.resources.core.cells import AGE, NONE, path_cell
from reconcile.resources.core.names import invalid, required, unsupported
from reconcile.views import field, struct

GROUP = "certificates.k8s.io"
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user",
    "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing",
    "timestamping",
)  # fmt: skip
EXPIRES_S_MIN = 600
_SIGNER = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/\S+")


@struct
class CertificateSigningRequestSpec:
    """What is asked for, by whom."""

    request: str = field(default="", doc="A PKCS #10 request in PEM, as base64.")
    signer_name: str = field(default="", doc="Who is to sign: kubernetes.io/kube-apiserver-client, or one of yours.")
    expiration_seconds: int | None = field(default=None, doc="How long it is to be valid; the signer may give less.")
    usages: list[str] = field(factory=list, list_type="atomic", doc="What the key is for: client auth, digital signature ...")
    username: str = field(default="", doc="Who asked; set by the server.")
    uid: str = field(default="", doc="Who asked; set by the server.")
    groups: list[str] = field(factory=list, list_type="atomic", doc="Who asked; set by the server.")
    extra: dict[str, list[str]] = field(factory=dict, doc="Who asked; set by the server.")


@struct
class CertificateSigningRequestCondition:
    """Approved, Denied or Failed, and why."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_update_time: str = field(default="", format="date-time")
    last_transition_time: str = field(default="", format="date-time")


@struct
class CertificateSigningRequestStatus:
    """What was decided, and the certificate."""

    conditions: list[CertificateSigningRequestCondition] = field(factory=list, list_type="map", list_map_keys=("type",))
    certificate: str = field(default="", doc="The certificate in PEM, as base64.")


def conditions_of(tree: Tree) -> Sequence[Tree]:
    """The conditions of a request."""
    return (tree.get("status") or {}).get("conditions") or ()


def has(tree: Tree, type_: str) -> bool:
    """Whether a request is Approved, Denied or Failed."""
    return any(condition.get("type") == type_ for condition in conditions_of(tree))


def decided(tree: Tree) -> list[Tree]:
    """The conditions that approval alone may change."""
    return [condition for condition in conditions_of(tree) if condition.get("type") in (APPROVED, DENIED)]


def _prepare(tree: Tree, old: Tree | None) -> None:
    """What was asked for never changes; who asks otherwise makes another request."""
    if old is not None:
        tree["spec"] = old["spec"]


def _approve(tree: Tree, old: Tree) -> Tree:
    """What approval changes: the conditions, and nothing else."""
    return {"status": {**(old.get("status") or {}), "conditions": list(conditions_of(tree))}}


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    spec = tree.get("spec") or {}
    if old is None:
        yield from _check_spec(spec)
    types = [condition.get("type") for condition in conditions_of(tree)]
    for position, condition in enumerate(conditions_of(tree)):
        path = f"status.conditions[{position}]"
        if not condition.get("type"):
            yield required(f"{path}.type")
        if condition.get("type") in (APPROVED, DENIED, FAILED) and condition.get("status") != "True":
            yield unsupported(f"{path}.status", condition.get("status"), ("True",))
    if APPROVED in types and DENIED in types:
        yield invalid("status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive")
    if old is not None:
        before = {condition["type"] for condition in decided(old)}
        for type_ in sorted(before - set(types)):
            yield Cause(
                "FieldValueForbidden", f'Forbidden: updates may not remove a condition of type "{type_}"', "status.conditions"
            )


def _check_spec(spec: Tree) -> Iterator[Cause]:
    usages, signer = spec.get("usages") or (), spec.get("signerName") or ""
    if not usages:
        yield required("spec.usages")
    for position, usage in enumerate(usages):
        if usage not in USAGES:
            yield unsupported(f"spec.usages[{position}]", usage, USAGES)
    if not signer:
        yield required("spec.signerName")
    elif not _SIGNER.fullmatch(signer):
        yield invalid(
            "spec.signerName", signer, 'must be a fully qualified domain and path of the form "example.com/signer-name"'
        )
    asked_s = spec.get("expirationSeconds")
    if asked_s is not None and asked_s < EXPIRES_S_MIN:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        yield invalid("spec.expirationSeconds", asked_s, why)
    if why := _wrong_request(spec.get("request") or ""):
        yield invalid("spec.request", spec.get("request") or "", why)


def _wrong_request(encoded: str) -> str:
    try:
        pem = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return "must be base64"
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        return "PEM block type must be CERTIFICATE REQUEST"
    from cryptography import x509  # 20 ms that only requests pay

    try:
        request = x509.load_pem_x509_csr(pem)
    except ValueError as error:
        return f"is no PKCS #10 request: {error}"
    return "" if request.is_signature_valid else "the signature of the request does not match its key"


def _duration(tree: Tree, _now_s: float) -> str:
    asked_s = (tree.get("spec") or {}).get("expirationSeconds")
    return age(asked_s) if asked_s is not None else NONE


def _state(tree: Tree, _now_s: float) -> str:
    state = DENIED if has(tree, DENIED) else APPROVED if has(tree, APPROVED) else "Pending"
    failed = ",Failed" if has(tree, FAILED) else ""
    return f"{state}{failed}{',Issued' if (tree.get('status') or {}).get('certificate') else ''}"


@kind(
    GROUP, "v1", plural="certificatesigningrequests", namespaced=False, short_names=("csr",), builtin=True,
    has_generation=False, selectable=("spec.signerName",),
    hooks=Hooks(prepare=_prepare, validate=_validate, parts={"approval": _approve}),
    columns=(
        AGE, Column("SignerName", cell=path_cell("spec", "signerName", absent=NONE), doc="Who is to sign."),
        Column("Requestor", cell=path_cell("spec", "username"), doc="Who asked."),
        Column("RequestedDuration", cell=_duration, doc="How long it is to be valid."),
        Column("Condition", cell=_state, doc="What was decided."),
    ),
)  # fmt: skip
class CertificateSigningRequest(Resource):
    """A request for a certificate."""

    spec: CertificateSigningRequestSpec = field(factory=CertificateSigningRequestSpec)
    status: CertificateSigningRequestStatus = field(factory=CertificateSigningRequestStatus, server_default={})
