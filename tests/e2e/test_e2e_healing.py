"""Processes that die come back, and changes reach a service while its clients notice nothing."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.plane import Container, Plane, alive, copies

CRASHER = """\
apiVersion: v1
kind: Pod
metadata: {name: crasher}
spec:
  containers:
    - {name: main, command: [sh, -c, "echo about to fail; exit 7"]}
"""


class Hammer:
    """A client that asks a Service's address again and again, on a new connection each time, until stopped."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self.answers: dict[str, int] = {}
        self.asked = 0
        self.failures: list[str] = []
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(3)]

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                connection = http.client.HTTPConnection(self._address, 80, timeout=10)
                connection.request("GET", "/")
                answer = connection.getresponse()
                text = answer.read().decode()
                connection.close()
                if answer.status != 200:
                    self.failures.append(f"HTTP {answer.status}")
                greeting = text.split(" from ")[0]
                self.answers[greeting] = self.answers.get(greeting, 0) + 1
                self.asked += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            self._over.wait(0.002)

    def stop(self) -> None:
        self._over.set()
        for thread in self.threads:
            thread.join(15)


@contextmanager
def hammering(plane: Plane) -> Iterator[Hammer]:
    service = plane.get("services", "web")
    assert service is not None
    hammer = Hammer(service["spec"]["clusterIP"])
    for thread in hammer.threads:
        thread.start()
    try:
        plane.wait("the client is answered", lambda: hammer.asked > 10)
        yield hammer
    finally:
        hammer.stop()
    assert hammer.failures == [], f"{len(hammer.failures)} of {hammer.asked} failed"


def restarts(plane: Plane, pod: str) -> int:
    tree = plane.get("pods", pod)
    return sum(status["restartCount"] for status in (tree or {}).get("status", {}).get("containerStatuses", ()))


def settled(plane: Plane, count: int) -> dict[str, list[Container]]:
    """The containers by name once there are `count`, of as many Pods, none of which is being deleted; else nothing."""
    pods = plane.objects("pods", "app=web")
    found = copies(plane.containers())
    staying = [tree for tree in pods if "deletionTimestamp" not in tree["metadata"]]
    return found if len(pods) == len(staying) == len(found) == count else {}


def waiting(plane: Plane, pod: str) -> dict[str, Any]:
    tree = plane.get("pods", pod) or {}
    statuses = tree.get("status", {}).get("containerStatuses") or [{}]
    found: dict[str, Any] = statuses[0].get("state", {}).get("waiting") or {}
    return found


def test_a_killed_process_comes_back_in_the_same_pod(hello: Plane) -> None:
    """The first promise: kill it, and it runs again; the others are left alone."""
    # A rollout is complete while old pods still end: killing one of those restarts nothing.
    before = hello.wait("only the three are left", lambda: settled(hello, 3))
    name, (victim,) = min(before.items())
    count = restarts(hello, victim.pod)
    os.kill(victim.pid, signal.SIGKILL)
    hello.wait("it is seen", lambda: restarts(hello, victim.pod) == count + 1)
    hello.wait("all are ready again", lambda: hello.rolled_out("web", 3))
    after = copies(hello.containers())
    assert {key: [c.pid for c in found] for key, found in after.items() if key != name} == {
        key: [c.pid for c in found] for key, found in before.items() if key != name
    }
    assert [c.pid for c in after[name]] != [victim.pid]
    assert len(after[name]) == 1
    hello.wait("it is told", lambda: "restarted 1" in hello.run("status").stdout)


def test_a_crash_loop_is_slowed_down_and_explained(live: Plane) -> None:
    """A loop without back-off eats the machine; one without an explanation eats the person's time."""
    (live.folder / "crasher.yaml").write_text(CRASHER)
    live.wait("it is in back-off", lambda: waiting(live, "crasher").get("reason") == "CrashLoopBackOff")
    live.wait("it is tried again", lambda: restarts(live, "crasher") >= 2)
    live.wait("and in back-off again", lambda: waiting(live, "crasher").get("reason") == "CrashLoopBackOff")
    assert restarts(live, "crasher") <= 3
    status = live.cli("status", code=1)
    assert "CrashLoopBackOff" in status
    assert "back-off" in status
    assert "CrashLoopBackOff" in live.cli("get", "pod", "crasher")
    described = live.cli("describe", "pod", "crasher")
    assert "Exit Code:   7" in described
    assert "BackOff" in described
    assert live.cli("logs", "crasher", "--previous").endswith("about to fail\n")
    (live.folder / "crasher.yaml").write_text(CRASHER.replace("about to fail; exit 7", "well; sleep 600"))
    problem = live.wait("a Pod's command cannot change: it is told", lambda: live.problem_of("crasher.yaml"))
    assert "spec" in problem["message"]


