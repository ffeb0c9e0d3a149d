"""Every kind of handler in one operator of its own, over HTTP: what each is told, writes and waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.plane import Plane
from tests.running.conftest import Run

APP = """
import asyncio

from reconcile import Conditions, EventRecorder, Operator, Requeue, Resource, TemporaryError, Wait, field, kind, struct
from reconcile.conditions import Condition
from reconcile.handling import Cluster, Stopped
from reconcile.resources.core import ConfigMap, Secret

app = Operator("kettles.example.com")
TRIES, TICKS = {}, {}


@struct
class Spec:
    size: int = 1
    colour: str = ""
    children: int = 1


@struct
class Status:
    made: bool = False
    tries: int = 0
    twins: int = 0
    key: str = ""
    conditions: list[Condition] = field(factory=list, list_type="map", list_map_keys=("type",))


@kind("example.com", "v1", plural="kettles")
class Kettle(Resource):
    spec: Spec = field(factory=Spec)
    status: Status = field(factory=Status)


@app.on.index(Kettle)
def by_colour(kettle: Kettle):
    return {kettle.spec.colour: kettle.name}


@app.on.create(Kettle)
async def made(kettle: Kettle, name, log, events: EventRecorder):
    TRIES[name] = TRIES.get(name, 0) + 1
    if TRIES[name] < 3:
        raise TemporaryError("not yet", delay_s=0.1)
    kettle.status.made = True
    events.normal("Made", f"after {TRIES[name]} tries")
    log.info("created %s", name)


@app.on.update(Kettle)
def changed(kettle: Kettle, diff, log):
    log.info("updated %s: %d changes", kettle.name, len(diff))


@app.on.field(Kettle, field="spec.size")
def resized(old, new, log):
    log.info("size %s -> %s", old, new)


@app.on.event(Kettle)
async def seen(event, name, log):
    log.info("event %s %s", event, name)


@app.on.resume(Kettle)
def resumed(name, log):
    log.info("resumed %s", name)


@app.on.delete(Kettle)
async def gone(name, log):
    log.info("deleted %s", name)


@app.on.timer(Kettle, interval_s=0.2)
def tick(name, log):
    TICKS[name] = TICKS.get(name, 0) + 1
    if TICKS[name] == 3:
        log.info("ticked %s", name)


@app.on.daemon(Kettle)
async def at_home(name, log, stopped: Stopped):
    log.info("daemon of %s begins", name)
    await stopped.wait(60.0)
    log.info("daemon of %s ends: %s", name, stopped.reason)


@app.on.reconcile(Kettle)
async def keep(kettle: Kettle, conditions: Conditions, by_colour, cluster: Cluster, log):
    for number in range(kettle.spec.children):
        yield ConfigMap(name=f"{kettle.name}-{number}", data={"size": str(kettle.spec.size)})
    kettle.status.twins = len(by_colour.get(kettle.spec.colour, ()))
    key = await cluster.find(Secret, kettle.name)
    if key is None:
        conditions.false("Ready", "NoKey", "its Secret is missing")
        yield Wait("its Secret")
        return
    kettle.status.key = key.data["key"]
    if not kettle.status.tries:
        kettle.status.tries = 1
        log.info("again %s", kettle.name)
        yield Requeue(0.1)
        return
    conditions.true("Ready", "Kept")
"""


def kettle(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Kettle", "metadata": {"name": name}, "spec": spec}


def test_every_kind_of_handler_works_over_http(plane: Plane, run: Run, tmp_path: Path) -> None:
    """The same as in the control plane's process: nothing of it may need what only our own server has."""
    (tmp_path / "kettles.py").write_text(APP)
    running = run(str(tmp_path / "kettles.py"), "--crds")
    running.wait("running: 10 handlers of kettles.example.com")
    plane.forget_connection()
    plane.create("kettles.example.com", kettle("red", colour="red", children=2))
    for said in ("created red", "event ADDED red", "size None -> 1", "ticked red", "daemon of red begins"):
        running.wait(said)

    def conditions() -> Any:
        status = (plane.get("kettles.example.com", "red") or {}).get("status") or {}
        return [(c["type"], c["status"], c["reason"]) for c in status.get("conditions", ())]

    plane.wait("it waits for its Secret", lambda: conditions() == [("Ready", "False", "NoKey")])
    made = plane.get("configmaps", "red-1")
    assert made is not None
    assert made["metadata"]["ownerReferences"][0]["name"] == "red"
    entries = [(entry["manager"], entry["operation"]) for entry in made["metadata"]["managedFields"]]
    assert entries == [("kettles.example.com", "Apply")]
    plane.create("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "red"}, "data": {"key": "eA=="}})
    plane.wait("its Secret wakes it", lambda: conditions() == [("Ready", "True", "Kept")])
    status = plane.get("kettles.example.com", "red")["status"]  # type: ignore[index]  # it is there
    assert (status["made"], status["tries"], status["twins"], status["key"]) == (True, 1, 1, "eA==")
    uid = plane.get("kettles.example.com", "red")["metadata"]["uid"]  # type: ignore[index]  # it is there
    told = [e for e in plane.objects("events") if e["reason"] == "Made" and e["involvedObject"].get("uid") == uid]
    assert [event["message"] for event in told] == ["after 3 tries"]
    plane.patch("kettles.example.com", "red", {"spec": {"size": 2, "children": 1}})
    running.wait("size 1 -> 2")
    running.wait("updated red")
    plane.wait("its child follows", lambda: (plane.get("configmaps", "red-0") or {}).get("data") == {"size": "2"})
    plane.wait("what it wants no more goes", lambda: plane.gone("configmaps", "red-1"))
    plane.api.ask("DELETE", "/api/v1/namespaces/default/configmaps/red-0")
    plane.wait("what somebody deleted comes back", lambda: plane.get("configmaps", "red-0"))
    assert running.end() == 0
    again = run(str(tmp_path / "kettles.py"))
    again.wait("resumed red")
    plane.api.ask("DELETE", "/apis/example.com/v1/namespaces/default/kettles/red")
    again.wait("deleted red")
    again.wait("daemon of red ends")
    plane.wait("it is gone", lambda: plane.gone("kettles.example.com", "red"))
    plane.wait("and its children", lambda: plane.gone("configmaps", "red-0"), 30.0)
    assert again.end() == 0
    assert "[ERROR" not in running.said() + again.said()
    plane.api.ask("DELETE", "/api/v1/namespaces/default/secrets/red")
