"""Certificates on request: who may ask, approve and sign, and what comes out."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from reconcile.errors import ForbiddenError, InvalidError, Tree
from reconcile.identity import Access, Caller, Decision
from reconcile.kinds import kind_of
from reconcile.resources.certificates import CertificateSigningRequest
from reconcile.resources.certificates.authority import Authority
from reconcile.resources.certificates.operator import certificates
from reconcile.runtime.testing.virtual import VirtualClock, virtual

KIND = kind_of(CertificateSigningRequest)
CLIENT = "kubernetes.io/kube-apiserver-client"
EVE = Caller("eve", ("devs",), "uid-1", {"from": ["laptop"]})


def named(*parts: tuple[Any, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def authority() -> Authority:
    """An authority of its own, that lasts around the virtual clock's time."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime(2020, 1, 1, tzinfo=UTC)
    name = named((NameOID.COMMON_NAME, "test-ca"))
    ca = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Authority(lambda: (ca.public_bytes(serialization.Encoding.PEM), pem))


AUTHORITY = authority()


def request(name: str = "eve", organisations: Sequence[str] = ("devs",), **spec: Any) -> Tree:
    parts = [(NameOID.ORGANIZATION_NAME, group) for group in organisations]
    builder = x509.CertificateSigningRequestBuilder().subject_name(named(*parts, (NameOID.COMMON_NAME, "eve")))
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    encoded = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    return {
        "metadata": {"name": name},
        "spec": {"request": encoded, "signerName": CLIENT, "usages": ["client auth", "digital signature"], **spec},
    }


def approval(tree: Tree, type_: str = "Approved") -> Tree:
    return {**tree, "status": {"conditions": [{"type": type_, "status": "True", "reason": "ByHand"}]}}


def allowing(*allowed: str) -> Any:
    def authorize(caller: Caller, access: Access) -> Decision:
        return Decision(caller.all_powerful or f"{access.verb} {access.name}" in allowed)

    return authorize


async def issued(plane: Any, name: str = "eve") -> x509.Certificate:
    async def there() -> str:
        tree = await plane.get(CertificateSigningRequest, name)
        return str((tree.get("status") or {}).get("certificate") or "")

    return x509.load_pem_x509_certificate(base64.b64decode(await plane.until(there, "the certificate")))


@virtual
async def test_an_approved_request_is_signed(clock: VirtualClock, control_plane: Any) -> None:
    """With the subject that was asked for, for clients alone, and no longer than was asked for."""
    async with control_plane(clock, certificates(AUTHORITY, allowing())) as plane:
        made = await plane.create(CertificateSigningRequest, request(expirationSeconds=7200))
        await clock.sleep(5)
        assert "certificate" not in ((await plane.get(CertificateSigningRequest, "eve")).get("status") or {})
        approved = await plane.client.update(KIND, approval(made), subresource="approval")
        (condition,) = approved["status"]["conditions"]
        assert condition["lastUpdateTime"]
        assert condition["lastTransitionTime"] == condition["lastUpdateTime"]
        certificate = await issued(plane)
        subject = [str(attribute.value) for attribute in certificate.subject]
        assert subject == ["devs", "eve"]
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        lasts = certificate.not_valid_after_utc - datetime.fromtimestamp(clock.now(), UTC)
        assert timedelta(hours=1, minutes=59) < lasts <= timedelta(hours=2)


@pytest.mark.parametrize("decision", ["Denied", "other signer"])
@virtual
async def test_what_is_denied_or_anothers_is_not_signed(clock: VirtualClock, control_plane: Any, decision: str) -> None:
    """A no is a no; and another signer's yes is not ours to act on."""
    async with control_plane(clock, certificates(AUTHORITY, allowing())) as plane:
        other = decision == "other signer"
        made = await plane.create(CertificateSigningRequest, request(**({"signerName": "example.com/x"} if other else {})))
        await plane.client.update(KIND, approval(made, "Approved" if other else "Denied"), subresource="approval")
        await clock.sleep(30)
        assert "certificate" not in (await plane.get(CertificateSigningRequest, "eve"))["status"]


@virtual
async def test_a_request_for_a_server_is_failed_by_the_client_signer(clock: VirtualClock, control_plane: Any) -> None:
    """It would let its owner pretend to be a server of this cluster."""
    async with control_plane(clock, certificates(AUTHORITY, allowing())) as plane:
        made = await plane.create(CertificateSigningRequest, request(usages=["client auth", "server auth"]))
        await plane.client.update(KIND, approval(made), subresource="approval")

        async def failed() -> Any:
            conditions = (await plane.get(CertificateSigningRequest, "eve"))["status"]["conditions"]
            return next((c for c in conditions if c["type"] == "Failed"), None)

        condition = await plane.until(failed, "it failed")
        assert condition["reason"] == "SignerValidationFailure"
        assert "server auth" in condition["message"]


