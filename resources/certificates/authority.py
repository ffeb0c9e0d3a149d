"""Makes certificates: what a request asks for, signed by the control plane's own authority.

`cryptography` is imported when the first certificate is made.

Source: K/pkg/controller/certificates/authority
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from cryptography import x509

_BACKDATED = timedelta(minutes=5)
_KEY_USAGES = {
    "digital signature": "digital_signature", "signing": "digital_signature", "content commitment": "content_commitment",
    "key encipherment": "key_encipherment", "data encipherment": "data_encipherment", "key agreement": "key_agreement",
}  # fmt: skip


@attrs.frozen
class Authority:
    """A certificate authority, whose certificate and key (PEM) are read when they are needed."""

    load: Callable[[], tuple[bytes, bytes]]

    def sign(self, request_pem: bytes, usages: Sequence[str], now_s: float, lasts_s: float) -> bytes:
        """The certificate that a request asks for, as PEM; it ends no later than the authority's own."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        ca_pem, key_pem = self.load()
        ca, request = x509.load_pem_x509_certificate(ca_pem), x509.load_pem_x509_csr(request_pem)
        key: Any = serialization.load_pem_private_key(key_pem, None)  # Any: one of many key classes
        now = datetime.fromtimestamp(now_s, UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(ca.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(min(now + timedelta(seconds=lasts_s), ca.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        # One that allows nothing would be taken at its word: it is left out, as others do.
        if any(usage in _KEY_USAGES for usage in usages):
            builder = builder.add_extension(_key_usage(usages), critical=True)
        if extended := _extended(usages):
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        names = next((e.value for e in request.extensions if isinstance(e.value, x509.SubjectAlternativeName)), None)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def groups_of(request_pem: bytes) -> list[str]:
    """The organisations that a request names: the groups that its owner would be in."""
    from cryptography import x509

    subject = x509.load_pem_x509_csr(request_pem).subject
    return [str(name.value) for name in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]


def _key_usage(usages: Sequence[str]) -> x509.KeyUsage:
    from cryptography import x509

    wanted = {_KEY_USAGES[usage] for usage in usages if usage in _KEY_USAGES}
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    # A certificate that signs others would be an authority of its own.
    return x509.KeyUsage(
        **{name: name in wanted for name in names}, key_cert_sign=False, crl_sign=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _extended(usages: Sequence[str]) -> list[x509.ObjectIdentifier]:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    known = {"client auth": ExtendedKeyUsageOID.CLIENT_AUTH, "server auth": ExtendedKeyUsageOID.SERVER_AUTH}
    return [known[usage] for usage in usages if usage in known]
