"""Typed views over plain trees: what makes `site.spec.replicas` an `int` without decoding the whole object.

A struct is an attrs class that maps to a JSON object: `ready_replicas` is `readyReplicas` on the wire. An instance made by
its constructor holds its values; an instance made by `view` holds the tree and decodes a field when it is first read, so
that an object with hundreds of fields costs what is used of it. `tree_of` goes back: fields never touched (and fields the
class does not know) are taken over from the source tree as they are, so nothing is lost on the way.

Views of cached objects are frozen: they are shared, and a handler that wants to change one takes `thawed` first.
What it leaves to others: rules (ranges, patterns, enums) are derived in `schema` and checked by the API server.
"""

from __future__ import annotations

import enum
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, dataclass_transform

import attrs

from .errors import DeclarationError, Tree
from .readonly import ReadOnlyDict, ReadOnlyList

T = TypeVar("T")
_RULES = "reconcile"  # the key of our entry in an attrs field's metadata


@attrs.frozen
class Rule:
    """A rule in CEL (`self.min <= self.max`) for the field or struct it is given to, and what to say where it is broken.

    One that names `oldSelf` is about changes; with `optional_old_self` it sees creations, too. `message_cel` computes the
    message. `reason` is FieldValueInvalid, Forbidden, Required or Duplicate after `FieldValue`, `field_path` (`.spec.size`) the
    field that the refusal names, below that of the rule. What is evaluated here, docs/custom-kinds.md says.

    Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
    """

    cel: str
    message: str = ""
    message_cel: str = ""
    reason: str = ""
    field_path: str = ""
    optional_old_self: bool = False


@attrs.frozen
class FieldRules:
    """What a field promises beyond its type; everything here ends in the OpenAPI schema.

    `list_type` is "atomic", "set" or "map" (with `list_map_keys`), `map_type` is "atomic" or "granular": how server-side
    apply merges it. `merge_key` and `merge_strategy` are what strategic merge patch uses.

    Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
    """

    name: str = ""
    doc: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    pattern: str = ""
    enum: tuple[Any, ...] = ()  # Any: an enum's values are whatever JSON values the field's type allows
    format: str = ""
    list_type: str = ""
    list_map_keys: tuple[str, ...] = ()
    map_type: str = ""
    merge_key: str = ""
    merge_strategy: str = ""
    immutable: bool = False
    preserve_unknown: bool = False
    server_default: Any = None  # Any: a JSON value, written by the server where the field is absent
    rules: tuple[Rule, ...] = ()


def field(
    *,
    default: Any = attrs.NOTHING,
    factory: Callable[[], Any] | None = None,
    name: str = "",
    doc: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    min_items: int | None = None,
    max_items: int | None = None,
    pattern: str = "",
    enum: tuple[Any, ...] = (),
    format: str = "",  # noqa: A002 - the schema's own word
    list_type: str = "",
    list_map_keys: tuple[str, ...] = (),
    map_type: str = "",
    merge_key: str = "",
    merge_strategy: str = "",
    immutable: bool = False,
    preserve_unknown: bool = False,
    server_default: Any = None,
    rules: Iterable[Rule | str] = (),
) -> Any:
    """Declare a field of a struct or a kind with its rules; see `FieldRules`.

    `default` is what a Python reader sees where the field is absent; `server_default` is written into the object by the
    API server (a simple scalar `default` of a user's kind is used for both: see `schema`).
    """
    made = FieldRules(
        name=name, doc=doc, minimum=minimum, maximum=maximum, min_length=min_length, max_length=max_length,
        min_items=min_items, max_items=max_items, pattern=pattern, enum=tuple(enum), format=format, list_type=list_type,
        list_map_keys=tuple(list_map_keys), map_type=map_type, merge_key=merge_key, merge_strategy=merge_strategy,
        immutable=immutable, preserve_unknown=preserve_unknown, server_default=server_default,
        rules=tuple(Rule(rule) if isinstance(rule, str) else rule for rule in rules),
    )  # fmt: skip
    if factory is not None:
        return attrs.field(factory=factory, metadata={_RULES: made})
    return attrs.field(default=default, metadata={_RULES: made})


