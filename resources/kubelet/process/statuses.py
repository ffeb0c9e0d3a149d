"""What a shim's messages, and the records it leaves behind, say of sandboxes and containers."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from reconcile.resources.kubelet.runtime import (
    EXIT_CODE_LOST,
    REASON_LOST,
    ContainerState,
    ContainerStatus,
    SandboxStatus,
)

from .connection import Message


def container_status(record: Message) -> ContainerStatus:
    """What a record of a container says."""
    return ContainerStatus(
        id=record["id"], pod_uid=record["pod_uid"], name=record["name"], attempt=record["attempt"],
        state=ContainerState.EXITED if record["state"] == "exited" else ContainerState.RUNNING, pid=record["pid"],
        started_at=record["started_at"], finished_at=record["finished_at"], exit_code=record["exit_code"],
        signal=record["signal"], reason=record["reason"], message=record["message"], log_path=record["log_path"],
        log_lost_bytes=record["log_lost_bytes"], labels=record["labels"],
    )  # fmt: skip  # one field a word reads better packed


def sandbox_status(pod: Message, containers: Iterable[ContainerStatus], *, ready: bool, pid: int) -> SandboxStatus:
    """A sandbox by its pod.json, with its containers."""
    return SandboxStatus(
        uid=pod["uid"], namespace=pod["namespace"], name=pod["name"], ready=ready, created_at=pod["created_at"], pid=pid,
        labels=pod["labels"], containers=tuple(containers),
    )  # fmt: skip  # one field a word reads better packed


def lost(status: ContainerStatus, now_s: float) -> ContainerStatus:
    """How a container ended whose record is gone."""
    return attrs.evolve(
        status, state=ContainerState.EXITED, exit_code=EXIT_CODE_LOST, signal=9, reason=REASON_LOST, finished_at=now_s,
        message="the folder of its sandbox was deleted, and its exit code with it",
    )  # fmt: skip  # one field a word reads better packed
