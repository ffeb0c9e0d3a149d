"""TLS: who is let in, who a certificate makes its owner, and that nothing listens beyond this machine unguarded."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store
from reconcile.runtime.store.etcd import EtcdServer, EtcdSettings, OpenAddressError, TlsFileError, TlsFiles
from tests.etcd.certificates import Authority
from tests.etcd.conftest import our_process, real_etcd_process
from tests.etcd.etcdctl import Etcdctl, plain


def _as(address: str, authority: Authority, name: str = "") -> Etcdctl:
    """etcdctl with the certificate of somebody, or without one."""
    settings = {"cacert": str(authority.file)}
    if name:
        cert, key = authority.certificate(name)
        settings |= {"cert": str(cert), "key": str(key)}
    return Etcdctl(f"https://{address}", **settings)


def test_a_certificate_makes_its_owner_a_user_as_on_a_real_etcd(tmp_path: Path) -> None:
    """With --client-cert-auth the common name is the user: no password travels, and no token ends."""
    authority, stranger = Authority(tmp_path / "certificates"), Authority(tmp_path / "strangers")
    cert, key = authority.certificate("server")
    tls = ["--cert-file", str(cert), "--key-file", str(key), "--client-cert-auth", "--trusted-ca-file", str(authority.file)]
    script: list[tuple[str, list[str]]] = [
        ("root", ["put", "mine", "1"]),
        ("root", ["put", "other", "1"]),
        ("root", ["user", "add", "root", "--no-password"]),
        ("root", ["user", "add", "alice", "--no-password"]),
        ("root", ["role", "add", "some"]),
        ("root", ["role", "grant-permission", "some", "read", "mine"]),
        ("root", ["user", "grant-role", "alice", "some"]),
        ("root", ["auth", "enable"]),
        ("root", ["user", "list"]),
        ("alice", ["get", "mine"]),
        ("alice", ["get", "other"]),
        ("alice", ["put", "mine", "2"]),
        ("alice", ["user", "get", "alice"]),
        ("alice", ["user", "list"]),
        ("nobody", ["get", "mine"]),
        ("nobody", ["user", "list"]),
        ("alice", ["--user", "root:x", "get", "other"]),
        ("root", ["auth", "disable"]),
        ("nobody", ["get", "mine"]),
    ]
    with ExitStack() as stack:
        ours, _ = stack.enter_context(our_process(tmp_path / "ours", *tls))
        theirs = stack.enter_context(real_etcd_process(tmp_path, *tls))
        for address in (ours, theirs):
            while "is healthy" not in _as(address, authority, "root")("endpoint", "health"):
                pass
        for who, arguments in script:
            printed = [plain(_as(address, authority, who)(*arguments)) for address in (ours, theirs)]
            assert printed[0] == printed[1], (who, arguments)
        for refused in (_as(ours, authority), _as(ours, stranger, "root")):
            assert "OK" not in refused("--command-timeout", "500ms", "--dial-timeout", "500ms", "put", "mine", "3")
        members = _as(ours, authority, "root")("member", "list")
        assert f"https://{ours}" in members


async def _served(store: Store, clock: SystemClock, files: TlsFiles) -> EtcdServer:
    return await EtcdServer.serve(store, clock, "127.0.0.1:0", EtcdSettings(tls=files))


async def test_a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """Certificates live for weeks, servers for months."""
    clock = SystemClock()
    authority = Authority(tmp_path / "certificates")
    files = TlsFiles(*authority.certificate("server"))
    async with await Store.open(tmp_path / "data", clock) as store:
        server = await _served(store, clock, files)
        assert await _shown(server.address) == files.cert_file.read_text()
        authority.certificate("server")
        renewed = files.cert_file.read_text()
        assert await _shown(server.address) == renewed
        files.cert_file.write_text("no certificate")
        assert await _shown(server.address) == renewed
        authority.certificate("server")
        assert await _shown(server.address) == files.cert_file.read_text()
        credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            put: Any = channel.unary_unary("/etcdserverpb.KV/Put")
            assert await put(b"\x0a\x01a")
        await server.close()


async def _shown(address: str) -> str:
    host, _, port = address.partition(":")
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), timeout=10)


@pytest.mark.parametrize("broken", ["missing", "no PEM", "another's key", "authority"])
async def test_a_broken_file_is_refused_by_its_name(tmp_path: Path, broken: str) -> None:
    """A server that listens with nothing to show looks alive and is dead."""
    clock = SystemClock()
    authority = Authority(tmp_path)
    cert, key = authority.certificate("server")
    ca = authority.file
    if broken == "missing":
        cert = wrong = tmp_path / "none.crt"
    elif broken == "no PEM":
        wrong = cert
        cert.write_text("nothing")
    elif broken == "another's key":
        key, wrong = authority.certificate("other")[1], cert
    else:
        ca = wrong = tmp_path / "ca.pem"
        ca.write_text("nothing")
    async with await Store.open(tmp_path / "data", clock) as store:
        with pytest.raises(TlsFileError, match=str(wrong)):
            await _served(store, clock, TlsFiles(cert, key, ca))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", ":0", "example.invalid:0", "10.1.2.3:0"])
async def test_an_address_beyond_loopback_needs_client_certificates_or_a_word(tmp_path: Path, address: str) -> None:
    """An open etcd is the whole cluster's keys for whoever scans the port; TLS without client certificates hides, but lets in."""
    clock = SystemClock()
    authority = Authority(tmp_path)
    files = TlsFiles(*authority.certificate("server"))
    async with await Store.open(tmp_path / "data", clock) as store:
        for settings in (EtcdSettings(), EtcdSettings(tls=files)):
            with pytest.raises(OpenAddressError, match="not a loopback address"):
                await EtcdServer.serve(store, clock, address, settings)
        if address.startswith("0"):
            guarded = TlsFiles(files.cert_file, files.key_file, authority.file)
            for settings in (EtcdSettings(tls=guarded), EtcdSettings(open_address=True)):
                server = await EtcdServer.serve(store, clock, address, settings)
                await server.close()
