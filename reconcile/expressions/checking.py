"""What is wrong with an expression about an object whose schema is known: fields that there are not, operands that do not fit.

Expressions are evaluated without types. Here they are compiled with them, for the sake of what the compiler complains about: a
schema becomes messages in a pool of descriptors, which can say nearly all that a schema says. Lists of lists, and lists and maps
in maps, may hold anything.

Source: k8s.io/apiserver/pkg/cel/common/schemas.go, k8s.io/apiserver/pkg/admission/plugin/cel/compile.go
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.duration_pb2 import DESCRIPTOR as DURATION
from google.protobuf.struct_pb2 import DESCRIPTOR as STRUCT
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP

from reconcile.errors import Tree

from .complaints import told
from .language import BrokenExpressionError, bounded, extensions
from .macros import expanded
from .messages import ANYTHING, add_field, add_message, add_patches, pool_with
from .names import RESERVED, escaped

_DEPTH_MAX = 40
_TEXT: Tree = {"type": "string"}
_TIME: Tree = {"type": "string", "format": "date-time"}
_TEXTS: Tree = {"type": "array", "items": _TEXT}
_LABELS: Tree = {"type": "object", "additionalProperties": _TEXT}
_WHOLE: Tree = {"type": "integer"}
_SCALARS: dict[tuple[str, str], int | str] = {
    ("string", "byte"): FieldDescriptorProto.TYPE_BYTES, ("string", "duration"): ".google.protobuf.Duration",
    ("string", "date"): ".google.protobuf.Timestamp", ("string", "date-time"): ".google.protobuf.Timestamp",
    ("string", ""): FieldDescriptorProto.TYPE_STRING, ("boolean", ""): FieldDescriptorProto.TYPE_BOOL,
    ("number", ""): FieldDescriptorProto.TYPE_DOUBLE, ("integer", ""): FieldDescriptorProto.TYPE_INT64,
}  # fmt: skip


def _object(**fields: Tree) -> Tree:
    return {"type": "object", "properties": fields}


_OWNER = _object(
    apiVersion=_TEXT, kind=_TEXT, name=_TEXT, uid=_TEXT, controller={"type": "boolean"}, blockOwnerDeletion={"type": "boolean"}
)  # fmt: skip
_MANAGED = _object(
    manager=_TEXT, operation=_TEXT, apiVersion=_TEXT, time=_TIME, fieldsType=_TEXT, fieldsV1=_object(), subresource=_TEXT
)
METADATA = _object(
    name=_TEXT, generateName=_TEXT, namespace=_TEXT, selfLink=_TEXT, uid=_TEXT, resourceVersion=_TEXT, generation=_WHOLE,
    creationTimestamp=_TIME, deletionTimestamp=_TIME, deletionGracePeriodSeconds=_WHOLE, labels=_LABELS, annotations=_LABELS,
    ownerReferences={"type": "array", "items": _OWNER}, finalizers=_TEXTS, managedFields={"type": "array", "items": _MANAGED},
)  # fmt: skip
_KIND = _object(group=_TEXT, version=_TEXT, kind=_TEXT)
_RESOURCE = _object(group=_TEXT, version=_TEXT, resource=_TEXT)
_USER = _object(
    username=_TEXT, uid=_TEXT, groups=_TEXTS, extra={"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}}
)  # fmt: skip
REQUEST = _object(
    kind=_KIND, resource=_RESOURCE, subResource=_TEXT, requestKind=_KIND, requestResource=_RESOURCE, requestSubResource=_TEXT,
    name=_TEXT, namespace=_TEXT, operation=_TEXT, userInfo=_USER, dryRun={"type": "boolean"},
    options={"x-kubernetes-int-or-string": True},
)  # fmt: skip
_CONDITION = _object(status=_TEXT, type=_TEXT, lastTransitionTime=_TIME, message=_TEXT, reason=_TEXT)
NAMESPACE = _object(
    metadata=_object(
        name=_TEXT, generateName=_TEXT, namespace=_TEXT, labels=_LABELS, annotations=_LABELS, UID=_TEXT, creationTimestamp=_TIME,
        deletionGracePeriodSeconds=_WHOLE, deletionTimestamp=_TIME, generation=_WHOLE, resourceVersion=_TEXT, finalizers=_TEXTS,
    ),
    spec=_object(finalizers=_TEXTS), status=_object(conditions={"type": "array", "items": _CONDITION}, phase=_TEXT),
)  # fmt: skip


class Types:
    """Variables of expressions with the types that schemas give them."""

    def __init__(
        self, schemas: Mapping[str, Tree | None], untyped: tuple[str, ...] = (),
        messages: Mapping[str, Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        """Variables by name, with the schema of their value (None: it has none); `untyped` are further ones.

        Where there are `messages`, expressions can make them, with these fields, and JSONPatch.
        """
        from cel_expr_python import cel

        self._schemas, self._untyped = schemas, untyped
        file = FileDescriptorProto(
            name="schemas.proto", syntax="proto3", dependency=[STRUCT.name, TIMESTAMP.name, DURATION.name]
        )  # fmt: skip
        named: dict[int, str] = {}
        for name, schema in schemas.items():
            if schema is not None and id(schema) not in named:
                named[id(schema)] = _add(file, f"{name}_", schema, 0)
        self._variables: dict[str, Any] = dict.fromkeys(untyped, cel.Type.DYN)
        if "authorizer" in untyped:
            from .exact import AUTHORIZER, RESOURCE_CHECK

            self._variables |= {"authorizer": AUTHORIZER, "authorizer.requestResource": RESOURCE_CHECK}
        for name, schema in schemas.items():
            self._variables[name] = cel.Type(named[id(schema)]) if schema is not None else cel.Type.DYN
        if messages is not None:
            add_patches(file, messages)
        self._pool = pool_with(file)
        self._environment: Any = None

    def with_messages(self, messages: Mapping[str, Sequence[str]]) -> Types:
        """The same variables, for expressions that make messages with these fields."""
        made = Types(self._schemas, self._untyped, messages)
        made._variables |= self._variables
        return made

    def declare(self, name: str, text: str) -> None:
        """A further variable, with the type of what an expression comes to; any, if it does not compile."""
        from cel_expr_python import cel

        try:
            type_ = self.check(text)
        except BrokenExpressionError:
            type_ = cel.Type.DYN
        self._variables[name] = type_
        self._environment = None

    def adopt(self, other: Types, names: Iterable[str]) -> None:
        """Take over variables that were declared for another."""
        self._variables |= {name: other._variables[name] for name in names if name in other._variables}

    def check(self, text: str) -> Any:
        """The type (the library's own) that an expression comes to.

        Raises:
            BrokenExpressionError: something is wrong with it.
        """
        from cel_expr_python import cel

        if self._environment is None:
            self._environment = cel.NewEnv(self._pool, variables=self._variables, extensions=extensions(checking=True))
        bounded(text)
        whole = expanded(text)
        try:
            return self._environment.compile(whole).return_type()
        except RuntimeError as error:
            raise BrokenExpressionError(told(str(error), exact=whole == text)) from error


def root_schema(schema: Tree) -> Tree:
    """The schema of a whole object, with all of its metadata."""
    properties = {**(schema.get("properties") or {}), "apiVersion": _TEXT, "kind": _TEXT, "metadata": METADATA}
    return {"type": "object", "properties": properties}


def _add(file: FileDescriptorProto, name: str, schema: Tree, depth: int) -> str:
    """Add a message for an object; returns its name."""
    message = add_message(file, name)
    for field, node in (schema.get("properties") or {}).items():
        _add_field(file, message, field, node, depth)
    return name


def _add_field(file: FileDescriptorProto, message: DescriptorProto, field: str, node: Tree, depth: int) -> None:
    name = escaped(field)
    items = node.get("items")
    if node.get("type") == "array" and isinstance(items, dict):
        type_ = _type(file, f"{message.name}_{name}", items, depth)
        if type_ is not None:
            add_field(message, name, type_, repeated=True)
        return
    values = node.get("additionalProperties")
    if isinstance(values, dict):
        type_ = _type(file, f"{message.name}_{name}", values, depth)
        if type_ is not None:
            _add_map(message, name, type_)
        return
    type_ = _type(file, f"{message.name}_{name}", node, depth)
    if type_ is not None:
        add_field(message, name, type_)
        if field in RESERVED:
            add_field(message, field, type_)


def _type(file: FileDescriptorProto, name: str, node: Tree, depth: int) -> int | str | None:
    """The type of a field; None: expressions cannot name it."""
    if node.get("x-kubernetes-int-or-string"):
        return ANYTHING
    kind, form = str(node.get("type") or ""), str(node.get("format") or "")
    if kind == "object" and not isinstance(node.get("additionalProperties"), dict):
        return "." + _add(file, name, node, depth + 1) if depth < _DEPTH_MAX else ANYTHING
    if kind in ("object", "array"):
        return ANYTHING  # within a list or a map, where protobuf has none
    return _SCALARS.get((kind, form), _SCALARS.get((kind, "")))


def _add_map(message: DescriptorProto, name: str, type_: int | str) -> None:
    entry = message.nested_type.add(name="".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry")
    entry.options.map_entry = True
    add_field(entry, "key", FieldDescriptorProto.TYPE_STRING)
    add_field(entry, "value", type_)
    add_field(message, name, f".{message.name}.{entry.name}", repeated=True)
