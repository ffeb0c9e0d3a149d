"""`reconcile run --webhooks` of a kind in several versions: the API server elsewhere asks it to convert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reconcile.crd import CRD
from reconcile.errors import NotFoundError, Tree
from reconcile.registry import Operator
from reconcile.runtime.client.errors import RefusedError
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.converting import Conversions
from reconcile.runtime.remote import RemoteOperators
from reconcile.runtime.testing.memory import MemoryClient
from reconcile.runtime.webhooks import Webhooks
from tests.plane import Plane
from tests.running.conftest import Run
from tests.running.test_export import export
from tests.toolkit.carts import Cart

APP = """
from reconcile import Operator, Resource, convert, field, kind, struct

app = Operator("jars.example.com")


@struct
class OldSpec:
    size: str = ""


@kind("example.com", "v1beta1", name="Jar")
class OldJar(Resource):
    spec: OldSpec = field(factory=OldSpec)


@struct
class Spec:
    litres: int = 0


@struct
class Status:
    full: bool = False


@kind("example.com", "v1", storage=True)
class Jar(Resource):
    spec: Spec = field(factory=Spec)
    status: Status = field(factory=Status)


@convert(OldJar, Jar)
def up(old: OldJar) -> Jar:
    return Jar(spec=Spec(litres=int(old.spec.size.removesuffix("l") or 0)))


@convert(Jar, OldJar)
def down(jar: Jar) -> OldJar:
    return OldJar(spec=OldSpec(size=f"{jar.spec.litres}l"))


@app.on.validate(OldJar)
def named(jar: OldJar):
    assert jar.spec.size != "13l", "unlucky"


@app.on.reconcile(Jar)
def fill(jar: Jar):
    jar.status.full = jar.spec.litres > 0
"""


def ask(plane: Plane, method: str, path: str, body: Tree | None = None) -> Any:
    return plane.api.ask(method, f"/apis/example.com/{path}", body=body)


def jar(name: str, of_version: str, **spec: Any) -> Tree:
    return {"apiVersion": f"example.com/{of_version}", "kind": "Jar", "metadata": {"name": name}, "spec": spec}


def test_the_api_server_asks_the_operator_to_convert(plane: Plane, run: Run, tmp_path: Path) -> None:
    """With no more than the option for webhooks; while nobody answers, the storage version alone can be read."""
    (tmp_path / "jars.py").write_text(APP)
    arguments = (str(tmp_path / "jars.py"), "--webhooks", "127.0.0.1:0")
    running = run(*arguments, "--crds")
    running.wait("running: 2 handlers of jars.example.com")
    plane.forget_connection()
    made = ask(plane, "POST", "v1beta1/namespaces/default/jars", jar("a", "v1beta1", size="3l"))
    assert (made["apiVersion"], made["spec"]) == ("example.com/v1beta1", {"size": "3l"})
    stored = ask(plane, "GET", "v1/namespaces/default/jars/a")
    assert stored["spec"] == {"litres": 3}
    plane.wait("it is handled in its version", lambda: ask(plane, "GET", "v1/namespaces/default/jars/a").get("status"))
    assert [item["spec"] for item in ask(plane, "GET", "v1beta1/jars")["items"]] == [{"size": "3l"}]
    with pytest.raises(RefusedError, match="unlucky"):
        ask(plane, "POST", "v1/namespaces/default/jars", jar("b", "v1", litres=13))
    assert running.end() == 0
    newest = ask(plane, "GET", "v1/namespaces/default/jars/a")
    ask(plane, "PUT", "v1/namespaces/default/jars/a", {**newest, "spec": {"litres": 4}})
    with pytest.raises(
        RefusedError, match=r"conversion webhook for example.com/v1, Kind=Jar failed: Post .*/convert/jars"
    ) as refused:
        ask(plane, "GET", "v1beta1/namespaces/default/jars/a")
    assert refused.value.code == 500
    assert ask(plane, "GET", "v1/namespaces/default/jars/a")["spec"] == {"litres": 4}
    again = run(*arguments)  # at another port, and with another authority
    again.wait("running: 2 handlers of jars.example.com")
    assert ask(plane, "GET", "v1beta1/namespaces/default/jars/a")["spec"] == {"size": "4l"}
    assert again.end() == 0


def test_definitions_are_not_applied_where_nobody_could_be_asked(plane: Plane, run: Run, tmp_path: Path) -> None:
    """Without a webhook they would say that nothing but apiVersion differs."""
    (tmp_path / "pots.py").write_text(APP.replace("Jar", "Pot").replace("jars", "pots"))
    running = run(str(tmp_path / "pots.py"), "--crds")
    assert running.process.wait(20) != 0
    assert "run with --webhooks HOST:PORT" in running.said()
    with pytest.raises((RefusedError, NotFoundError)):
        plane.api.ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/pots.example.com")


async def test_an_operator_that_nobody_can_ask_warns(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else may convert, so it runs."""
    app = Operator("carts.example.com")
    app.serve(Cart)
    async with RemoteOperators(MemoryClient(SystemClock(), Cart), SystemClock()) as remote:
        await remote.start_operator(app)
    assert "carts.shop.example.com: nobody here is asked to convert it: run with --webhooks HOST:PORT" in caplog.text


