"""The streams of the kubernetes Python client, which speaks older protocols than kubectl: exec and port-forward."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.plane import Plane

SCRIPT = Path(__file__).with_name("python_streams.py")


@pytest.mark.outside
@pytest.mark.parametrize("flow", ["run_commands", "forward_a_port", "forward_to_where_nothing_listens", "look_through_proxies"])
def test_a_flow_of_the_python_client_ends_well(hello: Plane, flow: str) -> None:
    pod = hello.objects("pods", "app=web")[0]
    port = pod["spec"]["containers"][0]["ports"][0]["containerPort"]
    arguments = [str(hello.data_dir / "kubeconfig"), pod["metadata"]["name"], str(port), flow]
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
