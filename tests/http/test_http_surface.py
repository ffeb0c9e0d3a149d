"""Paths, verbs, documents and renderings."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from reconcile.runtime.api.http.location import Location, locate
from reconcile.runtime.api.http.tables import age
from reconcile.runtime.api.versions import version_rank

CM = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


async def get(site: Any, path: str, accept: str = "application/json", **headers: str) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.get(site.address.url + path, headers={"Accept": accept, **headers}) as response,
    ):
        return response.status, response.headers, await response.read()


async def tree(site: Any, path: str, accept: str = "application/json") -> Any:
    status, _, body = await get(site, path, accept)
    assert status == 200, body
    return json.loads(body)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/api/v1/pods", Location("", "v1", "pods")),
        ("/api/v1/namespaces/a", Location("", "v1", "namespaces", "", "a")),
        ("/api/v1/namespaces/a/status", Location("", "v1", "namespaces", "", "a", "status")),
        ("/api/v1/namespaces/a/pods/b/log", Location("", "v1", "pods", "a", "b", "log")),
        ("/apis/apps/v1/namespaces/a/deployments/b/scale", Location("apps", "v1", "deployments", "a", "b", "scale")),
        ("/apis/g/v1/things/a%2Fb", Location("g", "v1", "things", "", "a/b")),
        ("/api/v1/watch/namespaces/a/pods", Location("", "v1", "pods", "a", "", "", True)),
        ("/api/v1", None), ("/apis/apps/v1", None), ("/", None), ("/api/v1/namespaces//pods", None), ("/version", None),
    ],
)  # fmt: skip
def test_a_path_names_what_kubernetes_says_it_names(path: str, where: Location | None) -> None:
    """Everything else is decided by this."""
    assert locate(path) == where


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (192, "3m12s"), (600, "10m"), (3 * 3600, "3h"),
        (3 * 3600 + 300, "3h5m"), (30 * 3600, "30h"), (50 * 3600, "2d2h"), (12 * 86400, "12d"), (800 * 86400, "2y70d"),
        (3000 * 86400, "8y"),
    ],
)  # fmt: skip
def test_an_age_is_written_as_kubectl_writes_it(seconds: float, text: str) -> None:
    """Users compare these with what they know."""
    assert age(seconds) == text


def test_versions_are_preferred_as_kubernetes_prefers_them() -> None:
    """kubectl takes the first."""
    versions = ["v1alpha1", "foo", "v1", "v2beta2", "v2", "v2beta10"]
    assert sorted(versions, key=version_rank, reverse=True) == ["v2", "v1", "v2beta10", "v2beta2", "v1alpha1", "foo"]


async def test_aggregated_discovery_holds_every_kind_in_two_documents(serve: Any) -> None:
    """kubectl makes no other discovery request."""
    async with serve(tls=False) as site:
        _, headers, body = await get(site, "/apis", V2)
        assert headers["Content-Type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        apps = next(item for item in json.loads(body)["items"] if item["metadata"]["name"] == "apps")
        assert apps["versions"] == [
            {
                "version": "v1", "freshness": "Current",
                "resources": [
                    {
                        "resource": "deployments", "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                        "scope": "Namespaced", "singularResource": "deployment", "shortNames": ["deploy"], "categories": ["all"],
                        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                        "subresources": [
                            {
                                "subresource": "scale", "verbs": ["get", "patch", "update"],
                                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
                            },
                            {
                                "subresource": "status", "verbs": ["get", "patch", "update"],
                                "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                            },
                        ],
                    }
                ],
            }
        ]  # fmt: skip
        known = await get(site, "/apis", V2, **{"If-None-Match": headers["ETag"]})
        assert (known[0], known[2]) == (304, b"")
        site.api.withdraw(site.kind("WebSite"))
        changed = await get(site, "/apis", V2, **{"If-None-Match": headers["ETag"]})
        assert (changed[0], b"WebSite" in changed[2]) == (200, False)
        core = await tree(site, "/api", V2.replace("v=v2;", "v=v2beta1;"))
        assert core["apiVersion"] == "apidiscovery.k8s.io/v2beta1"
        pods = next(r for r in core["items"][0]["versions"][0]["resources"] if r["resource"] == "pods")
        assert {part["subresource"]: part["verbs"] for part in pods["subresources"]} == {"binding": ["create"], "log": ["get"]}


async def test_plain_discovery_lists_groups_versions_and_resources(serve: Any) -> None:
    """kopf and the Python clients walk it."""
    async with serve(tls=False) as site:
        assert (await tree(site, "/api"))["versions"] == ["v1"]
        groups = (await tree(site, "/apis"))["groups"]
        assert [(g["name"], g["preferredVersion"]["groupVersion"]) for g in groups] == [
            ("apps", "apps/v1"), ("example.com", "example.com/v1")
        ]  # fmt: skip
        assert (await tree(site, "/apis/apps"))["kind"] == "APIGroup"
        listed = await tree(site, "/apis/apps/v1")
        assert [r["name"] for r in listed["resources"]] == ["deployments", "deployments/scale", "deployments/status"]
        assert "/openapi/v3" in (await tree(site, "/"))["paths"]
        assert (await tree(site, "/version"))["major"] == "1"


async def test_openapi_documents_say_what_kubectl_looks_for(serve: Any) -> None:
    """The fieldValidation parameter on PATCH and the kind beside it decide whether the server validates."""
    async with serve(tls=False) as site:
        index = await tree(site, "/openapi/v3")
        url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        _, headers, body = await get(site, url)
        assert headers["Cache-Control"] == "public, immutable"
        document = json.loads(body)
        for item in document["paths"].values():  # clients read them, write them, and expect the same
            assert all(part.get("parameters") != [] for part in (item, *(p for p in item.values() if isinstance(p, dict))))
        patch = document["paths"][f"{DEPLOYMENTS.replace('default', '{namespace}')}/{{name}}"]["patch"]
        assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
        assert "fieldValidation" in [p["name"] for p in patch["parameters"]]
        schema = document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"]
        assert schema["x-kubernetes-group-version-kind"][0]["kind"] == "Deployment"
        for name in ("spec", "template", "spec"):  # types have names, so that explain can say them
            ref = schema["properties"][name]["allOf"][0]["$ref"]
            schema = document["components"]["schemas"][ref.removeprefix("#/components/schemas/")]
        assert ref == "#/components/schemas/io.k8s.api.apps.v1.PodSpec"
        containers = schema["properties"]["containers"]
        assert containers["x-kubernetes-patch-merge-key"] == "name"
        site_schemas = (await tree(site, "/openapi/v3/apis/example.com/v1"))["components"]["schemas"]
        assert "com.example.v1.WebSite" in site_schemas
        swagger = await tree(site, "/openapi/v2")
        assert swagger["swagger"] == "2.0"
        assert "$ref" in json.dumps(swagger["definitions"])
        assert "#/components/" not in json.dumps(swagger)


async def test_a_list_comes_as_table_metadata_yaml_or_pages(serve: Any) -> None:
    """One list, five clients."""
    async with serve(tls=False) as site:
        for name in "abc":
            await site.api.create(site.kind("ConfigMap"), {"metadata": {"name": name}, "data": {"k": "v"}}, "default")
        table = await tree(site, CM, TABLE)
        assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert [row["cells"][:2] for row in table["rows"]] == [["a", 1], ["b", 1], ["c", 1]]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        assert "object" not in (await tree(site, f"{CM}?includeObject=None", TABLE))["rows"][0]
        assert (await tree(site, f"{CM}/a?includeObject=Object", TABLE))["rows"][0]["object"]["data"] == {"k": "v"}
        partial = await tree(site, CM, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
        assert (partial["kind"], "data" in partial["items"][0]) == ("PartialObjectMetadataList", False)
        assert b"kind: ConfigMapList" in (await get(site, CM, "application/yaml"))[2]
        page = await tree(site, f"{CM}?limit=2")
        assert (len(page["items"]), page["metadata"]["remainingItemCount"]) == (2, 1)
        rest = await tree(site, f"{CM}?limit=2&continue={page['metadata']['continue']}")
        assert [item["metadata"]["name"] for item in rest["items"]] == ["c"]
        assert [item["metadata"]["name"] for item in (await tree(site, "/api/v1/configmaps"))["items"]] == ["a", "b", "c"]


async def test_a_large_list_is_packed_for_who_takes_gzip(serve: Any) -> None:
    """Over a real network this is ten times less."""
    async with serve(tls=False, gzip_bytes_min=2000) as site:
        for number in range(20):
            await site.api.create(site.kind("ConfigMap"), {"metadata": {"name": f"n{number}"}}, "default")
        _, headers, body = await get(site, CM, **{"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        assert len(json.loads(body)["items"]) == 20
        _, headers, _ = await get(site, CM, **{"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in headers


async def test_subresources_are_read_and_written_where_they_are_declared(serve: Any) -> None:
    """status and scale are doors of their own; binding is an action; log is a stream."""
    async with serve(tls=False) as site, aiohttp.ClientSession(site.address.url) as session:
        web = {"metadata": {"name": "web"}, "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "a"}]}}}}
        async with session.post(DEPLOYMENTS, json=web) as response:
            assert response.status == 201
            made = await response.json()
        async with session.put(f"{DEPLOYMENTS}/web/status", json={**made, "status": {"readyReplicas": 2}}) as response:
            assert (await response.json())["status"]["readyReplicas"] == 2
        async with session.get(f"{DEPLOYMENTS}/web/scale") as response:
            scale = await response.json()
            assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 2)
        scale["spec"]["replicas"] = 4
        async with session.put(f"{DEPLOYMENTS}/web/scale", json=scale) as response:
            assert (await response.json())["spec"]["replicas"] == 4
        pods = "/api/v1/namespaces/default/pods"
        async with session.post(pods, json={"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}) as response:
            assert response.status == 201
        async with session.post(f"{pods}/p/binding", json={"target": {"name": "n1"}}) as response:
            assert (response.status, (await response.json())["status"]) == (201, "Success")
        async with session.get(f"{pods}?fieldSelector=spec.nodeName%3Dn1") as response:
            assert len((await response.json())["items"]) == 1
        async with session.get(f"{pods}/p/log?tailLines=3") as response:
            assert (await response.text()).splitlines() == ["p says 0", "p says 1", "p says 2"]
        async with session.delete(pods) as response:
            assert (await response.json())["kind"] == "PodList"
        async with session.get(pods) as response:
            assert (await response.json())["items"] == []


@pytest.mark.parametrize("path", [CM, "/api/v1/namespaces/default", f"{CM}/none", "/apis", "/api/v1", DEPLOYMENTS])
async def test_an_answer_in_json_is_a_line(serve: Any, path: str) -> None:
    """As the reference server ends it; the Python client's own tests compare the text of an error."""
    async with serve(tls=False) as site:
        for accept in ("application/json", TABLE):
            _, _, body = await get(site, path, accept)
            assert body.endswith(b"}\n"), body
            assert body.count(b"\n") == 1


