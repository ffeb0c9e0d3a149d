"""Find: which objects were so, from when to when, in a history that is known."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.errors import BadRequestError, Tree
from reconcile.runtime.explain.pages import Pages
from reconcile.testing import World

pytestmark = pytest.mark.apps(cluster=True)


def config(name: str, tier: str, **data: str) -> Tree:
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"tier": tier}}, "data": data,
    }  # fmt: skip


async def asked(world: World, **query: Any) -> Tree:
    engine = world.process("cluster").engine
    assert engine is not None
    return await Pages(world.api, engine).answer("find", {name.rstrip("_"): str(value) for name, value in query.items()})


def spells(told: Tree) -> list[tuple[str, bool, bool]]:
    """Name, whether its beginning is known, whether it has ended."""
    return [(item["name"], item["from"] is not None, item["to"] is not None) for item in told["items"]]


async def test_spells_begin_and_end_where_a_field_or_a_label_changed(world: World) -> None:
    """What was broken at three in the morning, is well by now, and perhaps gone."""
    await world.apply(config("a", "web", mode="off"))
    before = world.api.store.revision
    await world.apply(config("a", "web", mode="on"))
    on = world.api.store.revision
    await world.apply(config("b", "db", mode="on"))
    await world.apply(config("a", "web", mode="off"))
    off = world.api.store.revision
    await world.apply(config("a", "web", mode="on"))
    await world.delete("configmaps/b")
    gone = world.api.store.revision
    found = await asked(world, resource="configmaps", namespace="default", fields="data.mode=on")
    assert spells(found) == [("a", True, True), ("b", True, True), ("a", True, False)]
    first, second, _ = found["items"]
    assert (first["from"]["revision"], first["to"]["revision"], first["from"]["by"]) == (str(on), str(off), "user")
    assert (second["to"]["revision"], second["to"]["type"]) == (str(gone), "DELETED")
    assert first["from"]["time"] <= first["to"]["time"]
    labelled = await asked(world, resource="configmaps", namespace="default", fields="data.mode=on", labels="tier=web")
    assert [item["name"] for item in labelled["items"]] == ["a", "a"]
    assert not (await asked(world, resource="configmaps", namespace="other", fields="data.mode=on"))["items"]
    at = await asked(world, resource="configmaps", namespace="default", fields="data.mode=on", from_=on, to=on)
    assert spells(at) == [("a", False, False)], "at one moment nothing begins and nothing ends"
    until = await asked(world, resource="configmaps", namespace="default", fields="data.mode=off", from_=before, to=on)
    assert spells(until) == [("a", False, True)]


async def test_what_controllers_did_is_found_with_who_did_it(world: World) -> None:
    """Which pods were on that node, and who put them there."""
    spec: Tree = {
        "replicas": 2, "selector": {"matchLabels": {"app": "w"}},
        "template": {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}},
    }  # fmt: skip
    await world.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": spec})
    await world.settled()
    node = world.list("pods")[0]["spec"]["nodeName"]
    names = {tree["metadata"]["name"] for tree in world.list("pods") if tree["spec"]["nodeName"] == node}
    await world.delete("deployments/w")
    await world.settled()
    assert not world.list("pods")
    found = await asked(world, resource="pods", namespace="default", fields=f"spec.nodeName={node}")
    assert {item["name"] for item in found["items"]} == names
    assert {item["from"]["by"] for item in found["items"]} == {"default-scheduler/bind"}
    assert all(item["to"]["type"] == "DELETED" for item in found["items"])


async def test_what_cannot_be_searched_is_refused(world: World) -> None:
    """An empty answer would be taken for `never`."""
    await world.settled()
    for query, said in (
        ({"resource": "nothings"}, "names no kind"),
        ({"resource": "pods", "fields": "no comparison"}, "can't understand"),
        ({"resource": "pods", "from": "900000"}, "cannot be searched: history goes from 1 to"),
        ({"resource": "pods", "from": "3", "to": "2"}, "cannot be searched"),
    ):
        with pytest.raises(BadRequestError, match=said):
            await asked(world, **query)


async def test_what_is_forgotten_is_refused_and_not_passed_over(world: World) -> None:
    """History begins somewhere."""
    await world.apply(config("a", "web", mode="on"))
    await world.apply(config("a", "web", mode="off"))
    await world.settled()
    newest = world.api.store.revision
    await world.api.forget(0)
    with pytest.raises(BadRequestError, match=f"history goes from {newest} to"):
        await asked(world, resource="configmaps", fields="data.mode=on", from_=1)
    assert not (await asked(world, resource="configmaps", fields="data.mode=on"))["items"]


async def test_of_very_many_the_first_are_told_and_that_there_are_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has a bound."""
    monkeypatch.setattr("reconcile.runtime.explain.finding.SPELLS_MAX", 2)
    for name in "abc":
        await world.apply(config(name, "web", mode="on"))
    found = await asked(world, resource="configmaps", fields="data.mode=on")
    assert ([item["name"] for item in found["items"]], found["more"]) == (["a", "b"], True)
