"""A kind in two versions: what was one text in v1beta1 is two fields in v1, and `every_s` is new."""

from collections.abc import Iterator

from reconcile import Resource, convert, field, kind, on, struct
from reconcile.resources.apps import Deployment

EVERY = "example.com/every-s"


@struct
class OldSpec:
    greeting: str = field(default="Hello, World", pattern="^[^,]+, [^,]+$")


@kind("example.com", "v1beta1", name="Greeter")
class OldGreeter(Resource):
    """Somebody who greets somebody, in one text: `Hello, World`."""

    spec: OldSpec = field(factory=OldSpec)


@struct
class GreeterSpec:
    word: str = field(default="Hello", pattern="^[^,]+$")
    whom: str = field(default="World", pattern="^[^,]+$")
    every_s: int = field(default=5, minimum=1)


@kind("example.com", "v1", storage=True)
class Greeter(Resource):
    """Somebody who greets somebody."""

    spec: GreeterSpec = field(factory=GreeterSpec)


@convert(OldGreeter, Greeter)
def up(old: OldGreeter) -> Greeter:
    kept = dict(old.annotations)
    word, _, whom = old.spec.greeting.partition(", ")
    return Greeter(annotations=kept, spec=GreeterSpec(word=word, whom=whom, every_s=int(kept.pop(EVERY, 5))))


@convert(Greeter, OldGreeter)
def down(new: Greeter) -> OldGreeter:
    old = OldGreeter(spec=OldSpec(greeting=f"{new.spec.word}, {new.spec.whom}"))
    if new.spec.every_s != 5:
        old.annotations[EVERY] = str(new.spec.every_s)
    return old


@on.reconcile(Greeter)
def greet(greeter: Greeter) -> Iterator[Resource]:
    """One Pod that says it, again and again."""
    spec = greeter.spec
    script = f'while true; do echo "{spec.word}, {spec.whom}"; sleep {spec.every_s}; done'
    template = {
        "metadata": {"labels": {"greeter": greeter.name}},
        "spec": {"containers": [{"name": "greet", "command": ["sh", "-c", script]}]},
    }
    yield Deployment.of(name=greeter.name, spec={"selector": {"matchLabels": {"greeter": greeter.name}}, "template": template})
