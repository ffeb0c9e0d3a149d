"""An engine that starts pods as fast as it can until it is killed; it says what was acknowledged, a line each.

Run as a script by test_process_survival.py: `engine_to_kill.py ROOT FOLDER NUMBER`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from reconcile.resources.kubelet.process import ProcessRuntime
from reconcile.resources.kubelet.runtime import ContainerConfig, SandboxConfig
from reconcile.runtime.clock import SystemClock


def pod(folder: Path, number: int) -> tuple[SandboxConfig, ContainerConfig]:
    """Pod `number`: writes down that it started, then ends with a code of its own (even) or runs on (odd)."""
    end = "exec sleep 600" if number % 2 else f"sleep 0.0{number % 9}; exit {number % 100}"
    script = f"echo $$ >> {folder}/starts-{number}; echo started; {end}"
    env = {"PATH": os.environ["PATH"]}
    log_path = os.fspath(folder / f"{number}.log")
    return SandboxConfig(f"pod-{number}", "default", f"pod-{number}"), ContainerConfig(
        "main", 0, ["sh", "-c", script], env, log_path=log_path
    )


async def main(root: Path, folder: Path, first: int) -> None:
    runtime = ProcessRuntime(root, SystemClock())
    await runtime.start()

    async def start(number: int) -> None:
        sandbox, container = pod(folder, number)
        await runtime.run_sandbox(sandbox)
        await runtime.start_container(sandbox.uid, container)
        print(number, flush=True)

    print("up", flush=True)
    for number in range(first, first + 1000, 4):
        await asyncio.gather(*(start(each) for each in range(number, number + 4)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
