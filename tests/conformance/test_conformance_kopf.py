"""kopf, the operator framework: a whole life cycle of objects whose kind the folder declares. The operator is `gadgets.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plane import Plane, wait_until

KIND = "gadgets.toys.example.com"
FINALIZER = "toys.example.com/kopf"
SEEN = "kopf.zalando.org/last-handled-configuration"


@pytest.fixture(scope="module")
def operator(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`kopf run` for the namespace `kopf`. Yields its log; it must end well."""
    plane.api.ask("POST", "/api/v1/namespaces", None, {"metadata": {"name": "kopf"}})
    log = tmp_path_factory.mktemp("kopf") / "log"
    argv = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", "kopf", str(Path(__file__).with_name("gadgets.py"))]
    env = {**os.environ, "KUBECONFIG": str(plane.data_dir / "kubeconfig")}
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env=env)
    try:
        yield log
        assert process.poll() is None, log.read_text()
        process.terminate()
        assert process.wait(10) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    said = log.read_text()
    assert "Traceback" not in said
    assert "404" not in said


def gadget(plane: Plane, name: str) -> Any:
    return plane.get(KIND, name, "kopf")


def make(plane: Plane, name: str, **spec: Any) -> None:
    body = {"apiVersion": "toys.example.com/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": spec}
    plane.create(KIND, body, "kopf")


def in_phase(plane: Plane, operator: Path, name: str, phase: str) -> Any:
    """The object, once kopf has written this phase and has nothing left to do."""

    def there() -> Any:
        tree = gadget(plane, name)
        annotations = tree["metadata"].get("annotations", {})
        busy = any(key.startswith("kopf.zalando.org/") and key != SEEN for key in annotations)
        return tree if tree.get("status", {}).get("phase") == phase and SEEN in annotations and not busy else None

    return wait_until(f"{name} is {phase}", there, 15.0, operator.read_text)


def test_kopf_handles_creation_with_finalizer_status_and_event(plane: Plane, operator: Path) -> None:
    """The finalizer comes by JSON patch, the status by merge patch of the subresource, the progress in annotations."""
    make(plane, "one", size=3)
    tree = in_phase(plane, operator, "one", "Made")
    assert tree["metadata"]["finalizers"] == [FINALIZER]
    assert tree["status"]["made"] == {"size": 3}

    def told() -> bool:
        events = plane.objects("events", namespace="kopf")
        return any(e["reason"] == "Made" and e["involvedObject"]["name"] == "one" for e in events)

    wait_until("the event is there", told)


def test_kopf_retries_what_failed_and_keeps_its_progress_in_the_object(plane: Plane, operator: Path) -> None:
    """Between two attempts nothing else remembers."""
    make(plane, "red", colour="red")
    in_phase(plane, operator, "red", "Made")
    assert "not yet" in operator.read_text()


def test_kopf_sees_an_update_once_and_then_falls_silent(plane: Plane, operator: Path) -> None:
    """Its own patches come back as events: if one of them changed anything each time, it would never end."""
    make(plane, "two", size=1)
    in_phase(plane, operator, "two", "Made")
    plane.patch(KIND, "two", {"spec": {"size": 5}}, "kopf")
    tree = in_phase(plane, operator, "two", "Resized from 1 to 5")
    quiet_until = time.monotonic() + 0.7
    wait_until("a while has passed", lambda: time.monotonic() > quiet_until)
    after = gadget(plane, "two")
    assert after["metadata"]["resourceVersion"] == tree["metadata"]["resourceVersion"], "it echoes for ever"
    assert after["metadata"]["generation"] == 2


def test_kopf_timers_tick_and_patch(plane: Plane, operator: Path) -> None:
    """They run beside the watch, and patch the same object."""
    make(plane, "clock", colour="ticking")
    wait_until("three ticks", lambda: gadget(plane, "clock").get("status", {}).get("ticks") == 3, 15.0, operator.read_text)


def test_kopf_handles_deletion_and_lets_go(plane: Plane, operator: Path) -> None:
    """The object lingers until its handler ran and the finalizer is gone."""
    make(plane, "three")
    in_phase(plane, operator, "three", "Made")
    plane.api.ask("DELETE", "/apis/toys.example.com/v1/namespaces/kopf/gadgets/three")
    wait_until("it is gone", lambda: gadget(plane, "three") is None, 15.0, operator.read_text)

    def told() -> bool:
        return any(event["reason"] == "Gone" for event in plane.objects("events", namespace="kopf"))

    wait_until("the event is there", told)