@virtual
async def test_who_asks_is_written_down_by_the_server(clock: VirtualClock, control_plane: Any) -> None:
    """Who approves looks at this, so nobody may say it of themselves."""
    async with control_plane(clock, certificates(AUTHORITY, allowing())) as plane:
        eve = plane.client.as_caller(EVE)
        made = await eve.create(KIND, request(username="root", groups=["system:masters"], extra={"a": ["b"]}))
        spec = made["spec"]
        assert (spec["username"], spec["uid"], spec["groups"], spec["extra"]) == ("eve", "uid-1", ["devs"], {"from": ["laptop"]})
        changed = await plane.client.update(KIND, {**made, "spec": {**spec, "username": "root"}})
        assert changed["spec"] == spec


@virtual
async def test_approving_and_signing_are_rights_on_the_signer(clock: VirtualClock, control_plane: Any) -> None:
    """The right to write requests alone must not be the right to become anybody."""
    async with control_plane(clock, certificates(AUTHORITY, allowing("approve example.com/*", "sign example.com/x"))) as plane:
        eve = plane.client.as_caller(EVE)
        made = await eve.create(KIND, request())
        with pytest.raises(ForbiddenError) as refused:
            await eve.update(KIND, approval(made), subresource="approval")
        assert str(refused.value) == (
            'certificatesigningrequests.certificates.k8s.io "eve" is forbidden: user not permitted to approve requests with '
            f'signerName "{CLIENT}"'
        )
        with pytest.raises(ForbiddenError, match="user not permitted to sign"):
            await eve.update(KIND, {**made, "status": {"certificate": "eA=="}}, subresource="status")
        other = await eve.create(KIND, request("other", signerName="example.com/x"))
        other = await eve.update(KIND, approval(other), subresource="approval")
        signed = await eve.update(KIND, {**other, "status": {"certificate": "eA=="}}, subresource="status")
        # The decision stays, though that status left it out: it is approval's alone.
        assert [c["type"] for c in signed["status"]["conditions"]] == ["Approved"]


@virtual
async def test_nobody_asks_for_the_masters_group(clock: VirtualClock, control_plane: Any) -> None:
    """No approver may be tricked into making a second owner."""
    async with control_plane(clock, certificates(AUTHORITY, allowing())) as plane:
        with pytest.raises(ForbiddenError, match="with system:masters group is not allowed"):
            await plane.create(CertificateSigningRequest, request(organisations=["system:masters"]))


@virtual
async def test_a_decision_cannot_be_taken_back_or_doubled(clock: VirtualClock, control_plane: Any) -> None:
    """Who was denied was denied."""
    async with control_plane(clock, certificates(AUTHORITY, allowing())) as plane:
        made = dict(await plane.create(CertificateSigningRequest, request(signerName="example.com/x")))
        made["metadata"] = dict(made["metadata"])  # what comes from the server is shared
        await plane.client.update(KIND, approval(made, "Denied"), subresource="approval")
        del made["metadata"]["resourceVersion"]
        with pytest.raises(InvalidError, match="may not remove a condition of type"):
            await plane.client.update(KIND, {**made, "status": {"conditions": []}}, subresource="approval")
        both = [{"type": type_, "status": "True"} for type_ in ("Approved", "Denied")]
        with pytest.raises(InvalidError, match="mutually exclusive"):
            await plane.client.update(KIND, {**made, "status": {"conditions": both}}, subresource="approval")


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["world domination"]}, 'spec.usages[0]: Unsupported value: "world domination"'),
        ({"signerName": ""}, "spec.signerName: Required value"),
        ({"signerName": "nodomain"}, "must be a fully qualified domain and path"),
        ({"expirationSeconds": 599}, "may not specify a duration less than 600 seconds (10 minutes)"),
        ({"request": "eA=="}, "PEM block type must be CERTIFICATE REQUEST"),
        ({"request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"}, "is no PKCS #10 request"),
    ],
)
@virtual
async def test_a_malformed_request_is_refused(clock: VirtualClock, control_plane: Any, spec: Tree, wrong: str) -> None:
    """At once, not by a signer that nobody watches."""
    async with control_plane(clock, certificates(AUTHORITY, allowing())) as plane:
        with pytest.raises(InvalidError) as refused:
            await plane.create(CertificateSigningRequest, request(**spec))
        assert wrong in str(refused.value)


@virtual
async def test_old_requests_are_cleared_away(clock: VirtualClock, control_plane: Any) -> None:
    """They are read once, if ever."""
    async with control_plane(clock, certificates(AUTHORITY, allowing())) as plane:
        made = await plane.create(CertificateSigningRequest, request("done"))
        await plane.client.update(KIND, approval(made), subresource="approval")
        await issued(plane, "done")
        await plane.create(CertificateSigningRequest, request("waits"))
        await clock.sleep(4 * 3600)
        assert [tree["metadata"]["name"] for tree in await plane.all(CertificateSigningRequest)] == ["waits"]
        await clock.sleep(24 * 3600)
        assert not await plane.all(CertificateSigningRequest)
