"""Who owns which field of an object that is written in several versions: managedFields, conflicts and pruning across them."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.client import APPLY_PATCH, MERGE_PATCH, Patch
from reconcile.errors import ConflictError, Tree
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.resources.apiextensions.converting import Webhook, shop_definition
from tests.resources.apiextensions.declaring import DEFINITION, GROUP, Declare, Declaring, definition, version, widget

NAME = f"widgets.{GROUP}"


async def opened(plane: Declaring) -> Declaring:
    plane.api.ask_webhooks(Webhook(), frozenset())
    await plane.declare(shop_definition())
    return plane


async def apply(plane: Declaring, of_version: str, manager: str, *, force: bool = False, **spec: Any) -> Tree:
    body = widget(api_version=of_version, **spec)
    kind = plane.kind(of_version=of_version)
    return await plane.client.patch(kind, "a", Patch(APPLY_PATCH, body), "default", field_manager=manager, force=force)


async def patch(plane: Declaring, of_version: str, manager: str, **spec: Any) -> Tree:
    kind = plane.kind(of_version=of_version)
    return await plane.client.patch(kind, "a", Patch(MERGE_PATCH, {"spec": spec}), "default", field_manager=manager)


def owned(tree: Tree) -> dict[tuple[str, str, str], list[str]]:
    """(manager, operation, version) -> the fields of spec that it owns."""
    return {
        (entry["manager"], entry["operation"], entry["apiVersion"].removeprefix(f"{GROUP}/")): sorted(
            name.removeprefix("f:") for name in entry["fieldsV1"].get("f:spec", {}) if name != "."
        )
        for entry in tree["metadata"]["managedFields"]
    }


@virtual
async def test_everybody_owns_fields_of_the_version_they_wrote_in(clock: VirtualClock, declaring: Declare) -> None:
    """An entry of v1 names v1's fields, whatever version it is read in, as on the reference server."""
    async with declaring(clock) as plane:
        await opened(plane)
        await apply(plane, "v1", "old", hostPort="a:1")
        made = await apply(plane, "v2", "new", tags=["x"])
        expected = {("old", "Apply", "v1"): ["hostPort"], ("new", "Apply", "v2"): ["tags"]}
        assert owned(made) == expected
        assert owned(await plane.client.get(plane.kind(of_version="v1"), "a", "default")) == expected
        await patch(plane, "v1", "hand", note="by v1")
        made = await patch(plane, "v2", "hand", note="by v2")
        assert owned(made) == expected | {("hand", "Update", "v2"): ["note"]}, "who updates in two versions is two"


@virtual
async def test_conflicts_are_found_in_the_owners_version(clock: VirtualClock, declaring: Declare) -> None:
    """`host` and `port` are what the owner of `hostPort` wrote."""
    async with declaring(clock) as plane:
        await opened(plane)
        await apply(plane, "v1", "old", hostPort="a:1")
        refused = await plane.refusal(apply(plane, "v2", "new", port="2"))
        assert isinstance(refused, ConflictError)
        assert str(refused) == 'Apply failed with 1 conflict: conflict with "old": .spec.hostPort'
        assert [(cause.reason, cause.field) for cause in refused.causes] == [("FieldManagerConflict", ".spec.hostPort")]
        same = await apply(plane, "v2", "new", port="1")
        assert owned(same) == {("old", "Apply", "v1"): ["hostPort"], ("new", "Apply", "v2"): ["port"]}, "shared"
        await apply(plane, "v2", "tags", tags=["x"])
        forced = await apply(plane, "v2", "new", force=True, port="2")
        assert owned(forced)["new", "Apply", "v2"] == ["port"]
        assert ("old", "Apply", "v1") not in owned(forced), "it owned that field alone"
        back = await plane.refusal(apply(plane, "v1", "old", hostPort="b:1"))
        assert ".spec.port" in str(back)


@virtual
async def test_an_update_in_one_version_takes_fields_from_owners_in_another(clock: VirtualClock, declaring: Declare) -> None:
    """Or they would be told that nothing changed when they apply again."""
    async with declaring(clock) as plane:
        await opened(plane)
        await apply(plane, "v1", "old", hostPort="a:1", note="n")
        made = await patch(plane, "v2", "hand", host="b")
        assert owned(made) == {("old", "Apply", "v1"): ["note"], ("hand", "Update", "v2"): ["host"]}
        again = await apply(plane, "v1", "old", force=True, hostPort="c:1", note="n")
        assert owned(again) == {("old", "Apply", "v1"): ["hostPort", "note"]}
        assert again["spec"]["hostPort"] == "c:1"


