"""Every way into a cluster that a kubeconfig, a pod or the environment can give, against our own server as if it were remote."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from reconcile.errors import ApiError, UnauthorizedError, UnavailableError
from reconcile.identity import Access as Wanted
from reconcile.identity import Caller, Decision
from reconcile.runtime.api.http import Credentials
from reconcile.runtime.client.errors import KubeconfigError
from reconcile.runtime.client.http import HttpClient
from reconcile.runtime.client.kubeconfig import FILES_S, Access, in_cluster, load
from reconcile.runtime.client.proxying import Proxy, proxy_for
from reconcile.runtime.clock import SystemClock
from tests.http.conftest import ConfigMap

CONFIG_MAP = ConfigMap.__kind__


class LaterClock(SystemClock):
    """The time, moved on as far as a test wants."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def kubeconfig(path: Path, server: str, user: dict[str, Any], **cluster: Any) -> Path:
    tree = {
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(tree))
    return path


def client_certificate(folder: Path, pki: Path, name: str) -> None:
    """A certificate and its key, signed by the server's authority, as `cert.pem` and `key.pem`."""
    authority = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name(
                [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")]
            )
        )
        .issuer_name(authority.subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]  # an EC key, as the server makes it
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def users_seen(site: Any) -> list[str]:
    seen: list[str] = []
    allow = site.api.security.authorize

    def noting(caller: Caller, access: Wanted) -> Decision:
        seen.append(caller.user)
        return allow(caller, access)  # type: ignore[no-any-return]  # the site is Any here

    site.server._face._authorize = noting
    return seen


async def test_client_certificates_of_files_are_read_again_when_they_are_rotated(
    serve: Callable[..., Any], tmp_path: Path, credentials: Credentials
) -> None:
    """cert-manager and kubelets replace them every few hours or weeks, and nobody restarts the operator for it."""
    async with serve() as site:
        clock = LaterClock()
        seen = users_seen(site)
        client_certificate(tmp_path, credentials.ca_file.parent, "first")
        (tmp_path / "ca.pem").write_bytes(site.access.ca)
        user = {"client-certificate": "cert.pem", "client-key": "key.pem"}
        config = kubeconfig(tmp_path / "config", site.access.server, user, **{"certificate-authority": "ca.pem"})
        async with HttpClient(load(config), clock) as client:
            await client.list(CONFIG_MAP)
            client_certificate(tmp_path, credentials.ca_file.parent, "second")
            await client.list(CONFIG_MAP)
            assert set(seen) == {"first"}, "not for every request"
            clock.ahead_s += FILES_S
            await client.list(CONFIG_MAP)
            assert seen[-1] == "second"
            (tmp_path / "key.pem").write_text("half of it")
            clock.ahead_s += FILES_S
            await client.list(CONFIG_MAP)
            assert seen[-1] == "second", "in the middle of a rotation what was there before is good"


async def test_a_pod_finds_its_server_and_its_rotated_token_and_authority(serve: Callable[..., Any], tmp_path: Path) -> None:
    """In-cluster: the kubelet renews the token every hour, and a cluster may change its authority."""
    async with serve() as site:
        clock = LaterClock()
        host, _, port = site.access.server.removeprefix("https://").rpartition(":")
        (tmp_path / "token").write_text("expired\n")
        (tmp_path / "ca.crt").write_bytes(site.access.ca)
        (tmp_path / "namespace").write_text("default")
        access = in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})
        async with HttpClient(access, clock) as client:
            with pytest.raises(UnauthorizedError):
                await client.list(CONFIG_MAP)
            (tmp_path / "token").write_text(site.access.token)
            await client.list(CONFIG_MAP)
        other = _other_authority(tmp_path)
        (tmp_path / "ca.crt").write_bytes(other)
        access = in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})
        async with HttpClient(access, clock) as client:
            with pytest.raises(UnavailableError):
                await client.list(CONFIG_MAP)
            (tmp_path / "ca.crt").write_bytes(site.access.ca)
            clock.ahead_s += FILES_S
            await client.list(CONFIG_MAP)


def _other_authority(folder: Path) -> bytes:
    return Credentials.load_or_make(folder / "other", SystemClock().now()).ca_pem


