"""`up --controllers LIST` and `--no-scheduler`: parts that are left to other programs, and what is said of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from reconcile.cli.assembly import assemble
from reconcile.cli.choosing import Choice, chosen
from reconcile.cli.probing import trouble_at
from reconcile.cli.up import command
from reconcile.kinds import kind_of
from reconcile.resources.controllers import NAMES
from reconcile.resources.core import ServiceAccount
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.cluster import ControlPlane
from tests.plane import Plane

ALL = frozenset(NAMES)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("*", ALL),
        ("", frozenset()),
        ("job-controller", {"job-controller"}),
        ("*,-job-controller", ALL - {"job-controller"}),
        ("-job-controller,*", ALL - {"job-controller"}),
        ("-job-controller", frozenset()),
        ("-job-controller,job-controller", frozenset()),
        ("job-controller,-job-controller", {"job-controller"}),
        (" job-controller , cronjob-controller ", {"job-controller", "cronjob-controller"}),
    ],
)
def test_a_list_means_what_kube_controller_manager_makes_of_it(text: str, names: frozenset[str]) -> None:
    """So that a list can be taken over from there; the first word about a controller counts."""
    assert chosen(text) == names


def test_a_name_that_there_is_not_is_told_with_those_that_there_are() -> None:
    """A typing error must not leave a controller running beside another one."""
    with pytest.raises(click.BadParameter, match=r"no controller 'deployment' here; there are: .*deployment-controller"):
        chosen("*,-deployment")


def test_the_names_are_told_without_a_folder() -> None:
    """Whoever asks for them has none at hand."""
    done = CliRunner().invoke(command, ["--controllers", "list"])
    assert (done.exit_code, done.output.split()) == (0, sorted(NAMES))


def operators(tmp_path: Path, choice: Choice, simulated: int = 0) -> set[str]:
    """The identities of what would run."""
    parts = assemble(tmp_path, SystemClock(), "127.250.0.0/20", "127.250.16.0/20", simulated, {}, choice).parts
    return {operator.domain for operator in (*parts.operators, *parts.controllers())}


def handlers(tmp_path: Path, choice: Choice) -> dict[str, set[str]]:
    """The triggers of what would run, by identity."""
    parts = assemble(tmp_path, SystemClock(), "127.250.0.0/20", "127.250.16.0/20", 1, {}, choice).parts
    return {o.domain: {h.trigger for h in o.handlers} for o in (*parts.operators, *parts.controllers())}


@pytest.mark.parametrize("name", NAMES)
def test_each_name_leaves_something_out(tmp_path: Path, name: str) -> None:
    """A name that changes nothing would have two controllers work on the same objects."""
    parts = [
        assemble(tmp_path, SystemClock(), "127.250.0.0/20", "127.250.16.0/20", 0, {}, choice).parts
        for choice in (Choice(), Choice(ALL - {name}))
    ]
    every, fewer = ([h for o in (*p.operators, *p.controllers()) for h in o.handlers] for p in parts)
    if name in ("serviceaccount-controller", "root-ca-certificate-publisher-controller"):
        assert len(every) == len(fewer), "these two are one handler: see the test of what it makes"
    elif name == "persistentvolume-binder-controller":
        domains = [{o.domain for o in p.controllers()} for p in parts]
        assert domains[0] ^ domains[1] == {"persistent-volumes", "local-provisioner"}, "folders are made for whoever binds"
    else:
        assert len(fewer) < len(every)


def test_what_judges_writes_stays_whatever_is_chosen(tmp_path: Path) -> None:
    """Admission is the API server's: without it a Service had no address, and quotas were no limits."""
    every, none = handlers(tmp_path, Choice()), handlers(tmp_path, Choice(frozenset(), scheduler=False))
    judging = ("mutate", "validate")
    assert {d: t.intersection(judging) for d, t in none.items() if t.intersection(judging)} == {
        d: t.intersection(judging) for d, t in every.items() if t.intersection(judging)
    }
    assert {"resource-quotas", "service-addresses", "api-service", "event-expiry", "simulated-nodes"} <= none.keys()
    assert not {"default-scheduler", "deployment-controller", "service-accounts", "service-account-secrets"} & none.keys()


