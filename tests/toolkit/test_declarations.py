"""Declaring handlers: what is wrong is refused at import, with file and line and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconcile import on
from reconcile.errors import DeclarationError
from reconcile.handling import Cluster, Conditions
from reconcile.kinds import Resource, kind
from reconcile.registry import OBJECT_NAMES, Operator, default_operator
from reconcile.runtime.engine.access import HandlerCluster
from reconcile.runtime.engine.filter import compiled
from reconcile.views import field, struct


@struct
class ThingSpec:
    size: int = 0


@kind("example.com", "v1")
class Thing(Resource):
    spec: ThingSpec = field(factory=ThingSpec)


class Undeclared(Resource):
    pass


@pytest.fixture
def app() -> Operator:
    return Operator("things.example.com")


def test_a_handler_is_described_with_its_place_and_parameters(app: Operator) -> None:
    """Everything later (logs, reports, causes) names handlers by this."""

    @app.on.reconcile(Thing, labels="app=web", timeout_s=5, workers=2)
    async def ensure(thing: Thing, cluster: Cluster, conditions: Conditions) -> None: ...

    (declared,) = app.handlers
    assert (declared.trigger, declared.name, declared.cls) == ("reconcile", "ensure", Thing)
    assert (declared.object_parameter, declared.parameters) == ("thing", ("cluster", "conditions"))
    assert (declared.filters.labels, declared.timeout_s, declared.workers) == ("app=web", 5, 2)
    assert declared.where.startswith("test_declarations.py:")
    assert str(declared) == f"ensure ({declared.where})"
    assert app.kinds == [Thing]


def _wants_pods(thing: Thing, pods: Any) -> None: ...
def _takes_args(thing: Thing, *things: Any) -> None: ...
def _yields(thing: Thing) -> Iterator[Any]:
    yield None


async def _awaits(thing: Thing) -> None: ...
def _plain(thing: Thing) -> None: ...


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda app: app.on.reconcile(Thing)(_wants_pods), "takes 'pods', which no handler is given; it can take: annotations,"),
        (lambda app: app.on.reconcile(Thing)(_takes_args), "takes \\*things; name what it needs"),
        (lambda app: app.on.create(Thing)(_yields), "yields, but only reconcile handlers have children"),
        (lambda app: app.on.event(Thing, inline=True)(_awaits), "is inline, so it cannot await"),
        (lambda app: app.on.reconcile(Thing, threaded=True)(_awaits), "is threaded, but only plain functions run in threads"),
        (lambda app: app.on.timer(Thing, interval_s=0)(_plain), "interval_s is 0; give seconds, more than 0"),
        (lambda app: app.on.field(Thing, field="")(_plain), "name the field to follow, such as field='spec.size'"),
        (lambda app: app.on.reconcile(Thing, workers=0)(_plain), "workers is 0; give 1 or more"),
        (lambda app: app.on.reconcile(Thing, timeout=5)(_plain), "unknown option 'timeout'; options are: .*timeout_s"),
    ],
)
def test_a_wrong_declaration_names_file_line_and_remedy(app: Operator, declare: Callable[[Operator], Any], said: str) -> None:
    """At import, where the mistake is; not at three in the morning, when the first object comes."""
    with pytest.raises(DeclarationError, match=r"handler _\w+ \(test_declarations\.py:\d+\).*" + said):
        declare(app)
    assert app.handlers == []


def test_a_class_that_is_no_kind_is_refused(app: Operator) -> None:
    """Inheriting from Resource is not enough: nobody knows its group."""
    with pytest.raises(DeclarationError, match=r"Undeclared.* is not a kind; declare it with @kind"):
        app.on.reconcile(Undeclared)(_plain)


def test_resource_itself_stands_for_every_kind(app: Operator) -> None:
    """And registers none."""

    @app.on.event(Resource, inline=True)
    def seen(obj: Resource) -> None: ...

    assert (app.handlers[0].cls, app.kinds) == (Resource, [])


@pytest.mark.parametrize("domain", ["", "a/b"])
def test_an_operator_needs_a_domain(domain: str) -> None:
    """Two operators of one name fight over each other's finalizers (kopf 664, 1107)."""
    with pytest.raises(DeclarationError, match=r"give a domain name such as shop\.example\.com"):
        Operator(domain)


def test_cleanup_belongs_to_its_reconcile_handler(app: Operator) -> None:
    """So that a finalizer is added exactly where something is to be cleaned up."""

    @app.on.reconcile(Thing, labels="app=web")
    def ensure(thing: Thing) -> None: ...

    @ensure.cleanup
    def drop(thing: Thing) -> None: ...

    (declared,) = app.handlers
    (cleanup,) = declared.cleanup
    assert (cleanup.trigger, cleanup.fn, cleanup.filters.labels) == ("delete", drop, "app=web")
    assert app.finalizer == "things.example.com/finalizer"


def test_the_module_level_decorators_declare_on_the_modules_own_operator() -> None:
    """`from reconcile import on` is all that a small operator file needs."""

    @on.reconcile(Thing)
    def ensure(thing: Thing) -> None: ...

    mine = default_operator(__name__)
    assert ensure in [handler.fn for handler in mine.handlers]
    assert mine.domain.endswith(".reconcile.local")
    mine.clear()
    assert (mine.handlers, mine.kinds) == ([], [])


def test_operators_can_be_joined(app: Operator) -> None:
    """Several modules, one identity."""
    other = Operator("other.example.com")
    other.on.reconcile(Thing)(_plain)
    app.extend(other)
    assert [handler.fn for handler in app.handlers] == [_plain]
    assert app.kinds == [Thing]


def test_an_unreadable_selector_is_refused_with_the_handlers_place(app: Operator) -> None:
    """Selectors are compiled when the operator starts."""
    app.on.reconcile(Thing, labels="app in (")(_plain)
    with pytest.raises(DeclarationError, match=r"handler _plain \(test_declarations\.py:\d+\): unable to parse"):
        compiled(app.handlers[0])


def test_all_that_handlers_are_promised_is_documented() -> None:
    """`handling`'s docstring is the reference for parameters."""
    import reconcile.handling

    text = reconcile.handling.__doc__ or ""
    assert [name for name in OBJECT_NAMES if name not in text] == []


def test_the_engines_cluster_is_what_handlers_are_promised() -> None:
    """Checked by the type checker, too: this assignment must type."""
    promised: type[Cluster] = HandlerCluster
    assert all(hasattr(promised, name) for name in ("get", "find", "list", "fresh", "create", "apply", "enqueue", "spawn"))
