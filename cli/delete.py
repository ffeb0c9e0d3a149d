"""`reconcile delete`: objects by name, by label, or those of files."""

from __future__ import annotations

import time

import click

from reconcile.errors import NotFoundError

from .apply import manifests_of, named_in, path_of
from .errors import EXIT_REFUSED, CommandError, TimedOut
from .printing import examples
from .target import Named, Target, message_of, target_options

_POLL_S = 0.1


@click.command(
    "delete",
    epilog=examples("reconcile delete pod web-1", "reconcile delete -f web.yaml", "reconcile delete po -l app=web"),
)
@click.argument("what", nargs=-1, metavar="KIND NAME... | KIND/NAME...")
@click.option("-f", "--filename", "sources", multiple=True, help="Delete the objects of a file, a folder, or - for stdin.")
@click.option("-l", "--selector", default="", help="Delete all objects of KIND with these labels.")
@click.option("--all", "everything", is_flag=True, help="Delete all objects of KIND in the namespace.")
@click.option("--grace-period", type=int, default=None, help="Seconds that a pod has to end; 0 with --force kills it.")
@click.option("--force", is_flag=True, help="Delete at once, without waiting for the kubelet.")
@click.option(
    "--cascade",
    type=click.Choice(["background", "foreground", "orphan"]),
    default="background",
    show_default=True,
    help="What becomes of what they own.",
)
@click.option("--wait/--no-wait", default=True, help="Return when they are gone.  [default: wait]")
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True, help="Seconds to wait.")
@click.option(
    "--unreadable", is_flag=True, help="Delete what the API cannot read, and nothing else; finalizers and owners do not count."
)
@click.option("--ignore-not-found", is_flag=True, help="It is fine if they are gone already.")
@target_options
def command(
    target: Target, what: tuple[str, ...], sources: tuple[str, ...], selector: str, everything: bool, grace_period: int | None,
    force: bool, cascade: str, wait: bool, timeout_s: float, unreadable: bool, ignore_not_found: bool,
) -> None:  # fmt: skip
    """Delete objects; what they own goes with them."""
    paths = _paths(target, what, sources, selector, everything)
    body: dict[str, object] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": cascade.capitalize()}
    if unreadable:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential": True}
    elif grace_period is not None or force:
        body["gracePeriodSeconds"] = 0 if force else grace_period
    failed = False
    gone: list[tuple[str, str]] = []
    for title, path in paths:
        try:
            answer = target.write("DELETE", path, body)
        except NotFoundError as error:
            if not ignore_not_found:
                click.echo(message_of(error), err=True)
                failed = True
            continue
        click.echo(f"{title} {'force ' if force else ''}deleted")
        details = answer.get("details", {}) if answer.get("kind") == "Status" else answer.get("metadata", {})
        gone.append((path, str(details.get("uid", ""))))
    if wait:
        _wait(target, gone, timeout_s)
    if failed:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _paths(
    target: Target, what: tuple[str, ...], sources: tuple[str, ...], selector: str, everything: bool
) -> list[tuple[str, str]]:
    """What is to be deleted: what to call it, and its URL path."""
    if sources:
        manifests = manifests_of(sources)
        # Last declared first gone: a Namespace usually stands on top.
        pairs = [(named_in(target, m), m) for m in reversed(manifests)]
        return [(named.title, path_of(target, named, m)) for named, m in pairs]
    named = target.named(what)
    if all(item.name for item in named):
        return [(item.title, target.path(item.resource, item.name)) for item in named]
    if not selector and not everything:
        raise CommandError("name the objects, or say --selector or --all")
    found = [
        Named(item.resource, tree["metadata"]["name"])
        for item in named
        for tree in target.items(item.resource, labelSelector=selector)
    ]
    if not found:
        click.echo("No resources found", err=True)
    return [(item.title, target.path(item.resource, item.name)) for item in found]


def _wait(target: Target, gone: list[tuple[str, str]], timeout_s: float) -> None:
    """Until each is gone, or replaced by another of its name."""
    deadline = time.monotonic() + timeout_s
    for path, uid in gone:
        while True:
            try:
                there = target.read(path)["metadata"]
            except NotFoundError:
                break
            if uid and there.get("uid") != uid:
                break
            if time.monotonic() > deadline:
                waits = ", ".join(there.get("finalizers") or ()) or "its processes"
                raise TimedOut(f"{path.rsplit('/', 1)[-1]} is still there after {timeout_s:g} s; it waits for {waits}")
            time.sleep(_POLL_S)
