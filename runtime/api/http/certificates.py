"""The server's own identity: a certificate authority, a server certificate and the admin's token, made once and kept.

Everything lies in one folder of the data directory, readable for its owner alone. ECDSA P-256, because making an RSA key
takes up to 0.3 s. `cryptography` is imported only when something has to be made or renewed: a restart reads files.

Source: https://kubernetes.io/docs/setup/best-practices/certificates/
"""

from __future__ import annotations

import json
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import ssl

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

NAMES = (
    "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
    "127.0.0.1", "::1",
)  # fmt: skip
_CA_DAYS, _SERVER_DAYS, _RENEW_DAYS = 3650, 365, 30
_BACKDATED = timedelta(hours=1)  # a client whose clock is late must still trust a certificate made a moment ago


@attrs.frozen
class Credentials:
    """What the server shows (certificate and key files) and what it wants to be shown (a bearer token)."""

    ca_pem: bytes = attrs.field(repr=False)
    cert_file: Path
    key_file: Path
    ca_file: Path
    token: str = attrs.field(repr=False)

    @classmethod
    def load_or_make(cls, folder: Path, now_s: float, names: tuple[str, ...] = ()) -> Credentials:
        """Read the credentials in `folder`; make what is missing, renew what expires within a month.

        `names` are further DNS names and IP addresses that the certificate must hold. About 5 ms when all is there, 60 ms
        when it has to be made.
        """
        wanted = sorted({*NAMES, *names})
        ca_file, cert_file, key_file = folder / "ca.crt", folder / "server.crt", folder / "server.key"
        if not _still_good(folder, wanted, now_s):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(folder, wanted, datetime.fromtimestamp(now_s, UTC))
        token_file = folder / "admin.token"
        if not token_file.exists():
            write_private(token_file, secrets.token_urlsafe(32).encode())
        return cls(ca_file.read_bytes(), cert_file, key_file, ca_file, token_file.read_text().strip())

    def server_tls(self) -> ssl.SSLContext:
        """The server's side of TLS. Clients may show a certificate of our authority; without one they use a token."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert_file, self.key_file)
        context.load_verify_locations(self.ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody else may read, atomically."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(made, path)


def _still_good(folder: Path, wanted: list[str], now_s: float) -> bool:
    """Whether the certificates there hold these names and last; told by a note beside them, so that nothing is parsed."""
    if not all((folder / name).exists() for name in ("ca.crt", "ca.key", "server.crt", "server.key")):
        return False
    try:
        note = json.loads((folder / "server.json").read_text())
        return set(wanted) <= set(note["names"]) and float(note["expires_s"]) - now_s > _RENEW_DAYS * 86400
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make(folder: Path, names: list[str], now: datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ca_key, ca = _authority(folder, now)
    key = ec.generate_private_key(ec.SECP256R1())
    expires = min(now + timedelta(days=_SERVER_DAYS), ca.not_valid_after_utc)
    cert = (
        _builder("kube-apiserver", ca.subject, key, now, expires)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, _sha256())
    )
    write_private(folder / "server.key", _key_pem(key))
    write_private(folder / "server.crt", cert.public_bytes(serialization.Encoding.PEM))
    note = {"names": names, "expires_s": expires.timestamp()}
    write_private(folder / "server.json", json.dumps(note).encode())


def _authority(folder: Path, now: datetime) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    """The authority that is there and lasts, or a new one: clients keep trusting us over renewals."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key_file, cert_file = folder / "ca.key", folder / "ca.crt"
    if key_file.exists() and cert_file.exists():
        kept = x509.load_pem_x509_certificate(cert_file.read_bytes())
        if kept.not_valid_after_utc > now + timedelta(days=_RENEW_DAYS):
            loaded: Any = serialization.load_pem_private_key(key_file.read_bytes(), None)  # Any: one of many key classes
            return loaded, kept
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "reconcile-ca")])
    ca = (
        _builder("reconcile-ca", subject, key, now, now + timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(digital_signature=True, signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, _sha256())
    )
    write_private(key_file, _key_pem(key))
    write_private(cert_file, ca.public_bytes(serialization.Encoding.PEM))
    return key, ca


def _builder(
    name: str, issuer: x509.Name, key: EllipticCurvePrivateKey, now: datetime, expires: datetime
) -> x509.CertificateBuilder:  # fmt: skip
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(expires)
    )


def _usage(*, digital_signature: bool, signs: bool = False) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=digital_signature, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(name: str) -> x509.GeneralName:
    import ipaddress

    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip


def _sha256() -> Any:
    from cryptography.hazmat.primitives.hashes import SHA256

    return SHA256()
