"""Mutate and validate handlers, and conversions, for an API server elsewhere: a server of webhooks, and what names it there.

The certificate is made by an authority of this process alone, which the configurations carry. A webhook refuses while nobody
answers for it (`failurePolicy: Fail`), so the configurations are withdrawn when the operator ends. Definitions go on to name it
as the one that converts: objects that were shown unconverted would be wrong, where an error is only an error.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

import base64
import contextlib
import copy
import inspect
import logging
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import orjson
from aiohttp import web

from reconcile.client import APPLY_PATCH, MERGE_PATCH, Client, Patch
from reconcile.clock import Clock
from reconcile.crd import CRD, conversion_by
from reconcile.errors import ApiError, NotFoundError, ReconcileError, Tree
from reconcile.handling import AdmissionReview
from reconcile.identity import Caller
from reconcile.kinds import Kind, Resource

from .api.http.certificates import Credentials
from .converting import Conversions
from .engine.admission import Admit

log = logging.getLogger(__name__)

_GROUP = "admissionregistration.k8s.io"
MUTATING = Kind(_GROUP, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", namespaced=False)
VALIDATING = Kind(_GROUP, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", namespaced=False)
_ROOT = {"mutate": MUTATING, "validate": VALIDATING}
_TIMEOUT_S = 10
_BYTES_MAX = 16 << 20


class Webhooks:
    """Implements `engine.admission.AdmissionHooks`. `address` is `HOST:PORT` as the API server reaches it; it listens on all
    addresses. `publish` tells the API server what there is now.
    """

    by_kind = True
    """Handlers are to be added for each kind that they select."""

    def __init__(self, client: Client, clock: Clock, address: str, folder: Path, *, name: str) -> None:
        host, _, port = address.removeprefix("https://").rpartition(":")
        if not host or not port.isdigit():
            raise ReconcileError(f"--webhooks {address!r}: give HOST:PORT by which the API server reaches this process")
        self._client, self._clock, self._folder, self._name = client, clock, folder, name
        self._host, self._port = host, int(port)
        self._ca = b""
        self._admits: dict[str, dict[str, tuple[Kind | None, list[Admit]]]] = {"mutate": {}, "validate": {}}
        self._published: set[str] = set()
        self._conversions = Conversions()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        credentials = Credentials.load_or_make(self._folder, self._clock.now(), (self._host.strip("[]"),))
        self._ca = credentials.ca_pem
        app = web.Application(client_max_size=_BYTES_MAX)
        app.router.add_post("/{what:mutate|validate}/{key}", self._answer)
        app.router.add_post("/convert/{resource}", self._convert)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            listener = _listener(self._port)
            await web.SockSite(self._runner, listener, ssl_context=credentials.server_tls()).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ReconcileError(f"--webhooks: port {self._port} cannot be listened on: {error.strerror or error}") from error
        self._port = listener.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for kinds in self._admits.values():
            kinds.clear()
        with contextlib.suppress(ApiError):  # it is told as a warning already
            await self.publish()
        if self._runner is not None:
            await self._runner.cleanup()

    def add_mutator(self, kind: Kind | None, fn: Admit) -> Callable[[], None]:
        """Call `fn` before a write is validated."""
        return self._add("mutate", kind, fn)

    def add_validator(self, kind: Kind | None, fn: Admit) -> Callable[[], None]:
        """Call `fn` before a write is stored."""
        return self._add("validate", kind, fn)

    def _add(self, what: str, kind: Kind | None, fn: Admit) -> Callable[[], None]:
        key, kinds = (kind.resource if kind is not None else "all"), self._admits[what]
        first = kinds[key][0] if key in kinds else kind
        if kind is not None and first is not None and first.version != kind.version:
            key = f"{kind.version}.{key}"  # each handler sees its own version
        admits = kinds.setdefault(key, (kind, []))[1]
        admits.append(fn)

        def remove() -> None:
            admits.remove(fn)
            if not admits:
                kinds.pop(key, None)

        return remove

    async def publish(self) -> None:
        """Make the configurations say what there is, and remove those that would be empty.

        Raises:
            ApiError: the server refuses; nothing is called then.
        """
        for what, configuration in _ROOT.items():
            hooks = [self._hook(what, key, kind) for key, (kind, _) in self._admits[what].items()]
            if hooks:
                body = {
                    "apiVersion": configuration.api_version, "kind": configuration.kind, "metadata": {"name": self._name},
                    "webhooks": hooks,
                }  # fmt: skip
                change = Patch(APPLY_PATCH, body)
                await self._client.patch(configuration, self._name, change, field_manager=self._name, force=True)
                self._published.add(what)
            elif what in self._published:
                self._published.discard(what)
                try:
                    await self._client.delete(configuration, self._name)
                except NotFoundError:
                    continue
                except ApiError as error:
                    log.warning("%s %s is left behind, and refuses writes: %s", configuration.kind, self._name, error)
                    raise

    def add_conversions(self, classes: Iterable[type[Resource]]) -> None:
        """Convert between the versions of these classes, where functions do."""
        self._conversions.add(classes)

    def converter(self, resource: str) -> Tree:
        """The clientConfig by which a definition names who converts the objects of `resource`."""
        return self._client_config(f"convert/{resource}")

    async def publish_conversions(self) -> None:
        """Have the definitions that are there name this server as the one that converts.

        Raises:
            ApiError: the API server refuses.
        """
        for resource in self._conversions.resources:
            conversion = conversion_by(resource, self.converter)
            conversion["webhook"]["clientConfig"]["service"] = None  # an exported definition names one
            change = Patch(MERGE_PATCH, {"spec": {"conversion": conversion}})
            try:
                await self._client.patch(CRD, resource, change, field_manager=self._name)
            except NotFoundError:
                log.warning(
                    "%s is not defined yet: nobody is asked to convert it; apply its definition, or run with --crds", resource
                )

    def _client_config(self, path: str) -> Tree:
        url = f"https://{self._host}:{self._port}/{path}"
        return {"url": url, "caBundle": base64.b64encode(self._ca).decode()}

    def _hook(self, what: str, key: str, kind: Kind | None) -> Tree:
        resources = [kind.plural, f"{kind.plural}/*"] if kind is not None else ["*/*"]
        rule = {
            "apiGroups": [kind.group if kind is not None else "*"], "apiVersions": [kind.version if kind is not None else "*"],
            "resources": resources, "operations": ["CREATE", "UPDATE", "DELETE"], "scope": "*",
        }  # fmt: skip
        return {
            "name": f"{key}.{what}.{self._name}",
            "clientConfig": self._client_config(f"{what}/{key}"),
            "rules": [rule],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": _TIMEOUT_S,
        }

    async def _convert(self, request: web.Request) -> web.Response:
        review = orjson.loads(await request.read())
        answer = self._conversions.answer(request.match_info["resource"], review)
        return web.json_response(answer, dumps=lambda tree: orjson.dumps(tree).decode())

    async def _answer(self, request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())["request"]
        kind, admits = self._admits[request.match_info["what"]].get(request.match_info["key"], (None, []))
        review = _review(asked, kind)
        before = copy.deepcopy(review.tree)
        answer: Tree = {"uid": asked["uid"], "allowed": True}
        try:
            for admit in tuple(admits):
                waited = admit(review)
                if inspect.isawaitable(waited):
                    await waited
        except ApiError as error:
            answer |= {"allowed": False, "status": {"code": error.code, "reason": error.reason, "message": error.message}}
        if review.warnings:
            answer["warnings"] = review.warnings
        if answer["allowed"] and request.match_info["what"] == "mutate" and (change := json_patch(before, review.tree)):
            answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(change)).decode()}
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
        return web.json_response(body, dumps=lambda tree: orjson.dumps(tree).decode())


def _listener(port: int) -> socket.socket:
    """One socket for all addresses: with a socket for each family, a free port would be another one for each."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _review(asked: Tree, kind: Kind | None) -> AdmissionReview:
    old = asked.get("oldObject") or None
    resource, user = asked["resource"], asked.get("userInfo") or {}
    caller = Caller(
        str(user.get("username") or ""), tuple(user.get("groups") or ()), str(user.get("uid") or ""), user.get("extra") or {}
    )
    if kind is None:
        kind = Kind(resource["group"], resource["version"], asked["kind"]["kind"], resource["resource"])
    return AdmissionReview(
        asked["operation"], asked.get("object") or copy.deepcopy(old) or {}, old, str(asked.get("subResource") or ""),
        bool(asked.get("dryRun")), caller, kind=kind,
    )  # fmt: skip


def json_patch(old: Any, new: Any, path: str = "") -> list[Tree]:
    """The operations that make `old` into `new`; lists are replaced as a whole. Source: RFC 6902."""
    if old == new:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [{"op": "replace", "path": path, "value": new}]
    found: list[Tree] = []
    for name, value in new.items():
        below = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        found += json_patch(old[name], value, below) if name in old else [{"op": "add", "path": below, "value": value}]
    for name in old:
        if name not in new:
            found.append({"op": "remove", "path": f"{path}/{name.replace('~', '~0').replace('/', '~1')}"})
    return found
