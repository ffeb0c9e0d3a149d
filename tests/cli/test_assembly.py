"""What a control plane of one machine is composed of."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from reconcile.cli.assembly import assemble
from reconcile.cli.node import LocalNode, node_name
from reconcile.kinds import kind_of
from reconcile.resources import bootstrap_objects
from reconcile.resources.core import Namespace, Pod
from reconcile.runtime.api.names import wrong_label
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.cluster import ControlPlane, Parts


def test_a_node_keeps_its_name_when_the_machine_gets_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a new name the kubelet would take every pod that runs for an orphan and end it."""
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    assert node_name(tmp_path) == "laptop"
    monkeypatch.setattr(socket, "gethostname", lambda: "dhcp-17")
    assert node_name(tmp_path) == "laptop"


@pytest.mark.parametrize("host", ["MyHost.local", "büro", "---", "a" * 62 + "-b" + "c" * 80])
def test_any_host_name_gives_a_valid_node_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A Node that the API refuses means that nothing is ever scheduled."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert not wrong_label(node_name(tmp_path))


async def test_who_asks_for_a_log_before_there_is_a_kubelet_waits_for_it(tmp_path: Path) -> None:
    """The API answers first; a 404 in the tenth of a second until then would be a lie."""
    clock = SystemClock()
    node = LocalNode(tmp_path, clock, "127.250.16.0/20", {})
    pod = {"metadata": {"name": "a", "namespace": "default"}, "spec": {"containers": [{"name": "main"}]}}
    parts = Parts([Namespace, Pod], Namespace, bootstrap_objects(), connect=node.connect)
    async with ControlPlane(tmp_path, clock, parts) as plane:
        await plane.client.create(kind_of(Pod), pod, "default")

        async def ask() -> bytes:
            return b"".join([piece async for piece in await plane.api.read(kind_of(Pod), "a", "log", "default")])

        asked = asyncio.create_task(ask())
        for _ in range(20):  # more turns than it takes to answer from a kubelet that is there
            await asyncio.sleep(0)
        assert not asked.done()
        node.operators()
        assert await asked == b""


def test_what_judges_writes_is_started_before_the_api_answers(tmp_path: Path) -> None:
    """A controller that came later would let a Service be without an address, or somebody have a right, for a moment."""
    parts = assemble(tmp_path, SystemClock(), "127.250.0.0/20", "127.250.16.0/20", 0, {}).parts
    late = [h for operator in parts.controllers() for h in operator.handlers if h.trigger in ("mutate", "validate")]
    early = [h for operator in parts.operators for h in operator.handlers if h.trigger in ("mutate", "validate")]
    assert early
    assert not late
