"""kubectl exec, cp, attach, run and port-forward against real processes, over WebSockets and as older kubectls do, over SPDY."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.plane import Plane, wait_until

BINARY = os.environ.get("RECONCILE_TEST_KUBECTL") or shutil.which("kubectl", path=str(Path(sys.executable).parent))
pytestmark = [pytest.mark.outside, pytest.mark.skipif(BINARY is None, reason="there is no kubectl")]
SERVER = (
    "import http.server, os, sys\n"
    "os.chdir(os.environ['TMPDIR'])\n"
    "open('index.html', 'w').write('served by ' + os.environ['POD_NAME'] + chr(10))\n"
    "http.server.ThreadingHTTPServer((os.environ['POD_IP'], 8080), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
)


def pod(name: str, *command: str, **container: Any) -> dict[str, Any]:
    spec = {"name": "main", "command": list(command), **container}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [spec]},
    }  # fmt: skip


@attrs.frozen
class Kubectl:
    """The real kubectl, speaking one of its two protocols."""

    plane: Plane
    folder: Path
    env: dict[str, str]

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        assert BINARY is not None
        return subprocess.Popen([BINARY, *arguments], env=self.env, cwd=self.folder, stdout=-1, stderr=-1, stdin=-1, **options)

    def __call__(self, *arguments: str, code: int = 0, stdin: bytes = b"") -> str:
        done = self.start(*arguments)
        out, err = done.communicate(stdin, timeout=40)
        text = f"{out.decode()}{err.decode()}"
        assert done.returncode == code, f"kubectl {' '.join(arguments)} -> {done.returncode}\n{text}"
        return text


@pytest.fixture
def plain(live_plane: Plane, tmp_path: Path) -> Kubectl:
    """kubectl for what is no stream."""
    return Kubectl(
        live_plane, tmp_path, {**os.environ, "KUBECONFIG": str(live_plane.data_dir / "kubeconfig"), "HOME": str(tmp_path)}
    )  # fmt: skip


@pytest.fixture(params=["websocket", "spdy"])
def kubectl(request: pytest.FixtureRequest, plain: Kubectl) -> Kubectl:
    """kubectl in each of the protocols that it speaks."""
    websockets = "true" if request.param == "websocket" else "false"
    switches = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets}
    return attrs.evolve(plain, env={**plain.env, **switches})


@pytest.fixture(scope="module")
def server(live_plane: Plane) -> Iterator[str]:
    """A Pod that serves a page on port 8080 of its address, with a Service before it; gives its name."""
    ready = {"tcpSocket": {"port": "web"}}
    ports = [{"containerPort": 8080, "name": "web"}]
    live_plane.create("pods", pod("server", sys.executable, "-c", SERVER, ports=ports, readinessProbe=ready))
    port = {"port": 80, "targetPort": "web"}
    live_plane.create("services", {"metadata": {"name": "server"}, "spec": {"selector": {"app": "server"}, "ports": [port]}})
    live_plane.wait("the server is ready", lambda: ready_endpoints(live_plane, "server"))
    yield "server"
    for kind in ("pods", "services"):
        live_plane.api.ask("DELETE", f"/api/v1/namespaces/default/{kind}/server")


def ready_endpoints(plane: Plane, service: str) -> bool:
    """Whether the Service has a Pod that is ready, which is then known everywhere."""
    slices = plane.objects("endpointslices", f"kubernetes.io/service-name={service}")
    return any(each["conditions"].get("ready") for tree in slices for each in tree.get("endpoints") or ())


def running(plane: Plane, name: str) -> bool:
    tree = plane.get("pods", name)
    return tree is not None and tree.get("status", {}).get("phase") == "Running"


def test_exec_passes_output_input_and_exit_code_on(kubectl: Kubectl, server: str) -> None:
    said = kubectl("exec", server, "--", "sh", "-c", "echo out; echo err >&2; echo $POD_NAME; exit 3", code=3)
    assert "out\nserver\nerr\n" in said
    assert "command terminated with exit code 3" in said
    assert kubectl("exec", "-i", server, "--", "cat", stdin=b"some input\n") == "some input\n"
    data = os.urandom(300_000).hex().encode()
    assert kubectl("exec", "-i", "deploy/nosuch", "--", "cat", code=1, stdin=data).count("not found") == 1
    assert kubectl("exec", "-i", server, "--", "wc", "-c", stdin=data).split() == ["600000"]
    # The command ends while its input is still coming: what it said last must not be lost with the rest.
    assert kubectl("exec", "-i", server, "--", "head", "-c", "5", stdin=b"hello" * 1_000_000).startswith("hello")


def test_exec_says_why_it_cannot(kubectl: Kubectl, server: str) -> None:
    assert "no 'nosuch' in PATH" in kubectl("exec", server, "--", "nosuch", code=1)
    assert "container other is not valid for pod server" in kubectl("exec", server, "-c", "other", "--", "true", code=1)
    assert 'pods "nosuch" not found' in kubectl("exec", "nosuch", "--", "true", code=1)


def test_exec_with_a_terminal_has_one(kubectl: Kubectl, server: str) -> None:
    """`script` gives kubectl the terminal that it asks for."""
    command = f"{BINARY} exec -it {server} -- sh -c 'test -t 0 && echo term=$TERM'"
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], env=kubectl.env, capture_output=True, timeout=40, check=True, input=b""
    )
    assert b"term=xterm" in done.stdout


def test_a_killed_kubectl_leaves_no_command_behind(kubectl: Kubectl, server: str) -> None:
    plane = kubectl.plane
    talking = kubectl.start("exec", server, "--", "sh", "-c", "trap '' HUP; echo up; while :; do sleep 0.1; done")
    assert talking.stdout is not None
    assert talking.stdout.readline() == b"up\n"
    looping = [c for c in plane.containers() if "trap '' HUP" in " ".join(c.argv)]
    assert looping
    talking.kill()
    talking.communicate()
    plane.wait("the command is gone", lambda: not any("trap '' HUP" in " ".join(c.argv) for c in plane.containers()))


def test_cp_copies_both_ways(kubectl: Kubectl, server: str) -> None:
    data = os.urandom(1_000_000)
    (kubectl.folder / "there").write_bytes(data)
    kubectl("cp", "there", f"{server}:{kubectl.folder}/copied")
    assert (kubectl.folder / "copied").read_bytes() == data
    kubectl("cp", f"{server}:{kubectl.folder}/copied", "back")
    assert (kubectl.folder / "back").read_bytes() == data
    kubectl("cp", f"{server}:{kubectl.folder}", "whole")
    assert (kubectl.folder / "whole" / "there").read_bytes() == data


def test_attach_and_run_talk_to_the_first_process(kubectl: Kubectl) -> None:
    plane = kubectl.plane
    plane.create("pods", pod("talker", "sh", "-c", "while read line; do echo got $line; done", stdin=True))
    try:
        plane.wait("the talker runs", lambda: running(plane, "talker"))
        attached = kubectl.start("attach", "-i", "talker")
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write(b"this\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"got this\n"
        attached.send_signal(signal.SIGINT)
        attached.communicate(timeout=20)
    finally:
        plane.api.ask("DELETE", "/api/v1/namespaces/default/pods/talker", None, {"gracePeriodSeconds": 0})
    options = ("--image=none", "--restart=Never", "--rm", "-i", "--command")
    said = kubectl("run", "once", *options, "--", "sh", "-c", "cat; echo over; exit 7", stdin=b"text\n", code=7)
    assert "text\nover\n" in said
    plane.wait("the pod is gone", lambda: plane.gone("pods", "once"))


def test_port_forward_reaches_pods_and_services(kubectl: Kubectl, server: str) -> None:
    forwarding = kubectl.start("port-forward", f"service/{server}", ":80", "--address", "127.0.0.1")
    assert forwarding.stdout is not None
    try:
        line = forwarding.stdout.readline().decode()
        found = re.search(r"127\.0\.0\.1:(\d+) -> 8080", line)
        assert found, line
        for _ in range(5):
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=20) as answer:
                assert answer.read() == b"served by server\n"
    finally:
        forwarding.send_signal(signal.SIGINT)
        forwarding.communicate(timeout=20)


def test_port_forward_to_where_nothing_listens_says_so(kubectl: Kubectl, server: str) -> None:
    forwarding = kubectl.start("port-forward", f"pod/{server}", ":9", "--address", "127.0.0.1")
    assert forwarding.stdout is not None
    port = forwarding.stdout.readline().decode().partition("127.0.0.1:")[2].split()[0]
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20)
    _out, err = forwarding.communicate(timeout=20)  # kubectl gives up at the first refusal
    assert b"Connection refused" in err


def test_streams_of_a_pod_that_is_not_there_or_not_running_are_refused(kubectl: Kubectl) -> None:
    plane = kubectl.plane
    plane.create(
        "pods", pod("over", "true") | {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "command": ["true"]}]}}
    )
    try:
        wait_until("the pod is over", lambda: (plane.get("pods", "over") or {}).get("status", {}).get("phase") == "Succeeded")
        assert "current phase is Succeeded" in kubectl("exec", "over", "--", "true", code=1)
        assert "current phase is Succeeded" in kubectl("attach", "over", code=1)
        assert "not running" in kubectl("port-forward", "over", "80", code=1)
    finally:
        plane.api.ask("DELETE", "/api/v1/namespaces/default/pods/over")


def test_get_raw_looks_through_the_proxies_of_pods_services_and_nodes(plain: Kubectl, server: str) -> None:
    """The name may say scheme and port."""
    at = "/api/v1/namespaces/default"
    for what in ("pods/server", "pods/server:8080", "services/server", "services/http:server:80", "pods/http:server:8080"):
        assert plain("get", "--raw", f"{at}/{what}/proxy/index.html") == "served by server\n"
    assert "NotFound" in plain("get", "--raw", f"{at}/pods/server/proxy/nosuch", code=1)
    assert 'no service port "81" found' in plain("get", "--raw", f"{at}/services/server:81/proxy/", code=1)
    assert "invalid request" in plain("get", "--raw", f"{at}/pods/a:b:c:d/proxy/", code=1)
    node = plain.plane.objects("nodes", namespace="")[0]["metadata"]["name"]
    assert plain("get", "--raw", f"/api/v1/nodes/{node}/proxy/healthz") == "ok"
    assert 'nodes "nosuch" not found' in plain("get", "--raw", "/api/v1/nodes/nosuch/proxy/healthz", code=1)


def test_top_tells_what_pods_and_nodes_use(plain: Kubectl, server: str) -> None:
    lines = plain("top", "pods").splitlines()
    assert lines[0].split() == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
    used = dict(line.split()[::2] for line in lines[1:])
    assert int(used[server].removesuffix("Mi")) > 1
    assert "CPU(%)" in plain("top", "nodes")


def test_debug_adds_a_container_to_a_running_pod(kubectl: Kubectl, server: str) -> None:
    """It is started beside the others, can be talked to, and changes nothing about them."""
    plane = kubectl.plane
    name = "look-" + kubectl.env["KUBECTL_REMOTE_COMMAND_WEBSOCKETS"]
    before = plane.get("pods", server)
    assert before is not None
    arguments = ("debug", server, "--image=none", "-i", "-c", name, "--", "sh", "-c", "read x; echo $POD_NAME got $x; exit 3")
    assert "server got this" in kubectl(*arguments, stdin=b"this\n")

    def ended() -> Any:
        listed = (plane.get("pods", server) or {})["status"].get("ephemeralContainerStatuses") or ()
        return next((each["state"].get("terminated") for each in listed if each["name"] == name), None)

    assert plane.wait("its end is told", ended)["exitCode"] == 3
    after = plane.get("pods", server)
    assert after is not None
    assert after["status"]["phase"] == "Running"
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    assert "server got this" in kubectl("logs", server, "-c", name)
    removal = ("--subresource=ephemeralcontainers", "--type=merge", "-p", '{"spec":{"ephemeralContainers":[]}}')
    assert "may not be removed" in kubectl("patch", "pod", server, *removal, code=1)


def test_logs_takes_every_option(plain: Kubectl) -> None:
    plane = plain.plane
    script = "echo first; echo wrong >&2; sleep 0.2; echo last"
    two = [{"name": name, "command": ["sh", "-c", script]} for name in ("a", "b")]
    labels = {"app": "speaker"}
    plane.create(
        "pods", {"metadata": {"name": "speaker", "labels": labels}, "spec": {"restartPolicy": "Never", "containers": two}}
    )
    try:
        plane.wait("it has spoken", lambda: (plane.get("pods", "speaker") or {}).get("status", {}).get("phase") == "Succeeded")
        assert plain("logs", "speaker", "-c", "a") == "first\nwrong\nlast\n"
        assert plain("logs", "speaker", "-c", "a", "--tail=1") == "last\n"
        assert plain("logs", "speaker", "-c", "b", "--limit-bytes=3") == "fir"
        assert plain("logs", "speaker", "-c", "a", "-f", "--since=1h") == "first\nwrong\nlast\n"
        assert plain("logs", "speaker", "-c", "a", "--since-time=2100-01-01T00:00:00Z") == ""
        stamped = plain("logs", "speaker", "-c", "a", "--timestamps").splitlines()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z first", stamped[0])
        assert plain("logs", "speaker", "--all-containers", "--prefix").count("[pod/speaker/b] ") == 3
        assert plain("logs", "-l", "app=speaker", "--all-containers", "--tail=1") == "last\nlast\n"
        assert 'previous terminated container "a" in pod "speaker" not found' in plain("logs", "speaker", "-c", "a", "-p", code=1)
        assert "container x is not valid for pod speaker" in plain("logs", "speaker", "-c", "x", code=1)
        path = "/api/v1/namespaces/default/pods/speaker/log"
        assert "choose one of: [a b]" in plain("get", "--raw", path, code=1)
        assert plain("get", "--raw", f"{path}?container=a&stream=Stderr") == "wrong\n"
    finally:
        plane.api.ask("DELETE", "/api/v1/namespaces/default/pods/speaker")


def test_a_pod_is_bound_by_a_post_of_a_binding(plain: Kubectl) -> None:
    """Schedulers that are not ours do it either way."""
    plane = plain.plane
    node = plane.objects("nodes", namespace="")[0]["metadata"]["name"]
    tree = pod("unbound", "sleep", "100")
    tree["spec"]["schedulerName"] = "nobody"
    plane.create("pods", tree)
    try:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "unbound"},
            "target": {"kind": "Node", "name": node},
        }
        assert plane.api.ask("POST", "/api/v1/namespaces/default/bindings", None, binding)["status"] == "Success"
        plane.wait("it runs", lambda: running(plane, "unbound"))
        assert "bindings" in plain("api-resources", "--namespaced", "-o", "name").split()
    finally:
        plane.api.ask("DELETE", "/api/v1/namespaces/default/pods/unbound")
