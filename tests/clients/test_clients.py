"""The comparison of clients' suites with what is recorded: it must see what is otherwise."""

from __future__ import annotations

import base64
from pathlib import Path

import attrs
import pytest
import yaml
from cryptography import x509

from reconcile.runtime.client.blocking import BlockingClient
from reconcile.runtime.client.kubeconfig import load
from tests.clients import conformance
from tests.clients.__main__ import summary, surprises
from tests.clients.conformance import FAILS, LIST, OPTIONS, batches, listed
from tests.clients.people import write_kubeconfig
from tests.clients.suites import SUITES, ClientSuite
from tests.plane import Plane

SUITE = ClientSuite("x==1", (), ("tests",), ("tests/a",), count=3, fails={"*::bad_*": "asks for what nobody has"})


def test_what_ends_otherwise_than_recorded_is_told() -> None:
    """A run that saw nothing would pass for ever, and so would a reason that is out of date."""
    fine = {"m::good": "passed", "m::other": "skipped", "m::bad_one": "failed"}
    assert surprises(SUITE, fine, short=False) == []
    assert summary(SUITE, fine) == "1 skipped, 1 passed, 1 failed as recorded"
    worse = {**fine, "m::good": "failed"}
    assert surprises(SUITE, worse, short=False) == ["m::good fails", "no test passed"]
    assert summary(SUITE, worse) == "1 skipped, 1 failed as recorded, 1 failed"
    assert surprises(SUITE, {**fine, "m::bad_one": "passed"}, short=False) == [
        "m::bad_one passes, though it asks for what nobody has"
    ]
    racing = attrs.evolve(SUITE, races={"*::other": "depends on who is faster"})
    for end in ("passed", "failed"):
        assert surprises(racing, {**fine, "m::other": end}, short=False) == []
    fewer = {"m::good": "passed"}
    assert surprises(SUITE, fewer, short=False) == ["1 tests were run, and not 3"]
    assert surprises(SUITE, fewer, short=True) == []
    assert surprises(SUITE, {}, short=True) == ["no test passed"]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_every_test_that_does_not_pass_has_a_reason(suite: ClientSuite) -> None:
    """A bare list would only grow."""
    assert all(len(why.split()) > 4 for why in (*suite.fails.values(), *suite.races.values()))
    assert "==" in suite.package
    assert attrs.evolve(suite, fails={}).name == suite.name


@pytest.mark.outside
def test_a_person_with_a_certificate_may_do_what_tests_do(tmp_path: Path) -> None:
    """Suites take the kubeconfig apart, and go in with the certificate alone."""
    (tmp_path / "folder").mkdir()
    plane = Plane(tmp_path / "folder", tmp_path / "state", "--allow-empty", "--simulate", "1")
    try:
        plane.start()
        path = write_kubeconfig(plane, tmp_path / "config")
        client = BlockingClient(load(path))
        try:
            review = client.ask(
                "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", None,
                {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
            )  # fmt: skip
            assert review["status"]["userInfo"]["username"] == "kubernetes-admin"
            assert client.ask("POST", "/api/v1/namespaces", None, {"metadata": {"name": "mine"}})["metadata"]["name"] == "mine"
        finally:
            client.close()
        assert "token" not in path.read_text()
        user = yaml.safe_load(path.read_text())["users"][0]["user"]
        certificate = x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))
        assert "CN=kubernetes-admin" in certificate.subject.rfc4514_string()
        assert plane.stop() == 0, plane.said()
    finally:
        plane.bury()


def test_the_list_of_conformance_tests_is_told_apart_into_heaps() -> None:
    """Each test is run once, on the nodes that it needs, and a heap needs one kind of them."""
    tests = listed(LIST.read_text())
    assert len({test.name for test in tests}) == len(tests) > 200
    heaps = batches(tests, 4)
    assert sorted(test.name for heap in heaps for test in heap) == sorted(test.name for test in tests)
    assert all(len({test.nodes for test in heap}) == 1 and heap[0].nodes in OPTIONS for heap in heaps)
    assert FAILS.keys() <= {test.name for test in tests}


def test_a_conformance_test_that_ends_otherwise_than_recorded_is_told() -> None:
    """What was not run has not passed."""
    tests = listed("# a comment\nsimulated\tapps/x\tgood\nsimulated\tapps/x\tbad\nprocesses\tapps/y\tlost\n")
    ended = {"good": "passed", "bad": "failed"}
    assert conformance.surprises(tests, ended, {"bad": "needs what nobody has"}) == ["lost: not run"]
    assert conformance.surprises(tests, ended, {"good": "needs what nobody has"}) == [
        "good: passes, though it needs what nobody has", "bad: failed", "lost: not run",
    ]  # fmt: skip