def test_the_scheduler_is_no_name_of_the_list(tmp_path: Path) -> None:
    """A list of kube-controller-manager's says nothing about it."""
    assert "default-scheduler" in operators(tmp_path, Choice(frozenset()))
    assert "default-scheduler" not in operators(tmp_path, Choice(scheduler=False))


async def test_accounts_and_the_authority_are_left_to_others_one_by_one(tmp_path: Path) -> None:
    """They are two controllers there, and one handler here."""
    choice = Choice(ALL - {"serviceaccount-controller"})
    parts = assemble(tmp_path, SystemClock(), "127.250.0.0/20", "127.250.16.0/20", 1, {}, choice).parts
    async with ControlPlane(tmp_path / "state", SystemClock(), parts) as plane:
        await plane.engine.settled()
        assert (await plane.client.list(kind_of(ServiceAccount))).items == []


async def test_a_part_that_runs_elsewhere_is_asked_where_it_is() -> None:
    """Nobody listens there: that is said in words, and is no exception."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert (await trouble_at(port, SystemClock())).startswith(f'Get "https://127.0.0.1:{port}/healthz": ')


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane without controllers and scheduler."""
    root = tmp_path_factory.mktemp("without")
    (root / "folder").mkdir()
    plane = Plane(root / "folder", root / "state", "--simulate", "1", "--controllers", "", "--no-scheduler")
    try:
        yield plane.start()
        assert plane.stop() == 0, plane.said()[-3000:]
    finally:
        plane.bury()


def read(plane: Plane, path: str) -> bytes:
    """What a health check says, whatever that is."""
    return plane.api.request("GET", path, {"verbose": ""}).body


def test_nothing_claims_that_a_part_runs_which_was_left_out(without: Plane) -> None:
    """Who looks for the reason why nothing happens asks exactly here."""
    without.wait_line("without all controllers, scheduler")
    without.wait("it is ready", lambda: b"readyz check passed" in read(without, "/readyz"))
    ready = read(without, "/readyz").decode()
    assert "[+]nodes ok" in ready
    assert "controllers" not in ready
    assert "scheduler" not in ready
    assert "left to other programs: all controllers, scheduler" in without.cli("status")
    assert json.loads(without.cli("status", "--output", "json"))["off"] == ["all controllers", "scheduler"]
    states = {tree["metadata"]["name"]: tree["conditions"][0] for tree in without.objects("componentstatuses", namespace="")}
    assert states["etcd-0"]["status"] == "True"
    for name, port in (("scheduler", 10259), ("controller-manager", 10257)):
        # Healthy only if such a program happens to run on this machine.
        assert states[name]["status"] == "True" or f"https://127.0.0.1:{port}/healthz" in states[name]["message"]


def test_without_controllers_objects_are_stored_and_nothing_happens(without: Plane) -> None:
    """Whatever acted here would act against the program that is to do it."""
    spec = {"containers": [{"name": "main", "image": "x"}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": spec}
    deployment = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    without.create("deployments", {"metadata": {"name": "web"}, "spec": deployment})
    without.create("serviceaccounts", {"metadata": {"name": "default"}})  # which a controller would have made
    without.create("pods", {"metadata": {"name": "one"}, "spec": spec})
    without.wait("the node is there", lambda: without.objects("nodes", namespace=""))
    assert without.objects("replicasets") == []
    assert "nodeName" not in (without.get("pods", "one") or {})["spec"]
    said = without.cli("why-not", "pod/one", ".spec.nodeName")
    assert "left to other programs, whose attempts are not known here: all controllers, scheduler" in said


def test_the_key_that_signs_tokens_is_there_for_who_makes_them_instead(without: Plane) -> None:
    """Kube-controller-manager is given the file before anybody has asked for a token."""
    assert b"PRIVATE KEY" in (without.data_dir / "pki" / "sa.key").read_bytes()
