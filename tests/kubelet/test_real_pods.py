"""Pods as real processes, through API, engine, kubelet and shims."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.resources.core import ConfigMap, Pod, Service
from reconcile.resources.kubelet.errors import NoSuchLogError
from reconcile.resources.kubelet.logs import LogQuery
from reconcile.resources.kubelet.settings import KubeletSettings

Cluster = AbstractAsyncContextManager[Any]  # Any: the conftest's Plane, which importlib mode keeps from being imported
MakePod = Callable[..., Tree]
FOREVER = ["sleep", "1000"]
FAST = KubeletSettings(backoff_s_first=0.1, backoff_s_max=0.4, termination_delay_s=0.0, vanished_grace_s=0.2, grace_s_min=0.1)


def is_ready(tree: Tree) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in tree["status"].get("conditions") or ())


def state(tree: Tree, kind: str = "containerStatuses") -> Tree:
    statuses: list[Tree] = tree["status"].get(kind) or [{}]
    return statuses[0]


def pids_of(command: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().replace(b"\0", b" ").strip().decode() == command:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def log_of(node: Any, name: str = "p", **options: Any) -> str:
    return b"".join([piece async for piece in node.logs("default", name, **options)]).decode()


async def until_log(node: Any, text: str, name: str = "p") -> str:
    async with asyncio.timeout(5):
        while True:
            try:
                shown = await log_of(node, name)
            except NoSuchLogError:
                shown = ""  # it has not started yet
            if text in shown:
                return shown
            await asyncio.sleep(0.01)


async def test_a_bound_pod_runs_and_says_so(plane: Cluster, make_pod: MakePod) -> None:
    """The whole point; and it is told with address, start and container id."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(FOREVER))
        pod = await cluster.until(is_ready)
        assert pod["status"]["phase"] == "Running"
        assert pod["status"]["podIP"].startswith(f"{cluster.net}.16.")
        assert state(pod)["containerID"].startswith("process://")
        assert "startedAt" in state(pod)["state"]["running"]


async def test_twenty_pods_start_beside_one_another(plane: Cluster, make_pod: MakePod, tmp_path: Path) -> None:
    """None waits for another one: each ends its start only when all twenty are there. (How fast it is, `bench up` tells.)"""
    there = tmp_path / "there"
    there.mkdir()
    wait = f"touch {there}/$0; until [ $(ls {there} | wc -l) = 20 ]; do sleep 0.02; done; touch {there}/all; exec sleep 600"
    probe = {"exec": {"command": ["test", "-e", f"{there}/all"]}, "periodSeconds": 1}
    async with plane as cluster:
        await cluster.start_kubelet()
        for i in range(20):
            tree = make_pod(["sh", "-c", wait, str(i)], f"p{i}")
            tree["spec"]["containers"][0]["readinessProbe"] = probe
            await cluster.create(tree)
        for i in range(20):
            await cluster.until(is_ready, f"p{i}")


async def test_a_crashed_container_comes_back_and_then_backs_off(plane: Cluster, make_pod: MakePod) -> None:
    """The first restart is at once; one that keeps crashing must not eat the machine."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sh", "-c", "exit 3"]))
        pod = await cluster.until(lambda p: state(p).get("restartCount", 0) >= 2)
        pod = await cluster.until(lambda p: (state(p)["state"].get("waiting") or {}).get("reason") == "CrashLoopBackOff")
        assert "back-off" in state(pod)["state"]["waiting"]["message"]
        assert state(pod)["lastState"]["terminated"]["exitCode"] == 3
        assert not is_ready(pod)


async def test_a_killed_process_is_replaced(plane: Cluster, make_pod: MakePod) -> None:
    """Self-healing, seen from outside."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1101"]))
        await cluster.until(is_ready)
        (pid,) = pids_of("sleep 1101")
        os.kill(pid, signal.SIGKILL)
        pod = await cluster.until(lambda p: state(p).get("restartCount") == 1 and is_ready(p))
        assert state(pod)["lastState"]["terminated"]["exitCode"] == 137
        assert len(pids_of("sleep 1101")) == 1


