"""The API server: every kind, one storage strategy. This facade only says what there is; the parts do it.

All methods raise `reconcile.errors.ApiError` subclasses with the reference server's texts. Trees handed in are never
changed; trees that come out are shared and read-only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from reconcile.client import DeleteOptions, Patch
from reconcile.clock import Clock
from reconcile.errors import Tree
from reconcile.identity import SYSTEM, Caller
from reconcile.kinds import Kind
from reconcile.runtime.store import Range, StoreError, WatchStore
from reconcile.selectors import label_selector
from reconcile.subresources import Asked, Connection

from . import metadata, refusals
from .security import Security
from .stored import Deleted, Listing, Notes, Stored

if TYPE_CHECKING:
    from reconcile.handling import AdmissionReview

    from .admission import Admit
    from .answering import Part, Respond, RespondAbout
    from .catalog import Read, Virtual
    from .history import PastState, Span
    from .policies import Surroundings
    from .watching import Following
    from .webhooks import Call

Dial = Callable[[str], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Opens a connection; raises OSError where there is none to be had."""
FieldValidation = Literal["Ignore", "Warn", "Strict"]
Match = Literal["", "Exact", "NotOlderThan"]
MakeDocument = Callable[[str], Tree]
"""(the server's host and port) -> a document."""
Page = Callable[[str, Mapping[str, str]], Awaitable[Tree]]
"""(rest of the path, query) -> a JSON document."""
REQUEST_BYTES_MAX = 3 << 20
NOW = DeleteOptions()


