"""The fixture `world`: a control plane in virtual time, with the tests' own eyes. Itself a use of the plugin."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from reconcile.errors import NotFoundError
from reconcile.resources.core import ConfigMap
from reconcile.runtime.testing.universe import LawBrokenError, LivelockError
from reconcile.testing import World, chaos, converges, law, run_virtual, sieve, surroundings

from . import shops

SHOP = {"apiVersion": "shops.example.com/v1", "kind": "Shop", "metadata": {"name": "corner"}, "spec": {"replicas": 2}}
# A shop seen as it was is rolled back and forth, which counts as revisions.
IGNORE = {
    "deployments": [r"metadata.annotations.deployment\.kubernetes\.io/revision", "status"],
    "replicasets": ["*"],
}
pytestmark = pytest.mark.apps(shops, cluster=True)


@law
def never_more_pods_than_a_rollout_may_have(world: World) -> None:
    for shop in world.list("shops"):
        pods = [pod for pod in world.list("pods") if pod["metadata"]["labels"].get("shop") == shop["metadata"]["name"]]
        living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        assert len(living) <= 8, f"{len(living)} pods"


@converges(shops, patterns=(*sieve(limit=5), *chaos(seeds=4, faults=4)), cluster=True, ignore=IGNORE)
async def test_a_shop_grows_and_closes(world: World) -> None:
    """The smallest use of all that there is: the app alone is under faults, the cluster around it is not."""
    await world.apply(SHOP)
    await world.settled()
    await world.patch("shops/corner", spec={"replicas": 3, "image": "web:2"})
    await world.settled()
    await world.delete("shops/corner")
    await world.settled()
    assert world.list("pods") == []


@converges(shops, patterns=chaos(seeds=4, faults=5))
async def test_the_path_does_not_matter(world: World) -> None:
    """Whatever specs came before: the end is that of the last spec applied to nothing."""
    await world.walk("shops", steps=4)
    await world.patch("shops/walk", spec={"broken": False})
    await world.settled()
    assert world.state() == await world.fresh("shops")


async def test_pods_run_and_hours_pass_at_once(world: World) -> None:
    """The real scheduler and controllers at work, and nobody waits."""
    begun_s = time.monotonic()
    await world.apply(SHOP)
    await world.settled()
    await world.advance(hours=1)
    assert time.monotonic() - begun_s < 20, "an hour of virtual time, and more than a minute before it"
    shop = world.get("shops/corner")
    assert shop["status"]["ready"] == 2
    assert len(world.owned(shop, "deployments")) == 1
    (replicaset,) = world.list("replicasets")
    assert len(world.owned(replicaset, "pods", phase="Running")) == 2
    assert world.owned(replicaset, "pods", phase="Failed") == []
    assert world.find("sh/corner") == world.find("Shop/corner") == shop
    assert world.find("kube-system/pods/x") is None
    with pytest.raises(NotFoundError, match=r"no kind is called 'shoes'; these are served: .*shops"):
        world.list("shoes")
    with pytest.raises(NotFoundError, match="names no object; write webapps/shop"):
        world.get("corner")


async def test_backing_off_can_be_watched(world: World) -> None:
    """The times of the attempts are exact, because time is virtual."""
    await world.apply({**SHOP, "spec": {"broken": True}})
    await world.advance(minutes=2)
    tries = world.tries("shops", "shops/corner")
    assert tries[:3] == [0, 0, 0], "milliseconds first"
    assert tries[-1] > 30
    assert tries[-1] - tries[-2] >= 10 > tries[5] - tries[4], "then longer and longer"


async def test_faults_can_be_asked_for(world: World) -> None:
    """Without a plan: the next write fails, and is done again."""
    world.fault("500", of="shops", write=1)
    await world.apply(SHOP)
    await world.settled()
    assert len(world.list("deployments")) == 1
    assert world.process("shops").attempts[0].outcome == "failed"
    assert "a fault of the simulation" in world.process("shops").attempts[0].message
    world.fault("crash", of="shops", write=1)
    await world.patch("shops/corner", spec={"replicas": 1})
    await world.settled()
    assert len(world.process("shops").crashes) == 1
    assert world.get("deployments/corner")["spec"]["replicas"] == 1
    with pytest.raises(ValueError, match="crash needs write=, counted from 1"):
        world.fault("crash", of="shops", event=1)
    with pytest.raises(ValueError, match="no process is called 'nobody'; there are: cluster, shops"):
        world.fault("crash", of="nobody", write=1)


async def test_files_folders_and_objects_are_applied(world: World, tmp_path: Path) -> None:
    """What a user has at hand."""
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n" * 1)
    (tmp_path / "b.yml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n")
    await world.apply(str(tmp_path))
    await world.apply([ConfigMap(name="c"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}}])
    assert [tree["metadata"]["name"] for tree in world.list("configmaps")] == ["a", "b", "c", "d"]
    with pytest.raises(FileNotFoundError, match=r"no file or folder nothing\.yaml; looked in"):
        await world.apply("nothing.yaml")
    with pytest.raises(NotFoundError, match="no kind Ship of v7 is served"):
        await world.apply({"apiVersion": "v7", "kind": "Ship", "metadata": {"name": "x"}})


def test_a_broken_law_names_the_revision() -> None:
    """It is checked at every revision, not only in the end."""

    def no_third(world: World) -> None:
        assert len(world.list("configmaps")) < 3, "a third one"

    async def scenario(clock: object) -> None:
        async with World(clock, [], surroundings(bare=True), laws=[no_third]) as world:  # type: ignore[arg-type]
            await world.apply([ConfigMap(name=name) for name in "ab"])
            with pytest.raises(
                LawBrokenError, match=r"law no_third is broken at revision \d+ \(ADDED configmaps/c\): a third one"
            ):
                await world.apply(ConfigMap(name="c"))

    run_virtual(scenario)


def test_a_controller_that_never_stops_writing_is_stopped() -> None:
    """Virtual time never ends: the bound is in writes."""
    from reconcile import Operator
    from reconcile.runtime.testing.apps import apps_of

    def restless() -> Operator:
        app = Operator("restless")

        @app.on.reconcile(ConfigMap)
        async def count(config: ConfigMap, cluster: object) -> None:
            now = int((config.data or {}).get("n", "0"))
            await cluster.patch(config, {"data": {"n": str(now + 1)}})  # type: ignore[attr-defined]

        return app

    async def scenario(clock: object) -> None:
        async with World(clock, apps_of(restless), surroundings(bare=True), writes_max=200) as world:  # type: ignore[arg-type]
            await world.apply(ConfigMap(name="a"))
            with pytest.raises(LivelockError, match=r"restless never stops writing: \d+ writes so far \(configmaps/a \d+ times"):
                await world.settled()

    run_virtual(scenario)
