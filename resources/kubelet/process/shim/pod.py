"""The shim of one pod: parent of its containers, keeper of their output and of their exits.

It promises: one shim a sandbox (it holds the lock); one process a (container, attempt), whoever asks how often; an exit is
on disk before it is told; it lives until its sandbox is removed or its folder vanishes.
The newest engine that says hello is the only one heard: a request of its predecessor, sent and not yet read when that was
killed, is dropped, so what the newest sees in `list` is all there is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import Any

from . import processes, records
from .container import Container
from .execution import Execution
from .launch import become_subreaper, write_title
from .loop import Loop
from .peer import Message, Peer
from .talks import Attachment, Command, resize

FOLDER_CHECK_S = 3.0
_TALKS = ("run", "attach", "resize")
TERM_GRACE_S = 5.0


class Shim:
    """Serves one sandbox; made by the zygote's fork, in the sandbox's folder, on the connection the engine handed over."""

    def __init__(self, directory: str, connection: socket.socket) -> None:
        self._directory = directory
        self._loop = Loop()
        self._containers: dict[tuple[str, int], Container] = {}
        self._executions: dict[int, Execution | Command] = {}
        self._peers: list[Peer] = []
        self._talks: dict[Peer, Container] = {}
        self._lock = -1
        self._removal: tuple[Peer, int] | None = None
        self._ending = False
        self._adopt(connection)

    def run(self) -> None:
        """Take the sandbox's lock and serve; without the lock, say so and end."""
        os.setsid()
        become_subreaper("reconcile-shim")
        for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_IGN)
        try:
            os.chdir(self._directory)
            lock = records.lock(self._directory)
        except FileNotFoundError:
            self._turn_away("gone")
            return
        if lock is None:
            self._turn_away("taken")
            return
        self._lock = lock
        self._load()
        write_title(f"reconcile-shim {self._pod['namespace']}/{self._pod['name']}")
        self._loop.on_signal(signal.SIGCHLD, self._reap)
        self._loop.on_signal(signal.SIGTERM, self._on_term)
        self._listen()
        self._loop.after(FOLDER_CHECK_S, self._check_folder)
        self._peers[0].send({"event": "ready", **self._status()})
        self._loop.run()
        processes.end_all(lambda: processes.descendants(os.getpid()), within_s=2.0)
        for peer in (*self._peers, *self._talks):
            peer.flush()

    def _turn_away(self, why: str) -> None:
        self._peers[0].send({"event": "refused", "why": why})
        self._peers[0].flush()

    def _load(self) -> None:
        pod = records.read_pod(".")
        assert pod is not None, "the engine writes pod.json before it asks for a shim"
        self._pod = pod
        self._floor: dict[str, int] = records.read("floor.json") or {}
        os.makedirs("containers", mode=0o700, exist_ok=True)
        records.bury(".", self._pod["mark"] + "/")
        for record in records.read_containers("."):
            self._containers[record["name"], record["attempt"]] = self._container(record)

    def _container(self, record: records.Record) -> Container:
        return Container(self._loop, ".", record, self._members, self._on_ended)

    def _listen(self) -> None:
        # The folder is this process's working directory: a bare name keeps under the 108 bytes of a socket's address.
        listener = socket.socket(socket.AF_UNIX)
        if os.path.exists("sock"):
            os.unlink("sock")
        listener.bind("sock")
        listener.listen(16)
        listener.setblocking(False)
        self._loop.watch(listener.fileno(), lambda _events: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it hung up again, or no descriptor is free: the engine dials once more
            self._adopt(listener.accept()[0])

    def _adopt(self, connection: socket.socket) -> None:
        self._peers = [peer for peer in self._peers if peer.open]
        self._peers.append(Peer(self._loop, connection, self._on_request))

    def _on_request(self, peer: Peer, request: Message) -> None:
        if request["op"] == "hello":
            for other in self._peers:
                if other is not peer:
                    other.close()
            self._peers = [peer]
        talks = request["op"] in _TALKS
        if talks and peer not in self._talks and peer in self._peers[1:]:
            self._peers.remove(peer)  # a connection for one talk: no hello of an engine ends it
        elif not talks and peer is not self._peers[0]:
            peer.close()  # it did not say hello: not an engine of ours
            return
        try:
            getattr(self, "_do_" + request["op"])(peer, request)
        except _Refused as refusal:
            peer.send({"id": request["id"], "error": refusal.kind})
        except OSError as error:
            peer.send({"id": request["id"], "error": f"failed: {error}"})

    def _do_hello(self, peer: Peer, request: Message) -> None:
        peer.send({"id": request["id"], "ok": self._status()})

    def _do_start(self, peer: Peer, request: Message) -> None:
        key = (request["name"], request["attempt"])
        container = self._containers.get(key)
        if container is None:
            if self._ending:
                raise _Refused("ending")
            if request["attempt"] <= self._floor.get(request["name"], -1):
                raise _Refused("stale")
            if any(c.record["name"] == request["name"] and not c.exited for c in self._containers.values()):
                raise _Refused("busy")
            container = self._containers[key] = self._container(self._intent(request))
            container.start(request, self._mark(container.record))
        peer.send({"id": request["id"], "ok": container.status()})

    def _intent(self, request: Message) -> records.Record:
        record = records.blank(self._pod["uid"], request["container_id"], request["name"], request["attempt"])
        return {**record, "log_path": request["log_path"], "labels": request["labels"], "boot_id": processes.boot_id()}

    def _mark(self, record: records.Record) -> str:
        return f"{self._pod['mark']}/{record['name']}/{record['attempt']}"

    def _do_stop(self, peer: Peer, request: Message) -> None:
        container = self._named(request["container_id"])

        def answer() -> None:
            peer.send({"id": request["id"], "ok": container.status()})

        if container.exited:
            return answer()
        container.waiters.append(answer)
        return container.stop(request["grace_s"])

    def _do_signal(self, peer: Peer, request: Message) -> None:
        self._named(request["container_id"]).signal(request["signal"])
        peer.send({"id": request["id"], "ok": {}})

    def _do_forget(self, peer: Peer, request: Message) -> None:
        container = self._named(request["container_id"])

        def forget() -> None:
            name, attempt = container.record["name"], container.record["attempt"]
            if (name, attempt) in self._containers:
                self._floor[name] = max(attempt, self._floor.get(name, -1))
                # The floor first: killed in between, the record is still there and the attempt still cannot run again.
                records.write("floor.json", self._floor)
                container.forgotten = True
                with contextlib.suppress(FileNotFoundError):  # a full disk never let it be written
                    os.unlink(records.container_path(".", container.record))
                del self._containers[name, attempt]
            peer.send({"id": request["id"], "ok": {}})

        if container.exited:
            return forget()
        container.waiters.append(forget)
        return container.stop(0)

    def _do_run(self, peer: Peer, request: Message) -> None:
        """Run a command on the descriptors that came along; the connection is this command's alone."""
        descriptors = peer.take_descriptors()
        try:
            container = self._running(request["name"])
            self._talk(peer, container)
            command = Command(self._loop, container, peer, request["id"])
            command.start(request, descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)
        if command.pid:
            self._executions[command.pid] = command

    def _do_attach(self, peer: Peer, request: Message) -> None:
        """Attach the descriptors that came along to a container's first process."""
        descriptors = peer.take_descriptors()
        try:
            container = self._running(request["name"])
        except _Refused:
            for fd in descriptors:
                os.close(fd)
            raise
        self._talk(peer, container)
        attachment = Attachment(self._loop, container, peer, request, descriptors)
        container.attach(attachment)
        peer.send({"id": request["id"], "ok": {"pid": container.pid}})

    def _do_resize(self, peer: Peer, request: Message) -> None:
        container = self._talks.get(peer)
        if container is not None and container.terminal >= 0:
            resize(container.terminal, request["columns"], request["rows"])
        peer.send({"id": request["id"], "ok": {}})

    def _talk(self, peer: Peer, container: Container) -> None:
        self._talks = {talker: about for talker, about in self._talks.items() if talker.open}
        self._talks[peer] = container

    def _running(self, name: str) -> Container:
        attempts = [c for (of, _attempt), c in self._containers.items() if of == name]
        if not attempts:
            raise _Refused("unknown")
        if not attempts[-1].pid:
            raise _Refused("not running")
        return attempts[-1]

    def _do_exec(self, peer: Peer, request: Message) -> None:
        container = self._running(request["name"])
        execution = Execution(self._loop, container, lambda outcome: peer.send({"id": request["id"], "ok": outcome}))
        execution.start(request)
        if execution.pid:
            self._executions[execution.pid] = execution

    def _do_remove(self, peer: Peer, request: Message) -> None:
        self._removal = (peer, request["id"])
        self._end(grace_s=0)

    def _named(self, container_id: str) -> Container:
        for container in self._containers.values():
            if container.record["id"] == container_id:
                return container
        raise _Refused("unknown")

    def _status(self) -> Message:
        return {"pid": os.getpid(), "containers": [container.status() for container in self._containers.values()]}

    def _reap(self) -> None:
        """Wait for every child that has ended: main processes, executions, and orphans that this subreaper adopted."""
        mains = {container.pid: container for container in self._containers.values() if container.pid}
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return
            if ended is None:
                return
            execution = self._executions.pop(ended.si_pid, None)
            if execution is not None:
                execution.reaped(ended.si_code, ended.si_status)
            elif ended.si_pid in mains:
                mains.pop(ended.si_pid).reaped(ended.si_code, ended.si_status)

    def _members(self, container: Container) -> list[processes.Process]:
        """The living processes of one container: its main process, its executions, what is below, and what broke away.

        An orphan is known by its session or by the mark in its environment; one that shed both belongs to the last
        container of the pod that runs.
        """
        mains = {c.pid: c for c in self._containers.values() if c.pid}
        alone = not any(c is not container for c in mains.values())
        found: list[processes.Process] = []
        for pid in processes.children(os.getpid()):
            process = processes.look(pid)
            if process is None:
                continue
            if pid in mains:
                mine = mains[pid] is container
            elif pid in self._executions:
                mine = self._executions[pid].container is container
            else:
                mark = processes.mark_of(pid)
                mine = process.sid == container.record["pid"] or mark == self._mark(container.record) or (alone and not mark)
            if mine:
                found += [process, *processes.descendants(pid)]
        return [process for process in found if not process.dead]

    def _on_ended(self, container: Container) -> None:
        for peer in self._peers:
            peer.send({"event": "exit", "status": container.status()})
        waiters, container.waiters = container.waiters, []
        for waiter in waiters:
            waiter()
        self._end_if_empty()

    def _on_term(self) -> None:
        """Somebody (a shutdown) ends the shim itself: its containers are asked first, and their exits recorded."""
        self._end(grace_s=TERM_GRACE_S)

    def _end(self, grace_s: float) -> None:
        self._ending = True
        for container in list(self._containers.values()):
            container.stop(grace_s)
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        if not self._ending or not all(container.exited for container in self._containers.values()):
            return
        if self._removal is not None:
            peer, request_id = self._removal
            peer.send({"id": request_id, "ok": {}})
        self._loop.stop()

    def _check_folder(self) -> None:
        try:
            there = records.is_same_file(os.path.join(self._directory, "lock"), self._lock)
        except OSError:
            there = True  # a folder that cannot be looked at now (permissions, a network disk) is not a deleted one
        if there:
            self._loop.after(FOLDER_CHECK_S, self._check_folder)
        else:
            self._end(grace_s=0)  # nobody can find this sandbox any more, so nothing of it may run


class _Refused(Exception):
    """A request that cannot be done; `kind` tells the engine which error to raise."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def serve(directory: str, connection: socket.socket) -> Any:
    """Be the shim of the sandbox in `directory` until it ends; never returns."""
    code = 1
    try:
        Shim(directory, connection).run()
        code = 0
    except BaseException:  # noqa: BLE001  # the outermost frame of the process: what is not reported here is lost
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)
