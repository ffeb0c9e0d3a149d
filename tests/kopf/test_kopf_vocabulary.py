"""kopf's words mean what they mean in kopf: selectors, filters, patches, hierarchies, memos, registries."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from reconcile import kopf
from reconcile.client import MERGE_PATCH
from reconcile.client import Patch as MergePatch
from reconcile.errors import DeclarationError
from reconcile.kinds import Kind
from reconcile.kopf.patches import Patch
from reconcile.kopf.selectors import selector_of
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.testing.memory import MemoryClient
from reconcile.runtime.testing.virtual import VirtualClock, virtual

KEX = Kind(
    "kopf.dev",
    "v1",
    "KopfExample",
    "kopfexamples",
    singular="kopfexample",
    short_names=("kex",),
    categories=("all",),
    status=True,
)
POD = Kind("", "v1", "Pod", "pods", singular="pod", short_names=("po",))
EVENT = Kind("", "v1", "Event", "events", singular="event")


@pytest.mark.parametrize(
    "words",
    [
        ("kex",), ("kopfexamples",), ("kopfexample",), ("KopfExample",), ("kopfexamples.kopf.dev",),
        ("kopfexamples.v1.kopf.dev",),
        ("kopf.dev", "kopfexamples"), ("kopf.dev/v1", "kopfexamples"), ("kopf.dev", "v1", "kopfexamples"), (kopf.EVERYTHING,),
        ("kopf.dev", kopf.EVERYTHING), (lambda resource: resource.group == "kopf.dev",),
    ],
)  # fmt: skip
def test_resources_are_named_in_all_of_kopfs_ways(words: tuple[Any, ...]) -> None:
    """And mean no other."""
    selector = selector_of(*words)
    assert selector(KEX)
    assert selector(POD) is (words == (kopf.EVERYTHING,))
    assert not selector(EVENT)


@pytest.mark.parametrize(
    ("parts", "kinds"),
    [
        ({"group": "kopf.dev"}, [KEX]), ({"plural": "pods"}, [POD]), ({"kind": "Pod"}, [POD]), ({"singular": "pod"}, [POD]),
        ({"shortcut": "kex"}, [KEX]), ({"category": "all"}, [KEX]), ({"version": "v1"}, [KEX, POD, EVENT]),
    ],
)  # fmt: skip
def test_resources_are_named_by_their_parts(parts: dict[str, str], kinds: list[Kind]) -> None:
    """Keyword arguments of the decorators."""
    assert [kind for kind in (KEX, POD, EVENT) if selector_of(**parts)(kind)] == kinds


def test_core_resources_are_named_by_version() -> None:
    """`('v1', 'pods')` is of the core group."""
    assert selector_of("v1", "pods")(POD)
    assert not selector_of("v1", "kopfexamples")(KEX)
    with pytest.raises(DeclarationError, match="say which resources"):
        selector_of()
    with pytest.raises(DeclarationError, match="three words at most"):
        selector_of("a", "b", "c", "d")


def test_callbacks_are_combined() -> None:
    """`not_`, `all_`, `any_`, `none_`."""

    def yes(value: Any, **_: Any) -> bool:
        return True

    no = kopf.not_(yes)
    assert [bool(fn(1, x=2)) for fn in (yes, no, kopf.all_([yes, no]), kopf.any_([yes, no]), kopf.none_([no, no]))] == [
        True, False, False, True, True,
    ]  # fmt: skip


def test_a_patch_says_only_what_is_new() -> None:
    """Parts that were only looked at, and values that are there already, write nothing."""
    body = {"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"n": 1, "items": [1]}, "status": {"x": 1}}
    patch = Patch()
    assert patch.status.get("y") is None
    patch.spec["n"] = 1
    patch.meta.labels["a"] = None
    patch.metadata.labels["c"] = "3"
    patch.status["deep"] = {"er": True}
    patch.fns.append(lambda tree: tree["spec"]["items"].append(2))
    assert patch.merge_patch(body) == {
        "metadata": {"labels": {"a": None, "c": "3"}}, "spec": {"items": [1, 2]}, "status": {"deep": {"er": True}},
    }  # fmt: skip
    assert Patch().merge_patch(body) == {}


def test_children_are_adopted_named_placed_and_labelled() -> None:
    """Plain trees, lists of them, and what wraps a tree in `.obj`; nested templates where they are named."""
    owner = {
        "apiVersion": "kopf.dev/v1", "kind": "KopfExample",
        "metadata": {"name": "o", "namespace": "ns", "uid": "u", "labels": {"app": "x"}},
    }  # fmt: skip

    class Wrapped:
        obj: ClassVar[dict[str, Any]] = {"kind": "Job", "spec": {"template": {}}}

    plain: dict[str, Any] = {"kind": "Pod", "metadata": {"labels": {"app": "mine"}}}
    kopf.adopt([plain, Wrapped], owner=owner, nested=["spec.template"])
    kopf.append_owner_reference([plain], owner=owner)
    reference = {
        "apiVersion": "kopf.dev/v1", "kind": "KopfExample", "name": "o", "uid": "u", "controller": True,
        "blockOwnerDeletion": True,
    }  # fmt: skip
    assert plain["metadata"] == {
        "labels": {"app": "mine"}, "ownerReferences": [reference], "generateName": "o-", "namespace": "ns",
    }  # fmt: skip
    assert Wrapped.obj["spec"]["template"]["metadata"]["labels"] == {"app": "x"}
    kopf.harmonize_naming(plain, name="other", forced=True, strict=True)
    assert plain["metadata"]["name"] == "other"
    kopf.remove_owner_reference(plain, owner=owner)
    assert plain["metadata"]["ownerReferences"] == []
    with pytest.raises(DeclarationError, match="no owner is given"):
        kopf.adopt({})


def test_what_is_not_here_is_told() -> None:
    """With where to look."""
    with pytest.raises(AttributeError, match=r"toolkit-features\.md says what of kopf is not here"):
        kopf.KopfRunner  # noqa: B018
    with pytest.raises(DeclarationError, match="unknown option 'colour'"):

        @kopf.on.create("kex", colour="red")
        def nothing(**_: Any) -> None: ...


@virtual
async def test_kopfs_keyword_arguments_are_given_by_name(clock: VirtualClock) -> None:
    """With kopf's types: live read-only mappings, tuples of differences, a patch with parts, a memo that begins as a copy."""
    registry, told = kopf.OperatorRegistry(), {}
    registry.memo = kopf.Memo(greeting="hi", seen=0)

    @kopf.on.update("kex", id="u", param=7, registry=registry)
    async def changed(**kwargs: Any) -> dict[str, int]:
        told.update(kwargs)
        kwargs["memo"].seen += 1
        return {"times": kwargs["memo"].seen}

    client = MemoryClient(clock, KEX)
    engine = Engine(client, clock)
    await engine.start(registry)
    tree = {"metadata": {"name": "a", "labels": {"l": "1"}}, "spec": {"n": 1}}
    await client.create(KEX, tree, "default")
    await engine.settled()
    await client.patch(KEX, "a", MergePatch(MERGE_PATCH, {"spec": {"n": 2}}), "default")
    await engine.settled()
    assert {"retry", "started", "runtime", "resource", "body", "meta", "uid", "annotations", "logger"} <= set(told)
    assert (told["name"], told["namespace"], told["param"], told["reason"]) == ("a", "default", 7, "update")
    assert (told["spec"]["n"], told["labels"]["l"], told["meta"].name) == (2, "1", "a")
    assert (told["old"]["spec"], told["new"]["spec"]) == ({"n": 1}, {"n": 2})
    (item,) = told["diff"]
    assert (item.op, item.field, item.old, item.new) == ("change", ("spec", "n"), 1, 2)
    assert (told["resource"].plural, told["resource"].name) == ("kopfexamples", "kopfexamples.kopf.dev")
    assert (told["memo"].greeting, registry.memo.seen) == ("hi", 0)
    with pytest.raises(TypeError):
        told["spec"]["n"] = 3
    assert (await client.get(KEX, "a", "default"))["status"] == {"u": {"times": 1}}
    await engine.close()
