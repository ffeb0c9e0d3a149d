"""Admission webhooks put into force with kubectl, as a policy's author does: the server is plain `http.server` with TLS."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from reconcile.runtime.api.http import Credentials
from tests.conformance.kubectl import Kubectl

CONFIGURATION = """
apiVersion: admissionregistration.k8s.io/v1
kind: {kind}WebhookConfiguration
metadata: {{name: {name}}}
webhooks:
- name: {name}.example.com
  clientConfig: {{url: "https://127.0.0.1:{port}/{path}", caBundle: {bundle}}}
  rules: [{{operations: [CREATE, UPDATE], apiGroups: [""], apiVersions: [v1], resources: [configmaps]}}]
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
  matchConditions: [{{name: not-excepted, expression: "!has(object.metadata.labels) || !('excepted' in object.metadata.labels)"}}]
  sideEffects: None
  admissionReviewVersions: [v1]
"""


class Policy(BaseHTTPRequestHandler):
    """/label puts a label on; /check refuses what has no owner, and warns of the rest."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        response: dict[str, object] = {"uid": request["uid"], "allowed": True}
        if self.path.startswith("/label"):
            change = [{"op": "add", "path": "/metadata/labels", "value": {"by": request["userInfo"]["username"].split(":")[-1]}}]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(change).encode()).decode()}
        elif "owner" not in (request["object"].get("data") or {}):
            response |= {"allowed": False, "status": {"message": "say whose it is", "code": 403, "reason": "Forbidden"}}
        else:
            response["warnings"] = ["owners are people, not teams"]
        content = json.dumps({**review, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[dict[str, object]]:
    """The running server: how it is reached."""
    credentials = Credentials.load_or_make(tmp_path / "pki", time.time())
    server = HTTPServer(("127.0.0.1", 0), Policy)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(credentials.cert_file, credentials.key_file)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield {"port": server.server_port, "bundle": base64.b64encode(credentials.ca_pem).decode()}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_webhooks_change_and_refuse_what_kubectl_writes(kubectl: Kubectl, namespace: str, policy: dict[str, object]) -> None:
    """From the moment on in which they are configured, and no longer."""
    mutating = CONFIGURATION.format(kind="Mutating", name=f"label-{namespace}", path="label", namespace=namespace, **policy)
    validating = CONFIGURATION.format(kind="Validating", name=f"check-{namespace}", path="check", namespace=namespace, **policy)
    assert kubectl("apply", "-f", "-", stdin=f"{mutating}---{validating}").count("created") == 2
    denied = kubectl("create", "configmap", "a", code=1)
    assert f'admission webhook "check-{namespace}.example.com" denied the request: say whose it is' in denied
    done = kubectl.run("create", "configmap", "a", "--from-literal=owner=me")
    assert (done.returncode, done.stderr) == (0, "Warning: owners are people, not teams\n")
    assert kubectl("get", "configmap", "a", "-o", "jsonpath={.metadata.labels}") == '{"by":"kubernetes-admin"}'
    excepted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "labels": {"excepted": "yes"}}}
    assert "configmap/b created" in kubectl("create", "-f", "-", stdin=json.dumps(excepted))
    assert "deleted" in kubectl.run("delete", "validatingwebhookconfiguration", f"check-{namespace}").stdout
    assert "deleted" in kubectl.run("delete", "mutatingwebhookconfiguration", f"label-{namespace}").stdout
    assert "configmap/c created" in kubectl("create", "configmap", "c")


def test_a_webhook_that_nobody_answers_for_fails_closed(kubectl: Kubectl, namespace: str) -> None:
    """And the refusal says where it knocked."""
    gone = CONFIGURATION.format(
        kind="Validating", name=f"gone-{namespace}", path="x", namespace=namespace, port=1,
        bundle=base64.b64encode(b"no certificate").decode(),
    )  # fmt: skip
    kubectl("apply", "-f", "-", stdin=gone)
    told = kubectl("create", "configmap", "a", code=1)
    assert f'failed calling webhook "gone-{namespace}.example.com"' in told
    kubectl("patch", "validatingwebhookconfiguration", f"gone-{namespace}", "--type=json",
            "-p", '[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]')  # fmt: skip
    assert "created" in kubectl("create", "configmap", "a")
    broken = gone.replace("!has(", "!nosuch(").replace("gone-", "broken-")
    assert "compilation failed" in kubectl("apply", "-f", "-", stdin=broken, code=1)
    assert "deleted" in kubectl.run("delete", "validatingwebhookconfiguration", f"gone-{namespace}").stdout
