"""`reconcile get`: objects as a table, as JSON or YAML, once or as they change."""

from __future__ import annotations

import click

from reconcile.errors import ApiError, NotFoundError, Tree

from .errors import EXIT_REFUSED, CommandError
from .past import exactly, object_at, revision_of, was_not_there
from .printing import examples, output_option, show, table
from .target import TABLE, Named, Target, message_of, target_options


@click.command(
    "get",
    epilog=examples(
        "reconcile get pods",
        "reconcile get deploy/web -o yaml",
        "reconcile get all -A",
        "reconcile get po -w",
        "reconcile get pods --at 10m",
    ),
)
@click.argument("what", nargs=-1, metavar="KIND [NAME...] | KIND/NAME...")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-l", "--selector", default="", help="Only objects with these labels: app=web,tier!=db.")
@click.option("--field-selector", default="", help="Only objects with these fields: status.phase=Running.")
@click.option("-w", "--watch", "follow", is_flag=True, help="Go on as they change.")
@click.option("--at", "moment", default="", metavar="REV|TIME", help="As they were: at a revision, an age ago (10m), at a time.")
@click.option("--no-headers", is_flag=True, help="Leave the headings out.")
@click.option("--show-labels", is_flag=True, help="Add a column with the labels.")
@click.option("--sort-by", default="", help="Sort by a field, for example .metadata.name.")
@output_option("json", "yaml", "wide", "name")
@target_options
def command(
    target: Target, what: tuple[str, ...], all_namespaces: bool, selector: str, field_selector: str, follow: bool, moment: str,
    no_headers: bool, show_labels: bool, sort_by: str, output: str | None,
) -> None:  # fmt: skip
    """List objects of a KIND, or show those that are named."""
    named = target.named(what)
    if moment and follow:
        raise CommandError("--watch follows the present, and --at shows the past: give one of them")
    revision = revision_of(target, moment) if moment else ""
    query = {"labelSelector": selector, "fieldSelector": field_selector, **exactly(revision)}
    if follow and len({n.resource.plural for n in named}) > 1:
        raise CommandError("--watch follows one kind at a time")
    if output in ("json", "yaml", "name"):
        _print_objects(target, named, all_namespaces, query, output, sort_by)
        if not follow:
            return
    prefixed = len({n.resource.plural for n in named}) > 1
    look = _Look(wide=output == "wide", header=not no_headers, labels=show_labels, prefixed=prefixed, namespaces=all_namespaces)
    if output in (None, "wide"):
        _print_tables(target, named, query, look, sort_by)
    if follow:
        _follow(target, named[0], query, look, output)


class _Look:
    """How a table is to look."""

    def __init__(self, *, wide: bool, header: bool, labels: bool, prefixed: bool, namespaces: bool) -> None:
        self.wide, self.header, self.labels, self.prefixed, self.namespaces = wide, header, labels, prefixed, namespaces

    def lines(self, document: Tree, named: Named) -> tuple[list[str], list[list[object]]]:
        """Headings and rows of a server's Table."""
        columns = document["columnDefinitions"]
        shown = [i for i, column in enumerate(columns) if self.wide or not column.get("priority")]
        headings = [columns[i]["name"] for i in shown]
        rows = []
        for row in document.get("rows") or ():
            cells = [row["cells"][i] for i in shown]
            metadata = (row.get("object") or {}).get("metadata", {})
            if self.prefixed:
                cells[0] = Named(named.resource, str(cells[0])).title
            if self.namespaces and named.resource.namespaced:
                cells.insert(0, metadata.get("namespace", ""))
            if self.labels:
                cells.append(",".join(f"{k}={v}" for k, v in sorted((metadata.get("labels") or {}).items())))
            rows.append(cells)
        if self.namespaces and named.resource.namespaced:
            headings.insert(0, "Namespace")
        return [*headings, "Labels"] if self.labels else headings, rows