@virtual
async def test_what_is_no_longer_applied_goes_in_the_version_it_was_applied_in(clock: VirtualClock, declaring: Declare) -> None:
    """A manager that moves to the new version does not leave behind what it applied in the old one."""
    async with declaring(clock) as plane:
        await opened(plane)
        await apply(plane, "v1", "me", hostPort="a:1", note="n")
        made = await apply(plane, "v2", "me", host="a", port="1")
        assert owned(made) == {("me", "Apply", "v2"): ["host", "port"]}
        assert made["spec"] == {"host": "a", "port": "1"}, "note is gone"
        made = await apply(plane, "v2", "me", tags=["x"])
        assert made["spec"] == {"port": "80", "tags": ["x"]}, "and host, and port but for its default"


@virtual
async def test_what_another_version_owns_stays(clock: VirtualClock, declaring: Declare) -> None:
    """Pruning in one version must not take what somebody applies in another."""
    async with declaring(clock) as plane:
        await opened(plane)
        await apply(plane, "v1", "me", hostPort="a:1", note="n")
        await apply(plane, "v2", "you", host="a", port="1")
        made = await apply(plane, "v1", "me", note="n")
        assert made["spec"] == {"hostPort": "a:1", "note": "n"}, "of which you own host and port"
        assert owned(made) == {("me", "Apply", "v1"): ["note"], ("you", "Apply", "v2"): ["host", "port"]}
        made = await apply(plane, "v2", "you", host="a")
        assert made["spec"] == {"host": "a", "port": "80", "note": "n"}, "now nobody owns the port"


@virtual
async def test_an_update_in_the_storage_version_needs_no_webhook(clock: VirtualClock, declaring: Declare) -> None:
    """Whoever wrote in another version before keeps what it owns until somebody can tell; only an apply has to know."""
    async with declaring(clock) as plane:
        webhook = Webhook()
        plane.api.ask_webhooks(webhook, frozenset())
        await plane.declare(shop_definition())
        await apply(plane, "v1", "old", hostPort="a:1")

        def down(_request: Tree, _review: Tree) -> Tree:
            raise OSError("connection refused")

        webhook.answer = down
        made = await patch(plane, "v2", "hand", host="b")
        assert made["spec"]["host"] == "b"
        assert owned(made) == {("old", "Apply", "v1"): ["hostPort"], ("hand", "Update", "v2"): ["host"]}
        assert "connection refused" in str(await plane.refusal(apply(plane, "v2", "new", host="c")))


@virtual
async def test_owners_of_a_version_that_is_gone_are_left_out(clock: VirtualClock, declaring: Declare) -> None:
    """On the reference server they make every apply fail from then on."""
    async with declaring(clock) as plane:
        await opened(plane)
        await apply(plane, "v1", "old", hostPort="a:1")
        later = shop_definition()["spec"]["versions"][1]
        third = {**later, "name": "v3", "storage": False}
        await plane.change(NAME, {"spec": {"versions": [later, third]}})
        made = await apply(plane, "v2", "new", host="b")
        assert owned(made) == {("new", "Apply", "v2"): ["host"]}
        assert (await plane.client.get(DEFINITION, NAME))["status"]["storedVersions"] == ["v2"]


@virtual
async def test_without_a_webhook_fields_are_the_same_in_all_versions(clock: VirtualClock, declaring: Declare) -> None:
    """Nothing is converted, so nobody has to be asked."""
    async with declaring(clock) as plane:
        await plane.declare(definition(version("v1"), version("v2", storage=False)))
        await apply(plane, "v1", "old", size=1)
        with pytest.raises(ConflictError, match=r'conflict with "old": .spec.size'):
            await apply(plane, "v2", "new", size=2)
        made = await apply(plane, "v2", "new", force=True, size=2)
        assert owned(made) == {("new", "Apply", "v2"): ["size"]}
        made = await apply(plane, "v1", "new")
        assert "size" not in made.get("spec", {})
