"""`reconcile apply -f`: files, folders or stdin to the API, by server-side apply."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconcile.errors import ApiError, NotFoundError, Tree
from reconcile.runtime.sync.files import MANIFESTS, scan
from reconcile.runtime.sync.manifests import Manifest, read_manifests
from reconcile.runtime.sync.problems import SourceError

from .errors import EXIT_REFUSED, CommandError
from .printing import examples, output_option, show
from .target import FIELD_MANAGER, Named, Target, target_options


@click.command("apply", epilog=examples("reconcile apply -f web.yaml", "cat web.yaml | reconcile apply -f -"))
@click.option("-f", "--filename", "sources", multiple=True, required=True, help="A file, a folder, or - for standard input.")
@click.option("--dry-run", is_flag=True, help="Let the server check everything and change nothing.")
@click.option("--force-conflicts", is_flag=True, help="Take fields over from other managers.")
@click.option("--field-manager", default=FIELD_MANAGER, show_default=True, help="Whose fields these are.")
@output_option("json", "yaml", "name")
@target_options
def command(
    target: Target, sources: tuple[str, ...], dry_run: bool, force_conflicts: bool, field_manager: str, output: str | None
) -> None:
    """Create or change the objects of files. What files no longer say is given up, what others own is not touched."""
    failed = False
    results: list[Tree] = []
    for manifest in manifests_of(sources):
        try:
            results.append(_apply(target, manifest, dry_run, force_conflicts, field_manager, output))
        except (ApiError, CommandError) as error:
            failed = True
            click.echo(f"error: {manifest.file}:{manifest.line}: {manifest.title}: {error}", err=True)
    if output in ("json", "yaml") and results:
        show(results[0] if len(results) == 1 else results, output)
    if failed:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _apply(target: Target, manifest: Manifest, dry_run: bool, force: bool, manager: str, output: str | None) -> Tree:
    named = named_in(target, manifest)
    path = path_of(target, named, manifest)
    try:
        before = target.read(path)
    except NotFoundError:
        before = None
    tree = target.write(
        "PATCH", path, manifest.tree, content_type="application/apply-patch+yaml", fieldManager=manager,
        force="true" if force else "", dryRun="All" if dry_run else "", fieldValidation="Strict",
    )  # fmt: skip
    if output in (None, "name"):
        did = "created" if before is None else "unchanged" if _same(before, tree) else "configured"
        click.echo(named.title if output == "name" else f"{named.title} {did}{' (dry run)' if dry_run else ''}")
    return tree


def _same(before: Tree, after: Tree) -> bool:
    return bool(before["metadata"].get("resourceVersion") == after["metadata"].get("resourceVersion"))


def named_in(target: Target, manifest: Manifest) -> Named:
    """The resource that a manifest is for."""
    group, _, version = manifest.api_version.rpartition("/")
    found = [r for r in target.resources if (r.group, r.version, r.kind) == (group, version, manifest.kind)]
    if not found:
        raise CommandError(f"the kind {manifest.kind} of {manifest.api_version} is not served; see `reconcile api-resources`")
    return Named(found[0], manifest.name)


def path_of(target: Target, named: Named, manifest: Manifest) -> str:
    """The object's URL path, in the manifest's own namespace if it names one."""
    here = target.namespace
    try:
        target.namespace = manifest.namespace or here
        return target.path(named.resource, named.name)
    finally:
        target.namespace = here


def manifests_of(sources: tuple[str, ...]) -> list[Manifest]:
    """All manifests of files, folders and stdin.

    Raises:
        CommandError: one cannot be read; says where and what to do.
    """
    found: list[Manifest] = []
    try:
        for source in sources:
            if source == "-":
                found += read_manifests("stdin", sys.stdin.buffer.read())
                continue
            path = Path(source)
            if path.is_dir():
                for name in scan(path).files:
                    if name.endswith(MANIFESTS):
                        found += read_manifests(str(path / name), (path / name).read_bytes())
            else:
                found += read_manifests(source, path.read_bytes())
    except SourceError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not found:
        raise CommandError("no objects in there; a manifest has apiVersion, kind and metadata.name")
    return found
