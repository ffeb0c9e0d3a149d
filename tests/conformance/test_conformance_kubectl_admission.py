"""kubectl certificate, and what admission makes of Pods: priorities, limits, quotas; with the real kubectl."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance.kubectl import Kubectl
from tests.plane import Plane

REQUEST = """
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: NAME}
spec:
  request: REQUEST
  signerName: kubernetes.io/kube-apiserver-client
  expirationSeconds: 86400
  usages: [client auth]
"""


def test_a_certificate_that_was_asked_for_and_approved_lets_its_owner_in(kubectl: Kubectl, namespace: str, plane: Plane) -> None:
    """How a person gets into a cluster, from the key to the first `get`."""
    user, key = f"eve-{namespace}", ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, user)])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    encoded = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    kubectl("create", "-f", "-", stdin=REQUEST.replace("NAME", user).replace("REQUEST", encoded))
    header, row = kubectl("get", "csr", user).splitlines()
    assert header.split() == ["NAME", "AGE", "SIGNERNAME", "REQUESTOR", "REQUESTEDDURATION", "CONDITION"]
    assert row.split()[2:] == ["kubernetes.io/kube-apiserver-client", "kubernetes-admin", "24h", "Pending"]
    assert "approved" in kubectl("certificate", "approve", user)
    kubectl("wait", "csr", user, "--for=jsonpath={.status.certificate}", "--timeout=20s")
    assert kubectl("get", "csr", user).splitlines()[1].split()[-1] == "Approved,Issued"
    certificate = kubectl.folder / "eve.crt"
    certificate.write_bytes(base64.b64decode(kubectl("get", "csr", user, "-o", "jsonpath={.status.certificate}")))
    private = kubectl.folder / "eve.key"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server, ca = plane.run_file["url"], str(plane.data_dir / "pki" / "ca.crt")
    eve = Kubectl("/dev/null", namespace, kubectl.folder)
    ours = [
        "--server",
        server,
        "--certificate-authority",
        ca,
        "--client-certificate",
        str(certificate),
        "--client-key",
        str(private),
    ]
    me = json.loads(eve("auth", "whoami", "-o", "json", *ours))["status"]["userInfo"]
    assert (me["username"], me["groups"]) == (user, ["system:authenticated"])
    assert "Forbidden" in eve("get", "pods", *ours, code=1)
    kubectl("create", "rolebinding", "eve", "--clusterrole=view", f"--user={user}")
    assert eve("get", "pods", *ours) == ""
    assert user in kubectl("describe", "csr", user)


def test_a_denied_request_is_shown_as_such(kubectl: Kubectl, namespace: str) -> None:
    """Whoever asked finds out by looking."""
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )  # fmt: skip
    encoded = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    kubectl("create", "-f", "-", stdin=REQUEST.replace("NAME", f"no-{namespace}").replace("REQUEST", encoded))
    assert "denied" in kubectl("certificate", "deny", f"no-{namespace}")
    assert kubectl("get", "csr", f"no-{namespace}").splitlines()[1].split()[-1] == "Denied"


def test_approval_is_a_part_of_the_request_that_is_read_and_patched_apart(kubectl: Kubectl, namespace: str, plane: Plane) -> None:
    """The conformance test of the certificates API does all of this."""
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )  # fmt: skip
    encoded = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    kubectl("create", "-f", "-", stdin=REQUEST.replace("NAME", f"part-{namespace}").replace("REQUEST", encoded))
    path = f"/apis/certificates.k8s.io/v1/certificatesigningrequests/part-{namespace}"
    assert plane.api.ask("GET", f"{path}/approval")["metadata"]["name"] == f"part-{namespace}"
    approved = {"type": "Approved", "status": "True", "reason": "ByHand"}
    body = {"metadata": {"annotations": {"patched": "yes"}}, "status": {"conditions": [approved]}, "spec": {"usages": []}}
    merge = {"Content-Type": "application/merge-patch+json"}
    patched = plane.api.ask("PATCH", f"{path}/approval", None, body, merge)
    assert patched["metadata"]["annotations"] == {"patched": "yes"}
    assert patched["spec"]["usages"] == ["client auth"]
    assert [condition["type"] for condition in patched["status"]["conditions"]] == ["Approved"]
    kubectl("wait", "csr", f"part-{namespace}", "--for=jsonpath={.status.certificate}", "--timeout=20s")
    listed = plane.api.ask("GET", "/apis/certificates.k8s.io/v1")["resources"]
    part = next(r for r in listed if r["name"] == "certificatesigningrequests/approval")
    assert (part["kind"], part["verbs"]) == ("CertificateSigningRequest", ["get", "patch", "update"])


def test_the_namespaces_of_the_system_stay(kubectl: Kubectl) -> None:
    """A slip of the finger would cost everything in them."""
    assert kubectl("delete", "namespace", "default", code=1).endswith(
        'Error from server (Forbidden): namespaces "default" is forbidden: this namespace may not be deleted\n'
    )


def test_a_node_that_joins_is_for_no_pod_until_it_is_ready(kubectl: Kubectl, namespace: str, plane: Plane) -> None:
    """Pods would be bound to a machine that cannot run them yet."""
    kubectl("create", "-f", "-", stdin=f"apiVersion: v1\nkind: Node\nmetadata: {{name: n-{namespace}}}\n")
    taints = kubectl("get", "node", f"n-{namespace}", "-o", "jsonpath={.spec.taints[*].key}")
    assert taints == "node.kubernetes.io/not-ready"
    plane.api.ask("DELETE", f"/api/v1/nodes/n-{namespace}")


def test_priority_classes_are_created_shown_and_given_to_pods(kubectl: Kubectl, namespace: str) -> None:
    """`kubectl create priorityclass`, and what comes of it."""
    kubectl("create", "priorityclass", f"high-{namespace}", "--value=1000", "--description=for tests")
    header, row = kubectl("get", "priorityclass", f"high-{namespace}").splitlines()
    assert header.split() == ["NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"]
    assert [row.split()[n] for n in (1, 2, 4)] == ["1000", "false", "PreemptLowerPriority"]
    spec = f'{{"spec":{{"priorityClassName":"high-{namespace}"}}}}'
    kubectl("run", "p", "--image=x", f"--overrides={spec}")
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.spec.priority}") == "1000"
    assert "Priority Class Name:" in kubectl("describe", "pod", "p")
    assert "no PriorityClass with name none was found" in kubectl(
        "run", "q", "--image=x", '--overrides={"spec":{"priorityClassName":"none"}}', code=1
    )
    assert "for tests" in kubectl("describe", "priorityclass", f"high-{namespace}")


def test_a_quota_is_shown_with_what_is_used_of_it(kubectl: Kubectl) -> None:
    """`kubectl create quota` and `describe`: the pair that teams live with."""
    kubectl("create", "quota", "q", "--hard=pods=1,configmaps=10")
    kubectl("wait", "quota", "q", "--for=jsonpath={.status.used.pods}=0", "--timeout=20s")
    kubectl("run", "a", "--image=x")
    assert kubectl("run", "b", "--image=x", code=1) == (
        'Error from server (Forbidden): pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: '
        "pods=1\n"
    )
    lines = [line.split() for line in kubectl("describe", "quota", "q").splitlines()]
    assert ["pods", "1", "1"] in lines
    assert kubectl("get", "quota", "q").splitlines()[1].split()[1:5] == ["configmaps:", "1/10,", "pods:", "1/1"]


def test_limits_are_shown_and_given_to_pods(kubectl: Kubectl) -> None:
    """`describe limits` is a table of its own."""
    limits = """