def _print_tables(target: Target, named: list[Named], query: dict[str, str], look: _Look, sort_by: str) -> None:
    """One table for each kind; several names of one kind stand in one table."""
    groups: dict[str, list[Named]] = {}
    for item in named:
        groups.setdefault(f"{item.resource.plural}.{item.resource.group}", []).append(item)
    printed, failed = 0, False
    for members in groups.values():
        headings: list[str] = []
        rows: list[list[object]] = []
        for item in members:
            try:
                document = _table_of(target, item, query, look)
            except NotFoundError as error:
                click.echo(message_of(error), err=True)
                failed = True
                continue
            if sort_by:
                document["rows"] = sorted(document.get("rows") or (), key=lambda row: str(_at(row.get("object", {}), sort_by)))
            headings, more = look.lines(document, item)
            rows += more
        if rows:
            if printed:
                click.echo("")
            click.echo(table(headings, rows, header=look.header))
            printed += 1
    if not printed and not failed:
        where = "" if look.namespaces or not any(n.resource.namespaced for n in named) else f" in {target.namespace} namespace"
        click.echo(f"No resources found{where}.", err=True)
    if failed:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _table_of(target: Target, item: Named, query: dict[str, str], look: _Look) -> Tree:
    revision = query.get("resourceVersion", "")
    named = item.name and not revision
    if item.name and revision:
        # Only lists are read at old revisions: a list of one.
        query = {**query, "labelSelector": "", "fieldSelector": f"metadata.name={item.name}"}
    path = target.path(item.resource, item.name if named else "", all_namespaces=look.namespaces and not item.name)
    document = target.read(path, accept=TABLE, **({} if named else query))
    if item.name and revision and not (document.get("rows") or document.get("items")):
        raise was_not_there(item, revision)
    if document.get("kind") == "Table":
        return document
    # A server without tables: name and age are what every object has.
    items = document.get("items", [document])
    cells = [{"cells": [i["metadata"]["name"], i["metadata"].get("creationTimestamp", "")], "object": i} for i in items]
    return {"columnDefinitions": [{"name": "Name"}, {"name": "Created At"}], "rows": cells}


def _print_objects(
    target: Target, named: list[Named], all_namespaces: bool, query: dict[str, str], output: str, sort_by: str
) -> None:
    trees: list[Tree] = []
    missing: ApiError | None = None
    for item in named:
        if item.name:
            try:
                revision = query.get("resourceVersion", "")
                found = object_at(target, item, revision) if revision else target.read(target.path(item.resource, item.name))
                trees.append(found)
            except NotFoundError as error:
                missing = error
                click.echo(message_of(error), err=True)
        else:
            trees += target.items(item.resource, all_namespaces=all_namespaces, **query)
    if sort_by:
        trees.sort(key=lambda tree: str(_at(tree, sort_by)))
    if output == "name":
        by_kind = {item.resource.kind: item.resource for item in named}
        for tree in trees:
            click.echo(Named(by_kind[tree["kind"]], tree["metadata"]["name"]).title)
    elif trees or missing is None:
        show(trees[0] if len(named) == 1 and named[0].name and trees else trees, output)
    if missing is not None:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _follow(target: Target, item: Named, query: dict[str, str], look: _Look, output: str | None) -> None:
    """Print a line (or a document) for each change until interrupted."""
    if item.name:
        query = {"fieldSelector": f"metadata.name={item.name}"}
    path = target.path(item.resource, all_namespaces=look.namespaces and not item.name)
    revision = str(target.read(path, **query).get("metadata", {}).get("resourceVersion", ""))
    as_table = output in (None, "wide")
    look_columns: list[Tree] = []
    for event in target.watch(path, accept=TABLE if as_table else "application/json", resourceVersion=revision, **query):
        if event["type"] == "BOOKMARK":
            continue
        if as_table and event["object"].get("kind") == "Table":
            document = event["object"]
            # Later events of a stream leave the column definitions out: they are those of the first.
            look_columns = document.get("columnDefinitions") or look_columns
            headings, rows = look.lines({**document, "columnDefinitions": look_columns}, item)
            click.echo(table(headings, rows, header=False))
        elif output == "name":
            click.echo(Named(item.resource, event["object"]["metadata"]["name"]).title)
        else:
            show(event["object"], output or "yaml")


def _at(tree: Tree, path: str) -> object:
    """The value at `.metadata.name`, or an empty string."""
    value: object = tree
    for step in path.strip("{}").strip(".").split("."):
        value = value.get(step, "") if isinstance(value, dict) else ""
    return value
