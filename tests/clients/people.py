"""A person with a client certificate, as clusters made for tests have: suites take the kubeconfig of such a person apart."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.plane import Plane, Tree

_NAME = "kubernetes-admin"
"""As the suites' own clusters call theirs."""
_REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def write_kubeconfig(plane: Plane, path: Path) -> Path:
    """Write the kubeconfig of a new person who may do everything; the certificate is asked for and approved through the API."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip
    user = {"client-certificate-data": _signed(plane, request), "client-key-data": base64.b64encode(pem).decode()}
    _empower(plane)
    tree: Tree = yaml.safe_load((plane.data_dir / "kubeconfig").read_text())
    tree["users"] = [{"name": tree["users"][0]["name"], "user": user}]
    path.write_text(yaml.safe_dump(tree))
    path.chmod(0o600)
    return path


def _signed(plane: Plane, request: x509.CertificateSigningRequest) -> str:
    """The certificate, as base64."""
    spec = {
        "request": base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
    }  # fmt: skip
    made = plane.api.ask("POST", _REQUESTS, None, {"metadata": {"name": _NAME}, "spec": spec})
    approved = {"type": "Approved", "status": "True", "reason": "Tests", "message": "It is for tests."}
    changed = json.loads(json.dumps(made))
    changed["status"] = {"conditions": [approved]}
    plane.api.ask("PUT", f"{_REQUESTS}/{_NAME}/approval", None, changed)

    def certificate() -> str:
        request = plane.api.ask("GET", f"{_REQUESTS}/{_NAME}")
        return str(request.get("status", {}).get("certificate", ""))

    return plane.wait("the certificate is signed", certificate)


def _empower(plane: Plane) -> None:
    group = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": _NAME}, "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": _NAME}],
    }  # fmt: skip
    plane.api.ask("POST", f"/apis/{group}/v1/clusterrolebindings", None, binding)