apiVersion: v1
kind: LimitRange
metadata: {name: l}
spec: {limits: [{type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 100m}, max: {cpu: "1"}}]}
"""
    kubectl("create", "-f", "-", stdin=limits)
    assert ["Container", "cpu", "-", "1", "100m", "500m", "-"] in [
        line.split() for line in kubectl("describe", "limits", "l").splitlines()
    ]
    kubectl("run", "p", "--image=x")
    assert json.loads(kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[0].resources}")) == {
        "limits": {"cpu": "500m"}, "requests": {"cpu": "100m"},
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["csr", "priorityclass", "limits", "quota", "roles", "clusterrolebindings", "sa"])
def test_their_fields_are_explained(kubectl: Kubectl, kind: str) -> None:
    """From the same schemas that they are checked by."""
    assert "FIELDS:" in kubectl("explain", kind)


POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  failurePolicy: Fail
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments, deployments/scale]}
  variables:
  - {name: most, expression: "int(params.data.most)"}
  validations:
  - {expression: "object.spec.replicas <= variables.most", messageExpression: "'most: ' + string(variables.most)"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME, validationActions: [Deny], paramRef: {name: limits, parameterNotFoundAction: Deny}}
"""


def test_an_admission_policy_is_in_force_until_its_binding_goes(kubectl: Kubectl, namespace: str, plane: Plane) -> None:
    """Policies travel with helm charts; who applies one expects it to be enforced."""
    pytest.importorskip("cel_expr_python")
    kubectl("create", "configmap", "limits", "--from-literal=most=2")
    text = POLICY.replace("NAME", namespace)
    kubectl("apply", "-f", "-", stdin=text)
    said = f"ValidatingAdmissionPolicy '{namespace}' with binding '{namespace}' denied request: most: 2"
    try:
        plane.wait(
            "it is in force",
            lambda: said in kubectl.run("create", "deployment", "many", "--image=x", "--replicas=3", "--dry-run=server").stderr,
        )
        kubectl("create", "deployment", "few", "--image=x", "--replicas=2")
        assert said in kubectl("scale", "deployment", "few", "--replicas=4", code=1)
        assert "compilation failed" in kubectl("apply", "-f", "-", stdin=text.replace("object.spec", "nosuch.spec"), code=1)
        kubectl("apply", "-f", "-", stdin=text.replace("object.spec.replicas", "object.spec.relicas"))
        plane.wait(
            "what is wrong is told",
            lambda: "undefined field 'relicas'" in kubectl("describe", "validatingadmissionpolicy", namespace),
        )
    finally:
        kubectl.run("delete", "validatingadmissionpolicybinding", namespace)  # which warns that it is in no namespace
    plane.wait(
        "it is out of force",
        lambda: kubectl.run("scale", "deployment", "few", "--replicas=4").returncode == 0,
    )
    assert kubectl.run("delete", "validatingadmissionpolicy", namespace).returncode == 0


