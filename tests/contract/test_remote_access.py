"""How a cluster is named, and how a store proves to it who it is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Range
from reconcile.runtime.store.remote import AddressFormError, EtcdAddress, EtcdRefusal, EtcdStore, RemoteSettings, UnreachableError
from tests.contract.conftest import REMOTE
from tests.contract.test_contract import ALL
from tests.etcd.certificates import Authority
from tests.etcd.conftest import free_ports, our_process, program, real_etcd_process
from tests.etcd.etcdctl import Etcdctl


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("etcd://h", EtcdAddress(("h:2379",), "/reconcile")),
        ("etcd://h1:1,h2:2/", EtcdAddress(("h1:1", "h2:2"), "/reconcile")),
        ("etcd://[::1]:2379/team/a/", EtcdAddress(("[::1]:2379",), "/team/a")),
        ("etcds://h?ca=ca.pem", EtcdAddress(("h:2379",), "/reconcile", True, Path("ca.pem"))),
        (
            "etcds://h/p?cert=c.pem&key=k.pem&user=ann&password-file=pw",
            EtcdAddress(("h:2379",), "/p", True, None, Path("c.pem"), Path("k.pem"), "ann", Path("pw")),
        ),
    ],
)
def test_an_address_says_where_and_who(text: str, wanted: EtcdAddress) -> None:
    """One line configures everything, so that it fits an environment variable."""
    assert EtcdAddress.parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("h:2379", "begins with neither etcd:// nor etcds://"),
        ("http://h:2379", "begins with neither etcd:// nor etcds://"),
        ("etcd://", "'' is no host with a port"),
        ("etcd://h1,:2379", "':2379' is no host with a port"),
        ("etcd://h:99999", "'h:99999' has no possible port"),
        ("etcd://ann:secret@h", "a user is named by"),
        ("etcd://h?ca=x", "certificates need etcds://"),
        ("etcds://h?cert=x", "go together"),
        ("etcd://h?user=ann", "go together"),
        ("etcd://h?colour=red", "'colour' is not one of ca, cert, key, user, password-file"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(text: str, why: str) -> None:
    """A guess would end on another cluster."""
    with pytest.raises(AddressFormError, match="write etcd://host:2379,host:2379/prefix") as refused:
        EtcdAddress.parse(text)
    assert why in str(refused.value)


@pytest.fixture(params=["ours", "real"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An etcd with users: ann may do what she likes below /team/, and nothing else."""
    served = our_process(tmp_path / "ours") if request.param == "ours" else real_etcd_process(tmp_path)
    with served as said:
        address = said[0] if isinstance(said, tuple) else said
        etcdctl = Etcdctl(address)
        while "is healthy" not in etcdctl("endpoint", "health"):
            pass
        for command in (
            "user add root:root", "user grant-role root root", "role add team",
            "role grant-permission team readwrite --prefix /team/", "user add ann:secret", "user grant-role ann team",
        ):  # fmt: skip
            etcdctl(*command.split())
        assert "Enabled" in etcdctl("auth", "enable")
        yield address


async def test_a_user_may_what_its_role_allows(guarded: str, tmp_path: Path) -> None:
    """A role over the prefix is all that a control plane needs; anything less is told with what to do."""
    password, wrong = tmp_path / "password", tmp_path / "wrong"
    password.write_text("secret\n")
    wrong.write_text("guess\n")
    clock = SystemClock()
    ann = EtcdAddress((guarded,), "/team", user="ann", password_file=password)
    async with await EtcdStore.open(ann, clock, settings=REMOTE) as store:
        await store.put(b"a", b"1", cause="ann")
        assert [kv.key for kv in store.range(Range(*ALL)).kvs] == [b"a"]
        assert await store.cause(store.revision) == "ann"
        lease = await store.lease_grant(60)
        await store.put(b"b", b"1", lease=lease.id)
        assert await store.lease_keep_alive(lease.id) == 60
        store._connection._token = "stale.1"
        await store.put(b"a", b"2")
    for address in (
        EtcdAddress((guarded,), "/team"),
        EtcdAddress((guarded,), "/team", user="ann", password_file=wrong),
        EtcdAddress((guarded,), "/other", user="ann", password_file=password),
    ):
        with pytest.raises(EtcdRefusal, match=r"name a user that may read and write the prefix"):
            await EtcdStore.open(address, clock, settings=REMOTE)
    missing = EtcdAddress((guarded,), "/team", user="ann", password_file=tmp_path / "none")
    with pytest.raises(AddressFormError, match="cannot be read"):
        await EtcdStore.open(missing, clock, settings=REMOTE)


@contextmanager
def etcd_with_tls(folder: Path, authority: Authority) -> Iterator[str]:
    """A real etcd that speaks TLS only, to those who show a certificate of its authority."""
    client, peer = free_ports(2)
    urls = [f"https://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"]
    command = [str(program("etcd")), "--data-dir", str(folder / "etcd"), "--log-level", "error", "--name", "default"]
    command += ["--listen-client-urls", urls[0], "--advertise-client-urls", urls[0], "--listen-peer-urls", urls[1]]
    command += ["--initial-advertise-peer-urls", urls[1], "--initial-cluster", f"default={urls[1]}", "--client-cert-auth"]
    cert, key = authority.certificate("etcd")
    command += ["--trusted-ca-file", str(authority.file), "--cert-file", str(cert), "--key-file", str(key)]
    with (folder / "etcd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"127.0.0.1:{client}"
        finally:
            process.kill()
            process.wait()


async def test_tls_is_spoken_both_ways(tmp_path: Path) -> None:
    """A cluster on a network is reached no other way."""
    authority = Authority(tmp_path)
    cert, key = authority.certificate("us")
    clock = SystemClock()
    files = f"ca={authority.file}&cert={cert}&key={key}"
    with etcd_with_tls(tmp_path, authority) as address:
        async with await EtcdStore.open(EtcdAddress.parse(f"etcds://{address}/team?{files}"), clock, settings=REMOTE) as store:
            await store.put(b"a", b"1")
            assert store.get(b"a") is not None
        for text in (f"etcd://{address}", f"etcds://{address}?ca={authority.file}", f"etcds://{address}"):
            with pytest.raises(UnreachableError):
                await EtcdStore.open(EtcdAddress.parse(text), clock, settings=_impatient())
        with pytest.raises(AddressFormError, match=r"none\.pem cannot be read"):
            await EtcdStore.open(EtcdAddress.parse(f"etcds://{address}?ca={tmp_path}/none.pem"), clock, settings=REMOTE)


def _impatient() -> RemoteSettings:
    return attrs.evolve(REMOTE, open_timeout_s=0.3, attempt_timeout_s=2.0)
