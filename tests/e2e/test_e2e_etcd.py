"""`up --etcd-listen`: the running control plane's store is an etcd, for etcdctl as for the API."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.etcd.certificates import Authority
from tests.etcd.etcdctl import Etcdctl
from tests.plane import COMMAND, Plane

_PREFIX = "/registry/configmaps/default/"


def test_the_store_of_a_running_control_plane_is_an_etcd_to_who_shows_a_certificate(tmp_path: Path) -> None:
    """What etcdctl changes is what the API serves: an operator looks under the hood, and mends there if need be."""
    authority = Authority(tmp_path / "certificates")
    server, client = authority.certificate("server"), authority.certificate("operator")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: anchor}\n")
    options = ["--etcd-listen", "127.0.0.1:0", "--etcd-cert-file", str(server[0]), "--etcd-key-file", str(server[1])]
    plane = Plane(tmp_path / "folder", tmp_path / "state", *options, "--etcd-trusted-ca-file", str(authority.file))
    try:
        plane.start()
        address = plane.wait_line("serves the store").split()[2]
        assert (plane.data_dir / "etcd.address").read_text() == address
        plane.wait("the anchor is applied", lambda: plane.get("configmaps", "anchor"))
        etcdctl = Etcdctl(f"https://{address}", cacert=str(authority.file), cert=str(client[0]), key=str(client[1]))
        assert f"{_PREFIX}anchor" in etcdctl("get", _PREFIX, "--prefix", "--keys-only")
        tree = json.loads(etcdctl("get", f"{_PREFIX}anchor", "--print-value-only"))
        tree["metadata"]["name"] = "mended"
        assert etcdctl("put", f"{_PREFIX}mended", json.dumps(tree)) == "OK\n"
        assert plane.get("configmaps", "mended") is not None
        assert etcdctl("del", f"{_PREFIX}mended") == "1\n"
        assert plane.gone("configmaps", "mended")
        _check_what_is_no_object(plane, etcdctl)
        assert plane.stop() == 0
        assert not (plane.data_dir / "etcd.address").exists()
    finally:
        plane.bury()


def _check_what_is_no_object(plane: Plane, etcdctl: Etcdctl) -> None:
    """A slip under the hood is told by name everywhere, harms nothing else, and is mended through the API."""
    folder = str(plane.data_dir / "store")
    assert etcdctl("put", f"{_PREFIX}slip", "oops") == "OK\n"
    for command in (["get", "configmaps"], ["get", "configmap", "slip"], ["delete", "configmap", "slip"]):
        said = plane.cli(*command, code=1)
        assert f"Key: {_PREFIX}slip" in said
    said = plane.cli("store", "verify", "--data-dir", folder, code=1)
    assert f"{_PREFIX}slip at revision" in said
    assert "reconcile delete --unreadable" in said
    assert "anchor" in plane.cli("get", "configmap", "anchor")
    assert plane.cli("get", "pods", "-A") is not None
    assert "exclusively used to delete corrupt object(s)" in plane.cli("delete", "configmap", "anchor", "--unreadable", code=1)
    assert "configmap/slip deleted" in plane.cli("delete", "configmap", "slip", "--unreadable")
    assert "anchor" in plane.cli("get", "configmaps")
    assert plane.cli("store", "verify", "--data-dir", folder).endswith("sound\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--etcd-listen", "0.0.0.0:0"], "not a loopback address"),
        (["--etcd-open"], "add --etcd-listen"),
        (["--etcd-listen", "127.0.0.1:0", "--etcd-client-cert-auth"], "both --etcd-cert-file and --etcd-key-file"),
    ],
)
def test_options_that_leave_the_store_open_or_make_no_sense_are_refused_before_anything_runs(
    tmp_path: Path, options: list[str], said: str
) -> None:
    """Secrets are in there: a slip must not show them to a network."""
    command = [*COMMAND, "up", str(tmp_path), "--data-dir", str(tmp_path / "state"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "state" / "store").exists()
