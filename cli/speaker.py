"""Writes to the terminal from a thread of its own, so that a terminal that takes nothing never stops the control plane.

A terminal held with Ctrl-S, or a pipe that nobody reads, blocks whoever writes to it. Lines wait in a bounded queue and are
counted when it is full; of pictures only the newest is kept.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

LINES_MAX = 10_000
Job = Callable[[], None]


class Speaker:
    """Runs jobs that write, one after the other, in a thread."""

    def __init__(self, lines_max: int = LINES_MAX) -> None:
        self._jobs: queue.Queue[Job | None] = queue.Queue(lines_max)
        self._picture: Job | None = None
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self.lost = 0
        """Lines that were left out because nobody took those before."""

    def start(self) -> None:
        """Begin to speak."""
        self._thread.start()

    def say(self, job: Job) -> None:
        """Write a line, in turn; never waits."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.lost += 1

    def show(self, job: Job) -> None:
        """Draw a picture; one that waits to be drawn is replaced by this one. Never waits."""
        waits = self._picture is not None
        self._picture = job
        if not waits:
            self.say(self._draw)

    def stop(self, timeout_s: float = 1.0) -> None:
        """Write what is left, for at most `timeout_s`; further jobs are dropped. May be called again."""
        if self._thread.is_alive():
            try:
                self._jobs.put(None, timeout=timeout_s)
            except queue.Full:
                return
            self._thread.join(timeout_s)

    def _draw(self) -> None:
        job, self._picture = self._picture, None
        if job is not None:
            job()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except OSError:
                # Nobody is there any more (the pipe's reader has gone, the terminal was closed): the control plane goes on.
                self._picture = None