async def test_pods_that_end_are_succeeded_or_failed(plane: Cluster, make_pod: MakePod) -> None:
    """restartPolicy Never and OnFailure: what ended stays ended, with its exit code and its last words."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["true"], "good", spec={"restartPolicy": "OnFailure"}))
        script = "echo out of cheese; exit 4"
        await cluster.create(
            make_pod(
                ["sh", "-c", script], "bad", spec={"restartPolicy": "Never"}, terminationMessagePolicy="FallbackToLogsOnError"
            )
        )
        good = await cluster.until(lambda p: p["status"]["phase"] == "Succeeded", "good")
        bad = await cluster.until(lambda p: p["status"]["phase"] == "Failed", "bad")
        assert state(good)["state"]["terminated"]["reason"] == "Completed"
        assert state(bad)["state"]["terminated"]["exitCode"] == 4
        assert state(bad)["state"]["terminated"]["message"] == "out of cheese\n"


async def test_a_pod_is_ready_only_when_its_probe_says_so(plane: Cluster, make_pod: MakePod, tmp_path: Path) -> None:
    """A rolling update is gated by this; and good news must not wait for the next full period."""
    flag = tmp_path / "flag"
    async with plane as cluster:
        await cluster.start_kubelet(attrs.evolve(FAST, exec_probe_retry_s_first=0.05))
        probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 30}
        await cluster.create(make_pod(FOREVER, readinessProbe=probe))
        pod = await cluster.until(lambda p: "running" in state(p).get("state", {}))
        assert not is_ready(pod)
        flag.touch()
        await cluster.until(is_ready, limit_s=3)


async def test_an_http_server_is_probed_at_its_own_address(plane: Cluster, make_pod: MakePod) -> None:
    """POD_IP and PORT are how replicas of one server live on one machine; the probe must ask there."""
    server = (
        "import http.server, os; h = http.server; "
        "h.test(h.SimpleHTTPRequestHandler, port=int(os.environ['PORT']), bind=os.environ['POD_IP'])"
    )
    async with plane as cluster:
        await cluster.start_kubelet()
        probe = {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 30}
        for name in ("p", "q"):
            ports = [{"name": "web", "containerPort": 18080}]
            await cluster.create(make_pod([sys.executable, "-c", server], name, ports=ports, readinessProbe=probe))
        one, other = await cluster.until(is_ready), await cluster.until(is_ready, "q")
        assert one["status"]["podIP"] != other["status"]["podIP"]


async def test_a_container_that_fails_its_liveness_probe_is_restarted(plane: Cluster, make_pod: MakePod) -> None:
    """A process that hangs looks alive to everybody but the probe."""
    async with plane as cluster:
        await cluster.start_kubelet()
        probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
        await cluster.create(make_pod(FOREVER, livenessProbe=probe))
        pod = await cluster.until(lambda p: state(p).get("restartCount", 0) >= 1)
        assert state(pod)["lastState"]["terminated"]["exitCode"] == 143


async def test_a_deleted_pod_gets_its_hook_its_signal_and_its_goodbye(plane: Cluster, make_pod: MakePod, tmp_path: Path) -> None:
    """preStop first, then SIGTERM; the object is gone only when the process is."""
    notes = tmp_path / "notes"
    script = f"trap 'echo term >> {notes}; exit 0' TERM; echo up >> {notes}; while :; do sleep 0.02; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", f"echo hook >> {notes}"]}}}
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sh", "-c", script], lifecycle=hook))
        await cluster.until(is_ready)
        await cluster.eventually(notes.exists)
        await cluster.delete()
        await cluster.until_gone()
        assert notes.read_text().split() == ["up", "hook", "term"]


async def test_a_process_that_ignores_the_signal_is_killed_after_its_grace(plane: Cluster, make_pod: MakePod) -> None:
    """Grace is a promise to the others, too."""
    async with plane as cluster:
        node = await cluster.start_kubelet()
        await cluster.create(make_pod(["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.02; done"]))
        await until_log(node, "deaf")
        began = time.monotonic()
        await cluster.delete(grace_s=1)
        await cluster.until_gone()
        assert 0.9 < time.monotonic() - began < 4


async def test_a_force_deleted_pod_is_killed(plane: Cluster, make_pod: MakePod) -> None:
    """No object, no process: whatever the way in which the object went."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1102"]))
        await cluster.until(is_ready)
        await cluster.delete(grace_s=0)
        await cluster.eventually(lambda: not pids_of("sleep 1102"))


