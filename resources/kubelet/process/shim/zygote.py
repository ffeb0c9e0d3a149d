"""The zygote: an interpreter that has loaded what a shim needs, and forks one whenever the engine asks.

A fork shares memory with its parent and takes a millisecond; a new interpreter takes thirty, and twice the memory. The
engine holds one end of a socket; each message on it is a sandbox's folder, with the descriptor of a fresh connection that
becomes the shim's first. When the engine closes or dies the socket ends, and so does the zygote; the shims do not care.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

from . import pod


def main() -> None:
    """Fork a shim for each message on the socket whose descriptor is the last argument, until it ends."""
    control = socket.socket(fileno=int(sys.argv[-1]))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # An ignored SIGCHLD, inherited, would make the kernel throw exit codes away.
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(control, 8192, 1)
        if not message:
            return
        child = os.fork()
        if child == 0:
            _fork_shim(control, os.fsdecode(message), descriptors[0])
        os.waitpid(child, 0)
        os.close(descriptors[0])


def _fork_shim(control: socket.socket, directory: str, descriptor: int) -> None:
    # Forked twice: the shim's parent is init, and a tool that ends the engine's process tree does not find it.
    if os.fork() == 0:
        control.close()
        os.set_inheritable(descriptor, False)
        pod.serve(directory, socket.socket(fileno=descriptor))
    os._exit(0)
