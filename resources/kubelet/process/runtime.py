"""The process runtime: the engine's side. It finds shims, asks them, and buries what a killed one left behind.

It promises what `Runtime` promises. It keeps nothing in memory that a restart would miss: what is true stands in the
sandboxes' folders and in the shims, and `start` finds it there. One engine at a time uses a root folder.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import re
import shutil
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from reconcile.clock import Clock
from reconcile.resources.kubelet.errors import (
    ContainerNotFoundError,
    ContainerNotRunningError,
    ExecTimeoutError,
    InvalidNameError,
    RuntimeFailure,
    SandboxNotFoundError,
    ShimError,
    StaleAttemptError,
    StartError,
    StillRunningError,
)
from reconcile.resources.kubelet.runtime import (
    REASON_START_ERROR,
    ContainerConfig,
    ContainerStatus,
    ExecResult,
    ExitListener,
    PodStats,
    SandboxConfig,
    SandboxStatus,
    container_id,
)

from .connection import Connection, Message, Refusal, dial
from .launcher import Launcher
from .shim import processes, records
from .stats import read_stats
from .statuses import container_status, lost, sandbox_status
from .talk import ProcessTalk, open_attachment, open_command

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_POLL_S = 0.005
_LOCK_S_MAX = 1.0
_SHIM_ANSWER_S_MAX = 10.0


class _Sandbox:
    """One sandbox as this engine sees it; `connection` is None while no shim is known to serve it."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.connection: Connection | None = None
        self.shim_pid = 0
        self.running: dict[str, ContainerStatus] = {}
        self.starting: dict[str, ContainerStatus | None] = {}
        self.changing = asyncio.Lock()


