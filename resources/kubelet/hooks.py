"""Lifecycle hooks: what a container's postStart and preStop ask for.

Source: pkg/kubelet/lifecycle/handlers.go
"""

from __future__ import annotations

from reconcile.clock import Clock
from reconcile.errors import Tree

from .asking import Rewritten, ask
from .probes import Answer
from .runtime import Runtime


async def run_hook(
    runtime: Runtime, clock: Clock, pod_uid: str, container: Tree, which: str, rewritten: Rewritten, *, address: str,
    timeout_s: float,
) -> Answer:  # fmt: skip
    """Run the hook `which` (postStart or preStop), if the container has one; takes `timeout_s` at most."""
    hook = (container.get("lifecycle") or {}).get(which)
    if not hook:
        return Answer(True)
    if hook.get("sleep"):
        await clock.sleep(min(float(hook["sleep"].get("seconds") or 0), timeout_s))
        return Answer(True)
    return await ask(runtime, pod_uid, container, hook, rewritten, address=address, timeout_s=timeout_s)