async def test_insecure_skip_tls_verify_is_heeded_and_only_when_it_is_said(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A cluster whose authority nobody has; never by accident."""
    async with serve() as site:
        user = {"token": site.access.token}
        for insecure in (True, False):
            config = kubeconfig(tmp_path / "config", site.access.server, user, **{"insecure-skip-tls-verify": insecure})
            async with HttpClient(load(config), SystemClock()) as client:
                if insecure:
                    assert (await client.list(CONFIG_MAP)).items == []
                else:
                    with pytest.raises(UnavailableError):
                        await client.list(CONFIG_MAP)


async def test_of_several_contexts_the_current_or_the_named_one_is_used(serve: Callable[..., Any], tmp_path: Path) -> None:
    """An operator against production by mistake is what --context is for."""
    async with serve() as site:
        ca = base64.b64encode(site.access.ca).decode()
        tree = {
            "clusters": [
                {"name": "prod", "cluster": {"server": "https://127.0.0.1:9"}},
                {"name": "dev", "cluster": {"server": site.access.server, "certificate-authority-data": ca}},
            ],
            "users": [{"name": "me", "user": {"token": site.access.token}}],
            "contexts": [
                {"name": "prod", "context": {"cluster": "prod", "user": "me"}},
                {"name": "dev", "context": {"cluster": "dev", "user": "me", "namespace": "team"}},
            ],
            "current-context": "prod",
        }
        (tmp_path / "config").write_text(json.dumps(tree))
        assert load(tmp_path / "config").server == "https://127.0.0.1:9"
        access = load(tmp_path / "config", context="dev")
        assert access.namespace == "team"
        async with HttpClient(access, SystemClock()) as client:
            await client.list(CONFIG_MAP)
        with pytest.raises(KubeconfigError, match="no context 'test'; there are: prod, dev"):
            load(tmp_path / "config", context="test")


async def test_somebody_else_is_impersonated_where_the_kubeconfig_says_so(serve: Callable[..., Any], tmp_path: Path) -> None:
    """as, as-groups, as-uid, as-user-extra: an administrator tries an operator with the rights that it will have."""
    async with serve() as site:
        seen = users_seen(site)
        ca = {"certificate-authority-data": base64.b64encode(site.access.ca).decode()}
        user = {
            "token": site.access.token, "as": "eve", "as-groups": ["system:masters", "b"], "as-uid": "7",
            "as-user-extra": {"sco/pes": ["x"]},
        }  # fmt: skip
        access = load(kubeconfig(tmp_path / "config", site.access.server, user, **ca))
        assert access.impersonated == (
            ("Impersonate-User", "eve"), ("Impersonate-Group", "system:masters"), ("Impersonate-Group", "b"),
            ("Impersonate-Uid", "7"), ("Impersonate-Extra-sco%2Fpes", "x"),
        )  # fmt: skip
        async with HttpClient(access, SystemClock()) as client:
            await client.list(CONFIG_MAP)
        assert seen[-1] == "eve"
        with pytest.raises(KubeconfigError, match="a user name and a password, which no server takes"):
            load(kubeconfig(tmp_path / "config", site.access.server, {"username": "a", "password": "b"}, **ca))


@asynccontextmanager
async def proxy(answer: str = "200 OK") -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy: its address, and the heads of the requests that it got."""
    heads: list[str] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head)
        host, _, port = head.split()[1].rpartition(":")
        writer.write(f"HTTP/1.1 {answer}\r\nX-Proxy: ours\r\n\r\n".encode())
        if not answer.startswith("200"):
            writer.close()
            return
        there = await asyncio.open_connection(host, int(port))
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()


async def test_a_proxy_of_the_kubeconfig_leads_to_the_server(serve: Callable[..., Any], tmp_path: Path) -> None:
    """The API server of a company is often behind one; lists, writes and watches go through, and TLS is the server's own."""
    async with serve() as site, proxy() as (address, heads):
        access = site.access._replace(proxy_url=f"http://user:p%40ss@{address}")
        async with HttpClient(access, SystemClock()) as client:
            made = await client.create(CONFIG_MAP, {"metadata": {"name": "a"}}, "default")
            assert len((await client.list(CONFIG_MAP)).items) == 1
            watch = client.watch(CONFIG_MAP, since=int(made["metadata"]["resourceVersion"]) - 1)
            assert (await anext(watch)).type == "ADDED"
            await watch.aclose()  # type: ignore[attr-defined]  # an async generator
        server = site.access.server.removeprefix("https://")
        assert {head.splitlines()[0] for head in heads} == {f"CONNECT {server} HTTP/1.1"}
        assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:p@ss').decode()}" in heads[0]
        user = {"token": site.access.token}
        kept = load(kubeconfig(tmp_path / "config", site.access.server, user, **{"proxy-url": f"http://{address}"}))
        assert kept.proxy_url == f"http://{address}"
    async with serve(tls=False) as site, proxy() as (address, heads):
        async with HttpClient(site.access._replace(proxy_url=f"http://{address}"), SystemClock()) as client:
            await client.list(CONFIG_MAP)
        assert heads