def test_a_program_that_does_not_exist_is_named(live: Plane) -> None:
    """A typing error in a command is the most frequent mistake of all."""
    (live.folder / "typo.yaml").write_text(
        CRASHER.replace("crasher", "typo").replace("[sh, -c, ", "[pythonn, ").replace("about", "")
    )
    live.wait("it is told", lambda: "pythonn" in live.run("status").stdout)


def test_a_deleted_pod_is_replaced(hello: Plane) -> None:
    """The count is the promise, not the pod."""
    victim = min(tree["metadata"]["name"] for tree in hello.objects("pods", "app=web"))
    with hammering(hello):
        hello.cli("delete", "pod", victim)
        hello.wait("another one is there", lambda: hello.rolled_out("web", 3) and hello.gone("pods", victim))
    hello.wait("its process is gone", lambda: victim not in {c.pod for c in hello.containers()})


def test_rollouts_and_scaling_fail_no_request_of_a_looping_client(hello: Plane) -> None:
    """Health-gated rolling updates: an edit of the file during work hours costs no user anything."""
    file = hello.folder / "web.yaml"
    original = file.read_text()
    with hammering(hello) as hammer:
        for greeting in ("Salve", "Servus", "Ahoj", "Hello"):
            file.write_text(original.replace("value: Hello", f"value: {greeting}"))
            hello.wait(f"{greeting} is applied", lambda g=greeting: g in str(hello.get("deployments", "web")))  # type: ignore[misc]
            hello.wait(f"{greeting} is rolled out", lambda: hello.rolled_out("web", 3), 20.0)
            asked = hammer.answers.get(greeting, 0)
            hello.wait("clients hear it", lambda g=greeting, n=asked: hammer.answers.get(g, 0) > n + 5)  # type: ignore[misc]
        file.write_text(original.replace("replicas: 3", "replicas: 5"))
        hello.wait("it is scaled up", lambda: hello.rolled_out("web", 5))
        file.write_text(original.replace("replicas: 3", "replicas: 1"))
        hello.wait("it is scaled down", lambda: hello.rolled_out("web", 1) and len(copies(hello.containers())) == 1)
        file.write_text(original)
        hello.wait("it is as before", lambda: hello.rolled_out("web", 3))
    assert hammer.asked > 200
    hello.wait("no process is left over", lambda: len(copies(hello.containers())) == 3)


def test_a_version_that_never_gets_ready_does_not_replace_the_one_that_works(hello: Plane) -> None:
    """A bad release must stop at its first pod."""
    file = hello.folder / "web.yaml"
    original = file.read_text()
    with hammering(hello):
        file.write_text(original.replace("command: [python3, server.py]", "command: [python3, nosuch.py]"))
        hello.wait("the new pod fails", lambda: "nosuch" in hello.run("status").stdout)
        tree = hello.get("deployments", "web")
        assert tree is not None
        assert tree["status"]["availableReplicas"] == 3
        file.write_text(original)
        hello.wait("the old version is complete again", lambda: hello.rolled_out("web", 3))


def test_processes_that_ignore_sigterm_are_killed_after_their_grace(live: Plane) -> None:
    """A stuck process must not keep a deletion waiting for ever, nor survive it."""
    (live.folder / "stubborn.yaml").write_text(
        """\
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, command: [sh, -c, "trap '' TERM; (trap '' TERM; setsid sleep 601) & sleep 602 & wait; sleep 603"]}
"""
    )
    live.wait("it runs", lambda: len([c for c in live.containers() if c.pod == "stubborn"]) >= 3)
    pids = [c.pid for c in live.containers() if c.pod == "stubborn"]
    (live.folder / "stubborn.yaml").unlink()
    live.wait("it is gone", lambda: live.gone("pods", "stubborn"), 8.0)
    assert not [pid for pid in pids if alive(pid)]
