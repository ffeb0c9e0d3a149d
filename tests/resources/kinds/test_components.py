"""`kubectl get cs`: the parts of the control plane, for scripts that still ask so."""

from __future__ import annotations

import json
from pathlib import Path

from reconcile.resources.stored.components import Components, component_kind
from reconcile.runtime.api import ApiServer
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store


async def test_every_part_is_told_and_the_stores_trouble_with_it() -> None:
    """Old scripts count the lines that do not say Healthy."""
    trouble = [""]
    kind = component_kind()
    clock = SystemClock()
    async with await Store.open(":memory:", clock) as store:
        api = ApiServer(store, clock)
        api.serve_virtual(kind, Components(lambda: trouble[0]))
        assert [stored.name for stored in (await api.list(kind)).items] == ["scheduler", "controller-manager", "etcd-0"]
        assert row(api, (await api.get(kind, "etcd-0")).tree) == ["Healthy", "ok", ""]
        trouble[0] = "no space left"
        assert row(api, (await api.get(kind, "etcd-0")).tree) == ["Unhealthy", "no space left", ""]
        assert row(api, (await api.get(kind, "scheduler")).tree) == ["Healthy", "ok", ""]


def row(api: ApiServer, tree: dict[str, object]) -> list[object]:
    return [column.cell(tree, api.clock.now()) for column in component_kind().columns if column.cell is not None]


def test_a_part_without_conditions_is_unknown() -> None:
    """As the reference shows it."""
    first, *_ = component_kind().columns
    assert first.cell is not None
    assert first.cell({"metadata": {"name": "x"}}, 0.0) == "Unknown"


def test_the_columns_are_those_of_a_real_server() -> None:
    """Read from a Kubernetes 1.36 server."""
    recorded = json.loads((Path(__file__).parent / "columns-of-a-real-server.json").read_text())["v1/componentstatuses"]
    ours = [[column.name, column.type, column.format, column.priority] for column in component_kind().columns]
    assert [["Name", "string", "name", 0], *ours] == recorded
