"""`reconcile top`: the CPU and memory that pods and nodes really use."""

from __future__ import annotations

import click

from reconcile.errors import NotFoundError, Tree
from reconcile.quantities import milli, whole
from reconcile.runtime.client.resources import Resource

from .errors import CommandError, NoControlPlane
from .printing import examples, output_option, show, table
from .target import Target, target_options


@click.command("top", epilog=examples("reconcile top", "reconcile top pods --sort-by memory", "reconcile top nodes"))
@click.argument("what", type=click.Choice(["pods", "pod", "po", "nodes", "node", "no"]), default="pods")
@click.argument("name", required=False, default="")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-l", "--selector", default="", help="Only pods with these labels.")
@click.option(
    "--sort-by", type=click.Choice(["cpu", "memory", "name"]), default="name", show_default=True, help="In which order."
)
@click.option("--no-headers", is_flag=True, help="Leave the headings out.")
@output_option("json", "yaml")
@target_options
def command(
    target: Target, what: str, name: str, all_namespaces: bool, selector: str, sort_by: str, no_headers: bool, output: str | None
) -> None:
    """Show what each pod (or node) uses: CPU in thousandths of a core, memory in MiB."""
    plural = "nodes" if what.startswith("no") else "pods"
    resource = measured(target, plural)
    if name:
        found = [target.read(target.path(resource, name))]
    else:
        found = target.items(resource, all_namespaces=all_namespaces, labelSelector=selector)
    if output:
        show(found, output)
        return
    if not found:
        raise CommandError("no metrics yet: pods are measured a moment after they start")
    rows = [(tree["metadata"].get("namespace", ""), tree["metadata"]["name"], *usage_of(tree)) for tree in found]
    if sort_by != "name":
        rows.sort(key=lambda row: row[2] if sort_by == "cpu" else row[3], reverse=True)
    shown = [[f"{row[1]}", f"{row[2]}m", f"{row[3] // 2**20}Mi"] for row in rows]
    headings = ["Name", "CPU(cores)", "Memory(bytes)"]
    if all_namespaces and plural == "pods":
        shown = [[row[0], *line] for row, line in zip(rows, shown, strict=True)]
        headings.insert(0, "Namespace")
    click.echo(table(headings, shown, header=not no_headers))


def measured(target: Target, plural: str) -> Resource:
    """The resource of what is measured.

    Raises:
        CommandError: the server has no metrics.
    """
    try:
        return target.resolve(f"{plural}.metrics.k8s.io")
    except NoControlPlane:
        raise
    except CommandError as error:
        raise CommandError("this server has no metrics: metrics.k8s.io is not served (metrics-server serves it)") from error


def usage_of(tree: Tree) -> tuple[int, int]:
    """Millicores and bytes of a PodMetrics (all containers) or NodeMetrics."""
    parts = [container["usage"] for container in tree.get("containers", ())] or [tree.get("usage", {})]
    return sum(milli(part.get("cpu", 0)) for part in parts), sum(whole(part.get("memory", 0)) for part in parts)


def usages(target: Target) -> dict[tuple[str, str], tuple[int, int]]:
    """What each pod of all namespaces uses; empty where the server has no metrics."""
    try:
        resource = target.resolve("pods.metrics.k8s.io")
        found = target.items(resource, all_namespaces=True)
    except (CommandError, NotFoundError):
        return {}
    return {(tree["metadata"].get("namespace", ""), tree["metadata"]["name"]): usage_of(tree) for tree in found}
