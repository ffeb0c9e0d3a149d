"""What a container says about its own end: its termination message file, or the tail of its log.

Source: pkg/kubelet/kuberuntime/kuberuntime_container.go getTerminationMessage, pkg/kubelet/container/runtime.go
"""

from __future__ import annotations

import os
from pathlib import Path

from reconcile.errors import Tree

from .logs import LogQuery, read
from .runtime import ContainerStatus

MESSAGE_BYTES_MAX = 4096
LOG_TAIL_BYTES_MAX = 2048
LOG_TAIL_LINES_MAX = 80


def message_file(folder: Path, status_name: str, attempt: int) -> Path:
    """The file that stands for terminationMessagePath in one attempt of a container."""
    return folder / f"termination-{status_name}-{attempt}"


def termination_message(file: Path, container: Tree, status: ContainerStatus) -> str:
    """The message of an ended container; empty where it left none."""
    try:
        # The container made it, whatever it is: a named pipe must not make the kubelet wait for a writer.
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as opened:
            text = (opened.read(MESSAGE_BYTES_MAX) or b"").decode(errors="replace")
    except OSError:
        text = ""
    wants_log = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
    if text or not wants_log or not status.exit_code or not status.log_path:
        return text
    tail = read(status.log_path, LogQuery(tail_lines=LOG_TAIL_LINES_MAX))
    return tail[-LOG_TAIL_BYTES_MAX:].decode(errors="replace")
