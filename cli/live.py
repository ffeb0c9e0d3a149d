"""The live view of `up` in a terminal: what happens scrolls by, what is stands below.

Drawn with rich, redrawn only when something changed (at most ten times a second) and every few seconds for the ages.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree

from .printing import colour_of, duration
from .scene import PodRow, Rollout, Scene
from .speaker import Speaker

_PODS_MAX_SHARE = 0.5  # of the terminal's height: the rest is for what scrolls
_MARKS = {
    "applied": ("+", "green"),
    "deleted": ("-", "yellow"),
    "loaded": ("*", "cyan"),
    "reloaded": ("*", "cyan"),
    "unloaded": ("*", "yellow"),
    "problem": ("!", "red"),
}


class LiveView:
    """Lines scroll above; the state of the cluster stays below."""

    def __init__(self, folder: str, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._folder = folder
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._speaker = Speaker()

    def start(self) -> None:
        """Take over the terminal's last lines."""
        self._speaker.start()
        self._speaker.say(self._live.start)

    def stop(self) -> None:
        """Give the terminal back."""
        self._speaker.say(self._live.stop)
        self._speaker.stop()

    def line(self, text: str, took_s: float) -> None:
        """Say one thing that happened, `took_s` seconds after the start."""
        word, _, rest = text.partition(" ")
        mark, colour = _MARKS.get(word, ("·", "default"))
        said = Text(f"{took_s:7.2f}s ", style="dim")
        said.append(f"{mark} ", style=colour)
        said.append(word, style=colour if word in _MARKS else "")
        said.append(f" {rest}")
        self._speaker.say(lambda: self._console.print(said, soft_wrap=True))

    def draw(self, scene: Scene, pods: Sequence[PodRow], url: str, now_s: float) -> None:
        """Show the state as it is."""
        picture = self._view(scene, pods, url, now_s)  # here, because the scene changes while the terminal takes its time
        self._speaker.show(lambda: self._live.update(picture, refresh=True))

    def _view(self, scene: Scene, pods: Sequence[PodRow], url: str, now_s: float) -> RenderableType:
        parts: list[RenderableType] = [Text("")]
        rollouts = scene.rollouts()
        if rollouts:
            parts.append(_rollout_table(rollouts))
        room = max(4, int(self._console.height * _PODS_MAX_SHARE))
        if pods:
            parts.append(_pod_table(pods, room, now_s))
        services = scene.services()
        if services:
            grid = Table.grid(padding=(0, 2))
            for row in services[:room]:
                behind = f"{row.ready} ready" if row.ready else "nothing ready behind it"
                grid.add_row(
                    Text(f"service/{row.name}"),
                    Text(row.addresses, style="cyan"),
                    Text(behind, style="" if row.ready else "yellow"),
                )
            parts.append(grid)
        parts.extend(_problem(problem) for problem in scene.problems()[:5])
        parts.append(self._footer(pods, url))
        return Group(*parts)

    def _footer(self, pods: Sequence[PodRow], url: str) -> Text:
        well = sum(pod.well for pod in pods)
        text = Text(f"{self._folder}  ", style="bold")
        text.append(f"{well}/{len(pods)} pods well", style="green" if well == len(pods) else "yellow")
        if url:
            text.append(f"  API {url}", style="dim")
        text.append("  Ctrl-C stops", style="dim")
        return text


def _rollout_table(rollouts: Sequence[Rollout]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for rollout in rollouts:
        colour = "red" if rollout.stuck else "green" if rollout.done else "yellow"
        done = min(rollout.updated, rollout.available) if not rollout.done else rollout.wanted
        bar = ProgressBar(
            total=max(1, rollout.wanted),
            completed=done if rollout.wanted else 1,
            width=24,
            complete_style=colour,
            finished_style=colour,
        )
        grid.add_row(Text(rollout.title), bar, Text(rollout.progress, style=colour), Text(rollout.stuck, style="red"))
    return grid


def _pod_table(pods: Sequence[PodRow], room: int, now_s: float) -> Table:
    """Those that are not well first: they are why somebody looks."""
    grid = Table.grid(padding=(0, 2))
    ordered = sorted(pods, key=lambda pod: (pod.well, pod.namespace, pod.name))
    for pod in ordered[:room]:
        age = duration(now_s - parse_timestamp(pod.created)) if pod.created else ""
        name = pod.name if pod.namespace == "default" else f"{pod.namespace}/{pod.name}"
        restarts = Text(f"restarted {pod.restarts}" if pod.restarts not in ("0", "") else "", style="yellow")
        grid.add_row(
            Text(f"  pod/{name}"), Text(pod.ready), Text(pod.status, style=colour_of(pod.status) or ""), restarts,
            Text(age, style="dim"), Text(pod.address, style="dim"), Text("" if pod.well else pod.message[:100], style="dim"),
        )  # fmt: skip
    if len(ordered) > room:
        grid.add_row(Text(f"  ... and {len(ordered) - room} more", style="dim"))
    return grid


def _problem(problem: Tree) -> Text:
    where = ":".join(str(problem[part]) for part in ("file", "line", "column") if problem.get(part))
    text = Text("✗ ", style="red")
    text.append(where, style="bold red")
    text.append(f" {problem['message']}")
    if problem.get("hint"):
        text.append(f"  → {problem['hint']}", style="dim")
    if problem.get("traceback"):
        text.append("\n" + problem["traceback"].rstrip(), style="dim")
    return text
