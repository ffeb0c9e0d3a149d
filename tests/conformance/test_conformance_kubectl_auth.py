"""kubectl auth and the RBAC kinds, with the real kubectl: what it is told, and what it shows."""

from __future__ import annotations

import base64
import json

import pytest

from tests.conformance.kubectl import Kubectl
from tests.plane import Plane

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture
def eve(kubectl: Kubectl, namespace: str) -> str:
    """A user who rules this test's namespace, and nothing else."""
    kubectl("create", "rolebinding", "rulers", "--clusterrole=admin", f"--user=eve-{namespace}")
    return f"eve-{namespace}"


def test_whoami_tells_who_asks_and_as_whom(kubectl: Kubectl) -> None:
    """The first question in every hunt for a missing right."""
    me = json.loads(kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]
    assert (me["username"], me["groups"]) == ("kubernetes-admin", ["system:masters", "system:authenticated"])
    other = json.loads(kubectl("auth", "whoami", "-o", "json", "--as", "eve", "--as-group", "devs", "--as-uid", "7"))
    assert other["status"]["userInfo"] == {"username": "eve", "uid": "7", "groups": ["devs", "system:authenticated"]}


def test_can_i_tells_what_may_be_done(kubectl: Kubectl, eve: str) -> None:
    """Its exit code is what scripts ask."""
    assert kubectl("auth", "can-i", "*", "*") == "yes\n"
    assert kubectl("auth", "can-i", "create", "deployments.apps", "--as", eve) == "yes\n"
    assert kubectl("auth", "can-i", "get", "pods", "--subresource=log", "--as", eve) == "yes\n"
    assert kubectl.run("auth", "can-i", "list", "nodes", "--as", eve).returncode == 1
    assert kubectl.run("auth", "can-i", "list", "pods", "-A", "--as", eve).stdout == "no\n"
    assert kubectl("auth", "can-i", "get", "/version", "--as", eve) == "yes\n"
    assert kubectl.run("auth", "can-i", "get", "/metrics", "--as", eve).stdout == "no\n"


def test_can_i_lists_what_may_be_done(kubectl: Kubectl, namespace: str) -> None:
    """People compare this list with the role they wrote."""
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log", "--resource-name=web")
    kubectl("create", "rolebinding", "readers", "--role=reader", f"--user=bob-{namespace}")
    lines = kubectl("auth", "can-i", "--list", "--as", f"bob-{namespace}").splitlines()
    assert lines[0].split() == ["Resources", "Non-Resource", "URLs", "Resource", "Names", "Verbs"]
    rows = [line.split() for line in lines[1:]]
    assert ["pods", "[]", "[web]", "[get", "list]"] in rows
    assert ["pods/log", "[]", "[web]", "[get", "list]"] in rows
    assert ["selfsubjectreviews.authentication.k8s.io", "[]", "[]", "[create]"] in rows
    assert ["[/openapi]", "[]", "[get]"] in rows


def test_who_may_not_is_told_so_in_the_known_words(kubectl: Kubectl, namespace: str, eve: str) -> None:
    """These lines are searched for by the million."""
    assert kubectl("get", "nodes", "--as", eve, code=1) == (
        f'Error from server (Forbidden): nodes is forbidden: User "{eve}" cannot list resource "nodes" in API group "" at the '
        "cluster scope\n"
    )
    assert kubectl("get", "deployments", "x", "--as", f"nobody-{namespace}", code=1) == (
        f'Error from server (Forbidden): deployments.apps "x" is forbidden: User "nobody-{namespace}" cannot get resource '
        f'"deployments" in API group "apps" in the namespace "{namespace}"\n'
    )
    assert "created" in kubectl("create", "configmap", "c", "--as", eve)
    assert kubectl("get", "namespace", namespace, "--as", eve)


def test_who_rules_a_namespace_grants_what_they_hold(kubectl: Kubectl, eve: str) -> None:
    """And is told what they lack."""
    kubectl("create", "role", "readers", "--verb=get", "--resource=configmaps", "--as", eve)
    kubectl("create", "rolebinding", "readers", "--role=readers", "--serviceaccount=default:default", "--as", eve)
    assert kubectl("create", "role", "watchers", "--verb=get", "--resource=nodes", "--as", eve, code=1) == (
        'Error from server (Forbidden): roles.rbac.authorization.k8s.io "watchers" is forbidden: user "'
        f'{eve}" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
        '{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}\n'
    )
    assert "not currently held" in kubectl(
        "create", "rolebinding", "all", "--clusterrole=cluster-admin", f"--user={eve}", "--as", eve, code=1
    )


def test_auth_reconcile_adds_what_is_missing(kubectl: Kubectl, namespace: str) -> None:
    """How operators install their roles."""
    role = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: "toys:{namespace}"}}
