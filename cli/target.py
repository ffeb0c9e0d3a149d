"""The API server that a command talks to, and what its command line names there.

`pods`, `po`, `deploy/web`, `deployments.apps`, `deployment.v1.apps web`: all of kubectl's ways to name things, resolved through
discovery, so that users' own kinds are as good as built-in ones.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from reconcile.errors import ApiError, NotFoundError, Tree, error_from_status
from reconcile.runtime.client.blocking import BlockingClient
from reconcile.runtime.client.errors import ClientError, KubeconfigError, RefusedError, UnreachableError
from reconcile.runtime.client.kubeconfig import Access, load
from reconcile.runtime.client.resources import Resource as ApiResource

from .errors import CommandError, NoControlPlane
from .locate import find_data_dir

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
FIELD_MANAGER = "reconcile"


class Named(NamedTuple):
    """One thing that a command line names; an empty name means all of the kind."""

    resource: ApiResource
    name: str

    @property
    def title(self) -> str:
        """`deployment.apps/web`, as kubectl prints what it did."""
        group = f".{self.resource.group}" if self.resource.group else ""
        return f"{self.resource.singular or self.resource.kind.lower()}{group}/{self.name}"


class Target:
    """One API server and the namespace that commands use unless told otherwise."""

    def __init__(self, access: Access, namespace: str = "") -> None:
        self.http = BlockingClient(access)
        self.namespace = namespace or access.namespace or "default"

    # Naming

    @property
    def resources(self) -> Sequence[ApiResource]:
        """What is served."""
        with _translated():
            return self.http.resources()

    def served(self) -> Sequence[ApiResource]:
        """What is served, as the server says now: what is on disk may be minutes old."""
        with _translated():
            self.http.catalog.refresh()
            return self.http.resources()

    def resolve(self, word: str) -> ApiResource:
        """The resource that a word names: plural, singular, short name or kind, with `.group` or `.version.group`.

        Raises:
            CommandError: nothing served is called that.
        """
        with _translated():
            return self.http.find(word)

    def named(self, words: Sequence[str]) -> list[Named]:
        """What `pods web-1 web-2`, `pod/web-1 deploy/web`, `pods,services` or `all` name."""
        if not words:
            raise CommandError("say what: a kind (`pods`), a kind and names (`pod web-1`), or kind/name (`deploy/web`)")
        if any("/" in word for word in words):
            bare = next((word for word in words if "/" not in word), None)
            if bare is not None:
                raise CommandError(f"{bare!r}: with kind/name, every argument must be of that form")
            pairs = [word.split("/", 1) for word in words]
            return [Named(self.resolve(kind), name) for kind, name in pairs]
        first, *names = words
        if first == "all":
            resources = [r for r in self.resources if "all" in r.categories]
        else:
            resources = [self.resolve(word) for word in first.split(",") if word]
        if names and len(resources) > 1:
            raise CommandError("names go with one kind; use kind/name to name objects of several")
        return [Named(r, name) for r in resources for name in (names or [""])]

    def path(self, resource: ApiResource, name: str = "", *, subresource: str = "", all_namespaces: bool = False) -> str:
        """The URL path of a collection, an object, or one of its subresources."""
        return self.http.path(resource, "" if all_namespaces else self.namespace, name, subresource)

    # Speaking

    def read(self, path: str, *, accept: str = "application/json", **query: str) -> Tree:
        """GET a JSON document."""
        with _translated():
            return self.http.ask("GET", path, _given(query), None, {"Accept": accept})

    def items(self, resource: ApiResource, *, all_namespaces: bool = False, **query: str) -> list[Tree]:
        """All objects of a collection, with the apiVersion and kind that lists leave out."""
        found: list[Tree] = []
        token = ""
        while True:
            path = self.path(resource, all_namespaces=all_namespaces)
            if token:  # which names the revision already
                query = {name: value for name, value in query.items() if not name.startswith("resourceVersion")}
            page = self.read(path, limit="500", **{**query, "continue": token})
            stamp = {"apiVersion": resource.api_version, "kind": resource.kind}
            found.extend({**stamp, **item} for item in page.get("items") or ())
            token = page.get("metadata", {}).get("continue", "")
            if not token:
                return found

    def find(self, resource: ApiResource, name: str) -> Tree | None:
        """One object, or None."""
        try:
            return self.read(self.path(resource, name))
        except NotFoundError:
            return None

    def write(self, method: str, path: str, body: Any, *, content_type: str = "application/json", **query: str) -> Tree:
        """POST, PUT, PATCH or DELETE a JSON body."""
        with _translated():
            return self.http.ask(method, path, _given(query), json.dumps(body).encode(), {"Content-Type": content_type})

    def lines(self, path: str, *, accept: str = "*/*", **query: str) -> Iterator[bytes]:
        """The lines of a streamed answer, as they come."""
        with _translated():
            yield from self.http.stream(path, _given(query), {"Accept": accept})

    def watch(self, path: str, *, accept: str = "application/json", **query: str) -> Iterator[Tree]:
        """The events of a watch, as they come; ends when the server ends it."""
        with _translated():
            yield from self.http.watch(path, _given(query), accept=accept)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The client's errors as those that commands raise: `ApiError`, `NoControlPlane`, `CommandError`."""
    try:
        yield
    except RefusedError as error:
        raise error_from_status(error.status) from error
    except UnreachableError as error:
        raise NoControlPlane(str(error)) from error
    except ClientError as error:
        raise CommandError(str(error)) from error


def _given(query: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value}


def open_target(data_dir: str | None, context: str, namespace: str) -> Target:
    """Find the API server: `$KUBECONFIG` (unless a data folder is named), else this folder's control plane.

    Raises:
        NoControlPlane: none can be found.
    """
    try:
        if os.environ.get("KUBECONFIG") and data_dir is None:
            return Target(load(context=context), namespace)
        found = find_data_dir(data_dir)
        kubeconfig = found / "kubeconfig" if found else None
        if kubeconfig is None or not kubeconfig.exists():
            where = f"at {found}" if found else "here"
            raise NoControlPlane(f"no control plane {where}; start one with `reconcile up FOLDER`, or set KUBECONFIG")
        return Target(load(kubeconfig, context=context), namespace)
    except KubeconfigError as error:
        raise NoControlPlane(str(error)) from error


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--namespace`, `--context` and `--data-dir`, and pass it a `Target` as its first argument."""

    @click.option("-n", "--namespace", default="", help="The namespace [default: the context's, else default].")
    @click.option("--context", default="", help="The context of the kubeconfig.")
    @click.option("--data-dir", default=None, help="The state folder of the control plane that is meant.")
    @functools.wraps(function)
    def with_target(*args: Any, namespace: str, context: str, data_dir: str | None, **options: Any) -> Any:
        return function(open_target(data_dir, context, namespace), *args, **options)

    return with_target


def message_of(error: ApiError) -> str:
    """An API error as kubectl prints it."""
    return f"Error from server ({error.reason}): {error.message}"


def run_of(target: Target) -> Tree | None:
    """What `up` says of itself, if the target is the one that this folder's `up` serves."""
    found = find_data_dir()
    run = run_file(found) if found else None
    return run if run and target.http.access.server == run.get("url") else None


def run_file(data_dir: Path) -> Tree | None:
    """What the running `up` says of itself (pid, url, folder, started), or None."""
    try:
        told = json.loads((data_dir / "up.json").read_text())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None
