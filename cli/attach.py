"""`reconcile attach`: hear and talk to a container's own process."""

from __future__ import annotations

import asyncio
import sys

import click

from reconcile.errors import Tree

from .errors import CommandError
from .pods import pod_of
from .printing import examples
from .talking import COMMAND_PROTOCOLS, Channels, converse
from .target import Target, target_options


@click.command(
    "attach", epilog=examples("reconcile attach console", "reconcile attach -it console -c shell", "reconcile attach deploy/web")
)
@click.option("-i", "--stdin", is_flag=True, help="Pass what comes in here on to the container (which needs `stdin: true`).")
@click.option("-t", "--tty", "terminal", is_flag=True, help="This terminal is the container's (which needs `tty: true`).")
@click.option("-c", "--container", default="", help="This container [default: the only one, else the first].")
@click.argument("what", metavar="POD | KIND/NAME")
@target_options
def command(target: Target, stdin: bool, terminal: bool, container: str, what: str) -> None:
    """Print what a container's process says from now on, until it ends; with --stdin, say something to it.

    Ctrl-C ends this, not the container.
    """
    pod = pod_of(target, what)
    spec = _container(pod, container)
    if stdin and not spec.get("stdin"):
        raise CommandError(f"container {spec['name']} hears nobody: its manifest needs `stdin: true`")
    has_terminal = bool(spec.get("tty"))
    if terminal and not has_terminal:
        click.echo(f"container {spec['name']} has no terminal (`tty: true`); going on without", err=True)
    query = [("container", spec["name"]), ("stdout", "true"), *((("stdin", "true"),) if stdin else ())]
    query.append(("tty" if has_terminal else "stderr", "true"))
    path = target.path(target.resolve("pods"), pod["metadata"]["name"], subresource="attach")
    raw = terminal and has_terminal and stdin and sys.stdin.isatty()
    raise click.exceptions.Exit(asyncio.run(_run(target, path, query, stdin=stdin, terminal=raw)))


async def _run(target: Target, path: str, query: list[tuple[str, str]], *, stdin: bool, terminal: bool) -> int:
    channels = await Channels.open(target.http.access, path, query, COMMAND_PROTOCOLS)
    return await converse(channels, stdin=stdin, terminal=terminal)


def _container(pod: Tree, name: str) -> Tree:
    containers: list[Tree] = pod["spec"]["containers"]
    found = next((each for each in containers if each["name"] == name), None) if name else containers[0]
    if found is None:
        raise CommandError(f"there is no container {name!r}; it has {', '.join(each['name'] for each in containers)}")
    return found
