"""Requests about the API itself: errors, patches of each type, apply, dry runs, selectors, tables, subresources, discovery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from .asking import Ask, Tree

MERGE = {"Content-Type": "application/merge-patch+json"}
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}
JSON = {"Content-Type": "application/json"}
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
PARTIAL = {"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
PARTIAL_LIST = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
AGGREGATED = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}


def configmap(name: str, **data: str) -> Tree:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(name: str, image: str = "i", **spec: Any) -> Tree:
    pod = {"metadata": {"labels": {"a": name}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"a": name}}, "template": pod, "replicas": 0, "paused": True, **spec},
    }  # fmt: skip


def machinery(namespace: str) -> Iterator[Ask]:
    """All of it, in an order that matters."""
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    yield from _errors(namespace, maps)
    yield from _patches(maps, f"/apis/apps/v1/namespaces/{namespace}/deployments")
    yield from _applies(maps, f"/apis/apps/v1/namespaces/{namespace}/deployments")
    yield from _reads(namespace, maps)
    yield from _subresources(namespace)
    yield from _reviews(namespace)
    yield from _deletes(maps)


def _errors(namespace: str, maps: str) -> Iterator[Ask]:
    yield Ask("get what is not there", "GET", f"{maps}/none")
    yield Ask("get of a kind that is not there", "GET", "/api/v1/nothings")
    yield Ask("a group that is not there", "GET", "/apis/none.example.com/v1/things")
    yield Ask("a path that is not there", "GET", "/nothing")
    yield Ask("a method that is not there", "POST", f"{maps}/none", configmap("none"), JSON)
    yield Ask("PUT on a collection", "PUT", maps, configmap("none"), JSON)
    yield Ask(
        "create in a namespace that is not there", "POST", "/api/v1/namespaces/nowhere-cmp/configmaps", configmap("a"), JSON
    )
    yield Ask("create without a name", "POST", maps, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}, JSON)
    yield Ask("create with a bad name", "POST", maps, configmap("Bad_Name"), JSON)
    yield Ask("create another kind", "POST", maps, {**configmap("a"), "kind": "Secret"}, JSON)
    yield Ask("create another version", "POST", maps, {**configmap("a"), "apiVersion": "v2"}, JSON)
    yield Ask("create without apiVersion and kind", "POST", maps, {"metadata": {"name": "bare"}}, JSON)
    yield Ask(
        "create for another namespace", "POST", maps, {**configmap("a"), "metadata": {"name": "a", "namespace": "default"}}, JSON
    )
    yield Ask("no JSON", "POST", maps, b"{", JSON)
    yield Ask("an empty body", "POST", maps, b"", JSON)
    yield Ask("a list as a body", "POST", maps, [], JSON)
    yield Ask("a string for a map", "POST", maps, {**configmap("a"), "data": "x"}, JSON)
    yield Ask("a number for a string", "POST", maps, {**configmap("a"), "data": {"a": 1}}, JSON)
    yield Ask(
        "YAML", "POST", maps, b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\n", {"Content-Type": "application/yaml"}
    )
    yield Ask("a media type that nobody knows", "POST", maps, b"x", {"Content-Type": "text/plain"})
    yield Ask("an answer that nobody can give", "GET", maps, None, {"Accept": "image/png"})
    for validation in ("Strict", "Warn", "Ignore", "Nonsense"):
        body = {**configmap("a"), "bogus": 1, "metadata": {"name": "a", "bogus": 2}}
        yield Ask(f"unknown fields, {validation}", "POST", f"{maps}?dryRun=All&fieldValidation={validation}", body, JSON)
    yield Ask(
        "a field twice", "POST", f"{maps}?dryRun=All&fieldValidation=Strict",
        b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","name":"b"},"data":{"x":"1","x":"2"}}', JSON,
    )  # fmt: skip
    yield Ask("a dry run of another kind", "POST", f"{maps}?dryRun=Some", configmap("a"), JSON)
    yield Ask("a field manager that is too long", "POST", f"{maps}?dryRun=All&fieldManager={'x' * 200}", configmap("a"), JSON)
    yield Ask("a field manager with a line break", "POST", f"{maps}?dryRun=All&fieldManager=a%0Ab", configmap("a"), JSON)
    yield Ask("create", "POST", f"{maps}?fieldManager=cmp", configmap("a", x="1", y="2"), JSON)
    yield Ask("create again", "POST", maps, configmap("a"), JSON)
    yield Ask("create with a revision", "POST", maps, {**configmap("r"), "metadata": {"name": "r", "resourceVersion": "7"}}, JSON)
    stale = {**configmap("a"), "metadata": {"name": "a", "resourceVersion": "1"}}
    yield Ask("a stale replacement", "PUT", f"{maps}/a", stale, JSON)
    yield Ask("a replacement by another name", "PUT", f"{maps}/a", configmap("b"), JSON)
    yield Ask("a replacement of what is not there", "PUT", f"{maps}/none", configmap("none"), JSON)
    other = {**configmap("a"), "metadata": {"name": "a", "uid": "00000000-0000-0000-0000-000000000000"}}
    yield Ask("a replacement of another uid", "PUT", f"{maps}/a", other, JSON)
    for about, key in (
        ("a limit that is none", "limit=x"), ("a negative limit", "limit=-1"), ("a bad continue", "continue=nonsense"),
        ("a bad revision", "resourceVersion=x"), ("a future revision", "resourceVersion=99999999999"),
        ("a match without revision", "resourceVersionMatch=Exact"),
        ("a match that is none", "resourceVersion=1&resourceVersionMatch=x"),
        ("exactly 0", "resourceVersion=0&resourceVersionMatch=Exact"),
        ("exactly 1", "resourceVersion=1&resourceVersionMatch=Exact"),
        ("a bad label selector", "labelSelector=" + quote("a in b")),
        ("a label selector of signs", "labelSelector=" + quote("!!a")),
        ("a bad label", "labelSelector=" + quote("a=Bad_Value!")), ("a bad field selector", "fieldSelector=a"),
        ("a field that is none", "fieldSelector=spec.x%3Dy"), ("a bad timeout", "timeoutSeconds=x"),
        ("initial events of a list", "sendInitialEvents=true"),
        ("initial events without match", "watch=true&sendInitialEvents=true&timeoutSeconds=1"),
        ("a watch from 1", "watch=true&resourceVersion=1&timeoutSeconds=1"),
        ("a watch from the future", "watch=true&resourceVersion=99999999999&timeoutSeconds=1"),
        ("a watch with a match", "watch=true&resourceVersionMatch=Exact&resourceVersion=5&timeoutSeconds=1"),
        ("a bad watch", "watch=perhaps&timeoutSeconds=1"),
    ):  # fmt: skip
        yield Ask(f"list with {about}", "GET", f"{maps}?{key}")
    long = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "Bad_"}}
    yield Ask("a generated name that is bad", "POST", maps, long, JSON)
    both = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "meta", **_bad_metadata()}}
    yield Ask("bad metadata", "POST", maps, both, JSON)
    yield Ask("too much data", "POST", maps, configmap("big", x="x" * 1_100_000), JSON)
    yield Ask("a namespace with a bad name", "POST", "/api/v1/namespaces", {"metadata": {"name": "Bad_Name"}}, JSON)
    yield Ask("deleting the namespace default", "DELETE", "/api/v1/namespaces/default?dryRun=All")
    yield Ask("a namespace is not in one", "GET", f"/api/v1/namespaces/{namespace}/nodes")


def _bad_metadata() -> Tree:
    return {
        "labels": {"Bad Key": "v", "a": "Bad Value!", "x" * 70: ""}, "annotations": {"Bad Key": "v"},
        "finalizers": ["bad", "Bad Key/x"], "generation": -1,
        "ownerReferences": [
            {"apiVersion": "", "kind": "", "name": "", "uid": ""},
            {"apiVersion": "v1", "kind": "Event", "name": "n", "uid": "u", "controller": True},
            {"apiVersion": "v1", "kind": "X", "name": "n", "uid": "u", "controller": True},
            {"apiVersion": "v1", "kind": "Y", "name": "n", "uid": "u", "controller": True},
        ],
    }  # fmt: skip


def _patches(maps: str, deployments: str) -> Iterator[Ask]:
    yield Ask("merge patch", "PATCH", f"{maps}/a?fieldManager=m", {"data": {"x": None, "z": "3"}}, MERGE)
    yield Ask("merge patch of nothing", "PATCH", f"{maps}/a", {}, MERGE)
    yield Ask("merge patch of what is not there", "PATCH", f"{maps}/none", {"data": {}}, MERGE)
    yield Ask("merge patch that is a list", "PATCH", f"{maps}/a", [], MERGE)
    yield Ask("merge patch of a bad type", "PATCH", f"{maps}/a", {"data": 7}, MERGE)
    yield Ask("merge patch of the name", "PATCH", f"{maps}/a", {"metadata": {"name": "b"}}, MERGE)
    yield Ask("merge patch with a stale revision", "PATCH", f"{maps}/a", {"metadata": {"resourceVersion": "1"}}, MERGE)
    yield Ask("merge patch with unknown fields", "PATCH", f"{maps}/a?dryRun=All&fieldValidation=Strict", {"bogus": 1}, MERGE)
    yield Ask("a patch that is no JSON", "PATCH", f"{maps}/a", b"{", MERGE)
    yield Ask("a patch of no type", "PATCH", f"{maps}/a", b"{}", {"Content-Type": "text/plain"})
    yield Ask("a patch of JSON", "PATCH", f"{maps}/a", b"{}", JSON)
    for about, operations in (
        ("add", [{"op": "add", "path": "/data/n", "value": "1"}]),
        ("a test that fails", [{"op": "test", "path": "/data/n", "value": "2"}]),
        ("a path that is not there", [{"op": "remove", "path": "/data/none"}]),
        ("replace what is not there", [{"op": "replace", "path": "/data/none", "value": "x"}]),
        ("an operation that is none", [{"op": "jump", "path": "/data/n"}]),
        ("a move", [{"op": "move", "from": "/data/n", "path": "/data/m"}]),
        ("a copy of nothing", [{"op": "copy", "from": "/data/none", "path": "/data/m"}]),
        ("a bad type", [{"op": "add", "path": "/data/n", "value": 1}]),
        ("no list", {"op": "add"}),
    ):
        yield Ask(f"JSON patch, {about}", "PATCH", f"{maps}/a", operations, JSON_PATCH)
    yield Ask("create a Deployment", "POST", f"{deployments}?fieldManager=cmp", deployment("d"), JSON)
    containers = [{"name": "c", "image": "j"}, {"name": "second", "image": "k"}]
    pod: Tree = {"spec": {"template": {"spec": {"containers": containers}}}}
    yield Ask("strategic patch of containers", "PATCH", f"{deployments}/d?fieldManager=s", pod, STRATEGIC)
    pod = {"spec": {"template": {"spec": {"containers": [{"$patch": "delete", "name": "second"}]}}}}
    yield Ask("strategic patch, delete", "PATCH", f"{deployments}/d", pod, STRATEGIC)
    pod = {"spec": {"template": {"spec": {"containers": [{"image": "j"}]}}}}
    yield Ask("strategic patch without a key", "PATCH", f"{deployments}/d", pod, STRATEGIC)
    yield Ask("strategic patch, retainKeys", "PATCH", f"{deployments}/d", {
        "spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}, STRATEGIC)  # fmt: skip
    yield Ask(
        "strategic patch, replace",
        "PATCH",
        f"{deployments}/d",
        {"metadata": {"labels": {"$patch": "replace", "q": "r"}}},
        STRATEGIC,
    )
    yield Ask("strategic patch, a bad directive", "PATCH", f"{deployments}/d", {"spec": {"template": {"$patch": "x"}}}, STRATEGIC)
    yield Ask(
        "the selector may not change", "PATCH", f"{deployments}/d", {"spec": {"selector": {"matchLabels": {"a": "b"}}}}, MERGE
    )
    yield Ask("its status by the main path", "PATCH", f"{deployments}/d", {"status": {"replicas": 0}}, MERGE)
    yield Ask("its status", "PATCH", f"{deployments}/d/status?fieldManager=st", {"status": {"observedGeneration": 1}}, MERGE)
    yield Ask("a bad status", "PATCH", f"{deployments}/d/status", {"status": {"replicas": -7}}, MERGE)
    yield Ask("its spec by the status", "PATCH", f"{deployments}/d/status", {"spec": {"paused": False}}, MERGE)


def _applies(maps: str, deployments: str) -> Iterator[Ask]:
    yield Ask("apply without a manager", "PATCH", f"{maps}/s", configmap("s", a="1"), APPLY)
    yield Ask("apply of something new", "PATCH", f"{maps}/s?fieldManager=one", configmap("s", a="1", b="2"), APPLY)
    yield Ask("apply again", "PATCH", f"{maps}/s?fieldManager=one", configmap("s", a="1", b="2"), APPLY)
    yield Ask("apply by another", "PATCH", f"{maps}/s?fieldManager=two", configmap("s", a="1", c="3"), APPLY)
    yield Ask("a conflict", "PATCH", f"{maps}/s?fieldManager=two", configmap("s", a="9"), APPLY)
    yield Ask("two conflicts", "PATCH", f"{maps}/s?fieldManager=two", configmap("s", a="9", b="8"), APPLY)
    yield Ask("by force", "PATCH", f"{maps}/s?fieldManager=two&force=true", configmap("s", a="9"), APPLY)
    yield Ask("let go", "PATCH", f"{maps}/s?fieldManager=one", configmap("s"), APPLY)
    yield Ask("force of a merge patch", "PATCH", f"{maps}/s?force=true", {"data": {}}, MERGE)
    yield Ask("apply of another name", "PATCH", f"{maps}/s?fieldManager=one", configmap("t"), APPLY)
    yield Ask("apply of another kind", "PATCH", f"{maps}/s?fieldManager=one", {**configmap("s"), "kind": "Secret"}, APPLY)
    yield Ask("apply without kind", "PATCH", f"{maps}/s?fieldManager=one", {"metadata": {"name": "s"}}, APPLY)
    managed = {**configmap("s"), "metadata": {"name": "s", "managedFields": [{"manager": "x"}]}}
    yield Ask("apply with managedFields", "PATCH", f"{maps}/s?fieldManager=one", managed, APPLY)
    yield Ask(
        "apply of unknown fields",
        "PATCH",
        f"{maps}/s?fieldManager=one&fieldValidation=Strict",
        {**configmap("s"), "bogus": 1},
        APPLY,
    )
    yield Ask("apply of a bad type", "PATCH", f"{maps}/s?fieldManager=one", {**configmap("s"), "data": 7}, APPLY)
    yield Ask("apply of no YAML", "PATCH", f"{maps}/s?fieldManager=one", b"a: [", APPLY)
    yield Ask("apply a Deployment", "PATCH", f"{deployments}/e?fieldManager=one", deployment("e", minReadySeconds=2), APPLY)
    more = deployment("e")
    more["spec"]["template"]["spec"]["containers"] = [
        {"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "b"}]},
        {"name": "d", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
    ]
    more["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    yield Ask("apply more of it", "PATCH", f"{deployments}/e?fieldManager=one", more, APPLY)
    yield Ask("apply to its scale", "PATCH", f"{deployments}/e/scale?fieldManager=three", {
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "e"}, "spec": {"replicas": 3}}, APPLY)  # fmt: skip
    yield Ask("merge into its scale", "PATCH", f"{deployments}/e/scale?fieldManager=four", {"spec": {"replicas": 4}}, MERGE)
    twice = deployment("e")
    twice["spec"]["template"]["spec"]["containers"] *= 2
    yield Ask("apply with an item twice", "PATCH", f"{deployments}/e?fieldManager=one", twice, APPLY)
    yield Ask("what is there now", "GET", f"{deployments}/e")
    yield Ask("take managedFields away", "PATCH", f"{maps}/s", {"metadata": {"managedFields": [{}]}}, MERGE)


def _reads(namespace: str, maps: str) -> Iterator[Ask]:
    for about, headers in (("a table", TABLE), ("metadata", PARTIAL_LIST), ("YAML", {"Accept": "application/yaml"})):
        yield Ask(f"{about} of ConfigMaps", "GET", f"{maps}?fieldSelector=metadata.name%3Da", None, headers)
    for about, headers in (("a table", TABLE), ("metadata", PARTIAL), ("YAML", {"Accept": "application/yaml"})):
        yield Ask(f"{about} of a ConfigMap", "GET", f"{maps}/a", None, headers)
    yield Ask("a table of whole objects", "GET", f"{maps}?includeObject=Object&fieldSelector=metadata.name%3Da", None, TABLE)
    yield Ask("a table of nothing besides", "GET", f"{maps}?includeObject=None&fieldSelector=metadata.name%3Da", None, TABLE)
    yield Ask("a table of a thing that is none", "GET", f"{maps}?includeObject=x", None, TABLE)
    for version in ("", "/v1", "/v2", "/v2/"):
        yield Ask(f"/api{version}", "GET", f"/api{version}")
    yield Ask("/version", "HEAD", "/version")
    for path in ("/healthz", "/livez", "/readyz", "/healthz/ping", "/readyz/none"):
        yield Ask(path, "GET", path)
    yield Ask("/openapi/v3 of nothing", "GET", "/openapi/v3/apis/none/v1")
    yield Ask("HEAD", "HEAD", f"{maps}/a")
    yield Ask("OPTIONS", "OPTIONS", f"{maps}/a")
    yield Ask("namespace status", "GET", f"/api/v1/namespaces/{namespace}/status")


def _subresources(namespace: str) -> Iterator[Ask]:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "nodeName": "none", "containers": [{"name": "c", "image": "i"}]}}  # fmt: skip
    yield Ask("create a Pod", "POST", f"{pods}?fieldManager=cmp", pod, JSON)
    for path in ("status", "log", "exec", "exec?command=x", "attach", "portforward", "ephemeralcontainers", "resize", "eviction",
                 "binding", "proxy", "nothing"):  # fmt: skip
        yield Ask(f"GET {path} of a Pod", "GET", f"{pods}/p/{path}")
    yield Ask("log of two containers", "GET", f"{pods}/p/log?container=none")
    for about, query in (("a bad tail", "tailLines=-1"), ("a bad since", "sinceSeconds=0"), ("a bad limit", "limitBytes=0")):
        yield Ask(f"log with {about}", "GET", f"{pods}/p/log?{query}")
    yield Ask("a Pod's image", "PATCH", f"{pods}/p", {"spec": {"containers": [{"name": "c", "image": "j"}]}}, STRATEGIC)
    yield Ask("a Pod's command", "PATCH", f"{pods}/p", {"spec": {"containers": [{"name": "c", "command": ["x"]}]}}, STRATEGIC)
    yield Ask("a Pod's node", "PATCH", f"{pods}/p", {"spec": {"nodeName": "other"}}, MERGE)
    bind = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    yield Ask("bind a bound Pod", "POST", f"{pods}/p/binding", bind, JSON)
    yield Ask("bind to nothing", "POST", f"{pods}/p/binding", {**bind, "target": {}}, JSON)
    debug = {"spec": {"ephemeralContainers": [{"name": "dbg", "image": "i"}]}}
    yield Ask("an ephemeral container", "PATCH", f"{pods}/p/ephemeralcontainers", debug, STRATEGIC)
    yield Ask("an ephemeral container by the main path", "PATCH", f"{pods}/p", {"spec": {
        "ephemeralContainers": [{"name": "x", "image": "i"}]}}, STRATEGIC)  # fmt: skip
    yield Ask("a Pod's status", "PATCH", f"{pods}/p/status", {"status": {"phase": "Running", "podIP": "1.2.3.4"}}, STRATEGIC)
    yield Ask("a condition of a Pod", "PATCH", f"{pods}/p/status", {"status": {
        "conditions": [{"type": "Ready", "status": "True"}]}}, STRATEGIC)  # fmt: skip
    evict = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    yield Ask("evict in a dry run", "POST", f"{pods}/p/eviction", {**evict, "deleteOptions": {"dryRun": ["All"]}}, JSON)
    yield Ask("evict another", "POST", f"{pods}/p/eviction", {**evict, "metadata": {"name": "q"}}, JSON)
    yield Ask("evict what is not there", "POST", f"{pods}/none/eviction", {**evict, "metadata": {"name": "none"}}, JSON)
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    for body in (
        {},
        {"spec": {"expirationSeconds": 5}},
        {"spec": {"audiences": ["a"]}},
        {"spec": {"boundObjectRef": {"kind": "X", "name": "x"}}},
    ):
        yield Ask(f"a token, {body}", "POST", f"{account}/none/token", body, JSON)
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": -1}}
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    yield Ask("a negative scale", "PUT", f"{deployments}/d/scale", scale, JSON)
    yield Ask("a scale", "PUT", f"{deployments}/d/scale", {**scale, "spec": {"replicas": 2}}, JSON)
    yield Ask("get a scale", "GET", f"{deployments}/d/scale")
    yield Ask("a table of a scale", "GET", f"{deployments}/d/scale", None, TABLE)
    for field in (
        "status.phase%3DRunning", "spec.nodeName%3Dnone", "spec.x%3Dy", "metadata.namespace%3D" + namespace,
        "status.podIP%3D1.2.3.4", "spec.restartPolicy!%3DAlways", "spec.schedulerName%3Dx", "spec.hostNetwork%3Dtrue",
    ):  # fmt: skip
        yield Ask(f"Pods with {field}", "GET", f"{pods}?fieldSelector={field}", None, TABLE)
    kept = {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}, "spec": {"finalizers": ["kubernetes"]},
    }  # fmt: skip
    yield Ask("finalize a namespace", "PUT", f"/api/v1/namespaces/{namespace}/finalize", kept, JSON)


def _reviews(namespace: str) -> Iterator[Ask]:
    group = "/apis/authorization.k8s.io/v1"
    attributes = {"namespace": namespace, "verb": "get", "resource": "pods"}
    for about, spec in (
        ("of resources", {"resourceAttributes": attributes}),
        ("of nothing", {}),
        ("of both", {"resourceAttributes": attributes, "nonResourceAttributes": {"path": "/x", "verb": "get"}}),
        ("of a path", {"nonResourceAttributes": {"path": "/x", "verb": "get"}}),
    ):
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        yield Ask(f"a review {about}", "POST", f"{group}/selfsubjectaccessreviews", body, JSON)
        body = {**body, "kind": "SubjectAccessReview", "spec": {**spec, "user": "nobody"}}
        yield Ask(f"another's review {about}", "POST", f"{group}/subjectaccessreviews", body, JSON)
        yield Ask(f"a review without user {about}", "POST", f"{group}/subjectaccessreviews", {**body, "spec": spec}, JSON)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "nonsense"}}
    yield Ask("a token that is none", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", review, JSON)
    yield Ask("no token", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {**review, "spec": {}}, JSON)
    rules = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {}}
    yield Ask("rules of no namespace", "POST", f"{group}/selfsubjectrulesreviews", rules, JSON)
    yield Ask("reviews are not listed", "GET", f"{group}/subjectaccessreviews")
    yield Ask("nobody", "GET", "/api/v1/namespaces", None, {"Authorization": "Bearer nonsense"})


def _deletes(maps: str) -> Iterator[Ask]:
    yield Ask("delete what is not there", "DELETE", f"{maps}/none")
    yield Ask("delete with another uid", "DELETE", f"{maps}/a", {"preconditions": {"uid": "other"}}, JSON)
    yield Ask("delete with another revision", "DELETE", f"{maps}/a", {"preconditions": {"resourceVersion": "1"}}, JSON)
    yield Ask("delete by a way that is none", "DELETE", f"{maps}/a", {"propagationPolicy": "Sideways"}, JSON)
    yield Ask("delete by two ways", "DELETE", f"{maps}/a", {"propagationPolicy": "Orphan", "orphanDependents": True}, JSON)
    yield Ask("delete with a negative grace", "DELETE", f"{maps}/a", {"gracePeriodSeconds": -1}, JSON)
    yield Ask("delete in a dry run", "DELETE", f"{maps}/a?dryRun=All")
    yield Ask("delete with unknown options", "DELETE", f"{maps}/a?dryRun=All", {"bogus": 1}, JSON)
    yield Ask("delete with another body", "DELETE", f"{maps}/a?dryRun=All", configmap("a"), JSON)
    yield Ask("delete", "DELETE", f"{maps}/a")
    yield Ask("delete with a finalizer: create", "POST", maps, {
        **configmap("f"), "metadata": {"name": "f", "finalizers": ["example.com/f"]}}, JSON)  # fmt: skip
    yield Ask("delete with a finalizer", "DELETE", f"{maps}/f")
    yield Ask("delete with a finalizer again", "DELETE", f"{maps}/f")
    yield Ask("a finalizer more", "PATCH", f"{maps}/f", {"metadata": {"finalizers": ["example.com/f", "example.com/g"]}}, MERGE)
    yield Ask("the finalizer goes", "PATCH", f"{maps}/f", {"metadata": {"finalizers": None}}, MERGE)
    yield Ask("delete a collection by a bad selector", "DELETE", f"{maps}?labelSelector=!!")
    yield Ask("delete a collection", "DELETE", f"{maps}?fieldSelector=metadata.name%3Ds")
