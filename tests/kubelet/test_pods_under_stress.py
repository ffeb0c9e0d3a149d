"""Pods when the API, the runtime or the kubelet itself fails: nothing runs on unseen, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reconcile.errors import NotFoundError, Tree, UnavailableError
from reconcile.resources.kubelet.errors import UnsafePathError
from reconcile.resources.kubelet.host import Host
from reconcile.resources.kubelet.mounts import mounts_of
from reconcile.resources.kubelet.pod_state import Ending
from reconcile.resources.kubelet.runtime import ContainerState, ContainerStatus
from reconcile.resources.kubelet.stopping import grace_of
from reconcile.resources.kubelet.termination_message import termination_message
from reconcile.resources.kubelet.worker import PodWorker

if TYPE_CHECKING:
    from tests.kubelet.conftest import Plane

Planes = AbstractAsyncContextManager["Plane"]


def running(tree: Tree) -> bool:
    return bool((tree.get("status") or {}).get("phase") == "Running")


async def test_a_stop_does_not_wait_for_an_api_that_takes_nothing_any_more(
    plane: Planes, make_pod: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store failed while a pod was being deleted: Ctrl-C must still end, and end everything."""
    async with plane as cluster:
        node = await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "600"]))
        await cluster.until(running)

        async def refuse(*_: Any, **__: Any) -> Tree:  # Any: whatever it is called with
            raise UnavailableError("the store failed")

        monkeypatch.setattr(Host, "patch_status", refuse)
        monkeypatch.setattr(Host, "delete_pod", refuse)
        await cluster.delete(grace_s=1)
        (worker,) = node._workers.values()
        await cluster.eventually(lambda: not any(c.running for c in worker.state.containers.values()))
        async with asyncio.timeout(8.0):
            await cluster.drop_kubelet(node, stop_pods=True)
        monkeypatch.undo()


async def test_a_pod_that_is_deleted_while_its_worker_is_being_replaced_leaves_nothing_running(
    plane: Planes, make_pod: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker failed by a mistake of ours and cannot hear of the deletion; the processes must end all the same."""
    async with plane as cluster:
        node = await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "600"]))
        await cluster.until(running)
        (worker,) = node._workers.values()

        def fail(_worker: PodWorker) -> float | None:
            raise RuntimeError("a mistake of ours")

        monkeypatch.setattr(PodWorker, "_tick", fail)
        worker._wake.set()
        await cluster.eventually(lambda: worker.over)
        node._pod_seen(worker.state.pod, "DELETED")
        monkeypatch.undo()

        async def nothing_left() -> bool:
            return not await node._host.runtime.list()

        await cluster.eventually(nothing_left)


async def test_a_start_that_the_api_does_not_know_about_is_not_tried_without_a_pause(
    plane: Planes, make_pod: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A namespace that is being removed answers 404; the worker asked it thousands of times a second."""
    asked = 0

    async def unknown(*_: Any, **__: Any) -> list[Tree]:  # Any: whatever it is called with
        nonlocal asked
        asked += 1
        raise NotFoundError("the namespace is gone")

    async with plane as cluster:
        monkeypatch.setattr(Host, "services", unknown)
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "600"]))
        await cluster.eventually(lambda: asked)
        for _ in range(200):  # turns of the loop in which the worker could have asked again
            await asyncio.sleep(0)
        assert asked < 5
        monkeypatch.undo()


async def test_what_pods_are_given_and_say_is_for_their_owner_only(plane: Planes) -> None:
    """A state folder that was named with --data-dir may be one that everybody can read; secrets lie below it."""
    async with plane as cluster:
        await cluster.start_kubelet()
        assert stat.S_IMODE(os.stat(cluster.folder / "kubelet").st_mode) == 0o700
        assert stat.S_IMODE(os.stat(cluster.folder / "run").st_mode) == 0o700


def test_a_grace_of_zero_is_taken_at_its_word() -> None:
    """`terminationGracePeriodSeconds: 0` became the default of 30."""
    pod: Tree = {"metadata": {}, "spec": {"terminationGracePeriodSeconds": 0}}
    for ending in (Ending.CLOSING, Ending.FINISHED, Ending.VANISHED):
        assert grace_of(pod, ending, vanished_s=2.0, first_seen=False, now=0.0) == 0.0


def test_a_named_pipe_as_termination_message_does_not_stop_the_kubelet(tmp_path: Path) -> None:
    """Opening one waits for its writer: one pod could have stopped all others."""
    os.mkfifo(tmp_path / "pipe")
    status = ContainerStatus(id="p_c_0", pod_uid="p", name="c", attempt=0, state=ContainerState.EXITED)
    assert termination_message(tmp_path / "pipe", {"name": "c"}, status) == ""


def test_a_mount_path_cannot_climb_out_of_the_containers_root(tmp_path: Path) -> None:
    """The link is made with the kubelet's rights, before the container runs with its own."""
    container = {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/../../outside"}]}
    with pytest.raises(UnsafePathError):
        mounts_of(container, {"v": tmp_path / "v"}, tmp_path / "pod" / "root", {})
    assert not (tmp_path / "outside").is_symlink()
