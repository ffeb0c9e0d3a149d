"""What the served versions of one resource share: in which version its objects are stored, and how they get into the others.

An object is completed by the schema of the version that it was stored in (defaults are written in when it is read), converted,
and loses what the other version's schema does not know. Functions of this process (`@convert`) go before a webhook; without
either, nothing but apiVersion differs. What functions make is completed by the other version's schema at once.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/{customresource_handler.go,conversion/converter.go}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs
import orjson

from reconcile.conversion import converted, versions_of
from reconcile.errors import ConversionError, Tree
from reconcile.kinds import Kind, Resource
from reconcile.runtime.api.completion import Complete, compile_completion
from reconcile.runtime.api.versions import version_rank

from .review import BYTES_MAX, OBJECTS_MAX, Post, ask


@attrs.define
class Asking:
    """How webhooks that convert are reached: filled in by whoever composes the server. Without, they count as unreachable."""

    post: Post | None = None
    uid: Callable[[], str] = str


class Versions:
    """The served versions of one resource. Kinds come and go; everything else is derived when it is first needed."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._kinds: dict[str, Kind] = {}
        self._stored_as: dict[Kind, Kind] = {}
        self._completions: dict[tuple[str, bool], Complete | None] = {}
        self._derived: _Derived | None = None

    def add(self, kind: Kind) -> None:
        """A version is served, or served anew."""
        self._kinds[kind.version] = kind
        self._forget()

    def remove(self, kind: Kind) -> None:
        """A version is served no longer."""
        self._kinds.pop(kind.version, None)
        self._forget()

    def _forget(self) -> None:
        self._stored_as.clear()
        self._completions.clear()
        self._derived = None

    def stored_as(self, kind: Kind) -> Kind:
        """The kind, in the version that objects are stored in."""
        found = self._stored_as.get(kind)
        if found is None:
            version = self._storage_version() or kind.version
            found = self._stored_as[kind] = kind if version == kind.version else attrs.evolve(kind, version=version)
        return found

    def _storage_version(self) -> str:
        """What a class says, else a definition; where none does, the newest of the classes."""
        classes = [kind for kind in self._kinds.values() if kind.cls is not None]
        for kind in (*classes, *self._kinds.values()):
            if kind.storage_version:
                return kind.storage_version
        return max((kind.version for kind in classes), key=version_rank, default="")

    def kind_in(self, kind: Kind, version: str) -> Kind | None:
        """The kind in one of its versions, served or not; None: there is no such version."""
        if version in self._kinds:
            return self._kinds[version]
        cls, schema = self._derive().classes.get(version), self._schema(version)
        if cls is not None:
            return cls.__kind__
        return attrs.evolve(kind, version=version, cls=None, schema_given=schema) if schema is not None else None

    @property
    def converts(self) -> bool:
        """Whether more than apiVersion may differ between versions."""
        derived = self._derive()
        return bool(derived.classes) or derived.webhook is not None

    def _derive(self) -> _Derived:
        if self._derived is None:
            classes: dict[str, type[Resource]] = {}
            for kind in self._kinds.values():
                joined = versions_of(kind.cls) if kind.cls is not None else []
                for cls in joined if len(joined) > 1 else ():
                    classes.setdefault(cls.__kind__.version, cls)
            webhooks = (kind.family.webhook for kind in self._kinds.values() if kind.family is not None)
            self._derived = _Derived(classes, next((webhook for webhook in webhooks if webhook is not None), None))
        return self._derived

    def adopted(self, tree: Tree, source: str, kind: Kind) -> Tree:
        """An object that was stored in version `source` as `kind` has it, where nothing but apiVersion differs."""
        return self.pruned(self.completed(tree, source), kind)

    def pruned(self, tree: Tree, kind: Kind) -> Tree:
        """The object without what the version's schema does not know."""
        prune = self._completion(kind.version, defaults=False)
        made: Tree = prune(tree, None, []) if prune is not None else tree
        return made

    def _whole(self, tree: Tree, kind: Kind) -> Tree:
        """The object with the version's defaults, and without what its schema does not know."""
        complete = self._completion(kind.version, defaults=True)
        made: Tree = complete(tree, None, []) if complete is not None else tree
        return made

    def completed(self, tree: Tree, version: str) -> Tree:
        """What was stored in a version, with its defaults, where data declares it; those of a class are what its readers see."""
        kind = self._kinds.get(version)
        if kind is not None and kind.cls is not None:
            return tree
        complete = self._completion(version, defaults=True)
        made: Tree = complete(tree, None, []) if complete is not None else tree
        return made

    def _completion(self, version: str, *, defaults: bool) -> Complete | None:
        if (version, defaults) not in self._completions:
            schema = self._schema(version)
            compiled = compile_completion(schema, drop_null=False, defaults=defaults) if schema is not None else None
            self._completions[version, defaults] = compiled
        return self._completions[version, defaults]

    def _schema(self, version: str) -> Tree | None:
        kind = self._kinds.get(version)
        if kind is not None:
            return kind.schema
        families = (kind.family for kind in self._kinds.values())
        return next((f.schemas[version] for f in families if f is not None and version in f.schemas), None)

    async def converted(self, trees: Sequence[Tree], kind: Kind) -> list[Tree]:
        """Objects of any versions in that of `kind`, in their order.

        Raises:
            ConversionError: they cannot be.
        """
        made = list(trees)
        asked: list[int] = []
        derived = self._derive()
        target = derived.classes.get(kind.version)
        for at, tree in enumerate(trees):
            version = str(tree.get("apiVersion", "")).rpartition("/")[2]
            if version == kind.version:
                continue
            source = derived.classes.get(version)
            if source is not None and target is not None:
                # Who reads a class's objects is not given defaults, so they are written in here.
                made[at] = self._whole(converted(tree, source, target), kind)
            elif derived.webhook is not None:
                if self._schema(version) is None:
                    raise ConversionError(f"request to convert CR from an invalid group/version: {tree.get('apiVersion')}")
                asked.append(at)
            else:
                made[at] = self.pruned({**tree, "apiVersion": kind.api_version, "kind": kind.kind}, kind)
        for batch in _batches(made, asked):
            assert derived.webhook is not None, "somebody is to be asked"
            answers = await self._ask(derived.webhook, [made[at] for at in batch], kind)
            for at, answer in zip(batch, answers, strict=True):
                made[at] = self.pruned(answer, kind)
        return made

    async def _ask(self, webhook: Tree, trees: list[Tree], kind: Kind) -> list[Tree]:
        post = self._asking.post
        if post is None:
            about = f"{trees[0]['apiVersion']}, Kind={trees[0]['kind']}"
            raise ConversionError(f"conversion webhook for {about} failed: this server reaches no webhooks")
        return await ask(post, webhook, self._asking.uid(), trees, kind)


@attrs.frozen
class _Derived:
    """Who converts: classes that conversions join, by version, and `spec.conversion.webhook` of a definition."""

    classes: dict[str, type[Resource]]
    webhook: Tree | None


def _batches(trees: list[Tree], places: list[int]) -> Iterator[list[int]]:
    """The places in lots that one call can carry."""
    batch: list[int] = []
    size = 0
    for at in places:
        length = len(orjson.dumps(trees[at])) if len(places) > 1 else 0
        if batch and (len(batch) == OBJECTS_MAX or size + length > BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(at)
        size += length
    if batch:
        yield batch
