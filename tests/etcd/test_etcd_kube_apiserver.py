"""A real kube-apiserver on our store, where there is one: `RECONCILE_TEST_KUBE_APISERVER`, or `kube-apiserver` on the PATH."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from reconcile.runtime.client.blocking import BlockingClient
from reconcile.runtime.client.errors import RefusedError, UnreachableError
from reconcile.runtime.client.kubeconfig import Access
from tests.etcd.conftest import free_ports, program
from tests.plane import COMMAND, wait_until

SERVER = os.environ.get("RECONCILE_TEST_KUBE_APISERVER") or shutil.which("kube-apiserver")
MAPS = "/api/v1/namespaces/default/configmaps"
pytestmark = [
    pytest.mark.skipif(not SERVER, reason="there is no kube-apiserver: name one in RECONCILE_TEST_KUBE_APISERVER"),
    pytest.mark.outside,
]


class Stack:
    """Our store as a process, and a kube-apiserver on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        store, api = free_ports(2)
        self.etcd = f"127.0.0.1:{store}"
        self.access = Access(f"https://127.0.0.1:{api}", insecure=True, token="root-token")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        (folder / "key.pem").write_bytes(pem)
        (folder / "tokens.csv").write_text('root-token,root,root,"system:masters"\n')
        self._argv = [
            SERVER or "", f"--etcd-servers=http://{self.etcd}", f"--secure-port={api}", "--bind-address=127.0.0.1",
            "--advertise-address=192.0.2.1", f"--cert-dir={folder / 'certs'}", "--service-account-issuer=https://test",
            f"--service-account-key-file={folder / 'key.pem'}", f"--service-account-signing-key-file={folder / 'key.pem'}",
            "--authorization-mode=RBAC", f"--token-auth-file={folder / 'tokens.csv'}", "--service-cluster-ip-range=10.0.0.0/24",
            "--event-ttl=3s", "--etcd-compaction-interval=5s", "--shutdown-delay-duration=0s",
        ]  # fmt: skip
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, what: str) -> None:
        store = [*COMMAND, "store", "serve", "--data-dir", str(self.folder / "store"), "--listen", self.etcd]
        with (self.folder / f"{what}.log").open("ab") as log:
            self._running[what] = subprocess.Popen(store if what == "store" else self._argv, stdout=log, stderr=log)

    def kill(self, what: str) -> None:
        self._running[what].send_signal(signal.SIGKILL)
        self._running.pop(what).wait()

    def client(self) -> BlockingClient:
        return BlockingClient(self.access, timeout_s=20.0)

    def said(self) -> str:
        return (self.folder / "api.log").read_text(errors="replace")

    def ready(self) -> bool:
        try:
            with self.client() as client:
                return client.request("GET", "/readyz").status == 200
        except UnreachableError:
            return False

    def bury(self) -> None:
        for what in list(self._running):
            self.kill(what)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both, ready."""
    made = Stack(tmp_path_factory.mktemp("kube"))
    try:
        made.start("store")
        made.start("api")
        wait_until("it is ready", made.ready, 90.0, lambda: made.said()[-2000:])
        yield made
    finally:
        made.bury()


@pytest.fixture
def client(stack: Stack) -> Iterator[BlockingClient]:
    """A connection to it."""
    with stack.client() as connected:
        yield connected


def named(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}


def test_objects_are_written_watched_and_listed_in_pages(stack: Stack, client: BlockingClient) -> None:
    """What every client of it does, first of all its own caches."""
    seen = list[str]()
    begin = client.ask("GET", MAPS)["metadata"]["resourceVersion"]

    def watch() -> None:
        for event in stack.client().watch(MAPS, {"resourceVersion": begin, "timeoutSeconds": "60"}):
            seen.append(f"{event['type']} {event['object']['metadata']['name']}")
            if event["type"] == "DELETED":
                return

    watching = threading.Thread(target=watch)
    watching.start()
    for number in range(5):
        client.ask("POST", MAPS, None, named(f"m{number}"))
    with pytest.raises(RefusedError, match="already exists"):
        client.ask("POST", MAPS, None, named("m0"))
    page = client.ask("GET", MAPS, {"limit": "2"})
    names = [item["metadata"]["name"] for item in page["items"]]
    while page["metadata"].get("continue"):
        page = client.ask("GET", MAPS, {"limit": "2", "continue": page["metadata"]["continue"]})
        names += [item["metadata"]["name"] for item in page["items"]]
    assert [name for name in names if name.startswith("m")] == [f"m{number}" for number in range(5)]
    client.ask("DELETE", f"{MAPS}/m4")
    watching.join(30.0)
    assert [line for line in seen if " m" in line] == [*(f"ADDED m{number}" for number in range(5)), "DELETED m4"]


def test_events_go_when_their_lease_ends_and_the_server_keeps_its_own(stack: Stack, client: BlockingClient) -> None:
    """Leases are how a Kubernetes forgets Events, and how its servers know of each other."""
    path = "/api/v1/namespaces/default/events"
    about = {"apiVersion": "v1", "kind": "Namespace", "name": "default", "namespace": "default"}
    client.ask("POST", path, None, {"metadata": {"name": "brief"}, "involvedObject": about, "reason": "R", "message": "m"})
    wait_until("the Event is gone", lambda: client.request("GET", f"{path}/brief").status == 404, 90.0)
    asked = [str(program("etcdctl")), "--endpoints", stack.etcd, "get", "/registry/masterleases/", "--prefix", "--keys-only"]
    done = subprocess.run(asked, check=True, capture_output=True, text=True, env={**os.environ, "ETCDCTL_API": "3"}, timeout=30)
    assert "/registry/masterleases/192.0.2.1" in done.stdout


def test_what_was_acknowledged_is_there_when_the_store_comes_back_and_its_caches_follow(
    stack: Stack, client: BlockingClient
) -> None:
    """A kill of the store below it: it goes on by itself."""
    client.ask("POST", MAPS, None, named("before"))
    stack.kill("store")
    stack.start("store")
    wait_until("it is ready again", stack.ready, 60.0, lambda: stack.said()[-2000:])

    def written() -> bool:
        return client.request("POST", MAPS, None, named("after")).status in (201, 409)

    wait_until("it writes again", written, 30.0)
    names = {item["metadata"]["name"] for item in client.ask("GET", MAPS)["items"]}
    assert {"before", "after"} <= names
    cached = client.ask("GET", MAPS, {"resourceVersion": "0"})["items"]
    assert {"before", "after"} <= {item["metadata"]["name"] for item in cached}


def test_another_server_finds_everything_as_it_was(stack: Stack, client: BlockingClient) -> None:
    """A kill of the server above it."""
    client.ask("POST", MAPS, None, named("kept"))
    stack.kill("api")
    stack.start("api")
    wait_until("it is ready", stack.ready, 90.0, lambda: stack.said()[-2000:])
    assert client.ask("GET", f"{MAPS}/kept")["data"] == {"a": "b"}
