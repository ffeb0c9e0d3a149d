"""One request in, one answer out: who is it, may they, and what do they want. Knows no HTTP library.

Anything that goes wrong becomes a Status; nothing that a client sends can end more than its own request.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from reconcile.causality import TRACEPARENT, TRIGGER, spans
from reconcile.client import BATCH_PATH
from reconcile.errors import ApiError, BadRequestError, InternalError
from reconcile.identity import Access, Caller, forbidden
from reconcile.kinds import Kind
from reconcile.runtime.api.refusals import method_not_allowed
from reconcile.runtime.api.server import ApiServer

from . import past
from .discovery import VERBS, VERBS_ASKED, VERBS_VIRTUAL, Discovery
from .exchange import Answer, Request, Stream, Switch, json_answer, no_such_path
from .health import ROOTS, Health
from .identity import Authenticate, access_of, is_open
from .impersonation import impersonated
from .inflight import InFlight
from .location import Location, locate
from .metrics import CONTENT_TYPE, Metrics
from .objects import Objects
from .openapi import OpenApi, Texts
from .watches import wants_watch

if TYPE_CHECKING:
    from .protobuf import Tables

_DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
_SWITCHING, _FAILED = 101, 500
log = logging.getLogger(__name__)


class Face:
    """The HTTP surface of one API server."""

    def __init__(
        self, api: ApiServer, authenticate: Authenticate, in_flight: InFlight, version: dict[str, str],
        address: Callable[[], str], wire: Callable[[], Tables], texts: Callable[[], Texts] = dict,
    ) -> None:  # fmt: skip
        self._api = api
        self._authenticate = authenticate
        self._authorize = api.security.authorize
        self._in_flight = in_flight
        self._clock = api.clock
        self.metrics = Metrics(api, in_flight)
        self._documents = api.documents
        self._version = version
        self._address = address
        self._objects = Objects(api, wire)
        self.health = Health()
        self.checks, self.ready_checks = self.health.checks, self.health.ready_checks

        def verbs(kind: Kind) -> tuple[str, ...]:
            return VERBS_ASKED if api.is_asked(kind) else VERBS_VIRTUAL if api.is_virtual(kind) else VERBS

        self._discovery = Discovery(
            api.kinds, verbs, lambda kind: tuple(api.readers(kind)), api.asked_parts, self._objects.renderer, api.stored_as
        )
        self._openapi = OpenApi(api.kinds, self._discovery, texts)
        self.close = api.on_kinds_changed(self._forget)

    def _forget(self) -> None:
        self._discovery.forget()
        self._openapi.forget()

    async def handle(self, request: Request) -> Answer | Stream | Switch:
        """Answer a request; never raises (but lets cancellation through)."""
        location = locate(request.path)
        access = access_of(request, location)
        if (told := spans()) is None:
            return await self._answered(request, location, access)
        attributes = {"http.request.method": request.method, "url.path": request.path, "k8s.verb": access.verb}
        attributes["user_agent.original"] = request.headers.get("User-Agent", "")
        parent = request.headers.get(TRACEPARENT, "")
        span = told.begin(
            f"{access.verb} {access.part or 'path'}", "server", attributes, clock=self._clock, parent=parent
        )  # fmt: skip
        request.trace = span.traceparent
        code = 0
        try:
            answer = await self._answered(request, location, access)
            code = answer.status if isinstance(answer, Answer | Stream) else _SWITCHING
            return answer
        finally:
            done: dict[str, Any] = {"http.response.status_code": code} if code else {}
            trigger = TRIGGER.get()
            if request.method != "GET" and trigger is not None and trigger.trace == span.traceparent and trigger.wrote:
                done["reconcile.revision"] = trigger.wrote[-1]
            span.end(done, "" if 0 < code < _FAILED else f"HTTP {code}" if code else "given up")

    async def _answered(
        self, request: Request, location: Location | None, access: Access, known: bool = False
    ) -> Answer | Stream | Switch:
        """Answer a request, whose caller may be `known` already, and count it."""
        began_s = self._clock.monotonic()
        upgrades = "Upgrade" in request.headers
        if upgrades:
            from . import sockets  # few ask

            upgrades = sockets.asked(request)
        try:
            if not known:
                if upgrades:
                    request = sockets.with_credentials(request)
                request.caller = impersonated(request, self._authenticate(request), self._authorize)
            answer = await self._admitted(request, location, access)
            if upgrades and isinstance(answer, Stream):
                answer = sockets.switched(request, answer)
        except ApiError as error:
            answer = self._objects.renderer.refusal(error, request.headers.get("Accept", ""))
        except Exception:  # the outermost loop of a request: it is logged, and the client told whose mistake it was
            log.exception("request failed", extra={"method": request.method, "path": request.path})
            mistake = "the server made a mistake while it answered this request; its log (control-plane.log) says more"
            answer = self._objects.renderer.refusal(InternalError(mistake), request.headers.get("Accept", ""))
        code = answer.status if isinstance(answer, Answer | Stream) else _SWITCHING
        self.metrics.answered(access, code, self._clock.monotonic() - began_s)
        return answer

    async def _admitted(self, request: Request, location: Location | None, access: Access) -> Answer | Stream | Switch:
        if location is None and request.path == BATCH_PATH:
            from . import batch  # operators that write much send some, and no start does

            return await batch.answered(request, self._one_of_a_batch)  # whose patches are admitted each by itself
        if timeout := request.query.get("timeout"):
            self._refuse_timeout(request, location, timeout)
        with self._in_flight.admitted(request.caller, access, waits=location is not None and self._objects.waits(location)):
            if not is_open(request):
                self._check(request.caller, access)
            if location is None:
                if request.path.strip("/") == past.HISTORY and request.method in ("GET", "HEAD", "POST"):
                    return await past.span(self._api, request)
                root, _, rest = request.path.strip("/").partition("/")
                if root in self._api.pages and request.method in ("GET", "HEAD"):
                    return json_answer(await self._api.pages[root](rest, request.query))
                if request.path == "/metrics" and request.method in ("GET", "HEAD"):
                    return Answer(200, (await self.metrics.text()).encode(), CONTENT_TYPE)
                if request.path == "/metrics/slis" and request.method in ("GET", "HEAD"):
                    return Answer(200, self.health.indicators().encode(), CONTENT_TYPE)
                return self._document(request)
            # An apply that finds no object creates one, which is another permission; and there are stranger ones.
            request.must = lambda verb, part: self._check(request.caller, attrs.evolve(access, verb=verb, subresource=part))
            return await self._objects.answer(request, location)

    async def _one_of_a_batch(self, request: Request) -> Answer:
        location = locate(request.path)
        if location is None or not location.name or location.subresource not in ("", "status") or location.rest:
            return no_such_path()
        answer = await self._answered(request, location, access_of(request, location), known=True)
        assert isinstance(answer, Answer), "a patch of an object has one answer"
        return answer

    def _refuse_timeout(self, request: Request, location: Location | None, timeout: str) -> None:
        """Refuse what is no span of time. No answer takes as long as one would be; streams say it otherwise.

        Source: k8s.io/apiserver/pkg/endpoints/filters/request_deadline.go
        """
        if location is not None and (wants_watch(request, location) or self._objects.waits(location)):
            return
        if not _DURATION.fullmatch(timeout):
            raise BadRequestError(f'invalid timeout specified in the request URL - time: invalid duration "{timeout}"')

    def _check(self, caller: Caller, access: Access) -> None:
        decision = self._authorize(caller, access)
        if not decision.allowed:
            raise forbidden(caller, access, decision.reason)

    def _document(self, request: Request) -> Answer:
        """Everything that is no object."""
        path = request.path.strip("/")
        root = path.partition("/")[0]
        if (document := self._documents.get(f"/{path}")) is not None:
            if request.method not in ("GET", "HEAD"):
                raise method_not_allowed()
            make, content_type = document
            return json_answer(make(self._address()), 200, content_type=content_type)
        if root not in ("", "api", "apis", "openapi", "version", *ROOTS):
            return no_such_path()
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        if root in ("api", "apis"):
            return self._discovery.answer(request, self._address())
        if root == "openapi":
            return self._openapi.answer(request)
        if path == "version":
            return json_answer(self._version)
        if path == "":
            return json_answer({"paths": self._paths()})
        return self.health.answer(request, root, path.partition("/")[2])

    def _paths(self) -> list[str]:
        paths = ["/healthz", "/livez", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
        for group, versions in self._discovery.groups().items():
            top = f"/apis/{group}" if group else "/api"
            paths += [top, *(f"{top}/{version}" for version in versions)]
        return sorted({"/api", "/apis", *self._documents, *paths})
