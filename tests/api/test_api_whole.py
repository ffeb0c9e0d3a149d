"""A merge patch of the status and all else at once: one write, which says and is judged as two would be."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.client import JSON_PATCH, MERGE_PATCH, WHOLE, Patch
from reconcile.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, Tree
from reconcile.handling import AdmissionReview


async def whole(s: Any, body: Tree, **options: Any) -> Tree:
    tree: Tree = await s.client.patch(s.site, "a", Patch(MERGE_PATCH, body), "n", subresource=WHOLE, **options)
    return tree


async def test_status_and_metadata_are_written_at_once(serving: Any) -> None:
    """One revision, and no generation: nobody has wished for anything else."""
    async with serving() as s:
        made = await s.make()
        before = s.store.revision
        told = await whole(s, {"metadata": {"annotations": {"a": "b"}}, "status": {"phase": "Up"}})
        assert s.store.revision == before + 1
        assert told == await s.get()
        assert (told["status"]["phase"], told["metadata"]["annotations"]) == ("Up", {"a": "b"})
        assert told["metadata"]["generation"] == made["metadata"]["generation"]
        assert (await whole(s, {"spec": {"replicas": 2}, "status": {"replicas": 2}}))["metadata"]["generation"] == 2
        before = s.store.revision
        await whole(s, {"metadata": {"annotations": {"a": "b"}}, "status": {"phase": "Up"}})
        assert s.store.revision == before, "what changes nothing writes nothing"


async def test_one_half_alone_will_do(serving: Any) -> None:
    """Whoever asks need not know which of them changes something."""
    async with serving() as s:
        await s.make()
        assert (await whole(s, {"status": {"phase": "Up"}}))["status"]["phase"] == "Up"
        told = await whole(s, {"metadata": {"labels": {"a": "b"}}})
        assert (told["status"]["phase"], told["metadata"]["labels"]) == ("Up", {"a": "b"})
        await s.client.create(s.config, {"metadata": {"name": "a"}}, "n")
        patch = Patch(MERGE_PATCH, {"data": {"x": "y"}})
        assert (await s.client.patch(s.config, "a", patch, "n", subresource=WHOLE))["data"] == {"x": "y"}


async def test_either_half_can_be_refused_and_then_nothing_is_written(serving: Any) -> None:
    """As the two writes would have been."""
    async with serving() as s:
        made = await s.make()
        before = s.store.revision
        with pytest.raises(InvalidError):
            await whole(s, {"metadata": {"labels": {"a": "b"}}, "status": {"replicas": "many"}})
        with pytest.raises(InvalidError):
            await whole(s, {"spec": {"host": "NO"}, "status": {"phase": "Up"}})
        with pytest.raises(ConflictError):
            await whole(s, {"metadata": {"uid": "another"}, "status": {"phase": "Up"}})
        with pytest.raises(NotFoundError):  # it is a way of merge patches alone
            await s.client.patch(s.site, "a", Patch(JSON_PATCH, []), "n", subresource=WHOLE)
        assert s.store.revision == before
        revision = made["metadata"]["resourceVersion"]
        await whole(s, {"metadata": {"resourceVersion": revision, "labels": {"a": "b"}}, "status": {"phase": "Up"}})
        with pytest.raises(ConflictError):
            await whole(s, {"metadata": {"resourceVersion": revision, "labels": {"a": "c"}}, "status": {"phase": "Down"}})


async def test_both_halves_are_owned_by_who_wrote_them(serving: Any) -> None:
    """managedFields tell them apart, as if they had been written one after the other."""
    async with serving() as s:
        await s.api.create(s.site, {"metadata": {"name": "a"}, "spec": {}}, "n", field_manager="user", tracked=True)
        body = {"metadata": {"annotations": {"a": "b"}}, "status": {"phase": "Up", "replicas": 1}}
        told = await whole(s, body, field_manager="op")
        owners = {(o["manager"], o.get("subresource", "")): o["fieldsV1"] for o in told["metadata"]["managedFields"]}
        assert owners["op", "status"] == {"f:status": {".": {}, "f:phase": {}, "f:replicas": {}}}
        assert owners["op", ""] == {"f:metadata": {"f:annotations": {".": {}, "f:a": {}}}}
        assert ("user", "") in owners


async def test_admission_sees_both_halves_apart(serving: Any) -> None:
    """Who watches over the status, or over the rest alone, is asked about just that."""
    async with serving() as s:
        await s.make()
        seen: list[tuple[str, str, dict[str, str]]] = []

        def look(review: AdmissionReview) -> None:
            seen.append((review.subresource, review.tree["status"]["phase"], review.tree["metadata"].get("labels") or {}))
            if review.subresource == "status" and review.tree["status"]["phase"] == "Down":
                raise ForbiddenError("never down")

        s.api.add_validator(s.site, look)
        await whole(s, {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Up"}})
        assert seen == [("status", "Up", {}), ("", "Up", {"a": "b"})]
        before = s.store.revision
        with pytest.raises(ForbiddenError):
            await whole(s, {"metadata": {"labels": {"a": "c"}}, "status": {"phase": "Down"}})
        assert s.store.revision == before
