"""Resource kinds as attrs classes: `@kind` declares one, `Resource` is what it inherits.

    @struct
    class WebSiteSpec:
        replicas: int = field(default=1, minimum=0)

    @kind("example.com", "v1", short_names=("ws",), columns=(Column("Replicas", ".spec.replicas", "integer"),))
    class WebSite(Resource):
        "A small web site."
        spec: WebSiteSpec
        status: WebSiteStatus = field(factory=WebSiteStatus)

A kind's whole behaviour in the API server is derived from this declaration: schema, defaults, validation, columns,
subresources. Where a built-in kind needs more (a Pod is deleted with grace), it says so in `Hooks`; the server itself knows
no kind by name. `Kind` values are also made from CustomResourceDefinitions and from discovery: then `cls` is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, dataclass_transform

import attrs

from .errors import Cause, DeclarationError, Tree
from .views import field, field_names, struct, tree_of, view

if TYPE_CHECKING:
    from .subresources import Connection

R = TypeVar("R", bound="Resource")


@struct
class OwnerReference:
    """Points at the object that this one belongs to; at most one has `controller` set."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Carried(dict[str, str]):
    """Labels or annotations that an object was not given as a whole: a conversion adds them to those of its source."""


@struct
class ObjectMeta:
    """What every object carries: its name, its labels, and what the server keeps about it."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = field(default="", format="date-time")
    deletion_timestamp: str = field(default="", format="date-time")
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = field(factory=Carried)
    annotations: dict[str, str] = field(factory=Carried)
    owner_references: list[OwnerReference] = field(
        factory=list, list_type="map", list_map_keys=("uid",), merge_key="uid", merge_strategy="merge"
    )
    finalizers: list[str] = field(factory=list, list_type="set", merge_strategy="merge")
    managed_fields: list[dict[str, Any]] = field(factory=list, list_type="atomic")


@attrs.frozen
class Column:
    """A printer column: what `get` shows. `path` is a simple JSONPath; `cell` computes it instead (tree, now in seconds).

    `type` is string, integer, number, boolean or date; a `priority` above 0 shows in wide output only.
    """

    name: str
    path: str = ""
    type: str = "string"
    cell: Callable[[Tree, float], Any] | None = None
    priority: int = 0
    format: str = ""
    doc: str = ""


@attrs.frozen
class Scale:
    """Where the scale subresource finds its numbers (simple JSONPaths) and its selector."""

    replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    selector: str = ".spec.selector"


@attrs.frozen
class Hooks:
    """What a kind adds to the generic storage strategy. Trees handed in are the caller's own: change them in place.

    - `default(tree)`: what schema defaults cannot say; runs after them, on every write.
    - `prepare(tree, old)`: server-owned fields; `old` is None on create. Runs before validation. It must not await.
      With `prepares_changes=False` it is not called for changes, which then cost no copy of the tree; a function of
      (new tree, old tree) says which changes it is called for. What an action made is the server's own and is not
      prepared again.
    - `validate(tree, old)`: rules beyond the schema, one Cause each.
    - `grace_s(tree, asked_s)`: seconds that a deleted object lingers with deletionTimestamp before somebody deletes it
      with grace 0; 0 deletes at once.
    - `held(tree)`: whether an object whose deletion has begun is held by what it says itself, beside its finalizers, as a
      Namespace is by `spec.finalizers`; it goes with the write that lets go of it. Such a kind has no grace.
    - `parts`: further parts of an object that are read, replaced and patched apart from it, like its status: (new tree,
      old tree) -> the top-level fields of the new one that this part may change; e.g. `approval`.
    - `actions`: further subresources written by POST or PUT: (current tree, body) -> new tree; e.g. `binding`.
    - `part_rules`: (new tree, old tree) -> Causes, for changes of one of the `parts`, instead of `validate`.
    - `connections`: subresources that somebody else answers (`reconcile.subresources`); e.g. `exec`.
    - `finalizers`: set on create (a Namespace's).
    - `wrong_name`: why a new object's name will not do (empty: it will); without it, names are subdomains.
    - `keeps_status`: a new object keeps the status that its writer gives it, as a Node that registers itself does.
    - `ending(tree)`: the object as it is from when its deletion begins until it is gone, e.g. in another phase.
    - `answers_deleted`: who deletes an object is answered with it, and not with a Status: clients expect either, by kind.
    - `keeps_dependents`: who deletes an object and does not say what becomes of its dependents keeps them, and is told so in
      these words (empty: in none), as the oldest versions of Kubernetes had it; without it, they go after their owner.
    """

    default: Callable[[Tree], None] | None = None
    prepare: Callable[[Tree, Tree | None], None] | None = None
    validate: Callable[[Tree, Tree | None], Iterable[Cause]] | None = None
    grace_s: Callable[[Tree, int | None], int] | None = None
    held: Callable[[Tree], bool] | None = None
    parts: Mapping[str, Callable[[Tree, Tree], Tree]] = attrs.field(factory=dict)
    actions: Mapping[str, Callable[[Tree, Tree], Tree]] = attrs.field(factory=dict)
    wrong_name: Callable[[str], str] | None = None
    part_rules: Mapping[str, Callable[[Tree, Tree], Iterable[Cause]]] = attrs.field(factory=dict)
    connections: tuple[Connection, ...] = ()
    finalizers: tuple[str, ...] = ()
    prepares_changes: bool | Callable[[Tree, Tree], bool] = True
    keeps_status: bool = False
    ending: Callable[[Tree], Tree] | None = None
    answers_deleted: bool = False
    keeps_dependents: str | None = None


@attrs.frozen(eq=False)
class Face:
    """Says that a kind shows the objects of another one in a form of its own, as events.k8s.io/v1 shows core Events.

    They are stored as those of `kind`. `shown` makes this kind's form of a stored tree, `stored` goes back; both get whole
    objects, may share what they do not change, and leave apiVersion and kind to the server.
    """

    kind: Kind
    shown: Callable[[Tree], Tree]
    stored: Callable[[Tree], Tree]


@attrs.frozen(eq=False)
class Family:
    """All versions of a kind that data declares: the schema of each, served or not, and who converts between them.

    `webhook` is `spec.conversion.webhook` of the definition; None: nothing but apiVersion differs.
    """

    schemas: Mapping[str, Tree]
    webhook: Tree | None = None


@attrs.frozen(eq=False)
class Kind:
    """One resource kind in one version, as discovery shows it, plus how the server treats it.

    `selectable` are the paths (`spec.nodeName`) that field selectors may name; metadata.name and metadata.namespace always
    work. `selectable_as` are further labels: of each the path that is meant, the text for objects that have nothing there, and
    maybe a path that counts before that text does.
    `has_generation`: metadata.generation counts changes of everything but metadata and status. `storage_version` is the version
    that objects are stored in, where a kind is served in several (empty: another one says so, or the newest).
    `needs_revision`: a replacement has to name the resourceVersion that it replaces, as for a kind that a definition declares.
    `deprecation` is what clients of this version are told with every answer. `family` are the versions that it is one of, where
    data declares it. `face` says whose objects these are, where it has none of its own. `schema_given` may be a function, which
    is called when the schema is needed.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    status: bool = False
    scale: Scale | None = None
    selectable: tuple[str, ...] = ()
    selectable_as: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    hooks: Hooks = Hooks()
    cls: type[Resource] | None = None
    schema_given: Tree | Callable[[], Tree] | None = attrs.field(default=None, repr=False)
    builtin: bool = False
    has_generation: bool = True
    needs_revision: bool = False
    storage_version: str = ""
    deprecation: str = ""
    family: Family | None = None
    face: Face | None = None

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def has_part(self, subresource: str) -> bool:
        """Whether a subresource is the object itself, of which a part is written."""
        return (subresource == "status" and self.status) or subresource in self.hooks.parts

    @property
    def resource(self) -> str:
        """`deployments.apps`, or `pods` for the core group: the name that errors and prefixes use."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def schema(self) -> Tree:
        """The structural OpenAPI v3 schema of the whole object; derived from the class unless given."""
        if self.schema_given is not None:
            return self.schema_given() if callable(self.schema_given) else self.schema_given
        if self.cls is None:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        from .schema import schema_of  # the derivation reads classes of this module

        return schema_of(cast(Any, self.cls))  # Any: a class is hashable, whatever its instances are

    def __str__(self) -> str:
        return f"{self.kind}.{self.api_version}"


@struct
class Resource:
    """An object of a kind. `name`, `namespace`, `labels` and `annotations` are short for those of `metadata`."""

    metadata: ObjectMeta = field(factory=ObjectMeta)

    if TYPE_CHECKING:
        # Fields to a type checker (so that constructors take them), properties at run time (see below).
        name: str = ""
        namespace: str = ""
        labels: dict[str, str] = field(factory=dict)
        annotations: dict[str, str] = field(factory=dict)
    __kind__ = cast("Kind", None)

    @classmethod
    def of(cls, *, name: str, namespace: str = "", labels: dict[str, str] | None = None, **parts: Any) -> Self:
        """Make one from plain JSON values (`spec={"replicas": 3, ...}`), as a manifest has them: for long nested objects."""
        metadata: Tree = {"name": name}
        if namespace:
            metadata["namespace"] = namespace
        if labels:
            metadata["labels"] = labels
        return view(cls, {"metadata": metadata, **parts})

    @property
    def uid(self) -> str:
        """The id that no other object, before or after, ever has."""
        return self.metadata.uid

    @property
    def generation(self) -> int:
        """Counts the changes of the desired state."""
        return self.metadata.generation

    @property
    def revision(self) -> int:
        """The store revision at which this object was last written; 0 for one not read from a server."""
        return int(self.metadata.resource_version or 0)

    @property
    def deleting(self) -> bool:
        """Whether somebody asked for its deletion and it still lingers."""
        return bool(self.metadata.deletion_timestamp)

    @property
    def tree(self) -> Tree:
        """The whole object as plain JSON, with apiVersion and kind."""
        declared = type(self).__kind__
        return {"apiVersion": declared.api_version, "kind": declared.kind, **tree_of(self)}

    def controller_uid(self) -> str:
        """The uid of the owner reference marked `controller`, or an empty string."""
        for reference in self.metadata.owner_references:
            if reference.controller:
                return reference.uid
        return ""

    def owner_reference(self, *, controller: bool = True) -> OwnerReference:
        """A reference that makes another object belong to this one."""
        declared = type(self).__kind__
        return OwnerReference(
            api_version=declared.api_version, kind=declared.kind, name=self.name, uid=self.uid,
            controller=controller or None, block_owner_deletion=controller or None,
        )  # fmt: skip


_SHORTHAND = ("name", "namespace", "labels", "annotations")


def _shorthand(name: str) -> property:
    def read(self: Resource) -> Any:
        return getattr(self.metadata, name)

    def write(self: Resource, value: Any) -> None:
        setattr(self.metadata, name, value)

    return property(read, write, doc=f"Short for metadata.{name}.")


for _name in _SHORTHAND:
    setattr(Resource, _name, _shorthand(_name))


def _set_resource(self: Any, name: str, value: Any) -> None:
    """Properties go to metadata; everything else is a field, refused on shared views."""
    if name in _SHORTHAND:
        setattr(self.metadata, name, value)
        return
    if "_frozen" in self.__dict__:
        raise TypeError(f"this {type(self).__name__} is a shared, read-only view of the cache; take thawed(obj) first")
    self.__dict__[name] = value


Resource.__setattr__ = _set_resource  # type: ignore[method-assign]  # struct's own refuses the short names


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def kind(
    group: str,
    version: str,
    *,
    name: str = "",
    plural: str = "",
    storage: bool = False,
    namespaced: bool = True,
    short_names: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    columns: tuple[Column, ...] = (),
    scale: Scale | None = None,
    selectable: tuple[str, ...] = (),
    selectable_as: Mapping[str, tuple[str, ...]] | None = None,
    hooks: Hooks | None = None,
    builtin: bool = False,
    has_generation: bool = True,
    needs_revision: bool = False,
) -> Callable[[type[R]], type[R]]:
    """Declare the decorated `Resource` subclass as a kind of `group`/`version` (an empty group is the core group).

    A class with a `status` field gets the status subresource. The kind is called as its class, unless it has a `name`: of several
    versions of one kind, each is a class (see `reconcile.conversion`). `storage`: of these, objects are stored in this one;
    where none says so, in the newest.

    Raises:
        DeclarationError: the class is no Resource, or the names break the API's rules.
    """

    def declare(cls: type[R]) -> type[R]:
        if not (isinstance(cls, type) and issubclass(cls, Resource)):
            raise DeclarationError(f"@kind on {cls!r}: inherit from reconcile.Resource")
        made = struct(cls)
        made.__setattr__ = _set_resource  # type: ignore[method-assign]  # as on Resource itself
        _accept_shorthand(made)
        called = name or made.__name__
        singular = called.lower()
        made.__kind__ = Kind(
            group=group, version=version, kind=called, plural=plural or pluralised(singular), singular=singular,
            namespaced=namespaced, short_names=tuple(short_names), categories=tuple(categories), columns=tuple(columns),
            status="status" in field_names(made), scale=scale, selectable=tuple(selectable),
            selectable_as=selectable_as or {}, hooks=hooks or Hooks(), cls=made, builtin=builtin, has_generation=has_generation,
            needs_revision=needs_revision, storage_version=version if storage else "",
        )  # fmt: skip
        return made

    return declare


def pluralised(singular: str) -> str:
    """`website` -> `websites`, `policy` -> `policies`, `ingress` -> `ingresses`: the usual English, as kubebuilder does."""
    if singular.endswith("y") and singular[-2:-1] not in tuple("aeiou"):
        return singular[:-1] + "ies"
    return singular + ("es" if singular.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _accept_shorthand(cls: type[Resource]) -> None:
    """Let the constructor take name, namespace, labels and annotations."""
    made_by_attrs = cls.__init__

    def __init__(self: Resource, **values: Any) -> None:
        short = {name: values.pop(name) for name in _SHORTHAND if name in values}
        made_by_attrs(self, **values)
        for name, value in short.items():
            setattr(self.metadata, name, value)

    cls.__init__ = __init__  # type: ignore[method-assign]  # attrs wrote the one we wrap


def kind_of(cls: type[Resource] | Kind) -> Kind:
    """The declaration behind a class (or the Kind itself).

    Raises:
        DeclarationError: the class was not declared with `@kind`.
    """
    if isinstance(cls, Kind):
        return cls
    declared = getattr(cls, "__kind__", None)
    if declared is None:
        raise DeclarationError(f"{cls!r} is not a kind; declare it with @kind(group, version)")
    return cast(Kind, declared)


def typed(cls: type[R], tree: Tree, *, frozen: bool = False) -> R:
    """The object in `tree` as a view of its class; O(1)."""
    return view(cls, tree, frozen=frozen)


__all__ = [
    "Column", "Face", "Hooks", "Kind", "ObjectMeta", "OwnerReference", "Resource", "Scale", "kind", "kind_of", "pluralised",
    "typed",
]  # fmt: skip
