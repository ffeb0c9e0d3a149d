"""Values that somebody else wrote into the store and that are no objects: told by name, harmless to others, and got rid of."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from reconcile.client import DeleteOptions
from reconcile.errors import ForbiddenError, InternalError, InvalidError, NotFoundError
from reconcile.handling import AdmissionReview
from reconcile.runtime.api.errors import StoreReadError

KEY = b"/registry/sites.example.com/n/bad"
UNREADABLE = DeleteOptions(ignores_read_error=True)


@pytest.mark.parametrize(
    "value",
    [b"", b"no JSON", b"[1]", b"7", b"{}", b'{"metadata":{"name":"bad"}}', b'{"apiVersion":"example.com/v1","metadata":"bad"}'],
)
async def test_a_value_that_is_no_object_is_told_with_its_key(serving: Any, value: bytes) -> None:
    """An internal error without a word would leave nothing but guessing."""
    async with serving() as s:
        good = await s.make("good")
        await s.store.put(KEY, value)
        with pytest.raises(InternalError) as one:
            await s.get("bad")
        assert "StorageError: corrupt object, Code: 7, Key: /registry/sites.example.com/n/bad" in one.value.message
        assert one.value.status()["code"] == 500
        for asked in ({}, {"limit": 10}, {"labels": "a=b"}):
            with pytest.raises(StoreReadError) as listed:
                await s.client.list(s.site, "n", **asked)
            assert "failed to read one or more sites.example.com from the storage" in listed.value.message
            assert str(KEY.decode()) in listed.value.message
            status = listed.value.status()
            assert (status["code"], status["reason"]) == (500, "StorageReadError")
            assert [cause["field"] for cause in status["details"]["causes"]] == [KEY.decode()]
        # What is beside it is not hurt.
        assert await s.get("good") == good
        assert (await s.client.list(s.site, "elsewhere")).items == []
        assert (await s.client.list(s.config, "n")).items == []


async def test_all_of_them_are_named_and_a_hundred_at_most(serving: Any) -> None:
    """Who has to remove them should not find them one by one."""
    async with serving() as s:
        for number in range(120):
            await s.store.put(b"/registry/sites.example.com/n/bad%03d" % number, b"-")
        with pytest.raises(StoreReadError) as listed:
            await s.client.list(s.site, "n")
        assert len(listed.value.status()["details"]["causes"]) == 100
        assert listed.value.message.endswith(", and 117 more")


async def test_watches_of_the_kind_are_told_and_others_go_on(serving: Any) -> None:
    """A watch that stayed open would show a state that nobody can read; one of another kind has nothing to do with it."""
    async with serving() as s:
        async with (
            aclosing(s.client.watch(s.site, "n", since=s.store.revision)) as sites,
            aclosing(s.client.watch(s.config, "n", since=s.store.revision)) as configs,
        ):
            await s.store.put(KEY, b"-")
            await s.client.create(s.config, {"metadata": {"name": "c"}}, "n")
            with pytest.raises(InternalError, match="corrupt object"):
                await anext(sites)
            assert (await anext(configs)).object["metadata"]["name"] == "c"
        with pytest.raises(StoreReadError):
            await anext(s.client.watch(s.site, "n", initial=True))


async def test_a_watch_sees_it_repaired_and_deleted(serving: Any) -> None:
    """Whatever had been there before: what is there now is what counts."""
    async with serving() as s:
        await s.make("bad")
        whole = s.store.get(KEY).value
        await s.store.put(KEY, b"-")
        since = s.store.revision
        await s.store.put(KEY, whole)
        await s.store.put(KEY, b"-")
        again = s.store.revision
        await s.client.delete(s.site, "bad", "n", UNREADABLE)
        for labels in ("", "a=b"):
            async with aclosing(s.client.watch(s.site, "n", since=again, labels=labels)) as events:
                gone = await anext(events)
                assert (gone.type, gone.object["metadata"]["name"]) == ("DELETED", "bad")
            async with aclosing(s.client.watch(s.site, "n", since=since, labels=labels)) as events:
                repaired = await anext(events)
                # Who selects may have had it, and is told that it is none of theirs.
                assert repaired.type == ("MODIFIED" if not labels else "DELETED")


async def test_it_is_deleted_by_who_says_so_whatever_held_it(serving: Any) -> None:
    """Nobody can read its finalizers."""
    async with serving() as s:
        await s.store.put(KEY, b"-")
        with pytest.raises(InternalError, match="corrupt object"):
            await s.client.delete(s.site, "bad", "n")
        with pytest.raises(InternalError, match="corrupt object"):
            await s.client.update(s.site, {"metadata": {"name": "bad"}, "spec": {}}, "n")
        await s.client.delete(s.site, "bad", "n", DeleteOptions(ignores_read_error=True, dry_run=True))
        assert s.store.get(KEY) is not None
        await s.client.delete(s.site, "bad", "n", UNREADABLE)
        assert s.store.get(KEY) is None
        with pytest.raises(NotFoundError):
            await s.client.delete(s.site, "bad", "n", UNREADABLE)
        assert (await s.client.list(s.site, "n")).items == []


async def test_what_can_be_read_is_not_deleted_in_this_way(serving: Any) -> None:
    """It would be a way around finalizers."""
    async with serving() as s:
        await s.make("a")
        with pytest.raises(InvalidError) as refused:
            await s.client.delete(s.site, "a", "n", UNREADABLE)
        assert refused.value.message == (
            'sites.example.com "a" is invalid: ignoreStoreReadErrorWithClusterBreakingPotential: Invalid value: true: is '
            "exclusively used to delete corrupt object(s), try again by removing this option"
        )
        assert (await s.get("a"))["metadata"]["name"] == "a"


async def test_admission_still_has_its_say(serving: Any) -> None:
    """There are names that nobody may take away."""

    def keep(review: AdmissionReview) -> None:
        if review.tree["metadata"]["name"] == "bad":
            raise ForbiddenError("it stays")

    async with serving() as s:
        s.api.add_validator(s.site, keep)
        await s.store.put(KEY, b"-")
        with pytest.raises(ForbiddenError, match="it stays"):
            await s.client.delete(s.site, "bad", "n", UNREADABLE)
        assert s.store.get(KEY) is not None