rules: [{{apiGroups: [toys.example.com], resources: [gadgets], verbs: [get]}}]
"""
    assert "reconciled" in kubectl("auth", "reconcile", "-f", "-", stdin=role)
    assert "reconciled" in kubectl("auth", "reconcile", "-f", "-", stdin=role.replace("[get]", "[list]"))
    rules = json.loads(kubectl("get", "clusterrole", f"toys:{namespace}", "-o", "json"))["rules"]
    assert sorted(verb for rule in rules for verb in rule["verbs"]) == ["get", "list"]


def test_roles_and_bindings_are_shown_as_on_a_real_server(kubectl: Kubectl, namespace: str) -> None:
    """Tables and descriptions are what people know them by."""
    kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    kubectl(
        "create", "rolebinding", "b", "--role=r", "--user=u", "--group=g", "--serviceaccount=default:default",
    )  # fmt: skip
    header, row = kubectl("get", "rolebindings", "-o", "wide").splitlines()
    assert header.split() == ["NAME", "ROLE", "AGE", "USERS", "GROUPS", "SERVICEACCOUNTS"]
    assert [cell for position, cell in enumerate(row.split()) if position != 2] == ["b", "Role/r", "u", "g", "default/default"]
    described = kubectl("describe", "role", "r")
    assert [line.split() for line in described.splitlines()][-1] == ["pods", "[]", "[]", "[get]"]
    described = kubectl("describe", "rolebinding", "b")
    assert ["ServiceAccount", "default", "default"] in [line.split() for line in described.splitlines()]
    assert "NAME" in kubectl("get", "clusterroles,clusterrolebindings")


def test_create_token_gives_a_token_that_works_until_its_account_is_gone(kubectl: Kubectl, namespace: str, plane: Plane) -> None:
    """What people paste into dashboards and pipelines."""
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "rolebinding", "robot", "--clusterrole=view", f"--serviceaccount={namespace}:robot")
    token = kubectl("create", "token", "robot", "--duration", "30m").strip()
    server = plane.run_file["url"]
    bearer = Kubectl("/dev/null", namespace, kubectl.folder)
    ours = ["--server", server, "--certificate-authority", str(plane.data_dir / "pki" / "ca.crt"), "--token", token]
    me = json.loads(bearer("auth", "whoami", "-o", "json", *ours))["status"]["userInfo"]
    assert me["username"] == f"system:serviceaccount:{namespace}:robot"
    assert me["groups"] == ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    assert bearer("get", "pods", *ours) == ""
    assert "Forbidden" in bearer("get", "secrets", *ours, code=1)
    reviewed = plane.api.ask("POST", REVIEWS, None, {"spec": {"token": token}})
    assert reviewed["status"]["authenticated"] is True
    kubectl("delete", "serviceaccount", "robot")
    assert "Unauthorized" in bearer("get", "pods", *ours, code=1)
    gone = plane.api.ask("POST", REVIEWS, None, {"spec": {"token": token}})["status"]
    assert "authenticated" not in gone
    assert "not there any more" in gone["error"]


def test_a_token_that_would_live_too_briefly_is_refused(kubectl: Kubectl) -> None:
    """In the words of a real server."""
    assert kubectl("create", "token", "default", "--duration", "5m", code=1) == (
        'error: failed to create token: TokenRequest.authentication.k8s.io "default" is invalid: spec.expirationSeconds: '
        "Invalid value: 300: may not specify a duration less than 10 minutes\n"
    )


def test_the_keys_of_tokens_are_published(kubectl: Kubectl) -> None:
    """Who checks tokens elsewhere begins here."""
    document = json.loads(kubectl("get", "--raw", "/.well-known/openid-configuration"))
    assert document["issuer"] == "https://kubernetes.default.svc.cluster.local"
    (key,) = json.loads(kubectl("get", "--raw", "/openid/v1/jwks"))["keys"]
    assert (key["kty"], key["alg"]) == ("EC", "ES256")


def test_every_namespace_is_ready_for_pods(kubectl: Kubectl) -> None:
    """The conformance tests of Kubernetes wait for these two in each namespace that they make."""
    assert kubectl("get", "serviceaccount", "default", "-o", "name") == "serviceaccount/default\n"
    assert "BEGIN CERTIFICATE" in kubectl("get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data}")
    kubectl("run", "p", "--image=x")
    mounts = kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[0].volumeMounts[*].mountPath}")
    assert mounts == "/var/run/secrets/kubernetes.io/serviceaccount"


def test_a_secret_of_an_account_is_filled_with_a_token_that_lasts_as_long(kubectl: Kubectl, namespace: str, plane: Plane) -> None:
    """For programs that cannot renew theirs."""
    kubectl("create", "serviceaccount", "old")
    head = "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\n"
    note = "annotations: {kubernetes.io/service-account.name: old}"
    kubectl("create", "-f", "-", stdin=f"{head}metadata: {{name: old-token, {note}}}\n")
    kubectl("wait", "secret", "old-token", "--for=jsonpath={.data.token}", "--timeout=20s")
    found = json.loads(kubectl("get", "secret", "old-token", "-o", "json"))["data"]
    assert base64.b64decode(found["namespace"]).decode() == namespace
    assert b"BEGIN CERTIFICATE" in base64.b64decode(found["ca.crt"])
    question = {"spec": {"token": base64.b64decode(found["token"]).decode()}}
    reviewed = plane.api.ask("POST", REVIEWS, None, question)["status"]
    assert reviewed["user"]["username"] == f"system:serviceaccount:{namespace}:old"
    kubectl("delete", "secret", "old-token")
    assert "authenticated" not in plane.api.ask("POST", REVIEWS, None, question)["status"]
    kubectl("create", "-f", "-", stdin=f"{head}metadata: {{name: other, {note}}}\n")
    kubectl("wait", "secret", "other", "--for=jsonpath={.data.token}", "--timeout=20s")
    kubectl("delete", "serviceaccount", "old")
    plane.wait("its secret is gone", lambda: plane.get("secrets", "other", namespace) is None)
    refused = kubectl("create", "-f", "-", stdin=f"{head}metadata: {{name: nobodys}}\n", code=1)
    assert "metadata.annotations[kubernetes.io/service-account.name]: Required value" in refused
