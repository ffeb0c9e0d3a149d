"""Deletion: grace, finalizers, propagation, preconditions."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.client import MERGE_PATCH, DeleteOptions, Patch
from reconcile.clock import parse_timestamp
from reconcile.errors import ConflictError, InvalidError, NotFoundError
from reconcile.runtime.api.deleting import FOREGROUND, ORPHAN


def finalizers(*names: str) -> Patch:
    return Patch(MERGE_PATCH, {"metadata": {"finalizers": list(names)}})


async def gone(s: Any) -> bool:
    try:
        await s.get()
    except NotFoundError:
        return True
    return False


async def test_an_object_that_nothing_holds_is_gone_at_once(serving: Any) -> None:
    """And the answer is what it last was."""
    async with serving() as s:
        made = await s.make("a")
        done = await s.api.delete(s.site, "a", "n")
        assert done.gone
        assert done.stored.tree is made
        assert await gone(s)
        with pytest.raises(NotFoundError):
            await s.client.delete(s.site, "a", "n")


async def test_finalizers_hold_an_object_until_the_last_one_goes(serving: Any) -> None:
    """Cleanup must run before the object disappears; no new one may hold it later."""
    async with serving() as s:
        await s.make("a")
        await s.client.patch(s.site, "a", finalizers("x.com/a", "x.com/b"), "n")
        done = await s.api.delete(s.site, "a", "n")
        assert not done.gone
        meta = done.stored.tree["metadata"]
        assert (meta["deletionGracePeriodSeconds"], meta["generation"]) == (0, 2)
        assert "deletionTimestamp" in meta
        revision = s.store.revision
        assert not (await s.api.delete(s.site, "a", "n")).gone
        assert s.store.revision == revision
        with pytest.raises(InvalidError) as caught:
            await s.client.patch(s.site, "a", finalizers("x.com/a", "x.com/b", "x.com/c"), "n")
        assert caught.value.causes[0].message == (
            'Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"x.com/c"}'
        )
        await s.client.patch(s.site, "a", finalizers("x.com/b"), "n")
        assert not await gone(s)
        last = await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"metadata": {"finalizers": None}}), "n")
        assert last["metadata"]["name"] == "a"
        assert await gone(s)


async def test_grace_lets_an_object_linger_and_may_only_shrink(serving: Any) -> None:
    """A kubelet needs the time; nobody may prolong it."""
    async with serving() as s:
        await s.make("a", data={"grace": "30"})
        first = (await s.api.delete(s.site, "a", "n")).stored.tree["metadata"]
        assert first["deletionGracePeriodSeconds"] == 30
        longer = (await s.api.delete(s.site, "a", "n", DeleteOptions(grace_s=60))).stored.tree["metadata"]
        assert longer == first
        shorter = (await s.api.delete(s.site, "a", "n", DeleteOptions(grace_s=10))).stored.tree["metadata"]
        assert shorter["deletionGracePeriodSeconds"] == 10
        moved_s = parse_timestamp(first["deletionTimestamp"]) - parse_timestamp(shorter["deletionTimestamp"])
        assert moved_s == 20
        assert (await s.api.delete(s.site, "a", "n", DeleteOptions(grace_s=0))).gone
        assert await gone(s)


async def test_a_graceful_object_with_finalizers_needs_both_gone(serving: Any) -> None:
    """The update that removes the last finalizer must not cut the grace short."""
    async with serving() as s:
        await s.make("a", data={"grace": "30"})
        await s.client.patch(s.site, "a", finalizers("x.com/a"), "n")
        await s.client.delete(s.site, "a", "n")
        await s.client.patch(s.site, "a", finalizers(), "n")
        assert not await gone(s)
        assert (await s.api.delete(s.site, "a", "n", DeleteOptions(grace_s=0))).gone


@pytest.mark.parametrize(("propagation", "finalizer"), [("Orphan", ORPHAN), ("Foreground", FOREGROUND)])
async def test_propagation_is_asked_of_the_collector_by_a_finalizer(serving: Any, propagation: Any, finalizer: str) -> None:
    """The garbage collector sees nothing else."""
    async with serving() as s:
        await s.make("a")
        done = await s.api.delete(s.site, "a", "n", DeleteOptions(propagation=propagation))
        assert done.stored.tree["metadata"]["finalizers"] == [finalizer]
        assert (await s.api.delete(s.site, "a", "n", DeleteOptions(propagation="Background"))).gone


async def test_preconditions_protect_the_successor_of_the_same_name(serving: Any) -> None:
    """The text is a real server's."""
    async with serving() as s:
        made = await s.client.create(s.config, {"metadata": {"name": "x"}}, "n")
        with pytest.raises(ConflictError) as caught:
            await s.client.delete(s.config, "x", "n", DeleteOptions(uid="abc"))
        assert caught.value.message == (
            'Operation cannot be fulfilled on ConfigMap "x": the UID in the precondition (abc) does not match the UID in record '
            f"({made['metadata']['uid']}). The object might have been deleted and then recreated"
        )
        assert caught.value.details == {"name": "x", "kind": "ConfigMap"}
        with pytest.raises(ConflictError, match="the ResourceVersion in the precondition"):
            await s.client.delete(s.config, "x", "n", DeleteOptions(resource_version="1"))


async def test_a_dry_run_deletes_nothing(serving: Any) -> None:
    """It only says what would be."""
    async with serving() as s:
        await s.make("a")
        assert (await s.api.delete(s.site, "a", "n", DeleteOptions(dry_run=True))).gone
        assert not await gone(s)


async def test_a_collection_is_deleted_by_selector(serving: Any) -> None:
    """Each object for itself, with its own finalizers and grace."""
    async with serving() as s:
        await s.make("a", labels={"x": "1"})
        await s.make("b", labels={"x": "1"}, data={"grace": "5"})
        await s.make("c", labels={"x": "2"})
        done = await s.api.delete_collection(s.site, "n", labels="x=1")
        assert [one.gone for one in done] == [True, False]
        assert [tree["metadata"]["name"] for tree in (await s.client.list(s.site)).items] == ["b", "c"]