@pytest.mark.parametrize(
    ("timeout", "status"), [("invalid", 400), ("5", 400), ("1.5.s", 400), ("0s", 200), ("1m1.5s", 200), ("0", 200)]
)
async def test_a_timeout_is_a_span_of_time(serve: Any, timeout: str, status: int) -> None:
    """A client that meant something else is told; watches and streams are not asked for one."""
    async with serve(tls=False) as site:
        found, _, body = await get(site, f"/version?timeout={timeout}")
        assert (found, b"invalid timeout specified in the request URL" in body) == (status, status == 400)
        found, *_ = await get(site, f"{CM}?watch=true&timeoutSeconds=1&timeout={timeout}")
        assert found == 200


async def test_items_of_built_in_kinds_do_not_name_themselves(serve: Any) -> None:
    """As on the reference server: the list says what they are. Those of users' kinds do."""
    async with serve(tls=False) as site:
        await site.api.create(site.kind("ConfigMap"), {"metadata": {"name": "a"}, "data": {"b": "c"}}, "default")
        await site.api.create(site.kind("WebSite"), {"metadata": {"name": "a"}}, "default")
        listed = await tree(site, CM)
        assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
        assert [set(item) for item in listed["items"]] == [{"metadata", "data"}]
        assert (await tree(site, f"{CM}/a"))["kind"] == "ConfigMap"
        _, _, text = await get(site, CM, "application/yaml")
        assert text.count(b"kind: ") == 1
        sites = await tree(site, "/apis/example.com/v1/namespaces/default/websites")
        assert [(item["apiVersion"], item["kind"]) for item in sites["items"]] == [("example.com/v1", "WebSite")]