@attrs.frozen
class Wire:
    """One field as it crosses between attribute and JSON: names, default, and the two directions."""

    attribute: str
    name: str
    type: Any  # Any: a resolved type annotation
    rules: FieldRules
    has_default: bool
    make_default: Callable[[], Any]
    decode: Callable[[Any, bool], Any]
    encode: Callable[[Any], Any]


@attrs.frozen
class Shape:
    """A struct class, compiled once: its fields by attribute name."""

    fields: dict[str, Wire]


_SHAPES: dict[type, Shape] = {}


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def struct(cls: type[T]) -> type[T]:
    """Make `cls` an attrs class whose instances can be lazy views of a JSON object. All fields are keyword-only.

    attrs does its part when the fields or the constructor are first asked for (`_Later`).
    """
    own = _taken_fields(cls)
    for name, method in (
        ("__getattr__", _read_lazily), ("__setattr__", _set), ("__eq__", _equal), ("__repr__", _repr),
        ("__init__", vars(cls).get("__init__", _construct)),
        ("__attrs_attrs__", _Later(cls, "__attrs_attrs__", own)), ("__attrs_init__", _Later(cls, "__attrs_init__", own)),
    ):  # fmt: skip
        setattr(cls, name, method)
    cls.__hash__ = None  # type: ignore[method-assign, assignment]  # views are compared by content and can change
    return cls


_NO_OP = attrs.setters.NO_OP
_MAKING = threading.RLock()  # attrs asks for the fields of base classes, which are made then


class _Later:
    """Stands on a struct where attrs puts something, and has attrs put it there when it is first asked for.

    The built-in kinds have some two hundred structs, most of which no run ever touches; for attrs to write and compile the
    constructor of each took a sixth of the time to start.
    """

    def __init__(self, cls: type, name: str, own: dict[str, Any]) -> None:
        self.own = own
        self._cls, self._name = cls, name

    def __get__(self, instance: object, owner: type) -> Any:  # Any: what attrs puts there
        cls = self._cls
        with _MAKING:
            if vars(cls)[self._name] is self:
                attrs.define(cls, these=self.own, slots=False, kw_only=True, eq=False, repr=False, on_setattr=_NO_OP)
                init = vars(cls)["__attrs_init__"]
                init.__qualname__ = f"{cls.__qualname__}.__init__"  # which is what the error for a wrong argument names
                if vars(cls)["__init__"] is _construct:
                    cls.__init__ = init  # type: ignore[misc]  # no subclass has another one by accident
        value = vars(cls)[self._name]
        bind = getattr(type(value), "__get__", None)
        return value if bind is None else bind(value, instance, owner)


def field_names(cls: type) -> set[str]:
    """The attribute names of a struct, without having attrs make it."""
    names: set[str] = set()
    for base in cls.__mro__:
        fields = vars(base).get("__attrs_attrs__", ())
        names.update(fields.own if isinstance(fields, _Later) else (a.name for a in fields))
    return names


def _construct(self: Any, **values: Any) -> None:
    self.__attrs_init__(**values)


def _taken_fields(cls: type) -> dict[str, Any]:
    """What the body of `cls` says of its fields, for attrs, and taken off the class: it would hide what a view reads.

    Raises:
        DeclarationError: a field has no type.
    """
    own = {}
    for name, annotation in _annotations(cls).items():
        if not str(annotation).strip("'\"").startswith(_CLASS_VARIABLES):
            given = vars(cls).get(name, attrs.NOTHING)
            own[name] = given if isinstance(given, _FIELD) else attrs.field(default=given)
            if name in vars(cls):
                delattr(cls, name)
    for name, given in vars(cls).items():
        if isinstance(given, _FIELD):
            raise DeclarationError(f"{cls.__module__}.{cls.__qualname__}.{name} has no type; write `{name}: str = field(...)`")
    return own


_FIELD = type(attrs.field())
_CLASS_VARIABLES = ("ClassVar", "typing.ClassVar", "t.ClassVar", "typing_extensions.ClassVar")  # as attrs knows them


