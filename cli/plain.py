"""The view of `up` without a terminal: one line for each thing that happened, nothing that moves."""

from __future__ import annotations

from collections.abc import Sequence

import click

from .scene import PodRow, Scene


class PlainView:
    """Without a terminal: one line for each thing that happened, nothing that moves."""

    def start(self) -> None:
        """Nothing to take over."""

    def stop(self) -> None:
        """Nothing to give back."""

    def line(self, text: str, took_s: float) -> None:
        """Print the line at once."""
        click.echo(f"{took_s:7.2f}s {text}")

    def draw(self, scene: Scene, pods: Sequence[PodRow], url: str, now_s: float) -> None:
        """The lines have said it."""
