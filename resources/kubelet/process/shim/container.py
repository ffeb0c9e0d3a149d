"""One container of a sandbox: its main process, its output, its record, its end."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import processes, pump, records
from .launch import LaunchError, launch
from .loop import Loop
from .talks import TERMINAL, Attachment
from .writer import Writer

SAVE_AGAIN_S = 1.0
PATIENCE_S = 0.02
SWEEP_S = 0.005
SWEEP_S_MAX = 5.0
SHELLS = frozenset({"ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "sh", "yash", "zsh"})


class Container:
    """An attempt, from the record of the intent to the record of the exit.

    `members` finds the container's living processes in the pod's tree; `ended` is called once, after the last of them is
    dead, the log is complete and the exit is on disk.
    """

    def __init__(
        self,
        loop: Loop,
        directory: str,
        record: records.Record,
        members: Callable[[Container], list[processes.Process]],
        ended: Callable[[Container], None],
    ) -> None:
        self.record = record
        self.pid = 0
        self.forgotten = False
        self.env: Mapping[str, str] = {}
        self.working_dir = "/"
        self.waiters: list[Callable[[], None]] = []
        self.stdin: Writer | None = None
        self.terminal = -1
        self._loop, self._members, self._ended = loop, members, ended
        self._path = records.container_path(directory, record)
        self._streams: dict[int, pump.Lines] = {}
        self._attachments: list[Attachment] = []
        self._stdin_once = False
        self._log: pump.LogFile | None = None
        self._stop_signal = int(signal.SIGTERM)
        self._stopping = False
        self._patient_until = 0.0
        self._sweep_until = 0.0

    @property
    def exited(self) -> bool:
        """Whether the exit is on record."""
        return bool(self.record["state"] == "exited")

    def start(self, request: Mapping[str, Any], mark: str) -> None:
        """Record the intent, then run the command; one that cannot run leaves a record that says why."""
        self.env = {**request["env"], processes.MARK: mark}
        self.working_dir = request["working_dir"]
        self._stop_signal = request["stop_signal"]
        ends: list[int] = []
        try:
            records.write(self._path, self.record)
            self._log = pump.LogFile(self.record["log_path"])
            stdin, stdout, stderr = self._make_streams(request, self._log, ends)
            self.pid = launch(
                request["argv"], self.env, self.working_dir, stdin, stdout, stderr, terminal=bool(request.get("tty"))
            )  # fmt: skip  # one option a word reads better packed
        except LaunchError as error:
            self._refuse(error.exit_code, str(error))
        except OSError as error:
            self._refuse(128, f"its record, log or pipes cannot be made: {error}")
        else:
            self._run()
        finally:
            for fd in ends:
                os.close(fd)

    def attach(self, attachment: Attachment) -> None:
        """Give `attachment` whatever the container says from now on."""
        self._attachments.append(attachment)

    def detach(self, attachment: Attachment) -> None:
        """Forget one that is gone. Its container's stdin ends with it, if that is so declared."""
        if attachment in self._attachments:
            self._attachments.remove(attachment)
            self.input_ended()

    def input_ended(self) -> bool:
        """Who was attached has no more to say. Whether the container's stdin ends with that, or goes on without them."""
        if not self._stdin_once or self.terminal >= 0:
            return False
        if self.stdin is not None:
            self.stdin.end()
            self.stdin = None
        return True

    def reaped(self, status: int, code: int) -> None:
        """The main process has ended: `code` is a signal's number where `status` is not CLD_EXITED."""
        self.pid = 0
        died = status != os.CLD_EXITED
        self.record.update(
            exit_code=128 + code if died else code,
            signal=code if died else 0,
            reason="Completed" if not died and code == 0 else "Error",
        )
        self._sweep()

    def stop(self, grace_s: float) -> None:
        """Ask it to end, and kill its tree after the grace; a later call can only bring the kill forward."""
        if self.exited:
            return
        if grace_s > 0 and not self._stopping:
            self._stopping = True
            if self.signal(self._stop_signal):
                self._patient_until = time.monotonic() + grace_s
        if grace_s > 0:
            self._loop.after(grace_s, self.kill)
        else:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the main process and every process of its tree."""
        self._patient_until = 0.0
        if self.pid:
            # Its own last children first would let it start new ones: the main process goes first.
            os.kill(self.pid, signal.SIGKILL)
            processes.kill(process for process in self._members(self) if process.pid != self.pid)

    def signal(self, signum: int) -> bool:
        """Send a signal to the main process; a shell does not pass it on, so with one the whole group gets it.

        Returns whether the whole group got it.
        """
        if not self.pid:
            return False
        try:
            program = os.path.basename(os.readlink(f"/proc/{self.pid}/exe"))
        except OSError:
            program = ""
        if program in SHELLS:
            os.killpg(self.pid, signum)
            return True
        os.kill(self.pid, signum)
        return False

    def status(self) -> records.Record:
        """The record as it goes to the engine."""
        if self._log is not None:
            self.record["log_lost_bytes"] = self._log.lost_bytes
        return self.record

    def _make_streams(
        self, request: Mapping[str, Any], log: pump.LogFile, ends: list[int]
    ) -> tuple[int | None, int, int]:  # fmt: skip
        """The descriptors that its process gets, also added to `ends`; ours are kept. Raises OSError."""
        stdin: int | None = None
        self._stdin_once = bool(request.get("stdin_once"))
        if request.get("tty"):
            self.terminal, theirs = os.openpty()
            ends.append(theirs)
            self._streams[self.terminal] = pump.Lines("stdout", log)
            if request.get("stdin"):
                self.stdin = Writer(self._loop, os.dup(self.terminal))
            self.env = {"TERM": TERMINAL, **self.env}
            return theirs, theirs, theirs
        for stream in ("stdout", "stderr"):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            self._streams[ours] = pump.Lines(stream, log)
            ends.append(theirs)
        if request.get("stdin"):
            stdin, ours = os.pipe2(os.O_CLOEXEC)
            self.stdin = Writer(self._loop, ours)
            ends.append(stdin)
        return stdin, ends[0], ends[1]

    def _run(self) -> None:
        process = processes.look(self.pid)
        self.record.update(
            state="running", pid=self.pid, starttime=process.starttime if process else 0, started_at=time.time()
        )  # fmt: skip  # one fact a word reads better packed
        self._save()
        for fd in self._streams:
            os.set_blocking(fd, False)
            self._loop.watch(fd, functools.partial(self._on_readable, fd))

    def _refuse(self, code: int, message: str) -> None:
        self.record.update(exit_code=code, reason="StartError", message=message, finished_at=time.time())
        self._close()
        self.record["state"] = "exited"
        self._save()

    def _save(self) -> None:
        """Write the record as it is by now. On a full disk it is written later, and the world is told all the same."""
        try:
            records.write(self._path, self.status(), sync=self.exited)
        except OSError:
            if not self.forgotten:
                self._loop.after(SAVE_AGAIN_S, self._save)

    def _on_readable(self, fd: int, _events: int) -> None:
        self._read(fd)

    def _read(self, fd: int) -> bool:
        """Move one chunk to the log; False once there is none."""
        try:
            chunk = os.read(fd, pump.CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""  # EIO: nothing has the terminal open any more
        if chunk:
            self._streams[fd].feed(chunk)
            for attachment in list(self._attachments):
                if (slow := attachment.give(self._streams[fd].name, chunk)) is not None:
                    self._pause(fd, slow)
            return True
        self._streams.pop(fd).end()
        self._loop.unwatch(fd)
        self._close_source(fd)
        return False

    def _close_source(self, fd: int) -> None:
        os.close(fd)
        if fd == self.terminal:
            self.terminal = -1

    def _pause(self, fd: int, slow: Writer) -> None:
        """Read no more of a stream until one who is attached has taken what there was of it."""
        self._loop.unwatch(fd)

        def go_on() -> None:
            if fd in self._streams:
                self._loop.unwatch(fd)  # two may have waited
                self._loop.watch(fd, functools.partial(self._on_readable, fd))

        slow.when_drained(go_on)

    def _sweep(self) -> None:
        """Kill what the main process left behind, look again until nothing is left, then finish."""
        left = self._members(self)
        now = time.monotonic()
        if now < self._patient_until and any(process.pgid == self.record["pid"] for process in left):
            # A shell dies of the stop signal at once; what it ran got the signal too, and has the grace to act on it.
            self._loop.after(PATIENCE_S, self._sweep)
            return
        self._sweep_until = self._sweep_until or now + SWEEP_S_MAX
        if left and now < self._sweep_until:
            processes.kill(left)
            self._loop.after(SWEEP_S, self._sweep)
            return
        if left:
            self.record["message"] = f"{len(left)} of its processes cannot be killed: {[process.pid for process in left]}"
        for fd in list(self._streams):
            while self._read(fd):
                pass
        self._close()
        self.record.update(state="exited", finished_at=time.time())
        self._save()
        self._ended(self)

    def _close(self) -> None:
        for fd, lines in self._streams.items():
            lines.end()
            self._loop.unwatch(fd)
            self._close_source(fd)
        self._streams.clear()
        if self.stdin is not None:
            self.stdin.close()
            self.stdin = None
        for attachment in self._attachments:
            attachment.finish(self.record["exit_code"])
        self._attachments.clear()
        if self._log is not None:
            self.status()
            self._log.close()
