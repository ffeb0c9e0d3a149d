"""`reconcile migrate`: store objects in the version that their kind is stored in now, so that older versions can go.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#upgrade-existing-objects-to-a-new-stored-version
"""

from __future__ import annotations

import base64
import hashlib
import time

import click

from reconcile.errors import ApiError, ConflictError, NotFoundError, Tree
from reconcile.runtime.client.resources import Resource

from .errors import CommandError
from .printing import examples
from .target import FIELD_MANAGER, Target, message_of, target_options

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_MERGE = "application/merge-patch+json"
_SETTLED_S_MAX, _POLL_S = 30.0, 0.1


@click.command(
    "migrate", epilog=examples("reconcile migrate", "reconcile migrate carts", "reconcile migrate carts jars.example.com")
)
@click.argument("kinds", nargs=-1, metavar="[KIND...]")
@target_options
def command(target: Target, kinds: tuple[str, ...]) -> None:
    """Store the objects of KIND, in all namespaces, in the version that the kind is stored in now.

    Nothing of them changes. What lies in an older version is converted once more and written back; then the definition's
    status.storedVersions names the new version alone, and the older ones may leave the definition. Without KIND: of all
    definitions that name several.
    """
    try:
        wanted = [target.resolve(kind) for kind in kinds] or _unfinished(target)
        if not wanted:
            click.echo("no definition says that there may be objects in older versions")
        for resource in wanted:
            _migrate(target, resource)
    except ApiError as error:
        raise CommandError(message_of(error)) from error


def _unfinished(target: Target) -> list[Resource]:
    """The kinds whose objects may lie in several versions."""
    items = target.read(_DEFINITIONS).get("items") or ()
    several = [tree for tree in items if len((tree.get("status") or {}).get("storedVersions") or ()) > 1]
    return [target.resolve(tree["metadata"]["name"]) for tree in several]


def _migrate(target: Target, resource: Resource) -> None:
    title = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    definition = _definition(target, title)  # before the objects: it says what they are stored in from then on
    stored = next((v["name"] for v in definition["spec"]["versions"] if v.get("storage")), "") if definition else ""
    if stored:
        resource = _in_version(target, resource, stored)
        _wait_until_stored_in(target, resource, stored)
    items = target.items(resource, all_namespaces=True)
    rewritten = sum(_rewritten(target, resource, tree) for tree in items)
    click.echo(f"{title}: {rewritten} of {len(items)} objects rewritten{f' in {stored}' if stored else ''}")
    if definition is None:
        return
    before = (definition.get("status") or {}).get("storedVersions") or []
    if before == [stored]:
        return
    body = {
        "metadata": {"resourceVersion": definition["metadata"]["resourceVersion"]}, "status": {"storedVersions": [stored]},
    }  # fmt: skip
    try:
        target.write("PATCH", f"{_DEFINITIONS}/{title}/status", body, content_type=_MERGE, fieldManager=FIELD_MANAGER)
    except ConflictError as error:
        raise CommandError(f"{title}: its definition changed meanwhile; run this again") from error
    gone = ", ".join(version for version in before if version != stored)
    click.echo(f"{title}: status.storedVersions is [{stored}] now: nothing is left in {gone}")


def _definition(target: Target, name: str) -> Tree | None:
    """The definition of a kind; None: a class declares it, or it is built in."""
    try:
        return target.read(f"{_DEFINITIONS}/{name}")
    except NotFoundError:
        return None


def _in_version(target: Target, resource: Resource, version: str) -> Resource:
    """The resource in another version, where that is served: what is stored in it can then be read without being converted."""
    found = [r for r in target.resources if (r.group, r.plural, r.version) == (resource.group, resource.plural, version)]
    return found[0] if found else resource


def _wait_until_stored_in(target: Target, resource: Resource, version: str) -> None:
    """Wait until the server writes in that version: it may hear of a changed definition a moment later.

    Raises:
        CommandError: it does not do so in time.
    """
    gvk = f"{resource.group}/{version}/{resource.kind}"
    wanted = base64.b64encode(hashlib.sha256(gvk.encode()).digest()[:8]).decode()
    ends_s = time.monotonic() + _SETTLED_S_MAX
    while True:
        served = target.read(f"/apis/{resource.group}/{resource.version}").get("resources") or ()
        found = next((r.get("storageVersionHash") for r in served if r["name"] == resource.plural), None)
        if found in (wanted, None):  # None: this server does not tell
            return
        if time.monotonic() > ends_s:
            raise CommandError(
                f"{resource.plural}.{resource.group}: the server does not store in {version} after {_SETTLED_S_MAX:g} s"
            )
        time.sleep(_POLL_S)


def _rewritten(target: Target, resource: Resource, tree: Tree) -> bool:
    """Have one object written back, with no change; whether it was stored otherwise."""
    meta = tree["metadata"]
    path = target.http.path(resource, meta.get("namespace", ""), meta["name"])
    try:
        after = target.write("PATCH", path, {"metadata": {"uid": meta["uid"]}}, content_type=_MERGE, fieldManager=FIELD_MANAGER)
    except (NotFoundError, ConflictError):
        return False  # it is gone, or another one by now, which is new
    return bool(after["metadata"]["resourceVersion"] != meta["resourceVersion"])
