"""reconcile exec, attach and port-forward, as a person calls them, against samples/hello."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import urllib.request

from tests.plane import COMMAND, Plane


def start(plane: Plane, *arguments: str, **options: int) -> subprocess.Popen[bytes]:
    env = {**plane.env, "RECONCILE_HOME": str(plane.data_dir), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([*COMMAND, *arguments], env=env, stdin=-1, stdout=-1, stderr=-1)


def test_exec_runs_a_command_and_ends_with_its_code(hello: Plane) -> None:
    pod = hello.objects("pods", "app=web")[0]["metadata"]["name"]
    assert hello.cli("exec", pod, "--", "sh", "-c", "echo $POD_NAME") == f"{pod}\n"
    done = hello.run("exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert hello.cli("exec", "-i", "deploy/web", "--", "tr", "a-z", "A-Z", stdin="shout\n") == "SHOUT\n"
    large = "x" * 3_000_000
    assert hello.cli("exec", "-i", pod, "--", "cat", stdin=large) == large


def test_exec_says_what_is_wrong(hello: Plane) -> None:
    pod = hello.objects("pods", "app=web")[0]["metadata"]["name"]
    assert "no 'nosuch' in PATH" in hello.cli("exec", pod, "--", "nosuch", code=1)
    assert "after `--`" in hello.cli("exec", pod, code=2)
    assert 'pods "nosuch" not found' in hello.cli("exec", "nosuch", "--", "true", code=1)
    assert "container other is not valid" in hello.cli("exec", "-c", "other", pod, "--", "true", code=1)


def test_exec_with_a_terminal_passes_keys_and_size_on(hello: Plane) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        env = {**hello.env, "RECONCILE_HOME": str(hello.data_dir)}
        script = "stty -echo; echo up; read x; echo got $x"
        os.execve(COMMAND[0], [*COMMAND, "exec", "-it", "deploy/web", "--", "sh", "-c", script], env)
    said = b""
    while b"up" not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, b"this\r")
    try:
        while chunk := os.read(terminal, 1000):
            said += chunk
    except OSError:  # the terminal's other end is closed
        pass
    assert b"got this" in said
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def test_attach_prints_what_a_container_says(hello: Plane) -> None:
    container = {"name": "main", "command": ["sh", "-c", 'while read line; do echo "got $line"; done'], "stdin": True}
    hello.create("pods", {"metadata": {"name": "echo"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}})
    try:
        hello.wait("it runs", lambda: (hello.get("pods", "echo") or {}).get("status", {}).get("phase") == "Running")
        attached = start(hello, "attach", "-i", "echo")
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write(b"this\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"got this\n"
        attached.send_signal(signal.SIGINT)
        attached.communicate(timeout=20)
        assert attached.returncode == 130
        pod = hello.objects("pods", "app=web")[0]["metadata"]["name"]
        assert "needs `stdin: true`" in hello.cli("attach", "-i", pod, code=1)
    finally:
        hello.api.ask("DELETE", "/api/v1/namespaces/default/pods/echo")


def test_port_forward_leads_to_a_pods_port(hello: Plane) -> None:
    forwarding = start(hello, "port-forward", "svc/web", ":80")
    assert forwarding.stdout is not None
    try:
        found = re.search(r"127\.0\.0\.1:(\d+) leads to port (\d+)", forwarding.stdout.readline().decode())
        assert found
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=20) as answer:
                assert answer.read().startswith(b"Hello from web-")
    finally:
        forwarding.send_signal(signal.SIGINT)
        forwarding.communicate(timeout=20)
    assert forwarding.returncode == 130
    assert "has no port '81'" in hello.cli("port-forward", "svc/web", "81", code=1)
    assert "has no port 'x'" in hello.cli("port-forward", "deploy/web", "x", code=1)
