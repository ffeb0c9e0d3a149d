"""The view of `up` without a terminal: one line for each thing that happened, nothing that moves."""

from __future__ import annotations

from collections.abc import Sequence

import click

from .scene import PodRow, Scene
from .speaker import Speaker


class PlainView:
    """Prints a line at a time; whoever reads slowly holds nothing up."""

    def __init__(self) -> None:
        self._speaker = Speaker()

    def start(self) -> None:
        """Begin to print."""
        self._speaker.start()

    def stop(self) -> None:
        """Print what is left."""
        self._speaker.stop()

    def line(self, text: str, took_s: float) -> None:
        """Print a line."""
        self._speaker.say(lambda: click.echo(f"{took_s:7.2f}s {text}"))

    def draw(self, scene: Scene, pods: Sequence[PodRow], url: str, now_s: float) -> None:
        """The lines have said it."""
