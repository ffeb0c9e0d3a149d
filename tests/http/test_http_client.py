"""The clients: the asynchronous one is a `Client`, the blocking one is quick, kubeconfigs are read as kubectl reads them."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconcile.causality import TRIGGER, Cause, Trigger
from reconcile.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, Client, DeleteOptions, Patch
from reconcile.errors import AlreadyExistsError, ConflictError, InvalidError, NotFoundError, UnavailableError
from reconcile.runtime.api.http import Credentials
from reconcile.runtime.client.blocking import BlockingClient
from reconcile.runtime.client.errors import ClientError, KubeconfigError, RefusedError, UnreachableError
from reconcile.runtime.client.http import HttpClient
from reconcile.runtime.client.kubeconfig import Access, contexts, in_cluster, load, read, tree_of, write
from reconcile.runtime.clock import SystemClock


async def test_the_http_client_does_everything_that_a_client_does(serve: Any) -> None:
    """Controllers run unchanged against a server elsewhere."""
    async with serve() as site:
        client: Client = site.client
        kind = site.kind("Deployment")
        spec = {"replicas": 1, "template": {"spec": {"containers": [{"name": "a"}]}}}
        made = await client.create(kind, {"metadata": {"name": "web"}, "spec": spec}, "default", field_manager="me")
        with pytest.raises(AlreadyExistsError):
            await client.create(kind, {"metadata": {"name": "web"}, "spec": spec}, "default")
        assert await client.get(kind, "web", "default") == made
        changed = await client.update(kind, {**made, "spec": {**made["spec"], "replicas": 2}})
        with pytest.raises(ConflictError):
            await client.update(kind, {**made, "spec": {**made["spec"], "replicas": 3}})
        await client.update(kind, {**changed, "status": {"readyReplicas": 1}}, subresource="status")
        await client.patch(kind, "web", Patch(MERGE_PATCH, {"spec": {"paused": True}}), "default")
        await client.patch(kind, "web", Patch(JSON_PATCH, [{"op": "remove", "path": "/spec/paused"}]), "default")
        with pytest.raises(InvalidError) as refused:
            await client.patch(kind, "web", Patch(MERGE_PATCH, {"spec": {"replicas": -1}}), "default")
        assert refused.value.causes[0].field == "spec.replicas"
        applied = Patch(APPLY_PATCH, {"metadata": {"name": "web"}, "spec": {"replicas": 9}})
        tree = await client.patch(kind, "web", applied, "default", field_manager="me", force=True)
        assert (tree["spec"]["replicas"], tree["status"]["readyReplicas"]) == (9, 1)
        dry = await client.patch(kind, "web", Patch(MERGE_PATCH, {"spec": {"replicas": 5}}), "default", dry_run=True)
        assert dry["spec"]["replicas"] == 5
        page = await client.list(kind)
        assert (page.items[0]["spec"]["replicas"], page.revision >= int(tree["metadata"]["resourceVersion"])) == (9, True)
        with pytest.raises(ConflictError):
            await client.delete(kind, "web", "default", DeleteOptions(uid="other"))
        gone = await client.delete(kind, "web", "default", DeleteOptions(uid=made["metadata"]["uid"]))
        assert gone["metadata"]["uid"] == made["metadata"]["uid"]
        with pytest.raises(NotFoundError):
            await client.get(kind, "web", "default")


async def test_the_http_client_acts_on_subresources_and_reads_pages(serve: Any) -> None:
    """A scheduler elsewhere binds through this door."""
    async with serve() as site:
        pod = site.kind("Pod")
        for name in "abc":
            await site.client.create(pod, {"metadata": {"name": name}, "spec": {"containers": [{"name": "a"}]}}, "default")
        await site.client.act(pod, "a", "binding", {"target": {"name": "n1"}}, "default")
        assert [p["metadata"]["name"] for p in (await site.client.list(pod, fields="spec.nodeName=n1")).items] == ["a"]
        first = await site.client.list(pod, limit=2)
        rest = await site.client.list(pod, limit=2, continue_token=first.continue_token)
        assert [p["metadata"]["name"] for page in (first, rest) for p in page.items] == ["a", "b", "c"]


async def test_a_controller_elsewhere_tells_why_it_writes(serve: Any) -> None:
    """`reconcile why` follows it through the wire; another client is who it says it is."""
    async with serve() as site:
        kind = site.kind("ConfigMap")
        trigger = Trigger("shop.example.com/shop", 7, "related", attempt=3, merged=2)
        token = TRIGGER.set(trigger)
        made = await site.client.create(kind, {"metadata": {"name": "a"}}, "default")
        TRIGGER.reset(token)
        cause = Cause.decode(await site.api.store.cause(int(made["metadata"]["resourceVersion"])))
        assert cause == Cause("shop.example.com/shop", 7, "related", 3, 2)
        other = await site.client.create(kind, {"metadata": {"name": "b"}}, "default")
        cause = Cause.decode(await site.api.store.cause(int(other["metadata"]["resourceVersion"])))
        assert cause is not None
        assert (cause.reason, cause.revision, cause.attempt) == ("request", 0, 0)


async def test_a_client_takes_bodies_of_megabytes(serve: Any) -> None:
    """A large ConfigMap goes in pieces and comes back whole."""
    async with serve() as site:
        kind, data = site.kind("ConfigMap"), {"a": "x" * 900_000}
        await site.client.create(kind, {"metadata": {"name": "big"}, "data": data}, "default")
        assert (await site.client.get(kind, "big", "default"))["data"] == data


async def test_kinds_come_from_discovery_in_their_preferred_version(serve: Any) -> None:
    """What the engine watches when it is asked for every kind."""
    async with serve() as site:
        kinds = {kind.resource: kind for kind in await site.client.kinds()}
        assert sorted(kinds) == ["configmaps", "deployments.apps", "namespaces", "pods", "websites.example.com"]
        assert (kinds["deployments.apps"].status, kinds["deployments.apps"].scale is not None) == (True, True)
        assert kinds["namespaces"].namespaced is False


async def test_a_server_that_is_not_there_is_reported_with_what_to_do() -> None:
    """The commonest mistake of all deserves more than a traceback."""
    access = Access("https://127.0.0.1:9", source="here/kubeconfig")
    async with HttpClient(access, SystemClock()) as client:
        with pytest.raises(UnavailableError, match=r"nothing answers at https://127.0.0.1:9 .*`reconcile up FOLDER`"):
            await client.kinds()
    with pytest.raises(UnreachableError, match=r"`reconcile up FOLDER`.*here/kubeconfig"):
        await asyncio.to_thread(BlockingClient(access).request, "GET", "/version")


async def test_a_server_of_another_authority_is_not_talked_to(serve: Any, tmp_path: Path) -> None:
    """The token must not go to whoever sits on the port."""
    other = Credentials.load_or_make(tmp_path / "other", SystemClock().now())
    async with serve() as site:
        access = site.access._replace(ca=other.ca_pem)
        with pytest.raises(UnreachableError, match="does not vouch for"):
            await asyncio.to_thread(BlockingClient(access).request, "GET", "/version")
        async with HttpClient(access, SystemClock()) as client:
            with pytest.raises(UnavailableError, match="does not vouch for"):
                await client.kinds()


async def test_the_blocking_client_gets_tables_streams_and_names(serve: Any) -> None:
    """All that the fast commands need, on one connection."""
    async with serve() as site:
        spec = {"domain": "a.b"}
        await site.api.create(site.kind("WebSite"), {"metadata": {"name": "home"}, "spec": spec}, "default")
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}
        await site.api.create(site.kind("Pod"), pod, "default")

        def work() -> None:
            with BlockingClient(load(site.kubeconfig)) as client:
                for name in ("ws", "website", "WebSite", "websites.example.com", "websites.v1.example.com"):
                    assert client.find(name).qualified == "websites.example.com"
                table = client.list_table(client.find("ws"), "default")
                assert [row["cells"] for row in table["rows"]] == [["home", "a.b", 1]]
                with pytest.raises(ClientError, match="did you mean websites"):
                    client.find("websits")
                with pytest.raises(RefusedError, match=r'websites\.example\.com "none" not found') as refused:
                    client.ask("GET", client.path(client.find("ws"), "default", "none"))
                assert (refused.value.code, refused.value.reason) == (404, "NotFound")
                pods = client.find("po")
                assert list(client.stream(client.path(pods, "default", "p", "log"))) == [b"p says 0", b"p says 1"]
                assert next(client.watch(client.path(pods, "default")))["object"]["metadata"]["name"] == "p"
                client.wait_ready(1.0)

        await asyncio.to_thread(work)


async def test_remembered_discovery_is_used_and_renewed_when_a_kind_is_new(serve: Any) -> None:
    """A command costs one request; a kind that was added a second ago is found all the same."""
    async with serve() as site:
        new = site.kind("WebSite")
        site.api.withdraw(new)

        def first() -> None:
            with BlockingClient(load(site.kubeconfig)) as client, pytest.raises(ClientError):
                client.find("ws")

        await asyncio.to_thread(first)
        assert list(site.kubeconfig.parent.glob(".discovery-*.json"))
        site.api.serve(new)

        def second() -> None:
            with BlockingClient(load(site.kubeconfig)) as client:
                asked: list[str] = []
                request = client.request
                client.request = lambda *a: asked.append(a[1]) or request(*a)  # type: ignore[method-assign, func-returns-value]  # a spy
                client.find("po")
                assert asked == []
                client.find("ws")
                assert asked[:2] == ["/api", "/apis"]

        await asyncio.to_thread(second)


async def test_a_kept_connection_that_the_server_closed_is_opened_again(serve: Any) -> None:
    """Keep-alive must not turn a server's restart into an error."""
    async with serve(keepalive_s=0.05) as site:
        client = BlockingClient(site.access)
        assert (await asyncio.to_thread(client.request, "GET", "/version")).status == 200
        await asyncio.sleep(0.3)
        assert (await asyncio.to_thread(client.request, "GET", "/version")).status == 200
        client.close()