CONNECTING = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CONNECT], resources: [pods/exec, pods/attach, pods/proxy]}
  validations:
  - expression: "false"
    messageExpression: >-
      request.operation + ' ' + object.kind + (has(object.command) ? ' ' + object.command.join(' ') : '') +
      (has(object.ports) ? ' ' + string(object.ports[0]) : '') + (has(object.path) ? object.path : '')
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME, validationActions: [Deny]}
"""


def test_a_policy_keeps_people_out_of_pods(kubectl: Kubectl, namespace: str, plane: Plane) -> None:
    """Who may exec is a question of rights; whether anybody should, in this namespace, is one of policy."""
    pytest.importorskip("cel_expr_python")
    kubectl("run", "p", "--image=x")
    kubectl("wait", "pod", "p", "--for=condition=Ready")
    kubectl("apply", "-f", "-", stdin=CONNECTING.replace("NAME", namespace))
    try:
        plane.wait("it is in force", lambda: "CONNECT PodExecOptions ls -l" in kubectl.run("exec", "p", "--", "ls", "-l").stderr)
        assert "CONNECT PodAttachOptions" in kubectl.run("attach", "p").stderr
        path = f"/api/v1/namespaces/{namespace}/pods/p"
        said = kubectl.run("get", "--raw", f"{path}/proxy/index.html").stderr
        assert f"with binding '{namespace}' denied request: CONNECT PodProxyOptions/index.html" in said
    finally:
        kubectl.run("delete", "validatingadmissionpolicybinding", namespace)
        kubectl.run("delete", "validatingadmissionpolicy", namespace)


MUTATING = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: NAME}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: |
        Object{
          spec: Object.spec{
            template: Object.spec.template{
              spec: Object.spec.template.spec{
                containers: [Object.spec.template.spec.containers{name: "sidecar", image: "proxy:1"}]
              }
            }
          }
        }
  - patchType: JSONPatch
    jsonPatch:
      expression: |
        [JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/marked"), value: "yes"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME}
"""


def test_a_mutating_policy_adds_a_container_until_its_binding_goes(kubectl: Kubectl, namespace: str, plane: Plane) -> None:
    """Sidecars are what such policies are mostly for; and kubectl can apply the object again without taking them away."""
    pytest.importorskip("cel_expr_python")
    text = MUTATING.replace("NAME", namespace)
    kubectl("apply", "-f", "-", stdin=text)
    containers = ("-o", "jsonpath={.spec.template.spec.containers[*].name} {.metadata.labels}")
    try:
        plane.wait(
            "it is in force",
            lambda: "sidecar" in kubectl("create", "deployment", "try", "--image=x", "--dry-run=server", *containers),
        )
        kubectl("create", "deployment", "web", "--image=x")
        shown = kubectl("get", "deployment", "web", *containers)
        assert shown.startswith("x sidecar ")
        assert '"example.com/marked":"yes"' in shown
        plain = kubectl("create", "deployment", "web", "--image=x", "--dry-run=client", "-o", "yaml")
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=plain)
        assert "sidecar" in kubectl("get", "deployment", "web", *containers)
        assert kubectl("get", "mutatingadmissionpolicy", namespace).splitlines()[1].split()[1:3] == ["2", "<unset>"]
        wrong = text.replace("Object{\n", "Object.spec{\n", 1)
        assert "must evaluate to Object but got Object.spec" in kubectl("apply", "-f", "-", stdin=wrong, code=1)
        broken = text.replace("image:", "nosuch:")
        said = (
            f"policy '{namespace}' with binding '{namespace}' denied request: error applying patch: failed to convert "
            'patch object to typed object: .spec.template.spec.containers[name="sidecar"].nosuch: field not declared in schema'
        )
        kubectl("apply", "-f", "-", stdin=broken)
        plane.wait(
            "it fails",
            lambda: said in kubectl.run("create", "deployment", "no", "--image=x", "--dry-run=server").stderr,
        )
    finally:
        kubectl.run("delete", "mutatingadmissionpolicybinding", namespace)
    plane.wait(
        "it is out of force",
        lambda: "sidecar" not in kubectl("create", "deployment", "try", "--image=x", "--dry-run=server", *containers),
    )
    assert kubectl.run("delete", "mutatingadmissionpolicy", namespace).returncode == 0