async def test_definitions_that_are_there_are_told_who_converts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An exported one names a Service without an authority, an older one the process that ran before."""
    client = MemoryClient(SystemClock(), CRD)
    before = {"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"name": "x", "namespace": "y"}}}}
    async with Webhooks(client, SystemClock(), "127.0.0.1:0", tmp_path, name="a.example.com") as webhooks:
        webhooks.add_conversions([Cart])
        await webhooks.publish_conversions()
        assert "carts.shop.example.com is not defined yet: nobody is asked to convert it" in caplog.text
        definition = {"metadata": {"name": "carts.shop.example.com"}, "spec": {"group": "shop.example.com", "conversion": before}}
        await client.create(CRD, {"apiVersion": CRD.api_version, "kind": CRD.kind, **definition})
        await webhooks.publish_conversions()
        made = await client.get(CRD, "carts.shop.example.com")
    conversion = made["spec"]["conversion"]
    assert (conversion["strategy"], conversion["webhook"]["conversionReviewVersions"]) == ("Webhook", ["v1"])
    config = conversion["webhook"]["clientConfig"]
    assert set(config) == {"url", "caBundle"}
    assert config["url"].endswith("/convert/carts.shop.example.com")


def review(*objects: Tree, wanted: str = "v1") -> Tree:
    request = {"uid": "u", "desiredAPIVersion": f"shop.example.com/{wanted}", "objects": list(objects)}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request}


def cart(of_version: str, **spec: Any) -> Tree:
    metadata = {"name": "a", "namespace": "n", "uid": "1", "labels": {"l": "m"}}
    return {"apiVersion": f"shop.example.com/{of_version}", "kind": "Cart", "metadata": metadata, "spec": spec}


def test_a_review_is_answered_object_by_object() -> None:
    """Of different versions even; in their order, with their metadata."""
    conversions = Conversions()
    conversions.add([Cart])
    answer = conversions.answer(
        "carts.shop.example.com", review(cart("v1beta1", item="x"), cart("v1alpha1", wanted="y:2"), cart("v1", note="n"))
    )
    assert (answer["apiVersion"], answer["kind"]) == ("apiextensions.k8s.io/v1", "ConversionReview")
    response = answer["response"]
    assert (response["uid"], response["result"]) == ("u", {"status": "Success"})
    assert [made["spec"].get("lines") for made in response["convertedObjects"]] == [
        [{"item": "x"}], [{"item": "y", "count": 2}], None,
    ]  # fmt: skip
    assert all(made["metadata"] == cart("v1")["metadata"] for made in response["convertedObjects"])


@pytest.mark.parametrize(
    ("resource", "asked", "why"),
    [
        ("carts.shop.example.com", review(cart("v1alpha1", wanted="x:y")), "alpha_up (carts.py:"),
        (
            "carts.shop.example.com",
            review(cart("v0")),
            "shop.example.com/v0 of carts.shop.example.com is not known to this operator",
        ),
        ("carts.shop.example.com", review(cart("v1"), wanted="v3"), "which has v1, v1alpha1, v1beta1"),
        ("jars.example.com", review(cart("v1")), "which has none of it"),
    ],
)
def test_what_cannot_be_converted_is_answered_with_why(resource: str, asked: Tree, why: str) -> None:
    """The API server hands the message on to whoever wants the object."""
    conversions = Conversions()
    conversions.add([Cart])
    response = conversions.answer(resource, asked)["response"]
    assert (response["uid"], response["result"]["status"], response["convertedObjects"]) == ("u", "Failure", [])
    assert why in response["result"]["message"]


def test_what_is_exported_lets_the_operator_convert(tmp_path: Path) -> None:
    """A definition that fails until it runs, the right to name itself there, and a Service in front of it."""
    (tmp_path / "jars.py").write_text(APP)
    manifests = export(str(tmp_path / "jars.py"), "--image", "i", "--namespace", "shop")
    (definition,) = [m for m in manifests if m["kind"] == "CustomResourceDefinition"]
    webhook = definition["spec"]["conversion"]["webhook"]
    service = {"namespace": "shop", "name": "jars-example-com", "port": 9443, "path": "/convert/jars.example.com"}
    assert webhook == {"clientConfig": {"service": service}, "conversionReviewVersions": ["v1"]}
    assert [m["metadata"]["name"] for m in manifests if m["kind"] == "Service"] == ["jars-example-com"]
    (role,) = [m for m in manifests if m["kind"] == "ClusterRole"]
    right = {
        "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"],
        "resourceNames": ["jars.example.com"], "verbs": ["patch"],
    }  # fmt: skip
    assert right in role["rules"]
    assert "--webhooks" in yaml.safe_dump([m for m in manifests if m["kind"] == "Deployment"])