async def test_a_new_kubelet_takes_over_what_runs(plane: Cluster, make_pod: MakePod) -> None:
    """An upgrade of the control plane must not restart anybody, lose an exit code, or start a second copy."""
    async with plane as cluster:
        first = await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1103"], "stays"))
        await cluster.create(make_pod(["sh", "-c", "sleep 0.4; exit 7"], "ends", spec={"restartPolicy": "Never"}))
        await cluster.create(make_pod(["sleep", "1104"], "goes"))
        for name in ("stays", "ends", "goes"):
            before = await cluster.until(is_ready, name)
        before = await cluster.pod("stays")
        pids = pids_of("sleep 1103")
        await cluster.drop_kubelet(first)
        await cluster.delete("goes", grace_s=0)
        assert pids_of("sleep 1104"), "without a kubelet nobody touches it"
        await asyncio.sleep(0.5)
        await cluster.start_kubelet()
        ended = await cluster.until(lambda p: p["status"]["phase"] == "Failed", "ends")
        assert state(ended)["state"]["terminated"]["exitCode"] == 7
        await cluster.eventually(lambda: not pids_of("sleep 1104"))
        after = await cluster.pod("stays")
        assert pids_of("sleep 1103") == pids
        assert after["status"]["podIP"] == before["status"]["podIP"]
        assert state(after)["restartCount"] == 0
        assert is_ready(after)


async def test_stopping_the_kubelet_with_its_pods_leaves_no_process_and_says_so(plane: Cluster, make_pod: MakePod) -> None:
    """Ctrl-C: everything ends in order, and the next `up` starts it again."""
    async with plane as cluster:
        first = await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1105"]))
        await cluster.until(is_ready)
        await cluster.drop_kubelet(first, stop_pods=True)
        assert pids_of("sleep 1105") == []
        assert not is_ready(await cluster.pod())
        await cluster.start_kubelet()
        await cluster.until(is_ready)
        assert len(pids_of("sleep 1105")) == 1


async def test_environment_volumes_and_working_directory_reach_the_process(
    plane: Cluster, make_pod: MakePod, tmp_path: Path
) -> None:
    """What the spec says is what the process sees; nothing of the control plane's own environment leaks in."""
    os.environ["RECONCILE_TEST_SECRET"] = "leak"
    script = (
        'echo "$GREETING|$POD_IP|$PORT|$WEB_SERVICE_HOST|$RECONCILE_TEST_SECRET|$(cat /etc/app/motd)|$(pwd)"; exec sleep 1000'
    )
    env = [
        {"name": "WHO", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "who"}}},
        {"name": "GREETING", "value": "hello $(WHO)"},
    ]
    service = {"metadata": {"name": "web"}, "spec": {"clusterIP": "127.200.0.9", "ports": [{"port": 80}]}}
    async with plane as cluster:
        node = await cluster.start_kubelet()
        await cluster.create({"metadata": {"name": "settings"}, "data": {"who": "world", "motd": "be kind"}}, ConfigMap)
        await cluster.create(service, Service)
        await cluster.create(
            make_pod(
                ["sh", "-c", script], env=env, ports=[{"containerPort": 1234}],
                volumeMounts=[{"name": "files", "mountPath": "/etc/app"}],
                spec={"volumes": [{"name": "files", "configMap": {"name": "settings"}}]},
                meta={"annotations": {"reconcile.dev/source-dir": str(tmp_path)}},
            )
        )  # fmt: skip  # a pod reads better packed
        pod = await cluster.until(is_ready)
        shown = await until_log(node, "hello")
        assert shown == f"hello world|{pod['status']['podIP']}|1234|127.200.0.9||be kind|{tmp_path}\n"


