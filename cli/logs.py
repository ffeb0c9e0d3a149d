"""`reconcile logs`: what containers wrote, of one pod or of all that belong together."""

from __future__ import annotations

import queue
import sys
import threading
import zlib
from collections.abc import Iterator

import click

from reconcile.errors import ApiError

from .errors import EXIT_REFUSED, CommandError
from .pods import pods_of
from .printing import colours, examples
from .target import Target, message_of, target_options

_COLOURS = (
    "cyan",
    "magenta",
    "green",
    "yellow",
    "blue",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
    "bright_yellow",
    "bright_blue",
)


@click.command(
    "logs",
    epilog=examples(
        "reconcile logs web-7d4b9c-x2x5q", "reconcile logs -f deploy/web --all", "reconcile logs -l app=web --tail 20"
    ),
)
@click.argument("what", nargs=-1, metavar="POD | KIND/NAME")
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written.")
@click.option("--all", "everything", is_flag=True, help="Of all pods (of the namespace, or that belong to KIND/NAME).")
@click.option("-l", "--selector", default="", help="Of all pods with these labels.")
@click.option("-c", "--container", default="", help="Of this container [default: the first; with --all, all of them].")
@click.option("-p", "--previous", is_flag=True, help="Of the container's previous run.")
@click.option("--tail", type=int, default=-1, help="Only so many of the last lines.")
@click.option("--since", "since_s", type=int, default=0, metavar="SECONDS", help="Only what was written within so many seconds.")
@click.option("--timestamps", is_flag=True, help="Begin each line with its time.")
@click.option(
    "--prefix/--no-prefix", default=None, help="Begin each line with the pod's name [default: where there are several]."
)
@target_options
def command(
    target: Target, what: tuple[str, ...], follow: bool, everything: bool, selector: str, container: str, previous: bool,
    tail: int, since_s: int, timestamps: bool, prefix: bool | None,
) -> None:  # fmt: skip
    """Print what a pod's container wrote; with KIND/NAME, of a pod that belongs to it (--all: of every one)."""
    pods = pods_of(target, what, selector, everything)
    if not pods:
        raise CommandError("no pods found; see `reconcile get pods`")
    streams: list[tuple[str, str]] = []
    for pod in pods:
        names = [container] if container else [c["name"] for c in pod.get("spec", {}).get("containers", ())]
        streams += [(pod["metadata"]["name"], name) for name in (names if everything or selector else names[:1])]
    query = {
        "follow": "true" if follow else "", "previous": "true" if previous else "", "tailLines": str(tail) if tail >= 0 else "",
        "sinceSeconds": str(since_s) if since_s else "", "timestamps": "true" if timestamps else "",
    }  # fmt: skip
    _print(target, streams, query, follow, prefix if prefix is not None else len(streams) > 1)


def _print(target: Target, streams: list[tuple[str, str]], query: dict[str, str], follow: bool, prefixed: bool) -> None:
    """One after the other, or (following several) as their lines come."""
    failed = False
    if not follow or len(streams) == 1:
        for pod, name in streams:
            try:
                for line in _lines(target, pod, name, query):
                    _write(pod, name, line, prefixed)
            except ApiError as error:
                click.echo(message_of(error), err=True)
                failed = True
        if failed:
            raise click.exceptions.Exit(EXIT_REFUSED)
        return
    arrived: queue.Queue[tuple[str, str, bytes | None]] = queue.Queue(maxsize=10_000)

    def read(pod: str, name: str) -> None:
        try:
            for line in _lines(Target(target.http.access, target.namespace), pod, name, query):
                arrived.put((pod, name, line))
        except ApiError as error:
            arrived.put((pod, name, message_of(error).encode()))
        finally:
            arrived.put((pod, name, None))

    for pod, name in streams:
        threading.Thread(target=read, args=(pod, name), daemon=True).start()
    open_streams = len(streams)
    while open_streams:
        pod, name, arrived_line = arrived.get()
        if arrived_line is None:
            open_streams -= 1
        else:
            _write(pod, name, arrived_line, prefixed)


def _lines(target: Target, pod: str, container: str, query: dict[str, str]) -> Iterator[bytes]:
    path = target.path(target.resolve("pods"), pod, subresource="log")
    return target.lines(path, **query, container=container)


def _write(pod: str, container: str, line: bytes, prefixed: bool) -> None:
    """One line, as bytes: logs need not be UTF-8."""
    if prefixed:
        label = f"{pod}/{container} | "
        if colours():
            label = click.style(label, fg=_COLOURS[zlib.crc32(pod.encode()) % len(_COLOURS)])
        line = label.encode() + line
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
