"""What a server serves, remembered on disk: how a command turns `deploy` into a URL without asking first.

The file lies beside the kubeconfig it belongs to. It is trusted for a while; when it is old, or does not hold a name, the
server is asked by ETag, which costs it and us nothing where nothing changed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .errors import ClientError
from .kubeconfig import Access

Tree = dict[str, Any]  # Any: a decoded JSON object
Fetch = Callable[[str, str, str], "tuple[str, Tree | None]"]
"""(path, ETag we have, Accept) -> (ETag, document; None where ours is the newest)."""
ACCEPT = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
_TRUSTED_S = 600.0
_FORMAT = 1


class Resource(NamedTuple):
    """One resource in one version, as discovery shows it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    singular: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    verbs: tuple[str, ...]
    subresources: tuple[str, ...]

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`deployments.apps`, or `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


class Catalog:
    """The resources of one server."""

    def __init__(self, access: Access, fetch: Fetch) -> None:
        self._file = cache_file(access)
        self._fetch = fetch
        self._loaded: list[Resource] | None = None
        self._etags: dict[str, str] = {}
        self._fresh = False

    def resources(self) -> list[Resource]:
        """All of them, in the server's order, each in its preferred version first."""
        if self._loaded is None and not self._read():
            self.refresh()
        return self._loaded or []

    def find(self, name: str) -> Resource:
        """See `BlockingClient.find`.

        Raises:
            ClientError: there is none of that name.
        """
        found = _search(self.resources(), name)
        if found is None and not self._fresh:
            self.refresh()
            found = _search(self.resources(), name)
        if found is None:
            raise ClientError(_unknown(name, self.resources()))
        return found

    def refresh(self) -> None:
        """Ask the server what it serves; cheap where nothing changed."""
        documents = []
        for root in ("/api", "/apis"):
            # Without a list of ours an ETag would only get us a 304 and nothing to go with it.
            etag, document = self._fetch(root, self._etags.get(root, "") if self._loaded else "", ACCEPT)
            documents.append((root, etag, document))
        if any(document is not None for _, _, document in documents):
            complete = [(r, *(self._fetch(r, "", ACCEPT) if d is None else (e, d))) for r, e, d in documents]
            self._etags = {root: etag for root, etag, _ in complete}
            self._loaded = [resource for root, _, tree in complete for resource in self._parsed(root, tree or {})]
        self._fresh = True
        self._write()

    def _parsed(self, root: str, tree: Tree) -> list[Resource]:
        if tree.get("kind") == "APIGroupDiscoveryList":
            return _aggregated(tree)
        if root == "/api":
            core = [(v, self._fetch(f"/api/{v}", "", "application/json")[1]) for v in tree.get("versions") or ()]
            return [resource for version, document in core for resource in _plain("", version, document)]
        found = []
        for group in tree.get("groups") or ():
            preferred = (group.get("preferredVersion") or {}).get("version")
            versions = sorted((v["version"] for v in group.get("versions") or ()), key=lambda v: v != preferred)
            for version in versions:
                document = self._fetch(f"/apis/{group['name']}/{version}", "", "application/json")[1]
                found += _plain(group["name"], version, document)
        return found

    def _read(self) -> bool:
        """Take what is on disk; False where there is nothing of use, or it is too old."""
        try:
            age_s = time.time() - self._file.stat().st_mtime
            tree = json.loads(self._file.read_bytes())
            if tree["format"] != _FORMAT:
                return False
            self._loaded = [_of_disk(fields) for fields in tree["resources"]]
            self._etags = tree["etags"]
        except (OSError, ValueError, KeyError, TypeError):
            self._loaded = None
            return False
        return 0 <= age_s < _TRUSTED_S

    def _write(self) -> None:
        """Remember; a disk that refuses costs the next command some milliseconds and nothing else."""
        made = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(json.dumps({"format": _FORMAT, "etags": self._etags, "resources": self._loaded}))
            os.replace(made, self._file)
        except OSError:
            made.unlink(missing_ok=True)


def cache_file(access: Access) -> Path:
    """Where the discovery of a server is kept: beside its kubeconfig, one file a server.

    A server is known by its authority where it has one of its own: its port may be another after each start.
    """
    source = Path((access.source or "kubeconfig").partition(os.pathsep)[0])
    name = hashlib.sha256(access.ca or access.server.encode()).hexdigest()[:16]
    return source.parent / f".discovery-{name}.json"


def _of_disk(fields: list[Any]) -> Resource:
    return Resource._make(tuple(field) if isinstance(field, list) else field for field in fields)


def _search(resources: list[Resource], name: str) -> Resource | None:
    """Exact plural first, then singular, kind and short name; a group or version behind a dot narrows it."""
    bare, _, rest = name.lower().partition(".")
    for matches in (
        lambda r: r.plural == bare,
        lambda r: bare in (r.singular, r.kind.lower()),
        lambda r: bare in r.short_names,
    ):  # fmt: skip
        for resource in resources:
            if matches(resource) and (not rest or _belongs(resource, rest)):
                return resource
    return None


def _belongs(resource: Resource, rest: str) -> bool:
    version, _, group = rest.partition(".")
    return rest == resource.group or (version, group) == (resource.version, resource.group)


def _unknown(name: str, resources: list[Resource]) -> str:
    known = sorted({n for r in resources for n in (r.plural, r.singular, *r.short_names) if n})
    near = difflib.get_close_matches(name.lower(), known, 3, 0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `reconcile api-resources` lists what there is"
    return f'the server does not have a resource type "{name}"{hint}'


def _aggregated(tree: Tree) -> list[Resource]:
    found = []
    for item in tree.get("items") or ():
        group = (item.get("metadata") or {}).get("name") or ""
        for entry in item.get("versions") or ():
            found += [_of_aggregated(group, entry["version"], resource) for resource in entry.get("resources") or ()]
    return found


def _of_aggregated(group: str, version: str, r: Tree) -> Resource:
    return Resource(
        group, version, r["resource"], r["responseKind"]["kind"], r.get("scope") == "Namespaced",
        r.get("singularResource") or "", tuple(r.get("shortNames") or ()), tuple(r.get("categories") or ()),
        tuple(r.get("verbs") or ()), tuple(part["subresource"] for part in r.get("subresources") or ()),
    )  # fmt: skip


def _plain(group: str, version: str, tree: Tree | None) -> list[Resource]:
    listed = (tree or {}).get("resources") or ()
    return [
        Resource(
            group, version, r["name"], r["kind"], bool(r.get("namespaced")), r.get("singularName") or "",
            tuple(r.get("shortNames") or ()), tuple(r.get("categories") or ()), tuple(r.get("verbs") or ()),
            tuple(part["name"].partition("/")[2] for part in listed if part["name"].startswith(f"{r['name']}/")),
        )
        for r in listed
        if "/" not in r["name"]
    ]  # fmt: skip