class ProcessRuntime:
    """Runs containers as processes, each pod's under a shim that outlives this engine; implements `Runtime`."""

    def __init__(self, root: Path, clock: Clock) -> None:
        """`root` is a folder of this runtime's own; it is made, with mode 0700."""
        self._root, self._clock = root, clock
        self._launcher = Launcher(os.fspath(root))
        self._listeners: list[ExitListener] = []
        self._sandboxes: dict[str, _Sandbox] = {}
        self._recovering: set[asyncio.Task[None]] = set()
        self._lock = -1
        self._closing = False

    async def start(self) -> None:
        """Take the root folder, sweep out half-made and half-removed sandboxes, and connect to every shim."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._root / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # One that was killed while it started its zygote is survived by a fork that holds the lock until it is a program.
        deadline = self._clock.monotonic() + _LOCK_S_MAX
        while not records.locked(self._lock):
            if self._clock.monotonic() > deadline:
                os.close(self._lock)
                raise ShimError("start", f"another engine uses {self._root}; stop that one, or use another folder")
            await self._clock.sleep(_POLL_S)
        self._closing = False
        for path in self._root.iterdir():
            if path.name.startswith("."):
                await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        await self.list()

    async def close(self, *, stop: bool = False, grace_s: float = 5.0) -> None:
        """Hang up on the shims, which go on; with `stop`, end every container and remove every sandbox first.

        Raises:
            ShimError: some sandbox could not be ended; all others are, and the runtime is closed.
        """
        left = await self._stop_all(grace_s) if stop else ()
        self._closing = True
        for sandbox in self._sandboxes.values():
            if sandbox.connection is not None:
                sandbox.connection.close()
                await sandbox.connection.lost.wait()
        for task in self._recovering:
            task.cancel()
        await asyncio.gather(*self._recovering, return_exceptions=True)
        self._sandboxes.clear()
        await self._launcher.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if left:
            raise ShimError(f"end {len(left)} of the sandboxes", "; ".join(map(str, left)))

    def subscribe(self, listener: ExitListener) -> None:
        """Tell `listener` of every exit from now on."""
        self._listeners.append(listener)

    async def list(self) -> Sequence[SandboxStatus]:
        """Every sandbox under the root, asked of its shim, or read from its records where it has none."""
        seen = await asyncio.gather(*(self._see(self._sandbox(uid)) for uid in self._uids()))
        return [status for status in seen if status is not None]

    async def run_sandbox(self, config: SandboxConfig) -> SandboxStatus:
        """Make the sandbox's folder, then have a shim forked for it; an existing one is found as it is."""
        _check_name("pod uid", config.uid)
        status: SandboxStatus | None = None
        while status is None or not status.ready:
            sandbox = self._sandbox(config.uid)
            async with sandbox.changing:
                if self._sandboxes.get(config.uid) is not sandbox:
                    continue  # it was removed while we waited
                status = await self._look(sandbox)
                if status is None:
                    self._make_folder(config)
                if status is None or not status.ready:
                    status = await self._fork(sandbox)
        return status

    async def start_container(self, pod_uid: str, config: ContainerConfig) -> ContainerStatus:
        """Start one attempt; the shim decides whether that happened already."""
        _check_name("container name", config.name)
        sandbox = self._sandbox(pod_uid)
        own_id = container_id(pod_uid, config.name, config.attempt)
        request: Message = {
            "container_id": own_id, "name": config.name,
            "attempt": config.attempt, "argv": [*config.argv], "env": {**config.env}, "working_dir": config.working_dir,
            "log_path": config.log_path, "stop_signal": int(config.stop_signal), "labels": {**config.labels},
            "stdin": config.stdin, "stdin_once": config.stdin_once, "tty": config.tty,
        }  # fmt: skip  # one field a word reads better packed
        sandbox.starting[own_id] = None
        try:
            status = container_status(await self._connection(sandbox).request("start", **request))
            # A short command's exit may come in with the reply: then its end is what there is to return.
            status = sandbox.starting[own_id] or status
        except Refusal as refusal:
            if refusal.kind == "busy":
                raise StillRunningError(pod_uid, config.name, config.attempt) from None
            if refusal.kind == "stale":
                raise StaleAttemptError(pod_uid, config.name, config.attempt) from None
            raise self._error(refusal, pod_uid, config.name) from None
        finally:
            sandbox.starting.pop(own_id, None)
        if status.reason == REASON_START_ERROR:
            raise StartError(status)
        if status.running:
            sandbox.running[status.id] = status
        return status

    async def stop_container(self, pod_uid: str, container_id: str, grace_s: float) -> ContainerStatus:
        """Have the shim end it; the shim also kills it in time if this engine dies."""
        sandbox = self._sandbox(pod_uid)
        grace_s = max(0.0, grace_s)
        try:
            async with asyncio.timeout(grace_s + _SHIM_ANSWER_S_MAX):
                return container_status(
                    await self._connection(sandbox).request("stop", container_id=container_id, grace_s=grace_s)
                )
        except Refusal as refusal:
            raise self._error(refusal, pod_uid, container_id) from None
        except TimeoutError:
            raise ShimError(
                f"stop {container_id}", f"its shim has not answered {_SHIM_ANSWER_S_MAX:g} s after the grace"
            ) from None
        except ShimError:
            # The shim was killed while we waited: then the container is dead too, and its record says so by now.
            status = await self._settle(sandbox)
            for container in status.containers if status else ():
                if container.id == container_id and not container.running:
                    return container
            raise

    async def remove_container(self, pod_uid: str, container_id: str) -> None:
        """Forget one container; the shim remembers that the attempt may not run again."""
        try:
            await self._connection(self._sandbox(pod_uid)).request("forget", container_id=container_id)
        except Refusal as refusal:
            if refusal.kind != "unknown":
                raise self._error(refusal, pod_uid, container_id) from None

    async def remove_sandbox(self, pod_uid: str) -> None:
        """Have the shim kill everything and end, then delete the folder."""
        sandbox = self._sandboxes.get(pod_uid) or self._sandbox(pod_uid)
        async with sandbox.changing:
            try:
                status = await self._look(sandbox)
            except ShimError:
                self._kill_shim(sandbox)
                status = await self._look(sandbox)
            if status is not None and sandbox.connection is not None:
                connection, sandbox.connection = sandbox.connection, None
                try:
                    with contextlib.suppress(ShimError, TimeoutError):
                        async with asyncio.timeout(_SHIM_ANSWER_S_MAX):
                            await connection.request("remove")
                finally:
                    connection.close()
            if status is not None:
                await self._delete_folder(sandbox)
            self._sandboxes.pop(pod_uid, None)

    async def exec(self, pod_uid: str, container_name: str, argv: Sequence[str], timeout_s: float) -> ExecResult:
        """Have the shim run a command beside the container."""
        try:
            outcome = await self._connection(self._sandbox(pod_uid)).request(
                "exec", name=container_name, argv=[*argv], timeout_s=timeout_s
            )
        except Refusal as refusal:
            raise self._error(refusal, pod_uid, container_name) from None
        if outcome.get("timeout"):
            raise ExecTimeoutError(pod_uid, container_name, " ".join(argv), timeout_s)
        return ExecResult(outcome["exit_code"], base64.b64decode(outcome["output"]))

    async def run(self, pod_uid: str, container_name: str, argv: Sequence[str], *, stdin: bool, tty: bool) -> ProcessTalk:
        """Have the shim start a command on descriptors of ours."""
        directory = self._serving(pod_uid)
        try:
            return await open_command(directory, container_name, argv, stdin=stdin, tty=tty)
        except Refusal as refusal:
            raise self._error(refusal, pod_uid, container_name) from None

    async def attach(
        self, pod_uid: str, container_name: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> ProcessTalk:  # fmt: skip
        """Have the shim copy the container's output to us, and our input to it."""
        directory = self._serving(pod_uid)
        try:
            return await open_attachment(directory, container_name, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        except Refusal as refusal:
            raise self._error(refusal, pod_uid, container_name) from None

    def _serving(self, pod_uid: str) -> str:
        sandbox = self._sandbox(pod_uid)
        self._connection(sandbox)
        return sandbox.directory

    async def stats(self, pod_uid: str) -> PodStats:
        """Read /proc below the pod's shim: about 0.2 ms a process."""
        sandbox = self._sandbox(pod_uid)
        self._connection(sandbox)
        return read_stats(sandbox.shim_pid, {status.name: status.pid for status in sandbox.running.values()})

    def _uids(self) -> Sequence[str]:
        try:
            return sorted(path.name for path in self._root.iterdir() if path.is_dir() and not path.name.startswith("."))
        except FileNotFoundError:
            return []  # somebody deleted the state folder: the shims notice it too, and end

    def _sandbox(self, uid: str) -> _Sandbox:
        sandbox = self._sandboxes.get(uid)
        if sandbox is None:
            sandbox = self._sandboxes[uid] = _Sandbox(os.fspath(self._root / uid))
        return sandbox

    def _connection(self, sandbox: _Sandbox) -> Connection:
        if sandbox.connection is None:
            uid = os.path.basename(sandbox.directory)
            if not os.path.isdir(sandbox.directory):
                self._sandboxes.pop(uid, None)
            raise SandboxNotFoundError(uid)
        return sandbox.connection

    def _make_folder(self, config: SandboxConfig) -> None:
        """The intent: before any process is asked for, there is a whole folder that `list` will find."""
        making = self._root / f".new-{config.uid}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        pod = {
            "uid": config.uid, "namespace": config.namespace, "name": config.name, "labels": {**config.labels},
            "created_at": self._clock.now(), "mark": self._clock.uid(),
        }  # fmt: skip  # one field a word reads better packed
        pod["inode"] = os.stat(making).st_ino
        records.write(os.fspath(making / "pod.json"), pod)
        making.rename(self._root / config.uid)

    async def _fork(self, sandbox: _Sandbox) -> SandboxStatus | None:
        """Have a shim forked; where another got there first, use that one."""
        connection = await self._open(sandbox, await self._launcher.launch(sandbox.directory))
        try:
            async with asyncio.timeout(_SHIM_ANSWER_S_MAX):
                greeting = await connection.greeting
        except (TimeoutError, ShimError):
            connection.close()
            raise ShimError(f"fork a shim for {sandbox.directory}", f"it did not come up; see {self._root}/shim.log") from None
        if greeting["event"] == "ready":
            return self._adopted(sandbox, connection, greeting)
        connection.close()
        return await self._look(sandbox) if greeting["why"] == "taken" else None

    async def _see(self, sandbox: _Sandbox) -> SandboxStatus | None:
        """As `_settle`; a shim that is stuck (stopped by a signal, say) must not hide its sandbox, nor any other."""
        try:
            return await self._settle(sandbox)
        except ShimError as error:
            log.warning("a shim does not answer", extra={"sandbox": sandbox.directory, "error": str(error)})
        pod = records.read(os.path.join(sandbox.directory, "pod.json"))
        if pod is None:
            return None
        return sandbox_status(pod, map(container_status, records.read_containers(sandbox.directory)), ready=False, pid=0)

    async def _settle(self, sandbox: _Sandbox) -> SandboxStatus | None:
        async with sandbox.changing:
            return await self._look(sandbox)

    async def _look(self, sandbox: _Sandbox) -> SandboxStatus | None:
        """What is true of a sandbox now: from its shim, by a new connection if need be, or from what that left behind."""
        deadline = self._clock.monotonic() + _SHIM_ANSWER_S_MAX
        while self._clock.monotonic() < deadline:
            try:
                if sandbox.connection is not None:
                    return await self._hello(sandbox, sandbox.connection)
                lock = records.lock(sandbox.directory)
                if lock is not None:
                    try:
                        return await self._bury(sandbox)
                    finally:
                        os.close(lock)
                dialled = dial(sandbox.directory)
                if dialled is not None:
                    return await self._hello(sandbox, await self._open(sandbox, dialled))
            except FileNotFoundError:
                for status in list(sandbox.running.values()):
                    self._tell(sandbox, lost(status, self._clock.now()))
                return None
            except ShimError:
                sandbox.connection = None  # it died, or an even newer engine spoke up; look again
            # The lock is held and nobody listens: a shim that is just starting, or just ending.
            await self._clock.sleep(_POLL_S)
        raise ShimError(
            f"sandbox {sandbox.directory}", f"a shim holds its lock and has not answered for {_SHIM_ANSWER_S_MAX:g} s"
        )

    async def _hello(self, sandbox: _Sandbox, connection: Connection) -> SandboxStatus:
        try:
            async with asyncio.timeout(_SHIM_ANSWER_S_MAX):
                return self._adopted(sandbox, connection, await connection.request("hello"))
        except TimeoutError:
            connection.close()
            raise ShimError(f"sandbox {sandbox.directory}", f"its shim has not answered for {_SHIM_ANSWER_S_MAX:g} s") from None

    async def _bury(self, sandbox: _Sandbox) -> SandboxStatus | None:
        """Nobody serves the sandbox, and while we hold its lock nobody will: settle its records and read them."""
        pod = records.read_pod(sandbox.directory)
        if pod is None:
            self._discard(sandbox)  # a power cut took what it was for
            return None
        buried = await asyncio.to_thread(records.bury, sandbox.directory, pod["mark"] + "/")
        for record in buried:
            self._tell(sandbox, container_status(record))
        found = [container_status(record) for record in records.read_containers(sandbox.directory)]
        # What the shim had recorded and could not tell us any more, before it was killed.
        for status in found:
            if status.id in sandbox.running:
                self._tell(sandbox, status)
        return sandbox_status(pod, found, ready=False, pid=0)

    def _adopted(self, sandbox: _Sandbox, connection: Connection, message: Message) -> SandboxStatus:
        sandbox.connection, sandbox.shim_pid = connection, message["pid"]
        pod = records.read(os.path.join(sandbox.directory, "pod.json"))
        if pod is None:
            raise FileNotFoundError(sandbox.directory)
        found = [container_status(record) for record in message["containers"]]
        for status in found:
            if not status.running and status.id in sandbox.running:
                self._tell(sandbox, status)
            elif status.running:
                sandbox.running[status.id] = status
        return sandbox_status(pod, found, ready=True, pid=sandbox.shim_pid)

    async def _open(self, sandbox: _Sandbox, connected: socket.socket) -> Connection:
        uid = os.path.basename(sandbox.directory)
        _transport, connection = await asyncio.get_running_loop().create_unix_connection(
            lambda: Connection(uid, self._on_event, self._on_lost), sock=connected
        )
        return connection

    def _on_event(self, uid: str, message: Message) -> None:
        sandbox = self._sandboxes.get(uid)
        if sandbox is not None:
            self._tell(sandbox, container_status(message["status"]))

    def _tell(self, sandbox: _Sandbox, status: ContainerStatus) -> None:
        sandbox.running.pop(status.id, None)
        if status.id in sandbox.starting:
            sandbox.starting[status.id] = status
        # Later in the loop, not now: a start that this exit belongs to has then returned, and a listener that fails does
        # not take the connection down with it.
        for listener in self._listeners:
            asyncio.get_running_loop().call_soon(listener, status)

    def _on_lost(self, connection: Connection) -> None:
        """A shim is gone, and nobody asked it to go: what it ran is dead, and the listeners must hear of it."""
        sandbox = self._sandboxes.get(connection.pod_uid)
        if sandbox is None or sandbox.connection is not connection or self._closing:
            return
        sandbox.connection = None
        task = asyncio.get_running_loop().create_task(self._recover(sandbox))
        self._recovering.add(task)
        task.add_done_callback(self._recovering.discard)

    async def _recover(self, sandbox: _Sandbox) -> None:
        try:
            await self._settle(sandbox)
        except (RuntimeFailure, OSError):
            log.exception("a shim was lost and its sandbox cannot be settled", extra={"sandbox": sandbox.directory})

    async def _stop_all(self, grace_s: float) -> Sequence[BaseException]:
        """End every sandbox; returns what went wrong. One that is stuck must not keep the others running."""
        done = await asyncio.gather(*(self._stop_pod(uid, grace_s) for uid in self._uids()), return_exceptions=True)
        return [error for error in done if error is not None]

    async def _stop_pod(self, uid: str, grace_s: float) -> None:
        status = await self._see(self._sandbox(uid))
        running = [container for container in (status.containers if status else ()) if container.running]
        stops = (self.stop_container(uid, container.id, grace_s) for container in running)
        await asyncio.gather(*stops, return_exceptions=True)  # what cannot be stopped is killed by the removal
        await self.remove_sandbox(uid)

    def _error(self, refusal: Refusal, pod_uid: str, container: str) -> RuntimeFailure:
        if refusal.kind == "unknown":
            return ContainerNotFoundError(pod_uid, container)
        if refusal.kind == "not running":
            return ContainerNotRunningError(pod_uid, container)
        if refusal.kind == "ending":
            return SandboxNotFoundError(pod_uid)
        return ShimError(f"pod {pod_uid}, container {container!r}", f"its shim refused: {refusal.kind}")

    def _kill_shim(self, sandbox: _Sandbox) -> None:
        """End a shim that does not answer (stopped by a signal, say); its containers' first processes die with it."""
        log.warning("a shim that does not answer is killed", extra={"sandbox": sandbox.directory})
        dialled = dial(sandbox.directory)
        if dialled is None:
            return
        with dialled:
            pid = struct.unpack("3i", dialled.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))[0]
        shim = processes.look(pid)
        if shim is not None:
            processes.kill([shim])

    async def _delete_folder(self, sandbox: _Sandbox) -> None:
        """Wait until the shim is gone, then move the folder out of sight, then delete it: nobody sees a half."""
        try:
            deadline = self._clock.monotonic() + _SHIM_ANSWER_S_MAX
            while (lock := records.lock(sandbox.directory)) is None:
                if self._clock.monotonic() > deadline:
                    raise ShimError(f"remove {sandbox.directory}", "its shim does not end: a process of it cannot be killed")
                await self._clock.sleep(_POLL_S)
        except FileNotFoundError:
            return
        try:
            self._discard(sandbox)
        finally:
            os.close(lock)

    def _discard(self, sandbox: _Sandbox) -> None:
        gone = os.path.join(self._root, ".gone-" + os.path.basename(sandbox.directory))
        shutil.rmtree(gone, ignore_errors=True)
        os.rename(sandbox.directory, gone)
        shutil.rmtree(gone, ignore_errors=True)


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidNameError(what, name)