async def test_probes_and_hooks_find_what_is_mounted_where_the_pod_says(plane: Cluster, make_pod: MakePod) -> None:
    """Their commands name the same paths as the container's own, after a restart of the kubelet too."""
    probe = {"exec": {"command": ["sh", "-c", "cat /data/ready /data/hooked"]}, "periodSeconds": 1}
    hook = {"postStart": {"exec": {"command": ["touch", "/data/hooked"]}}}
    script = "touch /data/ready; exec sleep 1000"
    async with plane as cluster:
        node = await cluster.start_kubelet()
        await cluster.create(
            make_pod(
                ["sh", "-c", script], volumeMounts=[{"name": "data", "mountPath": "/data"}], readinessProbe=probe,
                lifecycle=hook, spec={"volumes": [{"name": "data", "emptyDir": {}}]},
            )
        )  # fmt: skip  # a pod reads better packed
        await cluster.until(is_ready)
        ready_file = next(cluster.folder.rglob("ready"))
        ready_file.unlink()
        await cluster.until(lambda pod: not is_ready(pod))
        await cluster.drop_kubelet(node)
        await cluster.start_kubelet()
        ready_file.touch()
        await cluster.until(is_ready)


async def test_a_changed_config_map_reaches_a_running_pod(plane: Cluster, make_pod: MakePod) -> None:
    """Without a restart, all files at once, within one event."""
    script = 'cd "$VOLUME_FILES"; while :; do cat motd; sleep 0.02; done'
    async with plane as cluster:
        node = await cluster.start_kubelet()
        await cluster.create({"metadata": {"name": "settings"}, "data": {"motd": "old\n"}}, ConfigMap)
        mounts = [{"name": "files", "mountPath": "/etc/app"}]
        volumes = [{"name": "files", "configMap": {"name": "settings"}}]
        await cluster.create(make_pod(["sh", "-c", script], volumeMounts=mounts, spec={"volumes": volumes}))
        await until_log(node, "old")
        await cluster.patch("settings", {"data": {"motd": "new\n"}})
        await until_log(node, "new")
        assert state(await cluster.pod())["restartCount"] == 0


async def test_a_missing_config_map_is_waited_for(plane: Cluster, make_pod: MakePod) -> None:
    """Files of one folder arrive in any order: the pod starts the moment its ConfigMap is there, not at the next retry."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(FOREVER, envFrom=[{"configMapRef": {"name": "late"}}]))
        pod = await cluster.until(
            lambda p: (state(p).get("state", {}).get("waiting") or {}).get("reason") == "CreateContainerConfigError"
        )
        assert state(pod)["state"]["waiting"]["message"] == 'configmap "late" not found'
        await cluster.create({"metadata": {"name": "late"}, "data": {"A": "1"}}, ConfigMap)
        await cluster.until(is_ready, limit_s=2)


async def test_an_image_without_a_command_waits_with_advice(plane: Cluster, make_pod: MakePod) -> None:
    """The commonest surprise of process mode must explain itself."""
    async with plane as cluster:
        await cluster.start_kubelet(attrs.evolve(FAST, images={"sleeper": FOREVER}))
        await cluster.create(make_pod(None, image="nginx:1.27"))
        await cluster.create(make_pod(None, "known", image="sleeper:2"))
        pod = await cluster.until(lambda p: "waiting" in state(p).get("state", {}))
        assert state(pod)["state"]["waiting"]["reason"] == "ImageNeedsContainerRuntime"
        assert "Set `command`" in state(pod)["state"]["waiting"]["message"]
        await cluster.until(is_ready, "known")


async def test_a_command_that_does_not_exist_says_so(plane: Cluster, make_pod: MakePod) -> None:
    """A typo is found by reading the pod's status."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["no-such-program"]))
        pod = await cluster.until(lambda p: (state(p).get("state", {}).get("waiting") or {}).get("reason") == "CrashLoopBackOff")
        assert "command not found" in state(pod)["state"]["waiting"]["message"]