@pytest.mark.parametrize("answer", ["407 Proxy Authentication Required", "garbage"])
async def test_a_proxy_that_refuses_is_an_error_that_names_it(serve: Callable[..., Any], answer: str) -> None:
    """Whoever reads the log must not look for the mistake at the API server."""
    async with serve() as site, proxy(answer) as (address, _):
        client = HttpClient(site.access._replace(proxy_url=f"http://{address}"), SystemClock())
        with pytest.raises(ApiError, match=f"the proxy {address}"):
            await client.list(CONFIG_MAP)
        await client.close()


async def test_a_certificate_that_does_not_match_is_refused_through_a_proxy_too(serve: Callable[..., Any]) -> None:
    """The tunnel is the proxy's, what is in it is not."""
    async with serve() as site, proxy() as (address, _):
        access = site.access._replace(proxy_url=f"http://{address}", server_name="somebody.else")
        async with HttpClient(access, SystemClock()) as client:
            with pytest.raises(UnavailableError):
                await client.list(CONFIG_MAP)


@pytest.mark.parametrize(
    ("server", "environ", "host"),
    [
        ("https://k8s.example.com", {"HTTPS_PROXY": "http://p:3128"}, "p"),
        ("https://k8s.example.com", {"https_proxy": "p:3128"}, "p"),
        ("https://k8s.example.com", {"HTTP_PROXY": "http://p:3128"}, ""),
        ("http://k8s.example.com", {"HTTP_PROXY": "http://p:3128"}, "p"),
        ("https://k8s.example.com", {"HTTPS_PROXY": "http://p", "NO_PROXY": "example.com"}, ""),
        ("https://k8s.example.com", {"HTTPS_PROXY": "http://p", "NO_PROXY": ".example.com, other"}, ""),
        ("https://example.com", {"HTTPS_PROXY": "http://p", "NO_PROXY": ".example.com"}, "p"),
        ("https://k8s.example.com:6443", {"HTTPS_PROXY": "http://p", "NO_PROXY": "k8s.example.com:443"}, "p"),
        ("https://k8s.example.com:6443", {"HTTPS_PROXY": "http://p", "NO_PROXY": "k8s.example.com:6443"}, ""),
        ("https://notexample.com", {"HTTPS_PROXY": "http://p", "NO_PROXY": "example.com"}, "p"),
        ("https://10.1.2.3:6443", {"HTTPS_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, ""),
        ("https://11.1.2.3:6443", {"HTTPS_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8,*.svc"}, "p"),
        ("https://[fd00::1]:6443", {"HTTPS_PROXY": "http://p", "NO_PROXY": "fd00::/8"}, ""),
        ("https://k8s.example.com", {"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, ""),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p"}, ""),
        ("https://localhost:6443", {"HTTPS_PROXY": "http://p"}, ""),
    ],
)
def test_the_environment_names_proxies_and_exceptions_as_everywhere(server: str, environ: dict[str, str], host: str) -> None:
    """HTTPS_PROXY and NO_PROXY by Go's rules, as kubectl has them."""
    found = proxy_for(server, "", environ)
    assert (found.host if found is not None else "") == host


def test_what_is_no_proxy_is_refused_with_what_to_give() -> None:
    """kubectl takes SOCKS, too; we do not, and say so."""
    assert proxy_for("https://127.0.0.1", "https://p:1", {}) == Proxy("p", 1, True)
    with pytest.raises(KubeconfigError, match="socks5://p is no proxy that is understood; give http://HOST:PORT"):
        proxy_for("https://a", "socks5://p", {})


def test_what_a_kubeconfig_says_of_proxies_and_impersonation_comes_back_as_it_was(tmp_path: Path) -> None:
    """What is written for others must lead where it led us."""
    from reconcile.runtime.client.kubeconfig import tree_of, write

    access = Access("https://k", proxy_url="http://p:1", impersonated=(("Impersonate-User", "eve"), ("Impersonate-Group", "a")))
    write(tmp_path / "config", tree_of(access))
    again = load(tmp_path / "config")
    assert (again.proxy_url, again.impersonated) == (access.proxy_url, access.impersonated)
    assert isinstance(again.tls(), ssl.SSLContext)
