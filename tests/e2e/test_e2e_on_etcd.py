"""`up --store etcd://...`: the whole control plane on a real etcd, through restarts, kill -9 and an etcd that goes away."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import SAMPLES
from tests.etcd.conftest import free_ports, program
from tests.etcd.etcdctl import Etcdctl
from tests.plane import Plane, wait_until


class RealEtcd:
    """A real etcd on a port of its own, which can be killed and started again on its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client, peer = free_ports(2)
        url, peer_url = f"http://127.0.0.1:{self.client}", f"http://127.0.0.1:{peer}"
        self.command = [str(program("etcd")), "--name", "default", "--data-dir", str(folder / "etcd"), "--log-level", "error"]
        self.command += ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer_url]
        self.command += ["--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}"]
        self.etcdctl = Etcdctl(f"127.0.0.1:{self.client}")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        wait_until("etcd is healthy", lambda: "is healthy" in self.etcdctl("endpoint", "health"))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def keys(self, prefix: str) -> list[str]:
        return self.etcdctl("get", prefix, "--prefix", "--keys-only").split()


def wait_ready(plane: Plane) -> None:
    """Wait until everything of samples/hello runs."""
    plane.wait("everything runs", lambda: plane.rolled_out("web", 3) and len(plane.containers()) == 3, 30.0)


def start_again(plane: Plane) -> None:
    """Start it, and wait until all of it has looked at what is there: the API answers before that."""
    told = len(plane.lines("ready: everything runs"))
    plane.start()
    plane.wait("it says so again", lambda: len(plane.lines("ready: everything runs")) > told, 30.0)
    wait_ready(plane)


def wait_ended(plane: Plane) -> None:
    """Wait until `up` has given up."""
    plane.wait("it ends", lambda: plane.ended)


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEtcd]:
    made = RealEtcd(tmp_path_factory.mktemp("real-etcd"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="module")
def plane(etcd: RealEtcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """samples/hello on that etcd, with everything ready."""
    root = tmp_path_factory.mktemp("on-etcd")
    shutil.copytree(SAMPLES / "hello", root / "hello")
    plane = Plane(root / "hello", root / "state", "--store", f"etcd://127.0.0.1:{etcd.client}/team")
    try:
        plane.start()
        plane.wait_line("ready: everything runs", 30.0)
        yield plane
    finally:
        plane.bury()


def test_the_objects_are_in_etcd_and_nothing_of_them_in_the_state_folder(plane: Plane, etcd: RealEtcd) -> None:
    """Whoever loses the machine keeps the cluster."""
    keys = etcd.keys("/team/")
    assert "/team/registry/deployments.apps/default/web" in keys
    assert len([key for key in keys if key.startswith("/team/registry/pods/default/web-")]) == 3
    assert "/team/control-plane" in keys
    assert not [key for key in etcd.keys("/") if not key.startswith("/team/")]
    assert not (plane.data_dir / "store").exists()


def test_the_commands_work_as_ever(plane: Plane) -> None:
    """Where objects are kept is no concern of those who use them."""
    assert "all is well" in plane.cli("status")
    plane.cli("scale", "deployment/web", "--replicas", "2")
    plane.wait("two replicas run", lambda: plane.rolled_out("web", 2))
    plane.cli("scale", "deployment/web", "--replicas", "3")
    plane.wait("three replicas run", lambda: plane.rolled_out("web", 3))
    told = plane.cli("history", "deployment/web")
    assert "spec.replicas" in told
    assert "deployment-controller" in told


def test_what_is_changed_in_etcd_by_another_is_acted_on(plane: Plane, etcd: RealEtcd) -> None:
    """The store is shared: a write that did not come through our API server counts as any other."""
    pod = plane.objects("pods", "app=web")[0]["metadata"]["name"]
    assert etcd.etcdctl("del", f"/team/registry/pods/default/{pod}").strip() == "1"

    def replaced() -> bool:
        names = {tree["metadata"]["name"] for tree in plane.objects("pods", "app=web")}
        running = {container.name.partition("/")[0] for container in plane.containers()}
        return pod not in names and len(names) == 3 and running == names and plane.rolled_out("web", 3)

    plane.wait("the pod is replaced", replaced, 30.0)


def test_after_kill_9_everything_is_taken_over(plane: Plane) -> None:
    """The processes live on, the objects are in etcd, and the claim is ours: up again is up at once."""
    before = {container.pid for container in plane.containers()}
    plane.kill()
    start_again(plane)
    assert {container.pid for container in plane.containers()} == before
    assert "all is well" in plane.cli("status")


def test_another_control_plane_is_refused_on_the_same_prefix(plane: Plane, tmp_path: Path) -> None:
    """Its controllers would make everything twice."""
    (tmp_path / "other").mkdir()
    other = Plane(tmp_path / "other", tmp_path / "state", *plane.options)
    try:
        other.start(listening=False)
        wait_ended(other)
        assert f"is run by another control plane ({plane.folder} on " in other.said()
        assert "another prefix with --store" in other.said()
    finally:
        other.bury()


def test_a_state_folder_stays_with_its_store(plane: Plane, tmp_path: Path) -> None:
    """Its pods are those of the objects there: with another store they would be nobody's."""
    assert plane.stop() == 0
    address = plane.options[1]
    for options, why in (
        ((), f"run `up` with --store {address}"),
        (("--store", address + "-b"), "belongs to another store"),
    ):
        other = Plane(plane.folder, plane.data_dir, *options)
        other.start(listening=False)
        wait_ended(other)
        assert why in other.said(), options
    embedded = tmp_path / "state" / "store"
    embedded.mkdir(parents=True)
    other = Plane(plane.folder, embedded.parent, "--store", address)
    other.start(listening=False)
    wait_ended(other)
    assert "has a store of its own, whose objects are not in" in other.said()
    start_again(plane)


def test_while_etcd_is_away_nothing_stops_and_then_it_goes_on(plane: Plane, etcd: RealEtcd) -> None:
    """Pods run on; reads and writes say why they cannot be answered; afterwards everything is as it was, and works."""
    before = {container.pid for container in plane.containers()}
    etcd.kill()
    refused = plane.run("get", "pods", timeout_s=60.0)
    assert refused.returncode != 0
    assert f"no answer from etcd at 127.0.0.1:{etcd.client}" in refused.stderr
    assert {container.pid for container in plane.containers()} == before

    etcd.start()
    plane.wait("it answers again", lambda: plane.run("get", "pods", timeout_s=60.0).returncode == 0, 30.0)
    plane.cli("scale", "deployment/web", "--replicas", "2")
    plane.wait("two replicas run", lambda: plane.rolled_out("web", 2), 30.0)
    plane.cli("scale", "deployment/web", "--replicas", "3")
    plane.wait("three replicas run", lambda: plane.rolled_out("web", 3), 30.0)


def test_down_stops_it_and_gives_the_prefix_back(plane: Plane, etcd: RealEtcd) -> None:
    """The next one, wherever it runs, need not wait."""
    assert plane.process is not None
    plane.process.send_signal(signal.SIGINT)
    assert plane.process.wait(40) == 0
    assert not plane.containers()
    assert "/team/control-plane" not in etcd.keys("/team/")


def test_an_etcd_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    """With the address and what to look at; not after a minute."""
    (port,) = free_ports(1)
    (tmp_path / "folder").mkdir()
    plane = Plane(tmp_path / "folder", tmp_path / "state", "--store", f"etcd://127.0.0.1:{port}")
    plane.start(listening=False)
    wait_ended(plane)
    assert f"no answer from etcd at 127.0.0.1:{port}" in plane.said()
    assert "Traceback" not in plane.said()