async def test_init_containers_come_first_and_a_sidecar_beside(plane: Cluster, make_pod: MakePod, tmp_path: Path) -> None:
    """The order is the promise: each init container ends before the next begins; a sidecar does not keep a pod alive."""
    notes = tmp_path / "notes"
    say = f"echo $NAME >> {notes}"
    inits: list[Tree] = [
        {"name": "first", "command": ["sh", "-c", "sleep 0.1; " + say], "env": [{"name": "NAME", "value": "first"}]},
        {"name": "beside", "command": ["sh", "-c", say + "; exec sleep 1000"], "env": [{"name": "NAME", "value": "beside"}],
         "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["grep", "beside", str(notes)]}}},
    ]  # fmt: skip  # a pod reads better packed
    spec = {"initContainers": inits, "restartPolicy": "Never"}
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sh", "-c", say], env=[{"name": "NAME", "value": "main"}], spec=spec))
        await cluster.until(lambda p: p["status"]["phase"] == "Succeeded")
        assert notes.read_text().split() == ["first", "beside", "main"]


async def test_what_waits_for_an_init_container_says_so(plane: Cluster, make_pod: MakePod) -> None:
    """Further init containers too: none of them is being created yet."""
    inits: list[Tree] = [{"name": "broken", "command": ["false"]}, {"name": "second", "command": ["true"]}]
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["true"], spec={"initContainers": inits}))
        pod = await cluster.until(lambda p: (p["status"].get("initContainerStatuses") or [{}])[0].get("restartCount", 0) >= 1)
        (_, second), (main,) = pod["status"]["initContainerStatuses"], pod["status"]["containerStatuses"]
        assert [each["state"]["waiting"]["reason"] for each in (second, main)] == ["PodInitializing"] * 2


async def test_a_pod_past_its_deadline_fails(plane: Cluster, make_pod: MakePod) -> None:
    """activeDeadlineSeconds bounds what a stuck job costs."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1106"], spec={"activeDeadlineSeconds": 1}))
        pod = await cluster.until(lambda p: p["status"]["phase"] == "Failed")
        assert pod["status"]["reason"] == "DeadlineExceeded"
        assert pids_of("sleep 1106") == []


async def test_a_pod_that_does_not_fit_is_refused_and_one_that_ran_is_not(plane: Cluster, make_pod: MakePod) -> None:
    """Who names a node goes around the scheduler, but not around the node."""
    async with plane as cluster:
        node = await cluster.start_kubelet()
        port = {"ports": [{"containerPort": 1107, "hostPort": 1107}]}
        await cluster.create(make_pod(["sleep", "1107"], name="first", **port))
        await cluster.until(is_ready, "first")
        await cluster.create(make_pod(["sleep", "1108"], name="second", **port))
        refused = await cluster.until(lambda p: p["status"]["phase"] == "Failed", "second")
        assert refused["status"]["reason"] == "NodePorts"
        assert refused["status"]["message"].startswith("Pod was rejected: Predicate NodePorts failed")
        assert refused["status"].get("containerStatuses") is None
        greedy = {"resources": {"requests": {"cpu": "9000"}}}
        await cluster.create(make_pod(["sleep", "1109"], name="third", **greedy))
        assert (await cluster.until(lambda p: p["status"]["phase"] == "Failed", "third"))["status"]["reason"] == "OutOfcpu"
        await cluster.drop_kubelet(node)
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1110"], name="fourth", **port))
        await cluster.until(lambda p: p["status"]["phase"] == "Failed", "fourth")
        assert is_ready(await cluster.pod("first"))
        assert len(pids_of("sleep 1107")) == 1
        assert pids_of("sleep 1108") == pids_of("sleep 1110") == []
        for name in ("first", "second"):
            await cluster.delete(name)
            await cluster.until_gone(name)
        await cluster.create(make_pod(["sleep", "1111"], name="fifth", **port))
        await cluster.until(is_ready, "fifth")


async def test_logs_of_the_previous_instance_are_kept(plane: Cluster, make_pod: MakePod) -> None:
    """Why it crashed stands in the log of the one before."""
    async with plane as cluster:
        node = await cluster.start_kubelet()
        await cluster.create(make_pod(["sh", "-c", "echo last words; sleep 0.2; exit 1"]))
        await cluster.until(lambda p: state(p).get("restartCount") == 1)
        previous = await log_of(node, previous=True)
        assert previous == "last words\n"
        assert await log_of(node, previous=True, query=LogQuery(tail_lines=0)) == ""


async def test_a_killed_shim_costs_a_restart_and_nothing_else(plane: Cluster, make_pod: MakePod) -> None:
    """The shim's death kills what it ran; the pod comes back with its address, and the loss is told as what it is."""
    async with plane as cluster:
        node = await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1107"]))
        before = await cluster.until(is_ready)
        sandboxes = await node._host.runtime.list()
        os.kill(sandboxes[0].pid, signal.SIGKILL)
        after = await cluster.until(lambda p: state(p).get("restartCount") == 1 and is_ready(p))
        assert after["status"]["podIP"] == before["status"]["podIP"]
        assert state(after)["lastState"]["terminated"]["exitCode"] == 137
        assert len(pids_of("sleep 1107")) == 1


