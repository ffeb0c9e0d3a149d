"""`reconcile explain`: the fields of a kind, from the server's own schema."""

from __future__ import annotations

import textwrap

import click

from reconcile.errors import Tree

from .errors import CommandError
from .printing import examples, output_option, show
from .target import Target, target_options


@click.command(
    "explain",
    epilog=examples(
        "reconcile explain deployment", "reconcile explain pod.spec.containers", "reconcile explain deploy.spec --recursive"
    ),
)
@click.argument("path", metavar="KIND[.FIELD...]")
@click.option("--recursive", is_flag=True, help="All fields below, as a tree.")
@output_option("json", "yaml")
@target_options
def command(target: Target, path: str, recursive: bool, output: str | None) -> None:
    """Show what a kind's fields are, what they hold, and which are required."""
    word, *steps = path.split(".")
    resource = target.resolve(word)
    document = _document(target, resource.group, resource.version)
    schemas = document.get("components", {}).get("schemas", {})
    schema = _schema_of(schemas, resource.group, resource.version, resource.kind)
    for depth, step in enumerate(steps):
        fields = _resolved(_items(schema, schemas), schemas).get("properties", {})
        if step not in fields:
            known = ", ".join(fields) or "none"
            raise CommandError(f'field "{step}" does not exist in {".".join([word, *steps[:depth]])}; its fields are {known}')
        schema = _resolved(fields[step], schemas)
    if output:
        show(schema, output)
        return
    if resource.group:
        click.echo(f"GROUP:      {resource.group}")
    click.echo(f"KIND:       {resource.kind}\nVERSION:    {resource.version}\n")
    if steps:
        click.echo(f"FIELD: {steps[-1]} <{_type(schema, schemas)}>\n")
    click.echo("DESCRIPTION:")
    click.echo(textwrap.indent(_described(schema, schemas), "    ") + "\n")
    inner = _resolved(_items(schema, schemas), schemas)
    if inner.get("properties"):
        click.echo("FIELDS:")
        _print_fields(inner, schemas, "  ", recursive, set())


def _document(target: Target, group: str, version: str) -> Tree:
    name = f"apis/{group}/{version}" if group else f"api/{version}"
    paths = target.read("/openapi/v3")["paths"]
    if name not in paths:
        raise CommandError(f"the server publishes no schema for {name}")
    url, _, query = paths[name]["serverRelativeURL"].partition("?")
    return target.read(url, **dict(part.split("=", 1) for part in query.split("&") if "=" in part))


def _schema_of(schemas: Tree, group: str, version: str, kind: str) -> Tree:
    wanted = {"group": group, "version": version, "kind": kind}
    for schema in schemas.values():
        if wanted in schema.get("x-kubernetes-group-version-kind", ()):
            found: Tree = schema
            return found
    raise CommandError(f"the server publishes no schema for {kind}")


def _resolved(schema: Tree, schemas: Tree) -> Tree:
    """Follow $ref and a single allOf; what stands beside them (a description) stays."""
    while True:
        reference = schema.get("$ref") or (schema["allOf"][0].get("$ref") if len(schema.get("allOf", ())) == 1 else None)
        if not reference:
            return schema
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        schema = {**schemas[reference.rsplit("/", 1)[-1]], **beside}


def _items(schema: Tree, schemas: Tree) -> Tree:
    """What a list or a map holds; other schemas are what they are."""
    schema = _resolved(schema, schemas)
    if schema.get("type") == "array":
        return _items(schema.get("items", {}), schemas)
    inner = schema.get("additionalProperties")
    return _items(inner, schemas) if isinstance(inner, dict) and "properties" not in schema else schema


def _type(schema: Tree, schemas: Tree) -> str:
    schema = _resolved(schema, schemas)
    if schema.get("type") == "array":
        return f"[]{_type(schema.get('items', {}), schemas)}"
    inner = schema.get("additionalProperties")
    if isinstance(inner, dict) and "properties" not in schema:
        return f"map[string]{_type(inner, schemas)}"
    if schema.get("x-kubernetes-int-or-string"):
        return "Quantity" if schema.get("format") == "quantity" else "IntOrString"
    return {"object": "Object"}.get(str(schema.get("type", "object")), str(schema.get("type", "Object")))


def _described(schema: Tree, schemas: Tree) -> str:
    text = schema.get("description") or _items(schema, schemas).get("description") or "<no description>"
    return "\n".join(textwrap.fill(part, 76) for part in str(text).splitlines())


def _print_fields(schema: Tree, schemas: Tree, indent: str, recursive: bool, above: set[int]) -> None:
    required = set(schema.get("required", ()))
    for name, field in sorted(schema["properties"].items()):
        inner = _resolved(_items(field, schemas), schemas)
        click.echo(
            f"{indent}{click.style(name, bold=True)}\t<{_type(field, schemas)}>" + (" -required-" if name in required else "")
        )
        if not recursive:
            described = _resolved(field, schemas)
            facts = [f"enum: {', '.join(map(str, described['enum']))}"] if described.get("enum") else []
            facts += [f"default: {described['default']}"] if "default" in described else []
            facts += [f"{what}: {described[what]}" for what in ("minimum", "maximum", "pattern") if what in described]
            text = _described(field, schemas)
            click.echo(textwrap.indent("\n".join([*facts, text]), indent + "  ") + "\n")
        elif inner.get("properties") and id(inner) not in above:
            _print_fields(inner, schemas, indent + "  ", recursive, above | {id(inner)})
