"""The past of objects through the API: what an object was, when, and because of whom."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.causality import TRIGGER, Cause, Trigger
from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import ApiError, BadRequestError, ExpiredError, NotFoundError
from reconcile.kinds import Kind


async def test_an_objects_history_tells_each_state_and_its_cause(serving: Any) -> None:
    """From the first to the last, with what was before; deleted and made anew is part of it."""
    async with serving() as s:
        await s.make("a", replicas=1)
        await s.make("b")
        token = TRIGGER.set(Trigger("scaler/up", s.store.revision))
        await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"spec": {"replicas": 2}}), "n")
        TRIGGER.reset(token)
        await s.client.delete(s.site, "a", "n")
        await s.make("a", replicas=7)
        states = await s.api.history(s.site, "a", "n")
        assert [state.type for state in states] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
        assert [state.stored.tree["spec"]["replicas"] for state in states] == [1, 2, 2, 7]
        assert [state.before and state.before.tree["spec"]["replicas"] for state in states] == [None, 1, 2, None]
        cause = Cause.decode(states[1].cause)
        assert cause is not None
        assert (cause.handler, cause.revision, cause.reason) == ("scaler/up", 3, "change")
        for state in states:
            assert state.stored.tree["metadata"]["resourceVersion"] == str(state.moment.revision)
        times = [state.moment.time_s for state in states]
        assert times == sorted(times)
        last = await s.api.history(s.site, "a", "n", first=3, last=5, limit=1)
        assert [state.type for state in last] == ["DELETED"]


async def test_what_never_was_has_no_history(serving: Any) -> None:
    """A typo must not look like an object that never changed."""
    async with serving() as s:
        await s.make("a")
        with pytest.raises(NotFoundError, match=r'sites\.example\.com "b" not found'):
            await s.api.history(s.site, "b", "n")
        with pytest.raises(ApiError, match="Too large resource version: 99, current: 2"):
            await s.api.history(s.site, "a", "n", first=99)
        await s.make("b")
        await s.store.compact(3)
        with pytest.raises(ExpiredError):
            await s.api.history(s.site, "a", "n", first=2)


async def test_a_single_object_of_a_compacted_revision_is_expired_with_words_for_lists(serving: Any) -> None:
    """No continue token was given, so the refusal must not speak of one."""
    async with serving() as s:
        await s.make("a")
        await s.make("b")
        await s.store.compact(3)
        for limit in (0, 500):
            with pytest.raises(ExpiredError, match="The resourceVersion for the provided list is too old"):
                await s.api.list(s.site, "n", fields="metadata.name=a", resource_version="2", match="Exact", limit=limit)


async def test_the_span_says_where_history_begins_and_ends(serving: Any) -> None:
    """Whoever asks for more than that learns what there is."""
    async with serving() as s:
        span = await s.api.span()
        assert (span.oldest.revision, span.oldest.time_s, span.newest.revision, span.at) == (1, None, 1, None)
        for name in "abcd":
            await s.make(name)
        span = await s.api.span(s.api.clock.now())
        assert (span.oldest.revision, span.newest.revision, span.at.revision) == (1, 5, 5)
        await s.store.compact(3)
        span = await s.api.span(s.api.clock.now() - 3600)
        assert (span.oldest.revision, span.at) == (3, None)
        assert span.oldest.time_s <= span.newest.time_s


async def test_what_is_computed_has_no_past(serving: Any) -> None:
    """An answer of now under the name of then would be a lie."""

    class Weather:
        async def get(self, _name: str, _namespace: str) -> None:
            return None

        async def list(self, _namespace: str) -> list[Any]:
            return []

    async with serving() as s:
        weather = Kind("example.com", "v1", "Weather", "weathers")
        s.api.serve_virtual(weather, Weather())
        with pytest.raises(BadRequestError, match="they have no history"):
            await s.api.history(weather, "a", "n")
        with pytest.raises(BadRequestError, match="there are none of old revisions"):
            await s.api.list(weather, "n", resource_version="1", match="Exact")