async def test_pods_that_are_changed_while_they_start_and_stop_leave_nothing_behind(plane: Cluster, make_pod: MakePod) -> None:
    """Deleting a pod at any moment of its life must end in nothing: no object, no process, no folder."""
    async with plane as cluster:
        node = await cluster.start_kubelet()
        for i in range(24):
            await cluster.create(make_pod(["sleep", "1108"], f"p{i}"))
            if i % 3 == 0:
                await asyncio.sleep(0.005 * (i % 8))
            await cluster.delete(f"p{i}", grace_s=0 if i % 4 == 0 else 1)
        for i in range(24):
            await cluster.until_gone(f"p{i}")
        await cluster.eventually(lambda: not pids_of("sleep 1108"))

        async def no_sandbox() -> bool:
            return not await node._host.runtime.list()

        await cluster.eventually(no_sandbox)
        await cluster.eventually(lambda: not list((cluster.folder / "kubelet" / "pods").iterdir()))


async def test_a_changed_image_restarts_only_its_container(plane: Cluster, make_pod: MakePod) -> None:
    """The one field of a container that may change; its neighbours run on."""
    async with plane as cluster:
        await cluster.start_kubelet(attrs.evolve(FAST, images={"one": ["sleep", "1109"], "two": ["sleep", "1110"]}))
        neighbour: Tree = {"name": "n", "command": ["sleep", "1111"]}
        mine: Tree = {"name": "c", "image": "one"}
        await cluster.create(make_pod(None, spec={"containers": [mine, neighbour]}))
        await cluster.until(is_ready)
        pid = pids_of("sleep 1111")
        await cluster.patch("p", {"spec": {"containers": [{**mine, "image": "two"}, neighbour]}}, Pod)
        await cluster.until(lambda p: state(p).get("restartCount") == 1 and is_ready(p))
        assert pids_of("sleep 1109") == []
        assert len(pids_of("sleep 1110")) == 1
        assert pids_of("sleep 1111") == pid


async def test_a_followed_log_comes_as_it_is_written_and_ends_with_the_container(plane: Cluster, make_pod: MakePod) -> None:
    """`logs -f` of a job must come back by itself."""
    async with plane as cluster:
        node = await cluster.start_kubelet()
        script = "echo one; sleep 0.3; echo two"
        await cluster.create(make_pod(["sh", "-c", script], spec={"restartPolicy": "Never"}))
        await until_log(node, "one")
        pieces = [piece async for piece in node.logs("default", "p", follow=True)]
        assert b"".join(pieces) == b"one\ntwo\n"
        assert len(pieces) > 1


async def test_metrics_tell_what_a_busy_pod_uses(plane: Cluster, make_pod: MakePod) -> None:
    """The figures of `top` are real ones."""
    async with plane as cluster:
        node = await cluster.start_kubelet()
        await cluster.create(make_pod(["sh", "-c", "while :; do :; done"], meta={"labels": {"app": "busy"}}))
        await cluster.until(is_ready)
        await node.metrics()
        await asyncio.sleep(0.4)
        (usage,) = await node.metrics()
        assert usage.labels == {"app": "busy"}, "what is measured is selected by them"
        assert (usage.namespace, usage.name) == ("default", "p")
        assert 0.1 < usage.cpu_cores < 1.5
        assert usage.memory_bytes > 0


async def test_pods_that_are_kept_run_on_without_a_kubelet(plane: Cluster, make_pod: MakePod) -> None:
    """Letting go is not stopping: also a probe that finds its runtime gone must not end anybody."""
    async with plane as cluster:
        first = await cluster.start_kubelet()
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1}
        await cluster.create(make_pod(["sleep", "1112"], livenessProbe=probe))
        await cluster.until(is_ready)
        pid = pids_of("sleep 1112")
        await first.close(stop_pods=False)
        await asyncio.sleep(0.2)
        await cluster.engine.stop(first.operator)
        cluster.kubelets.remove(first)
        assert pids_of("sleep 1112") == pid
        await cluster.start_kubelet()
        await cluster.until(lambda p: is_ready(p) and state(p)["restartCount"] == 0)
        assert pids_of("sleep 1112") == pid
