"""What a handler can be given, and what it can return.

A handler names what it wants as parameters; the engine passes what it names. The first parameter with a name of its own
(`site: WebSite`) is the object. The others, by name:

    obj, spec, status, meta, name, namespace, uid, labels, annotations   the object and its parts (its own copy)
    body         the whole object as plain, read-only JSON
    resource     its `Kind`
    cluster      a `Cluster`: typed reads (tracked) and writes (attributed to this handler)
    conditions   a `Conditions` over status.conditions
    events       an `EventRecorder`
    clock        the `Clock`
    log, logger  a logging.LoggerAdapter that names object and handler
    attempt, retry   how many attempts of this handler on this object failed in a row (0 the first time)
    started, runtime   when the first of these attempts began (UTC), and how long ago that is
    param        what the declaration gave as `param`
    reason       lifecycle handlers: why it runs ("create", "update", "delete", "resume")
    old, new, diff   update and field handlers: what changed since this very handler last succeeded
    event, type  event handlers: "ADDED", "MODIFIED" or "DELETED"
    patch        a dict that is merged into the object after the handler (kopf's way)
    memo         an object's scratch space in memory, kept while the object lives
    indexes      all indexes of the operator by name; one alone by its own name
    stopped      daemons: a `Stopped`, true once it is asked to end
    review       mutate and validate handlers: an `AdmissionReview`
    operation, subresource, dryrun, userinfo, warnings   its parts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import attrs

from .client import Client, Propagation
from .clock import Clock
from .errors import Tree
from .identity import Caller
from .kinds import Kind, Resource

R = TypeVar("R", bound=Resource)


@attrs.frozen
class Requeue:
    """Returned by a handler: run me again after `after_s` seconds, even if nothing changes."""

    after_s: float


@attrs.frozen
class Wait:
    """Returned by a handler: not done; `for_` says in words what is missing. Run again when a dependency changes.

    `at_most_s` bounds the wait (a re-run even if nothing changes).
    """

    for_: str
    at_most_s: float = 300.0


@attrs.frozen
class Key:
    """Names an object of a known kind: what work queues hold."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@attrs.define
class AdmissionReview:
    """A write about to happen. `tree` may be changed in place by a mutate handler; `old` is None on create.

    `kind` is the kind as it is written; `caller` is who writes; `warnings` reach the client as Warning headers.

    Policies and webhooks, but no handlers, are shown connections to a subresource, too (CONNECT): then `tree` has no more than
    the object's name, and `options` say what is asked of it.
    """

    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    tree: Tree
    old: Tree | None
    subresource: str
    dry_run: bool
    caller: Caller
    kind: Kind = attrs.field(kw_only=True)
    warnings: list[str] = attrs.field(factory=list)
    options: Tree | None = attrs.field(default=None, kw_only=True)

    @property
    def user(self) -> str:
        """The name of who writes."""
        return self.caller.user


class Stopped(Protocol):
    """Whether a daemon is asked to end, and why. True or false as such; `wait` returns early when it becomes true.

    In a thread `wait(seconds)` blocks; a coroutine awaits it.
    """

    @property
    def reason(self) -> str:
        """ "", or why: the object is "deleted" or no longer "matches" the filters, or the operator "stops"."""

    def __bool__(self) -> bool:
        """Whether it is time to end."""

    def wait(self, seconds: float | None = None) -> Any:  # Any: awaited by coroutines, taken as it is in threads
        """Wait until asked to end, for at most `seconds`; gives itself."""


class EventRecorder(Protocol):
    """Writes Kubernetes Events about an object; equal ones are counted, not repeated."""

    def normal(self, reason: str, message: str, *, about: Resource | None = None) -> None:
        """Something worth telling happened. `about` defaults to the handled object. Never blocks, never raises."""

    def warning(self, reason: str, message: str, *, about: Resource | None = None) -> None:
        """Something went wrong."""

    def event(self, type_: str, reason: str, message: str, *, about: Resource | None = None) -> None:
        """An Event of a type of one's own."""


class Conditions(Protocol):
    """The handled object's status.conditions; written with the status when the handler is done, if anything changed."""

    def true(self, type_: str, reason: str = "", message: str = "") -> None:
        """Set condition `type_` to True."""

    def false(self, type_: str, reason: str, message: str = "") -> None:
        """Set condition `type_` to False."""

    def unknown(self, type_: str, reason: str, message: str = "") -> None:
        """Set condition `type_` to Unknown."""


@runtime_checkable
class Cluster(Protocol):
    """The cluster as a handler sees it.

    Reads come from the informers' cache (started when first needed) and are tracked: what a reconcile handler read, it
    depends on, and it runs again when that changes. Objects read are shared, frozen views: `thawed(obj)` gives a copy.
    Writes go to the API at once and are remembered: this handler does not run again for this object on a cache older than
    its own writes. `namespace=None` means the handled object's namespace for `get` and `find`, all namespaces for `list`.
    """

    client: Client
    clock: Clock

    async def get(self, cls: type[R], name: str, namespace: str | None = None) -> R:
        """One object from the cache. Raises NotFoundError."""

    async def find(self, cls: type[R], name: str, namespace: str | None = None) -> R | None:
        """One object from the cache, or None."""

    async def list(
        self,
        cls: type[R],
        namespace: str | None = None,
        *,
        labels: str | Mapping[str, str] | None = None,
        owner: Resource | None = None,
        index: tuple[str, str] | None = None,
    ) -> list[R]:
        """Objects from the cache.

        `labels` is a selector string or a mapping of equalities; `owner` keeps what it controls (by uid; indexed);
        `index=(path, value)` keeps objects whose field at `path` (say `spec.nodeName`) is `value` (indexed on first use).
        """

    async def fresh(self, cls: type[R], name: str, namespace: str | None = None) -> R:
        """One object from the server itself, not the cache. Raises NotFoundError."""

    async def create(self, obj: R) -> R:
        """Create. Raises AlreadyExistsError, InvalidError, ..."""

    async def update(self, obj: R) -> R:
        """Replace everything but the status; the object's resourceVersion is a precondition. Raises ConflictError."""

    async def update_status(self, obj: R) -> R:
        """Replace the status. Raises ConflictError where the object's resourceVersion is stale."""

    async def apply(self, obj: R) -> R:
        """Server-side apply with the operator's field manager, forced: these fields are ours."""

    async def patch(self, obj: Resource, merge: Tree, *, subresource: str = "") -> None:
        """A JSON merge patch, without precondition."""

    async def delete(
        self, obj: Resource, *, grace_s: int | None = None, propagation: Propagation | None = None, precondition: bool = True
    ) -> None:
        """Delete this very object (its uid is a precondition unless told otherwise). One that is gone already is fine."""

    async def act(self, obj: Resource, action: str, body: Tree) -> None:
        """Write one of the kind's further subresources, e.g. a Pod's `binding`."""

    def enqueue(self, handler: Callable[..., Any], namespace: str, name: str, *, after_s: float = 0.0) -> None:
        """Run a reconcile handler of this operator for an object, as if it had changed. For news from outside the store."""

    def spawn(self, coroutine: Any, name: str) -> None:
        """Run a coroutine in the operator's own task group: a bind that need not be awaited, a proxy that serves.

        An error in it is logged and reported like a handler's; it is cancelled when the operator stops.
        """
