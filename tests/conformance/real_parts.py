"""Kube-scheduler and kube-controller-manager in place of ours: found, given credentials of their own users, and listened to.

They are looked for on PATH, or at RECONCILE_TEST_KUBE_SCHEDULER and RECONCILE_TEST_KUBE_CONTROLLER_MANAGER; nothing here
builds or fetches them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconcile.resources.certificates.authority import Authority
from reconcile.runtime.client.kubeconfig import Access, load, tree_of, write
from tests.plane import Plane

SCHEDULER, MANAGER = "kube-scheduler", "kube-controller-manager"
_COMPLAINTS = re.compile(
    r"Failed to watch|failed to list|cannot \w+ resource|unable to decode|no kind \"|unable to (get|retrieve)|panic"
)
"""What they say about a server that lacks something. A conflict, or a cache that is a moment behind, is everyday life."""
_NOT_OURS = re.compile(
    # Somebody else's addition to the program, and an authority that only clusters with a front proxy have.
    r"service-ca-cert-publisher|requestheader-client-ca-file|requestheader_controller"
)


def found(name: str) -> str:
    """Where the program is; empty: nowhere."""
    return os.environ.get(f"RECONCILE_TEST_{name.upper().replace('-', '_')}") or shutil.which(name) or ""


def kubeconfig_for(plane: Plane, user: str) -> Path:
    """A kubeconfig with a client certificate of that user, in no group, signed by the control plane's authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    pki = plane.data_dir / "pki"
    authority = Authority(lambda: ((pki / "ca.crt").read_bytes(), (pki / "ca.key").read_bytes()))
    certificate = authority.sign(signing_request(user, key=key), ["client auth", "digital signature"], time.time(), 86400.0)
    own = load(plane.data_dir / "kubeconfig")
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = plane.data_dir / f"{user.replace(':', '-')}.kubeconfig"
    write(path, tree_of(Access(own.server, ca=own.ca, client_cert=certificate, client_key=secret)))
    return path


def signing_request(user: str, group: str = "", key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """A request for a certificate of that user, as PEM."""
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, user)]
    names += [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group)] if group else []
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    return request.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Program:
    """One of them, as a process. Its log is what it says of our server."""

    def __init__(self, plane: Plane, name: str, folder: Path, *options: str) -> None:
        self.name, self.log, self.port = name, folder / f"{name}.log", _free_port()
        config = str(kubeconfig_for(plane, f"system:{name}"))
        argv = [
            found(name), "--kubeconfig", config, "--authentication-kubeconfig", config, "--authorization-kubeconfig", config,
            "--bind-address", "127.0.0.1", "--secure-port", str(self.port), "--cert-dir", str(folder / f"{name}-certificates"),
            "-v", "2", *options,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    def complaints(self) -> list[str]:
        """What it holds against our server."""
        return [line for line in self.said().splitlines() if _COMPLAINTS.search(line) and not _NOT_OURS.search(line)]

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        self._process.send_signal(number)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def scheduler(plane: Plane, folder: Path, *options: str) -> Program:
    """The reference's scheduler on this control plane."""
    return Program(plane, SCHEDULER, folder, *options)


def manager(plane: Plane, folder: Path, *options: str) -> Program:
    """The reference's controllers on this control plane, each with an account of its own."""
    pki = plane.data_dir / "pki"
    return Program(
        plane, MANAGER, folder,
        "--use-service-account-credentials", "--service-account-private-key-file", str(pki / "sa.key"),
        "--root-ca-file", str(pki / "ca.crt"),
        "--cluster-signing-cert-file", str(pki / "ca.crt"), "--cluster-signing-key-file", str(pki / "ca.key"), *options,
    )  # fmt: skip


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