class ApiServer:
    """Serves kinds over a store.

    `namespace_kind` is the kind whose objects namespaces are: creating a namespaced object needs one that is not going
    away. None: any namespace will do. It is served by being named here.
    """

    def __init__(
        self, store: WatchStore, clock: Clock, *, namespace_kind: Kind | None = None, request_bytes_max: int = REQUEST_BYTES_MAX,
        bookmark_s: float = 60.0,
    ) -> None:  # fmt: skip
        from .admission import Admission
        from .answering import Answering
        from .catalog import Catalog
        from .deleting import Deleting
        from .history import ObjectHistory
        from .reading import Reading
        from .watching import Watching
        from .writing import Writing

        self.store = store
        self.clock = clock
        self.namespace_kind = namespace_kind
        self.security = Security()
        """Who callers are and what they may; whoever serves this over a network asks it. In process nobody is asked."""
        self.dialers: dict[str, Dial] = {}
        self.documents: dict[str, tuple[MakeDocument, str]] = {}
        self.pages: dict[str, Page] = {}
        self._catalog = Catalog()
        self._admission = Admission(self._in_version)
        self._answering = Answering(self._catalog)
        self._reading = Reading(store, self._catalog)
        self._history = ObjectHistory(store, self._catalog)
        self._watching = Watching(store, clock, self._catalog, bookmark_s)
        self._writing = Writing(store, clock, self._catalog, self._admission, namespace_kind, request_bytes_max)
        self._deleting = Deleting(store, clock, self._catalog, self._admission)
        if namespace_kind is not None:
            self.serve(namespace_kind)

    # Kinds

    def serve(self, kind: Kind) -> None:
        """Start serving a kind; one of the same group, version and plural is replaced. O(schema), once."""
        self._catalog.serve(kind)

    def withdraw(self, kind: Kind) -> None:
        """Stop serving a kind. Its objects stay in the store."""
        self._catalog.withdraw(kind)

    def serve_declared(self, kind: Kind) -> bool:
        """Serve a kind that data declares (a CustomResourceDefinition), unless a class declares the same: the class wins."""
        return self._catalog.serve_declared(kind)

    def withdraw_declared(self, kind: Kind) -> None:
        """Stop serving a kind that data declared; one that a class declares too stays."""
        self._catalog.withdraw_declared(kind)

    def release(self, kind: Kind) -> None:
        """The class behind `kind` is gone: where data declares the kind as well, that holds from now on."""
        self._catalog.release(kind)

    def serve_virtual(self, kind: Kind, provider: Virtual) -> None:
        """Serve a kind whose objects are computed when asked for, not stored: get and list only."""
        self._catalog.serve(kind, provider)

    def serve_answers(self, kind: Kind, respond: Respond) -> None:
        """Serve a kind of questions, which are answered, not stored: create only."""
        self._catalog.serve(kind, respond=respond)

    def add_answers(self, kind: Kind, subresource: str, questions: Kind, respond: RespondAbout) -> None:
        """Serve a subresource whose questions (of the kind `questions`) are answered, not stored: create only."""
        from .answering import Part

        self._answering.add_part(kind, subresource, Part(questions, respond))
        self._catalog.changed()

    def add_document(self, path: str, make: MakeDocument, content_type: str = "application/json") -> None:
        """Serve a document at a URL path that is no resource; `make` is given the address that the client used."""
        self.documents[path] = (make, content_type)

    def asked_parts(self, kind: Kind) -> Mapping[str, Part]:
        """The subresources of a kind that answer questions."""
        return self._answering.parts(kind)

    def is_asked(self, kind: Kind) -> bool:
        """Whether objects of a kind are questions: answered, not stored."""
        return self._catalog.of(kind).respond is not None

    def peek(self, kind: Kind, name: str, namespace: str = "") -> Tree | None:
        """The object as this server has it now, or None; without waiting, not even for what other servers wrote."""
        return self._reading.peek(kind, name, namespace)

    def kinds(self) -> tuple[Kind, ...]:
        """Everything served, in the order it was registered."""
        return self._catalog.kinds()

    def stored_kinds(self) -> tuple[Kind, ...]:
        """Those whose objects are stored, so that they can be watched; the others are computed when asked for."""
        return self._catalog.stored_kinds()

    def stored_as(self, kind: Kind) -> Kind | None:
        """The kind in the version that its objects are stored in; None: they are computed, or answered."""
        served = self._catalog.of(kind)
        return served.stored_as if served.stores_objects else None

    def object_counts(self) -> dict[str, int]:
        """How many objects of each kind are stored, by resource."""
        ranges = {kind.resource: self._catalog.of(kind).range("") for kind in self.stored_kinds()}
        return {name: self.store.range(Range(start, end, count_only=True)).count for name, (start, end) in ranges.items()}

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The served kind behind a URL, or None."""
        return self._catalog.find(group, version, plural)

    def unknown_fields(self, kind: Kind, tree: Tree) -> list[str]:
        """The paths of what is in an object and not in its kind.

        Raises:
            BadRequestError: it cannot be read as this kind.
        """
        served, found = self._catalog.of(kind), list[str]()
        served.complete(metadata.shaped(served, tree, found)[0], None, found)
        return found

    def on_kinds_changed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each change of what is served; returns a function that ends this."""
        return self._catalog.on_changed(callback)

    def add_reader(self, kind: Kind, subresource: str, read: Read) -> Callable[[], None]:
        """Serve GET of a subresource that streams bytes (pods/log); returns a function that ends this."""
        return self._catalog.add_reader(kind, subresource, read)

    def readers(self, kind: Kind) -> Mapping[str, Read]:
        """The streaming subresources of a kind."""
        return self._catalog.readers(kind)

    def is_virtual(self, kind: Kind) -> bool:
        """Whether the objects of a kind are computed, not stored."""
        return self._catalog.of(kind).provider is not None

    # Pages

    def add_page(self, root: str, page: Page) -> None:
        """Answer GET of the paths below /`root`/, which name no resource, by `page(rest of the path, query)`."""
        self.pages[root] = page

    # Subresources that somebody else answers

    def connection(self, kind: Kind, subresource: str) -> Connection | None:
        """What a kind declares of that name among the subresources that are carried on."""
        return next((each for each in kind.hooks.connections if each.name == subresource), None)

    def add_dialer(self, scheme: str, dial: Dial) -> None:
        """Reach backends whose address has this scheme by `dial`; it is given what follows `scheme://`."""
        self.dialers[scheme] = dial

    # Admission

    def add_mutator(self, kind: Kind | None, admit: Admit) -> Callable[[], None]:
        """Call `admit(review)` before each write of a kind (None: of all kinds); returns a function that ends this.

        It may change `review.tree` in place, or raise an ApiError to refuse. It may be a coroutine function.
        """
        return self._admission.add_mutator(kind, admit)

    def add_initializer(self, kind: Kind, admit: Admit) -> Callable[[], None]:
        """Call `admit(review)` for each new object, after mutators and defaults; returns a function that ends this.

        What it adds to `review.tree` has to be complete, for no defaults are put into it any more. That is what makes it
        cheap: for what the control plane itself adds, where `Hooks.prepare` would have to know other objects.
        """
        return self._admission.add_initializer(kind, admit)

    def add_validator(self, kind: Kind | None, admit: Admit) -> Callable[[], None]:
        """Call `admit(review)` before each write is stored, after all mutators and the schema; see `add_mutator`."""
        return self._admission.add_validator(kind, admit)

    def ask_webhooks(self, call: Call, exempt: frozenset[tuple[str, str]]) -> None:
        """Have webhooks asked about writes, last of all, as soon as `configure_webhooks` names some (see `Webhooks`), and those
        that convert between versions, where definitions name them.
        """
        from .webhooks import Webhooks

        self._catalog.asking.post, self._catalog.asking.uid = call, self.clock.uid

        self._admission.webhooks = Webhooks(
            call, self.clock, self.find, self._labels_around, exempt, self._in_version, self.security.authorize
        )  # fmt: skip

    def configure_webhooks(self, mutating: Iterable[Tree], validating: Iterable[Tree]) -> None:
        """From now on ask the webhooks of these configurations."""
        assert self._admission.webhooks is not None, "nobody said how webhooks are asked"
        self._admission.webhooks.configure(mutating, validating)

    def configure_policies(
        self, policies: Iterable[Tree], bindings: Iterable[Tree], *, exempt: frozenset[tuple[str, str]]
    ) -> None:  # fmt: skip
        """From now on judge writes by these ValidatingAdmissionPolicies, but for those of the `exempt` (group, plural)."""
        policies = list(policies)
        if not policies:
            self._admission.policies = None
            return
        from .policies import ValidatingPolicies  # few have any

        self._admission.policies = ValidatingPolicies(self._surroundings(), exempt, policies, bindings)

    def configure_mutating_policies(
        self, policies: Iterable[Tree], bindings: Iterable[Tree], *, exempt: frozenset[tuple[str, str]]
    ) -> None:  # fmt: skip
        """From now on have writes changed by these MutatingAdmissionPolicies, but for those of the `exempt` (group, plural)."""
        policies = list(policies)
        if not policies:
            self._admission.mutating_policies = None
            return
        from .policies import MutatingPolicies

        self._admission.mutating_policies = MutatingPolicies(self._surroundings(), exempt, policies, bindings)

    def _surroundings(self) -> Surroundings:
        from .defaulting import completed
        from .policies import Surroundings

        return Surroundings(
            self.clock, self.find, self._namespace_around, self._in_version, self._kind_named, self._parameters,
            lambda kind: self._catalog.of(kind).schema, lambda kind, tree: completed(self._catalog.of(kind), tree),
            self.security.authorize,
        )  # fmt: skip

    async def admit_connection(self, kind: Kind, connection: Connection, asked: Asked, caller: Caller) -> None:
        """Ask policies and webhooks whether somebody may connect to a subresource. Raises what refuses."""

        def review() -> AdmissionReview:
            from reconcile.handling import AdmissionReview

            meta = {"name": asked.name, **({"namespace": asked.namespace} if asked.namespace else {})}
            given = connection.options(asked) if connection.options is not None else {}
            options = {"kind": connection.kind, "apiVersion": kind.api_version, **given}
            return AdmissionReview(
                "CONNECT", {"metadata": meta}, None, connection.name, False, caller, kind=kind, options=options
            )  # fmt: skip

        await self._admission.connect(kind, review)

    async def _in_version(self, tree: Tree, kind: Kind) -> Tree:
        """An object as a version of its kind has it."""
        if tree.get("apiVersion") == kind.api_version:
            return tree
        versions = self._catalog.of(kind).versions
        if versions.converts:
            return (await versions.converted([tree], kind))[0]
        return {**tree, "apiVersion": kind.api_version, "kind": kind.kind}

    async def _namespace_around(self, review: AdmissionReview) -> Tree | None:
        """The namespace that a write is in, or is about; None where there is none."""
        if self.namespace_kind is not None and review.kind.namespaced:
            return (await self.get(self.namespace_kind, review.tree["metadata"].get("namespace", ""))).tree
        if self.namespace_kind is not None and review.kind.plural == self.namespace_kind.plural and not review.kind.group:
            return review.tree
        return None

    async def _labels_around(self, review: AdmissionReview) -> Mapping[str, str] | None:
        tree = await self._namespace_around(review)
        return None if tree is None else tree["metadata"].get("labels") or {}

    def _kind_named(self, api_version: str, kind: str) -> Kind | None:
        return next((known for known in self.kinds() if (known.api_version, known.kind) == (api_version, kind)), None)

    async def _parameters(self, kind: Kind, namespace: str, name: str, selector: Tree | None) -> Sequence[Tree]:
        """The objects that a policy is parametrised with, by their name or by their labels."""
        within = namespace if kind.namespaced else ""
        if name:
            found = self.peek(kind, name, within)
            return [found] if found is not None else []
        return [item.tree for item in (await self.list(kind, within, labels=str(label_selector(selector)))).items]

    # Reading

    async def get(
        self, kind: Kind, name: str, namespace: str = "", *, subresource: str = "", resource_version: str = "",
        caller: Caller = SYSTEM,
    ) -> Stored:  # fmt: skip
        """The newest state of one object; `subresource` "scale" gives its Scale, "status" the object."""
        return await self._reading.get(kind, name, namespace, subresource, resource_version)

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 0,
        continue_token: str = "", resource_version: str = "", match: Match = "", caller: Caller = SYSTEM,
    ) -> Listing:  # fmt: skip
        """Objects of a kind at one consistent revision; of all namespaces where `namespace` is empty."""
        return await self._reading.list(kind, namespace, labels, fields, limit, continue_token, resource_version, match)

    async def catch_up(self, revision: int) -> None:
        """Have the store show `revision`, which another server of the same store may have told a client."""
        if revision > self.store.revision:
            try:
                await self.store.catch_up()
            except StoreError as error:
                raise refusals.of_store(error) from error

    async def history(
        self, kind: Kind, name: str, namespace: str = "", *, first: int = 0, last: int = 0, limit: int = 0,
        caller: Caller = SYSTEM,
    ) -> Sequence[PastState]:  # fmt: skip
        """The states that an object was in, oldest first, in revisions first..last (0: all that are kept); also if it is gone.

        With a `limit`, the newest ones. NotFoundError: there never was such an object, as far as history goes.
        """
        return await self._history.of(kind, name, namespace, first, last, limit)

    async def span(self, at_s: float | None = None) -> Span:
        """Where history begins and ends, and what was the newest revision at `at_s`, since the epoch."""
        return await self._history.span(at_s)

    async def forget(self, keep: int) -> Span:
        """Forget history but for the newest `keep` revisions, and give its space back; returns what is left."""
        return await self._history.forget(keep)

    def watch(
        self, kind: Kind, namespace: str = "", *, since: int = 0, labels: str = "", fields: str = "", initial: bool = False,
        bookmarks: bool = True, caller: Caller = SYSTEM,
    ) -> Following:  # fmt: skip
        """Changes after revision `since`, or (`initial`) the current state, a bookmark that closes it, then changes.

        `since=0` without `initial` starts now. An object that stops matching the selectors is DELETED, one that starts
        is ADDED. With `bookmarks`, one comes about once a minute. Ends with ExpiredError when `since` is compacted.
        Selector errors are raised at once, not at the first step.
        """
        return self._watching.watch(kind, namespace, since, labels, fields, initial, bookmarks)

    async def read(
        self, kind: Kind, name: str, subresource: str, namespace: str = "", *, options: Mapping[str, str] | None = None,
        caller: Caller = SYSTEM,
    ) -> AsyncIterator[bytes]:  # fmt: skip
        """A streaming subresource (see `add_reader`)."""
        stored = await self._reading.get(kind, name, namespace, "", "")
        return await self._catalog.reader(kind, subresource)(stored.tree, options or {})

    # Writing

    async def create(
        self, kind: Kind, tree: Tree, namespace: str = "", *, caller: Caller = SYSTEM, field_manager: str = "",
        dry_run: bool = False, field_validation: FieldValidation = "Ignore", notes: Notes | None = None, tracked: bool = False,
    ) -> Stored:  # fmt: skip
        """Create an object; metadata.generateName is honoured.

        `tracked`: record from now on who sets which field (managedFields), instead of from the first apply on.
        """
        answer = await self._answering.ask(kind, tree, namespace, caller, field_validation, notes)
        if answer is not None:
            return answer
        return await self._writing.create(kind, tree, namespace, caller, field_manager, dry_run, field_validation, notes, tracked)

    async def update(
        self, kind: Kind, tree: Tree, namespace: str = "", *, name: str = "", subresource: str = "", caller: Caller = SYSTEM,
        field_manager: str = "", dry_run: bool = False, field_validation: FieldValidation = "Ignore",
        notes: Notes | None = None,
    ) -> Stored:  # fmt: skip
        """Replace an object, its status, or (`subresource` "scale", a Scale) its replicas.

        `name` is the URL's; the tree's must agree with it.
        """
        return await self._writing.update(
            kind, tree, namespace, name, subresource, caller, field_manager, dry_run, field_validation, notes
        )

    async def patch(
        self, kind: Kind, name: str, patch: Patch, namespace: str = "", *, subresource: str = "", caller: Caller = SYSTEM,
        field_manager: str = "", force: bool = False, dry_run: bool = False, field_validation: FieldValidation = "Ignore",
        notes: Notes | None = None, may_create: Callable[[], None] | None = None,
    ) -> Stored:  # fmt: skip
        """Change part of an object; APPLY_PATCH creates it where it is absent (`notes.created` tells).

        `may_create` is called before that, and raises where the caller may change objects but not create any.
        """
        return await self._writing.patch(
            kind, name, patch, namespace, subresource, caller, field_manager, force, dry_run, field_validation, notes,
            may_create,
        )  # fmt: skip

    async def act(
        self, kind: Kind, name: str, action: str, body: Tree, namespace: str = "", *, caller: Caller = SYSTEM,
        field_manager: str = "", dry_run: bool = False, notes: Notes | None = None,
    ) -> Stored:  # fmt: skip
        """Write one of the kind's further subresources (`Hooks.actions`), or ask it (`add_answers`)."""
        part = self._answering.parts(kind).get(action)
        if part is not None:
            return await self._answering.ask_part(await self._reading.get(kind, name, namespace, "", ""), part, body, caller)
        return await self._writing.act(kind, name, action, body, namespace, caller, field_manager, dry_run, notes)

    async def delete(
        self, kind: Kind, name: str, namespace: str = "", options: DeleteOptions = NOW, *, caller: Caller = SYSTEM,
        notes: Notes | None = None,
    ) -> Deleted:  # fmt: skip
        """Delete an object; it lingers while it has grace or finalizers."""
        return await self._deleting.delete(kind, name, namespace, options, caller, notes)

    async def delete_collection(
        self, kind: Kind, namespace: str = "", options: DeleteOptions = NOW, *, labels: str = "", fields: str = "",
        caller: Caller = SYSTEM, notes: Notes | None = None,
    ) -> Sequence[Deleted]:  # fmt: skip
        """Delete all objects that the selectors match, each for itself."""
        found = await self._reading.list(kind, namespace, labels, fields, 0, "", "", "")
        return await self._deleting.delete_all(kind, found.items, options, caller, notes)
