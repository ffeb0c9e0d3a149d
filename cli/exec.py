"""`reconcile exec`: run a command in a container, as `docker exec` and `kubectl exec` do."""

from __future__ import annotations

import asyncio
import sys

import click

from .pods import pod_of
from .printing import examples
from .talking import COMMAND_PROTOCOLS, Channels, converse
from .target import Target, target_options


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples(
        "reconcile exec web-7d4b9c-x2x5q -- env", "reconcile exec -it deploy/web -- sh",
        "tar c notes | reconcile exec -i web-7d4b9c-x2x5q -- tar x -C /tmp",
    ),
)  # fmt: skip
@click.option("-i", "--stdin", is_flag=True, help="Pass what comes in here on to the command.")
@click.option("-t", "--tty", "terminal", is_flag=True, help="Give the command a terminal: this one.")
@click.option("-c", "--container", default="", help="In this container [default: the only one, else the first].")
@target_options
@click.argument("what", metavar="POD | KIND/NAME")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]...")
def command(target: Target, stdin: bool, terminal: bool, container: str, what: str, argv: tuple[str, ...]) -> None:
    """Run a command in a container, with its environment and working directory; ends with the command's exit code.

    It is ended when this is.
    """
    words = argv[1:] if argv[:1] == ("--",) else argv
    if not words:
        raise click.UsageError("say which command, after `--`: reconcile exec POD -- env")
    pod = pod_of(target, what)
    if terminal and not sys.stdin.isatty():
        click.echo("no terminal is given to the command: stdin is none", err=True)
        terminal = False
    names = [each["name"] for each in pod["spec"]["containers"]]
    query = [
        ("container", container or names[0]), *(("command", word) for word in words), ("stdout", "true"),
        *((("stdin", "true"),) if stdin else ()), ("tty" if terminal else "stderr", "true"),
    ]  # fmt: skip
    path = target.path(target.resolve("pods"), pod["metadata"]["name"], subresource="exec")
    raise click.exceptions.Exit(asyncio.run(_run(target, path, query, stdin=stdin, terminal=terminal)))


async def _run(target: Target, path: str, query: list[tuple[str, str]], *, stdin: bool, terminal: bool) -> int:
    channels = await Channels.open(target.http.access, path, query, COMMAND_PROTOCOLS)
    return await converse(channels, stdin=stdin, terminal=terminal and stdin)
