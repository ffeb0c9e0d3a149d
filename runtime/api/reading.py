"""Get and list. The store's index is the cache: reading the present is a look into memory.

Others may write to the same store. A read that names no resourceVersion is of now, so it has the store catch up first; one
that names 0 takes what is there, and one that names another has the store catch up where it is behind it.

A list in pages is read at the revision of its first page, from the recent past in memory or from the disk; a continue token
names that revision and the last key. After compaction it is refused with a token that goes on in the present.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from __future__ import annotations

import base64
import binascii

import orjson

from reconcile.errors import ApiError, BadRequestError, Cause, InvalidError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.store import CompactedError, Range, StoreError, WatchStore
from reconcile.selectors import FieldSelector, LabelSelector, parse_labels

from . import refusals, scale
from .catalog import Catalog, Served
from .errors import ContinueExpiredError, FutureRevisionError
from .stored import Listing, Stored, all_of, readable, stored_of

_CHUNK = 500
_JSON_STARTS = '{["-0123456789tfn \t\r\n'
_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105 - no secret


class Reading:
    """The read path."""

    def __init__(self, store: WatchStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def get(self, kind: Kind, name: str, namespace: str, subresource: str, resource_version: str) -> Stored:
        """See ApiServer.get."""
        served = self._catalog.of(kind)
        try:
            await self._fresh(resource_version)
            kv = self._store.get(served.key(namespace, name)) if served.provider is None else None
        except StoreError as error:
            raise refusals.of_store(error) from error
        if served.provider is not None:
            tree = await served.provider.get(name, namespace)
            if tree is None:
                raise refusals.not_found(kind, name)
            return Stored(kind, tree)
        if kv is None:
            raise refusals.not_found(kind, name)
        found = await served.shown(stored_of(kv, served.kind))
        if not subresource:
            return found
        if subresource == "scale":
            return scale.scale_of(served.kind, found)
        if served.kind.has_part(subresource):
            return found
        raise refusals.no_such_resource()

    def peek(self, kind: Kind, name: str, namespace: str) -> Tree | None:
        """See ApiServer.peek."""
        served = self._catalog.stored(kind)
        try:
            kv = self._store.get(served.key(namespace, name))
        except (ApiError, StoreError):
            return None  # such a name nothing can have, or the store is gone
        stored = readable(kv, served.kind) if kv is not None else None
        shown = served.shows(stored) if stored is not None else None
        return shown.tree if shown is not None else None

    async def list(
        self, kind: Kind, namespace: str, labels: str, fields: str, limit: int, token: str, resource_version: str, match: str
    ) -> Listing:
        """See ApiServer.list."""
        served = self._catalog.of(kind)
        label_selector, field_selector = parse_labels(labels), served.fields(fields)
        self._check_match(kind, resource_version, match, token)
        if served.provider is not None:
            if match == "Exact":
                raise BadRequestError(f"{kind.resource} are computed when they are asked for: there are none of old revisions")
            return await self._computed(served, namespace, label_selector, field_selector)
        try:
            return await self._stored(served, namespace, label_selector, field_selector, limit, token, resource_version, match)
        except CompactedError as error:
            raise refusals.expired_list() from error
        except StoreError as error:
            raise refusals.of_store(error) from error

    async def _stored(
        self, served: Served, namespace: str, labels: LabelSelector, fields: FieldSelector, limit: int, token: str,
        resource_version: str, match: str,
    ) -> Listing:  # fmt: skip
        if served.kind.namespaced and not namespace:
            namespace = fields.exact("metadata.namespace") or ""
        first, end = served.range(namespace)
        revision, start = 0, first
        if token:
            revision, start = _from_token(token, served.prefix)
            if not first <= start < end:
                raise BadRequestError("invalid continue token: the continue token names another list")
        else:
            await self._fresh(resource_version)
            revision = revision_of(resource_version) if match == "Exact" else 0
        name = fields.exact("metadata.name")
        if name is not None and (namespace or not served.kind.namespaced) and not token:
            first, end = served.key(namespace, name) if name and "/" not in name else first, b""
            start = first
        plain = labels.empty and fields.empty
        if revision <= 0 and (not limit or not end):
            return await self._present(served, start, end, labels, fields)
        return await self._page(served, start, end, revision, limit, labels, fields, plain, going_on=bool(token))

    async def _present(self, served: Served, start: bytes, end: bytes, labels: LabelSelector, fields: FieldSelector) -> Listing:
        """Everything as it is now."""
        found = self._store.range(Range(start, end))
        items = await served.all_shown(all_of(found.kvs, served.kind, served.prefix))
        if not labels.empty:
            matches = labels.matches
            items = [item for item in items if matches(item.tree["metadata"].get("labels"))]
        if not fields.empty:
            items = [item for item in items if fields.matches(item.tree)]
        return Listing(items, found.revision)

    async def _page(
        self, served: Served, start: bytes, end: bytes, revision: int, limit: int, labels: LabelSelector,
        fields: FieldSelector, plain: bool, *, going_on: bool,
    ) -> Listing:  # fmt: skip
        """At most `limit` matching objects from `start` on, as they were at `revision` (0: now)."""
        revision = revision if revision > 0 else self._store.revision
        items: list[Stored] = []
        while True:
            chunk = (limit - len(items) if plain else max(_CHUNK, limit)) if limit else 0
            try:
                found = await self._store.range_at(Range(start, end, revision, limit=chunk))
            except CompactedError as error:
                if going_on:
                    raise ContinueExpiredError(_token(-1, start, served.prefix)) from error
                raise
            shown = await served.all_shown(all_of(found.kvs, served.kind, served.prefix))
            for at, (kv, item) in enumerate(zip(found.kvs, shown, strict=True)):
                if plain or (labels.matches(item.tree["metadata"].get("labels")) and fields.matches(item.tree)):
                    items.append(item)
                    if limit and len(items) == limit:
                        left = found.count - at - 1
                        if not left:
                            return Listing(items, revision)
                        token = _token(revision, kv.key + b"\0", served.prefix)
                        return Listing(items, revision, token, left if plain else None)
            if not found.more:
                return Listing(items, revision)
            going_on = True
            start = found.kvs[-1].key + b"\0"

    async def _computed(self, served: Served, namespace: str, labels: LabelSelector, fields: FieldSelector) -> Listing:
        assert served.provider is not None
        trees = await served.provider.list(namespace)
        items = [
            Stored(served.kind, tree) for tree in trees if labels.matches(tree["metadata"].get("labels")) and fields.matches(tree)
        ]
        return Listing(items, self._store.revision)

    async def _fresh(self, resource_version: str) -> None:
        """Have the store show what this read has to show."""
        if resource_version == "0":
            return
        asked = revision_of(resource_version) if resource_version else 0
        if not asked or asked > self._store.revision:
            await self._store.catch_up()
        if asked > self._store.revision:
            raise FutureRevisionError(asked, self._store.revision)

    def _check_match(self, kind: Kind, resource_version: str, match: str, token: str) -> None:
        why = ""
        if match and token:
            why = "resourceVersionMatch is forbidden when continue is provided"
        elif match and not resource_version:
            why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        elif match == "Exact" and resource_version == "0":
            why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        if why:
            cause = Cause("FieldValueForbidden", f"Forbidden: {why}", "resourceVersionMatch")
            raise InvalidError(
                f'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: {cause.message}',
                details={"group": "meta.k8s.io", "kind": "ListOptions"}, causes=[cause],
            )  # fmt: skip
        if token and resource_version not in ("", "0"):
            raise BadRequestError("specifying resource version is not allowed when using continue")


def revision_of(text: str) -> int:
    """A resourceVersion as a number.

    Raises:
        BadRequestError: it is none.
    """
    if not text.isdigit():
        raise BadRequestError(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
            f"invalid syntax: give a resourceVersion that a list or a watch gave"
        )
    return int(text)


def _token(revision: int, start: bytes, prefix: bytes) -> str:
    content = {"v": _TOKEN_VERSION, "rv": revision, "start": start[len(prefix) :].decode()}
    return base64.urlsafe_b64encode(orjson.dumps(content)).rstrip(b"=").decode()


def _from_token(token: str, prefix: bytes) -> tuple[int, bytes]:
    """The revision (-1: the present) and the key to go on from."""
    raw = b""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        content = orjson.loads(raw)
        version, revision, start = content["v"], content["rv"], content["start"]
    except (binascii.Error, ValueError, TypeError, KeyError) as error:
        first = raw[:1].decode("ascii", "replace")
        why = f"invalid character '{first}' looking for beginning of value" if first and first not in _JSON_STARTS else error
        raise BadRequestError(f"invalid continue token: continue key is not valid: {why}") from error
    if version != _TOKEN_VERSION or type(revision) is not int or type(start) is not str:
        raise BadRequestError("invalid continue token: continue key is not valid: server does not recognize this encoded version")
    if revision == 0:
        raise BadRequestError("invalid continue token: continue key is not valid: incorrect encoded start resourceVersion")
    return revision, prefix + start.encode()
