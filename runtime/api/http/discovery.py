"""Discovery documents, derived from the served kinds: aggregated (v2, v2beta1) and the plain old lists.

Documents are made when first asked for and kept until the set of kinds changes; each has an ETag.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import orjson

from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.runtime.api.answering import Part as Asked
from reconcile.runtime.api.versions import version_rank

from .exchange import JSON, Answer, Request, no_such_path
from .negotiation import rendering_of_discovery
from .rendering import Renderer

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
VERBS_VIRTUAL = ("get", "list")
VERBS_ASKED = ("create",)
_PART_VERBS = ("get", "patch", "update")


@attrs.frozen
class Document:
    """A body with the ETag that a client may come back with."""

    body: bytes
    etag: str
    content_type: str = JSON


@attrs.frozen
class Part:
    """A subresource as discovery shows it."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


def document_of(tree: Any, content_type: str = JSON) -> Document:
    """A tree as a document with its ETag."""
    return document_from(orjson.dumps(tree, option=orjson.OPT_APPEND_NEWLINE), content_type)


def document_from(body: bytes, content_type: str) -> Document:
    """A body as a document with its ETag."""
    return Document(body, f'"{hashlib.sha512(body).hexdigest().upper()}"', content_type)


def answer_of(document: Document, request: Request, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """The document, or 304 where the client has it already."""
    headers = (("ETag", document.etag), ("Vary", "Accept"), *headers)
    known = request.headers.get("If-None-Match", "")
    if known and document.etag in known:
        return Answer(304, b"", document.content_type, headers)
    return Answer(200, document.body, document.content_type, headers)


class Discovery:
    """The documents of one API server. `verbs`, `readers`, `asked` and `stored_as` say what there is to say of a kind."""

    def __init__(
        self, kinds: Callable[[], Sequence[Kind]], verbs: Callable[[Kind], tuple[str, ...]],
        readers: Callable[[Kind], Sequence[str]], asked: Callable[[Kind], Mapping[str, Asked]], renderer: Renderer,
        stored_as: Callable[[Kind], Kind | None],
    ) -> None:  # fmt: skip
        self._kinds = kinds
        self._renderer = renderer
        self._asked = asked
        self._verbs = verbs
        self._readers = readers
        self._stored_as = stored_as
        self._documents: dict[tuple[str, ...], Document] = {}

    def forget(self) -> None:
        """The served kinds changed: make every document again when it is asked for."""
        self._documents.clear()

    def answer(self, request: Request, address: str) -> Answer:
        """Answer a GET of /api, /apis or what is right below them; `address` is the server's own host and port."""
        parts = request.path.strip("/").split("/")
        accept = request.headers.get("Accept", "")
        root = parts[0]
        if len(parts) == 1:
            rendering = rendering_of_discovery(accept)
            if rendering.view:
                return answer_of(self._aggregated(root, rendering.version), request)
            key: tuple[str, ...] = (root, address)
        else:
            rendering = rendering_of_discovery(accept)
            key = tuple(parts)
        if key not in self._documents:
            tree = self._legacy(parts, address)
            if tree is None:
                return no_such_path()
            self._documents[key] = document_of(tree)
        answer = answer_of(self._documents[key], request)
        if rendering.media == JSON or answer.status != 200:
            return answer
        return self._renderer.tree(orjson.loads(answer.body), rendering, headers=answer.headers)

    def groups(self) -> dict[str, list[str]]:
        """Group names with their versions, the preferred one first; the core group is the empty name."""
        groups: dict[str, set[str]] = {}
        for kind in self._kinds():
            groups.setdefault(kind.group, set()).add(kind.version)
        return {group: sorted(versions, key=version_rank, reverse=True) for group, versions in groups.items()}

    def parts(self, kind: Kind) -> list[Part]:
        """The subresources of a kind."""
        own = (kind.group, kind.version)
        parts = []
        if kind.status:
            parts.append(Part("status", *own, kind.kind, _PART_VERBS))
        parts += [Part(name, *own, kind.kind, _PART_VERBS) for name in kind.hooks.parts]
        if kind.scale is not None:
            parts.append(Part("scale", "autoscaling", "v1", "Scale", _PART_VERBS))
        parts += [Part(name, *own, kind.kind, ("get",)) for name in self._readers(kind)]
        parts += [
            Part(name, asked.kind.group, asked.kind.version, asked.kind.kind, VERBS_ASKED)
            for name, asked in self._asked(kind).items()
        ]  # fmt: skip
        parts += [Part(name, *own, name[:1].upper() + name[1:], ("create",)) for name in kind.hooks.actions]
        parts += [Part(each.name, *own, each.kind, each.verbs) for each in kind.hooks.connections]
        return sorted(parts, key=lambda part: part.name)

    def _of(self, group: str, version: str) -> list[Kind]:
        found = [kind for kind in self._kinds() if kind.group == group and kind.version == version]
        return sorted(found, key=lambda kind: kind.plural)

    # Aggregated

    def _aggregated(self, root: str, version: str) -> Document:
        key = (root, "aggregated", version)
        if key not in self._documents:
            groups = {g: v for g, v in self.groups().items() if (g == "") == (root == "api")}
            tree = {
                "kind": "APIGroupDiscoveryList",
                "apiVersion": f"apidiscovery.k8s.io/{version}",
                "metadata": {},
                "items": [
                    {
                        "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
                        "versions": [self._aggregated_version(group, v) for v in versions],
                    }
                    for group, versions in groups.items()
                ],
            }
            media = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            self._documents[key] = document_of(tree, media)
        return self._documents[key]

    def _aggregated_version(self, group: str, version: str) -> Tree:
        return {
            "version": version,
            "resources": [self._aggregated_resource(kind) for kind in self._of(group, version)],
            "freshness": "Current",
        }

    def _aggregated_resource(self, kind: Kind) -> Tree:
        tree: Tree = {
            "resource": kind.plural,
            "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "singularResource": kind.singular or kind.kind.lower(),
            "verbs": list(self._verbs(kind)),
        }
        if kind.short_names:
            tree["shortNames"] = list(kind.short_names)
        if kind.categories:
            tree["categories"] = list(kind.categories)
        if parts := self.parts(kind):
            tree["subresources"] = [
                {
                    "subresource": part.name,
                    "responseKind": {"group": part.group, "version": part.version, "kind": part.kind},
                    "verbs": list(part.verbs),
                }
                for part in parts
            ]
        return tree

    # Plain

    def _legacy(self, parts: list[str], address: str) -> Tree | None:
        groups = self.groups()
        if parts == ["api"]:
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
            return {"kind": "APIVersions", "versions": groups.get("", ["v1"]), "serverAddressByClientCIDRs": addresses}
        if parts == ["apis"]:
            listed = [_group(group, versions) for group, versions in groups.items() if group]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        if parts[0] == "apis" and len(parts) == 2 and parts[1] in groups:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], groups[parts[1]])}
        group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[-1])
        if len(parts) == (2 if parts[0] == "api" else 3) and version in groups.get(group, ()):
            return self._resources(group, version)
        return None

    def _resources(self, group: str, version: str) -> Tree:
        resources = []
        for kind in self._of(group, version):
            tree: Tree = {
                "name": kind.plural,
                "singularName": kind.singular or kind.kind.lower(),
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": list(self._verbs(kind)),
            }
            if kind.short_names:
                tree["shortNames"] = list(kind.short_names)
            if kind.categories:
                tree["categories"] = list(kind.categories)
            if stored := self._stored_as(kind):
                tree["storageVersionHash"] = storage_version_hash(stored)
            resources.append(tree)
            resources += [
                {
                    "name": f"{kind.plural}/{part.name}", "singularName": "", "namespaced": kind.namespaced,
                    **({"group": part.group, "version": part.version} if part.group != group else {}),
                    "kind": part.kind, "verbs": list(part.verbs),
                }
                for part in self.parts(kind)
            ]  # fmt: skip
        api_version = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}


def storage_version_hash(kind: Kind) -> str:
    """By which clients tell that objects are stored in another version from now on.

    Source: k8s.io/apiserver/pkg/endpoints/discovery/storageversionhash.go
    """
    digest = hashlib.sha256(f"{kind.group}/{kind.version}/{kind.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _group(group: str, versions: list[str]) -> Tree:
    named = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": named, "preferredVersion": named[0]}
