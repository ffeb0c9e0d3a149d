"""What a control plane of one machine is composed of."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from reconcile.cli.assembly import node_name
from reconcile.runtime.api.names import wrong_label


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
