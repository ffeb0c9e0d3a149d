"""The socket on which a kubelet is reached by the API server of its machine: a file that nobody else may open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

NAME = "kubelet.sock"


def listening(folder: Path) -> socket.socket:
    """A socket that listens in `folder`, which only its owner may enter; what an earlier kubelet left there goes.

    The address goes through a descriptor of the folder: a path of more than 107 bytes is no valid socket address.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / NAME)
        with _opened(folder) as there:
            listener.bind(f"{there}/{NAME}")
        os.chmod(folder / NAME, 0o600)
        listener.listen(128)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


async def connect(folder: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the kubelet that listens in `folder`. Raises OSError: none does."""
    with _opened(folder) as there:
        return await asyncio.open_unix_connection(f"{there}/{NAME}")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[str]:
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)