def test_the_blocking_client_imports_nothing_heavy() -> None:
    """`get` has 150 ms, the interpreter included."""
    code = (
        "import sys, reconcile.runtime.client.blocking;"
        "print([m for m in ('attrs', 'attr', 'asyncio', 'aiohttp', 'yaml', 'cryptography', 'orjson') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_kubeconfig_is_for_its_owner_alone_and_comes_back_as_it_was(tmp_path: Path) -> None:
    """There is a token in it."""
    access = Access("https://127.0.0.1:6443", "team", b"-CA-", token="t", client_cert=b"c", client_key=b"k")
    file = tmp_path / "deep" / "kubeconfig"
    write(file, tree_of(access, name="here"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load(file) == access._replace(source=str(file), user="admin")
    assert os.listdir(file.parent) == ["kubeconfig"]


def test_a_yaml_kubeconfig_of_somebody_else_is_read(tmp_path: Path) -> None:
    """Paths are meant from the file's own folder; other contexts can be named."""
    (tmp_path / "ca.pem").write_bytes(b"PEM")
    file = tmp_path / "config"
    file.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
        "clusters:\n- name: c\n  cluster: {server: 'https://h:1/', certificate-authority: ca.pem}\n"
        f"- name: d\n  cluster: {{server: 'https://i:2', certificate-authority-data: {base64.b64encode(b'D').decode()}}}\n"
        "users:\n- name: u\n  user: {token: t}\n- name: x\n  user: {auth-provider: {name: gcp}}\n"
        "contexts:\n- name: a\n  context: {cluster: c, user: u, namespace: n}\n- name: b\n  context: {cluster: d}\n"
        "- name: e\n  context: {cluster: d, user: x}\n- name: f\n  context: {cluster: none}\n"
    )
    access = load(file)
    assert (access.server, access.ca, access.token, access.namespace) == ("https://h:1", b"PEM", "t", "n")
    assert load(file, context="b").ca == b"D"
    assert contexts(read(file)) == ["a", "b", "e", "f"]
    with pytest.raises(KubeconfigError, match="logs in by auth-provider"):
        load(file, context="e")
    with pytest.raises(KubeconfigError, match=r"no cluster 'none'; there are: c, d"):
        load(file, context="f")
    with pytest.raises(KubeconfigError, match="no context 'z'"):
        load(file, context="z")


def test_kubeconfigs_named_together_are_merged_and_a_missing_one_is_explained(tmp_path: Path) -> None:
    """$KUBECONFIG is a path list; the first file to name a thing wins."""
    write(tmp_path / "a", tree_of(Access("https://a", token="1"), name="one"))
    write(tmp_path / "b", tree_of(Access("https://b", token="2"), name="two"))
    environ = {"KUBECONFIG": f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}{os.pathsep}{tmp_path / 'gone'}"}
    assert load(environ=environ).server == "https://a"
    assert load(context="two", environ=environ).server == "https://b"
    with pytest.raises(KubeconfigError, match="`reconcile up FOLDER`"):
        load(environ={"KUBECONFIG": str(tmp_path / "gone")})
    (tmp_path / "broken").write_text("{: [")
    with pytest.raises(KubeconfigError, match="neither JSON nor YAML"):
        load(tmp_path / "broken")


def test_inside_a_cluster_the_service_account_is_the_access(tmp_path: Path) -> None:
    """An operator in a pod has no kubeconfig; its token is read again as it is rotated."""
    for name, text in (("token", "one\n"), ("ca.crt", "CA"), ("namespace", "ns")):
        (tmp_path / name).write_text(text)
    access = in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"})
    assert (access.server, access.ca, access.namespace, access.bearer()) == ("https://10.0.0.1:443", b"CA", "ns", "one")
    (tmp_path / "token").write_text("two")
    assert access.bearer() == "two"
    with pytest.raises(KubeconfigError, match="not inside a cluster"):
        in_cluster(tmp_path, {})


def test_credentials_are_made_once_kept_and_renewed_in_time(tmp_path: Path) -> None:
    """A new authority at every start would lock out every kubeconfig there is."""
    now_s = SystemClock().now()
    first = Credentials.load_or_make(tmp_path / "pki", now_s)
    again = Credentials.load_or_make(tmp_path / "pki", now_s)
    assert again == first
    assert all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in (tmp_path / "pki").iterdir())
    cert = first.cert_file.read_bytes()
    named = Credentials.load_or_make(tmp_path / "pki", now_s, names=("box.local", "10.1.2.3"))
    assert (named.ca_pem, named.token) == (first.ca_pem, first.token)
    assert named.cert_file.read_bytes() != cert
    cert = named.cert_file.read_bytes()
    late = Credentials.load_or_make(tmp_path / "pki", now_s + 350 * 86400, names=("box.local",))
    assert (late.ca_pem == first.ca_pem, late.cert_file.read_bytes() != cert) == (True, True)
