"""The verbs on objects: what a method, a location and a query mean, done by the `ApiServer`, rendered as asked.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import unquote

import attrs
import orjson

from reconcile.causality import CAUSE_HEADER, TRACEPARENT, TRIGGER, Trigger, parse_traceparent
from reconcile.causality import Cause as CauseOfWrite
from reconcile.client import (
    APPLY_PATCH,
    BATCH_HEADER,
    BATCH_PATCHES_MAX,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    WHOLE,
    WHOLE_HEADER,
    DeleteOptions,
    Patch,
    Propagation,
)
from reconcile.errors import BadRequestError, Cause, InvalidError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api import refusals
from reconcile.runtime.api.deleting import IGNORES_READ_ERROR
from reconcile.runtime.api.server import ApiServer, FieldValidation, Match
from reconcile.runtime.api.stored import Deleted, Notes

from . import bodies, past
from .connecting import connect
from .exchange import Answer, Request, Stream, Switch, no_such_path, warning_headers
from .feed import Feeds
from .location import Location
from .negotiation import Offer, Rendering, rendering_of_objects
from .rendering import Renderer
from .tables import Include
from .watches import wants_watch, watch

if TYPE_CHECKING:
    from .protobuf import Messages, Tables

PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
_VALIDATIONS = ("Ignore", "Warn", "Strict")
_MANAGER_BYTES_MAX = 128
_PROPAGATIONS = ("Background", "Foreground", "Orphan")
_UNREADABLE_VERB = "unsafe-delete-ignore-read-errors"
_CAUSE_CHARACTERS = 500
_TEXT = "text/plain"
_MAKES_WHOLE = ((WHOLE_HEADER, "status"),)
_TAKES_BATCHES = ((BATCH_HEADER, str(BATCH_PATCHES_MAX)),)


class Objects:
    """Answers requests for objects; `wire` gives the tables by which protobuf bodies are read and written."""

    def __init__(self, api: ApiServer, wire: Callable[[], Tables]) -> None:
        self._api = api
        self._tables = wire
        self.feeds = Feeds()
        self.renderer = Renderer(api.clock, wire)

    @cached_property
    def _messages(self) -> Messages:
        from .protobuf import Messages  # only typed clients send protobuf

        return Messages(self._tables())

    def waits(self, location: Location) -> bool:
        """Whether somebody else answers: a kubelet, a program in a Pod."""
        if not location.subresource:
            return False
        kind = self._api.find(location.group, location.version, location.plural)
        return kind is not None and self._api.connection(kind, location.subresource) is not None

    async def answer(self, request: Request, location: Location) -> Answer | Stream | Switch:
        """Do what is asked.

        Raises:
            ApiError: it is refused.
        """
        kind = self._api.find(location.group, location.version, location.plural)
        if kind is None or not _fits(kind, location):
            return _absent(any(other.builtin and other.group == location.group for other in self._api.kinds()))
        connection = self._api.connection(kind, location.subresource)
        if connection is not None and (connection.rest or not location.rest):
            return await connect(self._api, connection, request, location)
        if location.rest.strip("/"):
            return no_such_path()
        answer = await self._answer(request, location, kind)
        if kind.deprecation:
            return attrs.evolve(answer, headers=(*answer.headers, *warning_headers([kind.deprecation])))
        return answer

    async def _answer(self, request: Request, location: Location, kind: Kind) -> Answer | Stream:
        accept, asked, part = request.headers.get("Accept", ""), self._api.is_asked(kind), location.subresource
        many = request.method in ("GET", "HEAD") and not location.name
        offer = self.renderer.offer(accept, kind, views=not asked, many=many)
        rendering = rendering_of_objects(accept, offer) if not part else None
        if part not in ("", "status", "scale") and not kind.has_part(part):
            return await self._further(request, location, kind, offer)
        if (part == "status" and not kind.status) or (part == "scale" and not kind.scale):
            return _absent(kind.builtin)
        if rendering is None:
            rendering = _of_part(location, rendering_of_objects(accept, offer))
        if asked and (request.method != "POST" or location.name):
            raise refusals.method_not_allowed()
        if request.method in ("GET", "HEAD"):
            return await self._read(request, location, kind, rendering)
        if kind.namespaced and not location.namespace and request.method != "DELETE":
            raise refusals.method_not_allowed()
        TRIGGER.set(_trigger(request))
        match request.method, bool(location.name):
            case "POST", False:
                return await self._create(request, location, kind, rendering)
            case "PUT", True:
                return await self._update(request, location, kind, rendering)
            case "PATCH", True:
                return await self._patch(request, location, kind, rendering)
            case "DELETE", True if not location.subresource:
                return await self._delete(request, location, kind, rendering)
            case "DELETE", False:
                return await self._delete_collection(request, location, kind, rendering)
        raise refusals.method_not_allowed()

    # Reading

    async def _read(self, request: Request, location: Location, kind: Kind, rendering: Rendering) -> Answer | Stream:
        include = _include(request)
        if wants_watch(request, location):
            lines = self.renderer.lines(rendering)
            return await watch(self._api, kind, location, request, rendering, include, request.caller, self.feeds, lines)
        if location.name:
            stored = await self._api.get(
                kind, location.name, location.namespace, subresource=location.subresource,
                resource_version=request.query.get("resourceVersion", ""), caller=request.caller,
            )  # fmt: skip
            return self.renderer.one(stored, rendering, include=include)
        query = request.query
        listing = await self._api.list(
            kind, location.namespace, labels=query.get("labelSelector", ""), fields=query.get("fieldSelector", ""),
            limit=_checked_limit(query), continue_token=query.get("continue", ""),
            resource_version=query.get("resourceVersion", ""), match=_match(query.get("resourceVersionMatch", "")),
            caller=request.caller,
        )  # fmt: skip
        metadata: Tree = {"resourceVersion": str(listing.revision)}
        if listing.continue_token:
            metadata["continue"] = listing.continue_token
        if listing.remaining:
            metadata["remainingItemCount"] = listing.remaining
        answer = await self.renderer.many(kind, listing.items, metadata, rendering, include)
        return attrs.evolve(answer, headers=(*answer.headers, *_MAKES_WHOLE, *_TAKES_BATCHES))

    # Writing

    async def _create(self, request: Request, location: Location, kind: Kind, rendering: Rendering) -> Answer:
        notes = Notes()
        tree = await self._body(request, kind, notes)
        stored = await self._api.create(
            kind, tree, location.namespace, caller=request.caller, field_manager=_manager(request),
            dry_run=_dry_run(request), field_validation=_validation(request), notes=notes, tracked=True,
        )  # fmt: skip
        return self.renderer.one(stored, rendering, 201, warning_headers(notes.warnings))

    async def _update(self, request: Request, location: Location, kind: Kind, rendering: Rendering) -> Answer:
        notes = Notes()
        tree = await self._body(request, kind, notes, scale=location.subresource == "scale")
        if kind.needs_revision and location.subresource != "scale" and _says_no_revision(tree):
            await self._api.get(kind, location.name, location.namespace)  # what is not there is told before what is not said
            raise refusals.revision_needed(kind, location.name)
        stored = await self._api.update(
            kind, tree, location.namespace, name=location.name, subresource=location.subresource, caller=request.caller,
            field_manager=_manager(request), dry_run=_dry_run(request),
            field_validation=_validation(request), notes=notes,
        )  # fmt: skip
        return self.renderer.one(stored, rendering, 201 if notes.created else 200, warning_headers(notes.warnings))

    async def _patch(self, request: Request, location: Location, kind: Kind, rendering: Rendering) -> Answer:
        content_type = request.headers.get("Content-Type", "")
        media = bodies.media_type(content_type) if content_type else ""
        if media not in PATCHES:
            raise bodies.unsupported()
        force = request.flag("force")
        if "force" in request.query and media != APPLY_PATCH:
            raise _patch_options_invalid("force", "FieldValueForbidden", "Forbidden: may not be specified for non-apply patch")
        if media == APPLY_PATCH and not request.query.get("fieldManager"):
            raise _patch_options_invalid("fieldManager", "FieldValueRequired", "Required value: is required for apply patch")
        notes, validation = Notes(), _validation(request)
        raw = await request.read()
        body = bodies.decode_patch(raw, content_type, kind, validation, notes.warnings)
        if media == APPLY_PATCH and body.get("apiVersion", kind.api_version) != kind.api_version and not location.subresource:
            raise _wrong_version(body["apiVersion"], kind)
        whole = media == MERGE_PATCH and not location.subresource and WHOLE_HEADER in request.headers
        if whole and kind.status:
            request.must("patch", "status")
        stored = await self._api.patch(
            kind, location.name, Patch(media, body), location.namespace, subresource=WHOLE if whole else location.subresource,
            caller=request.caller, field_manager=_manager(request), force=force,
            dry_run=_dry_run(request), field_validation=validation, notes=notes,
            may_create=lambda: request.must("create", location.subresource),
        )  # fmt: skip
        headers = (*warning_headers(notes.warnings), *(_MAKES_WHOLE if whole else ()))
        return self.renderer.one(stored, rendering, 201 if notes.created else 200, headers)

    async def _delete(self, request: Request, location: Location, kind: Kind, rendering: Rendering) -> Answer:
        options, notes = await self._delete_options(request, one=True), Notes()
        done = await self._api.delete(
            kind, location.name, location.namespace, options, caller=request.caller, notes=notes
        )  # fmt: skip
        if done.gone and not kind.hooks.answers_deleted:
            return self.renderer.tree(_deleted(kind, done), rendering, 200, warning_headers(notes.warnings))
        return self.renderer.one(done.stored, rendering, 200, warning_headers(notes.warnings))

    async def _delete_collection(self, request: Request, location: Location, kind: Kind, rendering: Rendering) -> Answer:
        if kind.namespaced and not location.namespace:
            raise refusals.method_not_allowed()
        options = await self._delete_options(request, one=False)
        done = await self._api.delete_collection(
            kind, location.namespace, options, labels=request.query.get("labelSelector", ""),
            fields=request.query.get("fieldSelector", ""), caller=request.caller,
        )  # fmt: skip
        metadata = {"resourceVersion": str(max((d.stored.revision for d in done), default=0) or "")}
        return await self.renderer.many(kind, [d.stored for d in done], metadata, rendering, "Metadata")

    async def _further(self, request: Request, location: Location, kind: Kind, offer: Offer) -> Answer | Stream:
        """Subresources beyond status and scale: streams that are read, actions that are written."""
        name = location.subresource
        if request.method in ("GET", "HEAD") and name in self._api.readers(kind):
            pieces: AsyncIterator[bytes] = await self._api.read(
                kind, location.name, name, location.namespace, options=request.query, caller=request.caller
            )
            return Stream(pieces, _TEXT)
        if name == past.HISTORY and request.method in ("GET", "HEAD"):
            return await past.states(self._api, kind, location, request)
        asked = self._api.asked_parts(kind).get(name)
        if asked is None and name not in kind.hooks.actions:
            return refusal_of_part(name in self._api.readers(kind), kind.builtin)
        if request.method not in (("POST",) if asked is not None else ("POST", "PUT")):
            raise refusals.method_not_allowed()
        rendering = Rendering(rendering_of_objects(request.headers.get("Accept", ""), offer).media)
        TRIGGER.set(_trigger(request))
        notes = Notes()
        raw = await request.read()
        of = kind if asked is None else asked.kind
        body = bodies.decode(raw, request.headers.get("Content-Type", ""), of, "Ignore", notes.warnings, self._wire)
        stored = await self._api.act(
            kind, location.name, name, body, location.namespace, caller=request.caller, field_manager=_manager(request),
            dry_run=_dry_run(request), notes=notes,
        )  # fmt: skip
        headers = warning_headers(notes.warnings)
        if request.method == "PUT" or asked is not None:
            return self.renderer.one(stored, rendering, 201 if asked is not None else 200, headers)
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return self.renderer.tree(done, rendering, 201, headers)

    async def _body(self, request: Request, kind: Kind, notes: Notes, *, scale: bool = False) -> Tree:
        raw = await request.read()
        content_type = request.headers.get("Content-Type", "")
        validation, warnings = _validation(request), notes.warnings
        if scale:
            return bodies.decode(raw, content_type, kind, validation, warnings, self._wire)
        unknown = functools.partial(self._api.unknown_fields, kind)
        return _identified(bodies.decode(raw, content_type, kind, validation, warnings, self._wire, unknown), kind)

    async def _delete_options(self, request: Request, *, one: bool) -> DeleteOptions:
        content_type = request.headers.get("Content-Type", "")
        tree = bodies.decode_options(await request.read(), content_type, self._wire)
        options = _deletion(request, tree)
        if options.ignores_read_error:
            _check_unreadable(tree, one=one)
            request.must(_UNREADABLE_VERB, "")
        return options

    def _wire(self) -> Messages:
        return self._messages


def _says_no_revision(tree: Tree) -> bool:
    """Whether an object names no resourceVersion; what is no metadata at all is refused for that, by who reads it."""
    metadata = tree.get("metadata")
    return metadata is None or (isinstance(metadata, dict) and not metadata.get("resourceVersion"))


def refusal_of_part(known: bool, builtin: bool) -> Answer:
    """What to say to a subresource that is absent, or that has another verb."""
    if known:
        raise refusals.method_not_allowed()
    return _absent(builtin)


def _absent(builtin: bool) -> Answer:
    """What is not served: a Status beside built-in kinds, and plain text beside those that definitions declare."""
    if builtin:
        raise refusals.no_such_resource()
    return no_such_path()


def _fits(kind: Kind, location: Location) -> bool:
    """Whether such a path is served: none names a namespace for a cluster-wide kind, or a name without its namespace."""
    if location.namespace and not kind.namespaced:
        return False
    return not (kind.namespaced and location.name and not location.namespace)


def _of_part(location: Location, rendering: Rendering) -> Rendering:
    """A Scale has no columns of its own: those who like tables get the object, as every such client accepts."""
    return Rendering(rendering.media) if location.subresource == "scale" else rendering


def _identified(tree: Tree, kind: Kind) -> Tree:
    """The tree with its apiVersion and kind, which a client may leave out but not get wrong."""
    version, name = tree.get("apiVersion"), tree.get("kind")
    if version == kind.api_version and name == kind.kind:
        return tree
    if version and version != kind.api_version:
        raise BadRequestError(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    if name and name != kind.kind:
        raise refusals.undecodable(kind, f'the object provided is unrecognized (must be of type {kind.kind}): kind is "{name}"')
    rest = {key: value for key, value in tree.items() if key not in ("apiVersion", "kind")}
    return {"apiVersion": kind.api_version, "kind": kind.kind, **rest}


def _wrong_version(given: Any, kind: Kind) -> BadRequestError:
    return BadRequestError(
        f"Incorrect version specified in apply patch. Specified patch version: {given}, expected: {kind.api_version}"
    )


def _deleted(kind: Kind, done: Deleted) -> Tree:
    details = {
        "name": done.stored.name,
        **({"group": kind.group} if kind.group else {}),
        "kind": kind.plural,
        "uid": done.stored.tree["metadata"].get("uid", ""),
    }
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _deletion(request: Request, tree: Tree) -> DeleteOptions:
    """DeleteOptions of the body, else of the query, as the reference reads them."""
    query = request.query
    preconditions = tree.get("preconditions") or {}
    grace = tree.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    propagation = tree.get("propagationPolicy") or query.get("propagationPolicy")
    orphan = tree.get("orphanDependents")
    if propagation is not None and orphan is not None:
        why = f'Invalid value: "{propagation}": orphanDependents and deletionPropagation cannot be both set'
        raise _options_invalid("DeleteOptions", "propagationPolicy", "FieldValueInvalid", why)
    if propagation is None and orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    if propagation is not None and propagation not in _PROPAGATIONS:
        why = f'Unsupported value: "{propagation}": supported values: "Foreground", "Background", "Orphan", "nil"'
        raise _options_invalid("DeleteOptions", "propagationPolicy", "FieldValueNotSupported", why)
    dry_run = tree.get("dryRun") or ([query["dryRun"]] if "dryRun" in query else [])
    return DeleteOptions(
        grace_s=_number(str(grace)) if grace is not None else None,
        propagation=cast(Propagation | None, propagation),
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
        dry_run=any(_is_dry(str(value), "DeleteOptions") for value in dry_run),
        ignores_read_error=bool(tree.get(IGNORES_READ_ERROR)) or request.flag(IGNORES_READ_ERROR),
    )


def _check_unreadable(tree: Tree, *, one: bool) -> None:
    """What cannot be read has no finalizers and no owners to be careful with, and is named, not selected.

    Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation ValidateIgnoreStoreReadError
    """
    with_it = ("gracePeriodSeconds", "orphanDependents", "preconditions", "propagationPolicy")
    wrong = next((f"cannot be set together with .{name}" for name in with_it if tree.get(name) is not None), "")
    if not one:
        wrong = "is not allowed with DELETECOLLECTION, try again after removing the option"
    if wrong:
        raise _options_invalid("DeleteOptions", IGNORES_READ_ERROR, "FieldValueInvalid", f"Invalid value: true: {wrong}")


def _validation(request: Request) -> FieldValidation:
    asked = request.query.get("fieldValidation", "")
    if not asked:
        return "Warn"
    if asked not in _VALIDATIONS:
        why = f'Unsupported value: "{asked}": supported values: "", "Ignore", "Strict", "Warn"'
        raise _options_invalid(_options_of(request), "fieldValidation", "FieldValueNotSupported", why)
    return cast(FieldValidation, asked)


def _dry_run(request: Request) -> bool:
    return _is_dry(request.query.get("dryRun"), _options_of(request))


def _options_of(request: Request) -> str:
    return {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(request.method, "PatchOptions")


def _is_dry(asked: str | None, options: str) -> bool:
    if not asked:
        return False
    if asked != "All":
        why = f'Unsupported value: ["{asked}"]: supported values: "All"'
        raise _options_invalid(options, "dryRun", "FieldValueNotSupported", why)
    return True


def _checked_limit(query: Mapping[str, str]) -> int:
    """The limit of a list; what else a list may not have, or has in no form that can be read, is refused here."""
    _number(query.get("timeoutSeconds", "0"))
    if "sendInitialEvents" in query:
        why = "Forbidden: sendInitialEvents is forbidden for list"
        raise _options_invalid("ListOptions", "sendInitialEvents", "FieldValueForbidden", why)
    return _number(query.get("limit", "0"))


def _match(asked: str) -> Match:
    if asked not in ("", "Exact", "NotOlderThan"):
        why = f'Unsupported value: "{asked}": supported values: "Exact", "NotOlderThan", ""'
        raise _options_invalid("ListOptions", "resourceVersionMatch", "FieldValueNotSupported", why)
    return cast(Match, asked)


def _include(request: Request) -> Include:
    asked = request.query.get("includeObject", "") or "Metadata"
    if asked not in ("None", "Metadata", "Object"):
        raise BadRequestError(f'unrecognized includeObject value: "{asked}"; give None, Metadata or Object')
    return cast(Literal["None", "Metadata", "Object"], asked)


def _number(text: str) -> int:
    try:
        number = int(text or 0)
    except ValueError:
        raise BadRequestError(f'strconv.ParseInt: parsing "{text[:100]}": invalid syntax') from None
    if not -(1 << 63) <= number < 1 << 63:
        raise BadRequestError(f'strconv.ParseInt: parsing "{text[:100]}": value out of range')
    return number


def _patch_options_invalid(field: str, reason: str, why: str) -> InvalidError:
    return _options_invalid("PatchOptions", field, reason, why)


def _options_invalid(kind: str, field: str, reason: str, why: str) -> InvalidError:
    return InvalidError(
        f'{kind}.meta.k8s.io "" is invalid: {field}: {why}',
        details={"group": "meta.k8s.io", "kind": kind}, causes=[Cause(reason, why, field)],
    )  # fmt: skip


def _manager(request: Request) -> str:
    """The field manager: what the client says, else the first word of its user agent, as the reference has it."""
    asked = request.query.get("fieldManager")
    if not asked:
        return _client(request)
    if len(asked.encode()) > _MANAGER_BYTES_MAX:
        why = f"Too long: may not be more than {_MANAGER_BYTES_MAX} bytes"
        raise _options_invalid(_options_of(request), "fieldManager", "FieldValueTooLong", why)
    for at, letter in enumerate(asked):
        if not letter.isprintable():
            quoted = orjson.dumps(asked).decode()
            why = f"Invalid value: {quoted}: invalid character U+{ord(letter):04X} (at position {at})"
            raise _options_invalid(_options_of(request), "fieldManager", "FieldValueInvalid", why)
    return asked


def _trigger(request: Request) -> Trigger:
    """Why a request writes: what one of our own clients says, in its own name, else who the client says that it is."""
    cause = CauseOfWrite.decode(unquote(request.headers.get(CAUSE_HEADER, ""))[:_CAUSE_CHARACTERS])
    trace = request.trace or request.headers.get(TRACEPARENT, "")
    trace = trace if trace and parse_traceparent(trace) is not None else ""
    if cause is None:
        return Trigger(_client(request), reason="request", trace=trace)
    return Trigger(cause.handler, cause.revision, cause.reason, cause.attempt, cause.merged, cause.source, trace or cause.trace)


def _client(request: Request) -> str:
    agent = request.headers.get("User-Agent", "")
    return (agent.partition("/")[0].split() or ["unknown"])[0][:128]