def _annotations(cls: type) -> Mapping[str, Any]:
    """The annotations in the body of `cls`, as far as they can be told before all names are known."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        return get_annotations(cls, format=Format.FORWARDREF)
    return typing.cast(Mapping[str, Any], vars(cls).get("__annotations__", {}))


def wire_name(attribute: str) -> str:
    """`ready_replicas` -> `readyReplicas`; a trailing underscore (`type_`, `continue_`) is dropped."""
    head, *rest = attribute.rstrip("_").split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def shape_of(cls: type) -> Shape:
    """The compiled fields of an attrs class.

    Raises:
        DeclarationError: a field's type cannot stand in a JSON object.
    """
    shape = _SHAPES.get(cls)
    if shape is None:
        try:
            hints = typing.get_type_hints(cls, include_extras=True)
        except NameError as error:
            raise DeclarationError(
                f"{cls.__module__}.{cls.__qualname__}: the type {error.name!r} cannot be found; "
                f"declare structs and kinds at the top level of a module"
            ) from error
        fields = {}
        for a in attrs.fields(cls):
            if not a.init:
                continue
            rules = a.metadata.get(_RULES) or FieldRules()
            decode, encode = _codec(hints[a.name], f"{cls.__module__}.{cls.__qualname__}.{a.name}")
            default = a.default
            make = default.factory if isinstance(default, attrs.Factory) else (lambda value=default: value)  # type: ignore[arg-type]  # attrs types Factory as a function
            fields[a.name] = Wire(
                a.name, rules.name or wire_name(a.name), hints[a.name], rules, default is not attrs.NOTHING, make, decode, encode
            )
        shape = _SHAPES[cls] = Shape(fields)
    return shape


def view(cls: type[T], tree: Mapping[str, Any], *, frozen: bool = False) -> T:
    """Make an instance of the struct `cls` that reads `tree` lazily; the tree itself is never changed. O(1)."""
    made = object.__new__(cls)
    state = made.__dict__
    state["_tree"] = tree
    if frozen:
        state["_frozen"] = True
    return made


def thawed(obj: T) -> T:
    """An instance of its own, free to be changed, of what a frozen view shows. O(1)."""
    return view(type(obj), tree_of(obj))


def read_only(tree: Tree) -> Tree:
    """A read-only copy of a JSON object, all the way down. O(size)."""
    return typing.cast(Tree, _anything(tree, frozen=True))


def is_struct(cls: Any) -> bool:
    """Whether `cls` was made by `struct` (or `kind`)."""
    return isinstance(cls, type) and getattr(cls, "__getattr__", None) is _read_lazily


def tree_of(obj: Any) -> Tree:
    """The JSON object of a struct or any attrs instance; shares what was not changed with the source tree."""
    state = getattr(obj, "__dict__", None)
    source = state.get("_tree") if state is not None else None
    if source is not None and state is not None and (state.get("_frozen") or len(state) == 1):
        return typing.cast(Tree, source)
    out: Tree = dict(source) if source is not None else {}
    for attribute, wire in shape_of(type(obj)).fields.items():
        if state is not None:
            if attribute not in state:
                continue
            value = state[attribute]
        else:
            value = getattr(obj, attribute)
        encoded = None if value is None else wire.encode(value)
        if encoded is None or (wire.name not in out and wire.has_default and _is_default(wire, encoded)):
            out.pop(wire.name, None)
        else:
            out[wire.name] = encoded
    return out


def _is_default(wire: Wire, encoded: Any) -> bool:
    default = wire.make_default()
    return default is not None and bool(wire.encode(default) == encoded)


def _read_lazily(self: Any, name: str) -> Any:
    """Decode `name` on first use; Python calls this only when the instance does not hold the value yet."""
    if name.startswith("__"):
        raise AttributeError(name)
    wire = shape_of(type(self)).fields.get(name)
    state = self.__dict__
    if wire is None or "_tree" not in state:
        known = ", ".join(shape_of(type(self)).fields)
        raise AttributeError(f"{type(self).__name__} has no field {name!r}; its fields are {known}")
    frozen = "_frozen" in state
    raw = state["_tree"].get(wire.name)
    if raw is not None:
        value = wire.decode(raw, frozen)
    elif wire.has_default:
        value = wire.make_default()
        if frozen and is_struct(type(value)):
            value.__dict__["_frozen"] = True
        elif frozen and isinstance(value, dict | list):
            value = _anything(value, frozen)
    else:
        value = wire.decode({}, frozen) if is_struct(wire.type) else None
    state[name] = value
    return value


def _set(self: Any, name: str, value: Any) -> None:
    if "_frozen" in self.__dict__:
        raise TypeError(
            f"this {type(self).__name__} is a shared, read-only view of the cache; change a copy: thawed(obj).{name} = ..."
        )
    self.__dict__[name] = value


def _equal(self: Any, other: object) -> Any:
    return tree_of(self) == tree_of(other) if type(other) is type(self) else NotImplemented


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({tree_of(self)!r})"


_Codec = tuple[Callable[[Any, bool], Any], Callable[[Any], Any]]


def _same(value: Any, frozen: bool = False) -> Any:  # noqa: ARG001 - a decoder's signature
    return value


_IDENTITY: _Codec = (_same, _same)


def _anything(value: Any, frozen: bool = False) -> Any:
    """JSON of any shape: containers of a view are its own, all the way down, and those of a frozen one are read-only."""
    if isinstance(value, dict):
        own = {key: _anything(item, frozen) for key, item in value.items()}
        return ReadOnlyDict(own) if frozen else own
    if isinstance(value, list):
        items = [_anything(item, frozen) for item in value]
        return ReadOnlyList(items) if frozen else items
    return value


def _codec(annotation: Any, where: str) -> _Codec:
    """Compile the two directions for one annotation."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _codec(args[0], where)
    if annotation in (str, int, float, bool) or origin is typing.Literal:
        return _IDENTITY
    if annotation in (Any, object, list, dict):
        return _anything, _same
    if isinstance(annotation, typing.NewType):
        return _codec(annotation.__supertype__, where)
    if annotation is datetime:
        return (lambda raw, _: datetime.fromisoformat(raw)), _encode_datetime
    if origin in (typing.Union, types.UnionType):
        options = [a for a in args if a is not type(None)]
        return _codec(options[0], where) if len(options) == 1 else (_anything, _same)
    if origin is list or origin is tuple:
        return _list_codec(*_codec(args[0], where))
    if origin is dict:
        return _dict_codec(*_codec(args[1], where))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return (lambda raw, _: annotation(raw)), (lambda member: member.value)
    if is_struct(annotation):
        return (lambda raw, frozen: view(annotation, raw, frozen=frozen)), tree_of
    if isinstance(annotation, type) and attrs.has(annotation):
        return (lambda raw, _: _build(annotation, raw)), tree_of
    raise DeclarationError(
        f"{where}: the type {annotation!r} cannot stand in a JSON object; use str, int, float, bool, datetime, an enum, "
        f"a list, a dict with string keys, or an attrs class"
    )


