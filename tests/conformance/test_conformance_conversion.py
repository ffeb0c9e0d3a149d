"""A kind in two versions with a conversion webhook, as its author would use it with kubectl: a plain `http.server` with TLS."""

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

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: crontabs.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: crontabs, kind: CronTab, shortNames: [ct]}}
  conversion:
    strategy: Webhook
    webhook:
      clientConfig: {{url: "https://127.0.0.1:{port}/crdconvert", caBundle: {bundle}}}
      conversionReviewVersions: [v1, v1beta1]
  versions:
  - name: v1beta1
    served: true
    storage: false
    additionalPrinterColumns: [{{name: Address, type: string, jsonPath: .hostPort}}]
    schema: {{openAPIV3Schema: {{type: object, properties: {{hostPort: {{type: string, description: Both in one text.}}}}}}}}
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{{name: Host, type: string, jsonPath: .host}}, {{name: Port, type: string, jsonPath: .port}}]
    schema:
      openAPIV3Schema: {{type: object, properties: {{host: {{type: string}}, port: {{type: string}}}}}}
"""


class Converter(BaseHTTPRequestHandler):
    """The example of Kubernetes' documentation: `hostPort` in v1beta1, `host` and `port` in v1."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        made = []
        for tree in request["objects"]:
            if request["desiredAPIVersion"].endswith("/v1"):
                tree["host"], _, tree["port"] = tree.pop("hostPort", "").partition(":")
            else:
                tree["hostPort"] = f"{tree.pop('host', '')}:{tree.pop('port', '')}"
            made.append({**tree, "apiVersion": request["desiredAPIVersion"]})
        response = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": made}
        content = json.dumps({"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def converter(tmp_path: Path) -> Iterator[dict[str, object]]:
    """The running server: how it is reached."""
    credentials = Credentials.load_or_make(tmp_path / "pki", time.time())
    server = HTTPServer(("127.0.0.1", 0), Converter)
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


def test_kubectl_speaks_every_version_of_a_kind(kubectl: Kubectl, namespace: str, converter: dict[str, object]) -> None:
    """The two tests of the public suite that are about conversion, and what a user does besides."""
    group = f"{namespace}.example.com"
    name, old, new = f"crontabs.{group}", f"crontabs.v1beta1.{group}", f"crontabs.v1.{group}"
    assert "created" in kubectl("apply", "-f", "-", stdin=DEFINITION.format(group=group, **converter))
    kubectl("wait", "--for=condition=Established", f"crd/{name}")
    first = {"apiVersion": f"{group}/v1beta1", "kind": "CronTab", "metadata": {"name": "first"}, "hostPort": "localhost:1234"}
    second = {"apiVersion": f"{group}/v1", "kind": "CronTab", "metadata": {"name": "second"}, "host": "example.com", "port": "80"}
    assert "created" in kubectl("apply", "-f", "-", stdin=json.dumps(first))
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(second))
    assert kubectl("get", new, "first", "-o", "jsonpath={.host} {.port}") == "localhost 1234"
    assert kubectl("get", old, "-o", "jsonpath={.items[*].hostPort}") == "localhost:1234 example.com:80"
    assert kubectl("get", old, "--no-headers").split() == ["first", "localhost:1234", "second", "example.com:80"]
    assert kubectl("get", "ct", "--no-headers").split() == ["first", "localhost", "1234", "second", "example.com", "80"]
    kubectl("patch", old, "second", "--type=merge", "-p", '{"hostPort": "example.org:81"}')
    assert kubectl("get", new, "second", "-o", "jsonpath={.host}:{.port}") == "example.org:81"
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=json.dumps(first))
    assert "Both in one text." in kubectl("explain", "crontabs.hostPort", f"--api-version={group}/v1beta1")
    assert "deleted" in kubectl("delete", old, "first")
    assert kubectl("get", f"crd/{name}", "-o", "jsonpath={.status.storedVersions[*]}") == "v1"
    assert "deleted" in kubectl.run("delete", f"crd/{name}").stdout


def test_a_converter_that_nobody_can_reach_is_told_to_whoever_reads(kubectl: Kubectl, namespace: str) -> None:
    """In the words that everybody who ever lost a webhook has searched for."""
    group = f"{namespace}.example.com"
    kubectl("apply", "-f", "-", stdin=DEFINITION.format(group=group, port=1, bundle="Cg=="))
    kubectl("wait", "--for=condition=Established", f"crd/crontabs.{group}")
    tree = {"apiVersion": f"{group}/v1beta1", "kind": "CronTab", "metadata": {"name": "a"}, "hostPort": "a:1"}
    told = kubectl("create", "-f", "-", stdin=json.dumps(tree), code=1)
    assert f"conversion webhook for {group}/v1beta1, Kind=CronTab failed: " in told
    assert "deleted" in kubectl.run("delete", f"crd/crontabs.{group}").stdout
