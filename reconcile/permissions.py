"""The least rights that an operator needs, read from its declarations and from the source of its handlers.

What is handled follows from the decorators. What is made, read and written besides follows from the handlers' source: kinds that
are constructed (`yield ConfigMap(...)`), read (`cluster.list(Pod)`), and written (`cluster.delete(pod)`, where `pod` was read or
constructed in the same function), also in functions of the same module that are called. Where that cannot be told, a note says
which line to look at; nothing is granted on suspicion.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from .conversion import versions_of
from .crd import CRD
from .errors import Tree
from .kinds import Kind, Resource
from .registry import Handler, Operator

READ = ("get", "list", "watch")
_CHILD = (*READ, "create", "patch", "delete")
_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")
_READS = frozenset({"get", "find", "list", "fresh"})
_WRITES: Mapping[str, tuple[str, ...]] = {
    "create": ("create",), "apply": ("create", "patch"), "update": ("update",), "update_status": ("status:update",),
    "patch": ("patch",), "delete": ("delete",),
}  # fmt: skip
_ONLY_LOOK = ("event", "index")
_ABOUT_NOTHING = ("startup", "cleanup", "probe", "login", "mutate", "validate")


@attrs.define
class Permissions:
    """Verbs by group and resource, and notes on what could not be told."""

    verbs: dict[tuple[str, str], set[str]] = attrs.field(factory=dict)
    names: dict[tuple[str, str], tuple[str, ...]] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)

    def grant(self, group: str, resource: str, *verbs: str) -> None:
        """Add verbs on a resource."""
        self.verbs.setdefault((group, resource), set()).update(verbs)

    def grant_kind(self, kind: Kind, *verbs: str) -> None:
        """Add verbs on a kind; `status:update` means its status."""
        for verb in verbs:
            part, _, plain = verb.rpartition(":")
            self.grant(kind.group, f"{kind.plural}/{part}" if part else kind.plural, plain)

    def note(self, text: str) -> None:
        """Say what could not be told, once."""
        if text not in self.notes:
            self.notes.append(text)

    def rules(self) -> list[Tree]:
        """As a Role has them: resources with the same verbs stand together."""
        alike: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
        for (group, resource), verbs in sorted(self.verbs.items()):
            ordered = tuple(verb for verb in _VERBS if verb in verbs)
            alike.setdefault((group, ordered, self.names.get((group, resource), ())), []).append(resource)
        return [
            {
                "apiGroups": [group],
                "resources": resources,
                **({"resourceNames": list(names)} if names else {}),
                "verbs": list(verbs),
            }
            for (group, verbs, names), resources in alike.items()
        ]


def permissions_tree(permissions: Permissions) -> Tree:
    """What was seen, as JSON."""
    rights = [
        {"group": group, "resource": resource, "verbs": sorted(verbs)}
        for (group, resource), verbs in sorted(permissions.verbs.items())
    ]
    return {"kind": "ObservedRights", "rights": rights}


def permissions_from(tree: Any) -> Permissions:
    """What was seen, of JSON.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(tree, dict) or tree.get("kind") != "ObservedRights":
        raise ValueError("this is no file of observed rights; `reconcile run --observe FILE` writes them")
    found = Permissions()
    try:
        for right in tree["rights"]:
            found.grant(str(right["group"]), str(right["resource"]), *map(str, right["verbs"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the observed rights cannot be read: {error!r}") from error
    return found


def beyond(some: Permissions, others: Permissions) -> list[str]:
    """What `some` have and `others` have not, a line for each resource: `configmaps: create, delete`."""
    lines = []
    for (group, resource), verbs in sorted(some.verbs.items()):
        more = verbs - others.verbs.get((group, resource), set())
        if more:
            ordered = [verb for verb in _VERBS if verb in more] + sorted(more - set(_VERBS))
            lines.append(f"{resource}.{group}: {', '.join(ordered)}" if group else f"{resource}: {', '.join(ordered)}")
    return lines


def permissions_of(operators: Sequence[Operator], *, lease: str = "") -> Permissions:
    """What the operators need; `lease` is the name of the Lease by which a leader is elected, if one is."""
    found = Permissions()
    for operator in operators:
        for handler in operator.handlers:
            if handler.trigger not in _ABOUT_NOTHING:
                _handled(found, handler)
            for one in (handler, *handler.cleanup):
                for used in _used(one.fn):
                    used(found)
    if any(operator.handlers for operator in operators):
        found.grant("", "events", "create", "patch")
    if any(handler.trigger in ("mutate", "validate") for operator in operators for handler in operator.handlers):
        for what in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
            found.grant("admissionregistration.k8s.io", what, "create", "patch", "delete")
    if converted := resources_converted(operators):
        found.grant(CRD.group, CRD.plural, "patch")
        found.names[CRD.group, CRD.plural] = tuple(converted)
    if lease:
        found.grant("coordination.k8s.io", "leases", "get", "create", "update")
    return found


def resources_converted(operators: Sequence[Operator]) -> list[str]:
    """The definitions that have to name the operator, because its functions convert between their versions."""
    classes = [cls for operator in operators for cls in operator.kinds if cls is not Resource]
    return sorted({cls.__kind__.resource for cls in classes if len(versions_of(cls)) > 1})


def _handled(found: Permissions, handler: Handler) -> None:
    acts = handler.trigger not in _ONLY_LOOK
    for kind, verbs in [
        *_kinds(found, handler, acts=acts),
        *((cls.__kind__, READ) for cls in handler.owns),
        *((watch.cls.__kind__, READ) for watch in handler.watches),
    ]:
        found.grant_kind(kind, *verbs)
        if acts and kind.status and verbs is not READ:
            found.grant_kind(kind, "status:patch")
    if handler.trigger == "reconcile" and handler.cls not in (None, Resource) and _yields(handler.fn):
        assert handler.cls is not None, "checked above"
        # Where owner references that block their owner's deletion are checked, setting one takes this right.
        found.grant_kind(handler.cls.__kind__, "finalizers:update")


def _kinds(found: Permissions, handler: Handler, *, acts: bool) -> Iterator[tuple[Kind, tuple[str, ...]]]:
    verbs = (*READ, "patch") if acts else READ
    if handler.cls is not None and handler.cls is not Resource:
        yield handler.cls.__kind__, verbs
        return
    words = getattr(handler.selects, "any_name", None) or getattr(handler.selects, "plural", None)
    group = getattr(handler.selects, "group", None)
    if handler.selects is None or not isinstance(words, str):
        found.note(f"handler {handler} is for kinds that only the cluster knows; grant {', '.join(verbs)} on them")
    elif group is None:
        found.note(f"handler {handler} is for {words!r} of a group that only the cluster knows; grant {', '.join(verbs)} on it")
    else:
        yield Kind(group, getattr(handler.selects, "version", None) or "", words, words.lower(), status=True), verbs


def _yields(fn: Callable[..., Any]) -> bool:
    bare = inspect.unwrap(fn)
    return inspect.isgeneratorfunction(bare) or inspect.isasyncgenfunction(bare)


Grant = Callable[[Permissions], None]


def _used(fn: Callable[..., Any], seen: frozenset[Any] = frozenset()) -> Iterator[Grant]:
    """What the source of a function grants, and of those of its module that it calls."""
    bare: Any = inspect.unwrap(getattr(fn, "func", fn))
    if bare in seen or not inspect.isfunction(bare):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(bare)))
    except (OSError, SyntaxError, TypeError):
        return
    where = f"{bare.__code__.co_filename.rsplit('/', 1)[-1]}"
    source = _Source(bare, where)
    types: dict[str, type[Resource]] = source.parameters()
    for node in ast.walk(tree):
        types.update(source.bound(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from source.granted(node, types)
            called = source.object(node.func)
            if inspect.isfunction(called) and called.__module__ == bare.__module__:
                yield from _used(called, seen | {bare})


class _Source:
    """The source of one function, with what its names stand for."""

    def __init__(self, fn: Any, where: str) -> None:
        self._fn, self._where = fn, where
        self._names = {**fn.__globals__, **inspect.getclosurevars(fn).nonlocals}

    def object(self, node: ast.AST) -> Any:
        """What a name, or an attribute of a module, stands for; None if that is not known."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.object(node.value)
            return getattr(owner, node.attr, None) if inspect.ismodule(owner) else None
        return None

    def kind(self, node: ast.AST) -> type[Resource] | None:
        """The kind that an expression names."""
        found = self.object(node)
        is_kind = isinstance(found, type) and issubclass(found, Resource) and found.__kind__ is not None
        return found if is_kind else None

    def parameters(self) -> dict[str, type[Resource]]:
        """Parameters that are annotated with a kind."""
        hints = getattr(self._fn, "__annotations__", {})
        found = {}
        for name, hint in hints.items():
            cls = self._names.get(hint) if isinstance(hint, str) else hint
            if isinstance(cls, type) and issubclass(cls, Resource) and cls.__kind__ is not None:
                found[name] = cls
        return found

    def bound(self, node: ast.AST) -> dict[str, type[Resource]]:
        """Names that are bound to objects of a kind: `pod = await cluster.get(Pod, ...)`, `for pod in ...list(Pod)`."""
        pairs: Iterable[tuple[ast.AST, ast.AST]] = ()
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.NamedExpr):
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            pairs = [(node.target, node.iter)]
        found = {}
        for target, value in pairs:
            made = self._made(value)
            if isinstance(target, ast.Name) and made is not None:
                found[target.id] = made
        return found

    def _made(self, node: ast.AST) -> type[Resource] | None:
        if isinstance(node, ast.Await):
            return self._made(node.value)
        if not isinstance(node, ast.Call):
            return None
        if (cls := self.kind(node.func)) is not None:
            return cls
        if isinstance(node.func, ast.Attribute) and node.func.attr == "of":
            return self.kind(node.func.value)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _READS and node.args:
            return self.kind(node.args[0])
        if isinstance(node.func, ast.Name) and node.func.id in ("thawed", "sorted", "list") and node.args:
            return self._made(node.args[0])
        return None

    def granted(self, node: ast.Call, types: Mapping[str, type[Resource]]) -> Iterator[Grant]:
        """What one call needs."""
        func = node.func
        cls = self.kind(func)
        if cls is None and isinstance(func, ast.Attribute) and func.attr == "of":
            cls = self.kind(func.value)
        if cls is not None and _yields(self._fn):
            yield _granting(cls.__kind__, _CHILD)
        if not isinstance(func, ast.Attribute):
            return
        if func.attr in _READS and node.args and (read := self.kind(node.args[0])) is not None:
            yield _granting(read.__kind__, READ)
        elif func.attr in _WRITES and isinstance(func.value, ast.Name) and func.value.id == "cluster" and node.args:
            target = node.args[0]
            written = types.get(target.id) if isinstance(target, ast.Name) else self._made(target)
            if written is not None:
                yield _granting(written.__kind__, _WRITES[func.attr])
            else:
                line = self._fn.__code__.co_firstlineno + node.lineno - 1
                text = f"{self._where}:{line}: cluster.{func.attr}({ast.unparse(target)}): of which kind cannot be told; grant it"
                yield lambda found: found.note(text)


def _granting(kind: Kind, verbs: tuple[str, ...]) -> Grant:
    return lambda found: found.grant_kind(kind, *verbs)