def _list_codec(decode: Callable[[Any, bool], Any], encode: Callable[[Any], Any]) -> _Codec:
    if decode is _same:
        return (lambda raw, frozen: ReadOnlyList(raw) if frozen else list(raw)), list

    def decode_list(raw: Any, frozen: bool) -> Any:
        items = [decode(item, frozen) for item in raw]
        return ReadOnlyList(items) if frozen else items

    return decode_list, (lambda items: [encode(item) for item in items])


def _dict_codec(decode: Callable[[Any, bool], Any], encode: Callable[[Any], Any]) -> _Codec:
    if decode is _same:
        return (lambda raw, frozen: ReadOnlyDict(raw) if frozen else dict(raw)), dict

    def decode_dict(raw: Any, frozen: bool) -> Any:
        items = {key: decode(item, frozen) for key, item in raw.items()}
        return ReadOnlyDict(items) if frozen else items

    return decode_dict, (lambda items: {key: encode(item) for key, item in items.items()})


def _encode_datetime(value: datetime) -> str:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def _build(cls: type, tree: Mapping[str, Any]) -> Any:
    """Decode a plain attrs class at once, for users who bring their own."""
    values = {}
    for attribute, wire in shape_of(cls).fields.items():
        if wire.name in tree and tree[wire.name] is not None:
            values[attribute.lstrip("_")] = wire.decode(tree[wire.name], False)
        elif not wire.has_default:
            values[attribute.lstrip("_")] = None
    return cls(**values)
