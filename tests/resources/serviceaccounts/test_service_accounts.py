"""What every namespace gets for its Pods, and what new Pods get of it."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from reconcile.errors import BadRequestError, ForbiddenError, InvalidError, Tree
from reconcile.handling import AdmissionReview
from reconcile.kinds import kind_of
from reconcile.resources.core import ConfigMap, Namespace, Pod, ServiceAccount
from reconcile.resources.core.namespace_controller import namespace_controller
from reconcile.resources.serviceaccounts.admission import MOUNT_PATH, PodAccounts
from reconcile.resources.serviceaccounts.controller import service_accounts
from reconcile.runtime.testing.virtual import VirtualClock, virtual

CA = "-----BEGIN CERTIFICATE-----\n"


def pod(name: str = "p", **spec: Any) -> Tree:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "x"}], **spec}}


def admit(plane: Any, clock: VirtualClock) -> None:
    plane.client.api.add_initializer(kind_of(Pod), PodAccounts(plane.client.api.peek, clock).admit)


@virtual
async def test_each_namespace_gets_an_account_and_the_authority(clock: VirtualClock, control_plane: Any) -> None:
    """New ones too, and again when somebody deletes or changes them: without them no Pod there starts."""
    async with control_plane(clock, service_accounts(lambda: CA)) as plane:
        await plane.create(Namespace, {"metadata": {"name": "new"}})
        await plane.engine.settled()
        for namespace in ("default", "kube-system", "new"):
            await plane.client.get(kind_of(ServiceAccount), "default", namespace)
            bundle = await plane.client.get(kind_of(ConfigMap), "kube-root-ca.crt", namespace)
            assert bundle["data"] == {"ca.crt": CA}
        await plane.delete(ServiceAccount, "default")
        await plane.delete(ConfigMap, "kube-root-ca.crt")
        await plane.engine.settled()
        assert (await plane.get(ServiceAccount, "default"))["metadata"]["uid"]
        await plane.patch(ConfigMap, "kube-root-ca.crt", {"data": {"ca.crt": "another"}})
        await plane.engine.settled()
        assert (await plane.get(ConfigMap, "kube-root-ca.crt"))["data"] == {"ca.crt": CA}


@virtual
async def test_a_namespace_that_goes_away_gets_nothing_back(clock: VirtualClock, control_plane: Any) -> None:
    """It would never be empty."""
    async with control_plane(clock, service_accounts(lambda: CA), namespace_controller()) as plane:
        await plane.create(Namespace, {"metadata": {"name": "brief"}})
        await plane.engine.settled()
        await plane.delete(Namespace, "brief")

        async def gone() -> bool:
            return "brief" not in {tree["metadata"]["name"] for tree in await plane.all(Namespace)}

        await plane.until(gone, "the namespace is gone")


@virtual
async def test_a_new_pod_mounts_the_token_of_its_account(clock: VirtualClock, control_plane: Any) -> None:
    """In every container that has nothing there, as on the reference server."""
    own = {"name": "b", "image": "x", "volumeMounts": [{"name": "mine", "mountPath": MOUNT_PATH}]}
    async with control_plane(clock, service_accounts(lambda: CA)) as plane:
        admit(plane, clock)
        await plane.engine.settled()
        parts: Tree = {"containers": [{"name": "a", "image": "x"}, own], "initContainers": [{"name": "i", "image": "x"}]}
        made = await plane.create(Pod, pod(**parts, volumes=[{"name": "mine", "emptyDir": {}}]))
        spec = made["spec"]
        volume = spec["volumes"][1]["name"]
        assert volume.startswith("kube-api-access-")
        mount = {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}
        mounts = [c.get("volumeMounts") for c in (*spec["initContainers"], *spec["containers"])]
        assert mounts == [[mount], [mount], own["volumeMounts"]]
        assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
        sources = spec["volumes"][1]["projected"]["sources"]
        assert sources[0] == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
        assert sources[1]["configMap"]["name"] == "kube-root-ca.crt"
        # Nothing that it added lacks a default: writing it back as it is changes nothing.
        assert (await plane.client.update(kind_of(Pod), made, "default"))["metadata"] == made["metadata"]
        # A copy of a Pod keeps the volume that it came with.
        copied = await plane.create(Pod, {"metadata": {"name": "q"}, "spec": {**spec}})
        assert [v["name"] for v in copied["spec"]["volumes"]] == ["mine", volume]


@virtual
async def test_pods_hold_the_added_parts_once_and_who_may_change_one_changes_no_other(
    clock: VirtualClock, control_plane: Any
) -> None:
    """They would be half of what a Pod takes in memory; and a part that is shared must never be changed in place."""
    async with control_plane(clock) as plane:
        admit(plane, clock)
        await plane.create(ServiceAccount, {"metadata": {"name": "default"}})
        one, two = await plane.create(Pod, pod("one")), await plane.create(Pod, pod("two"))
        before = copy.deepcopy(two["spec"])
        assert one["spec"]["volumes"][0]["projected"] is two["spec"]["volumes"][0]["projected"]
        assert all(left is right for left, right in zip(one["spec"]["tolerations"], two["spec"]["tolerations"], strict=True))

        def change(review: AdmissionReview) -> None:
            """What a mutator does with the tree that it is handed."""
            review.tree["spec"]["volumes"][0]["projected"]["sources"].clear()
            for toleration in review.tree["spec"]["tolerations"]:
                toleration["tolerationSeconds"] = 1

        end = plane.client.api.add_mutator(kind_of(Pod), change)
        with pytest.raises(InvalidError):
            await plane.patch(Pod, "one", {"metadata": {"labels": {"a": "b"}}})
        end()
        three = await plane.create(Pod, pod("three"))
        assert (await plane.get(Pod, "two"))["spec"] == before
        assert three["spec"]["volumes"][0]["projected"] is two["spec"]["volumes"][0]["projected"]


@pytest.mark.parametrize(("of_pod", "of_account", "mounts"), [
    (None, None, True), (None, False, False), (False, None, False), (True, False, True), (False, True, False),
])  # fmt: skip
@virtual
async def test_pod_and_account_may_do_without_the_token(
    clock: VirtualClock, control_plane: Any, of_pod: bool | None, of_account: bool | None, mounts: bool
) -> None:
    """The Pod's word counts before its account's."""
    async with control_plane(clock) as plane:
        admit(plane, clock)
        account = {} if of_account is None else {"automountServiceAccountToken": of_account}
        await plane.create(ServiceAccount, {"metadata": {"name": "own"}, "imagePullSecrets": [{"name": "pull"}], **account})
        wanted: Tree = {} if of_pod is None else {"automountServiceAccountToken": of_pod}
        made = await plane.create(Pod, pod(serviceAccountName="own", **wanted))
        assert bool(made["spec"].get("volumes")) is mounts
        assert made["spec"]["imagePullSecrets"] == [{"name": "pull"}]


@virtual
async def test_a_pod_of_an_unknown_account_is_forbidden(clock: VirtualClock, control_plane: Any) -> None:
    """In the words that people search for."""
    async with control_plane(clock) as plane:
        admit(plane, clock)
        with pytest.raises(ForbiddenError) as refused:
            await plane.create(Pod, pod(serviceAccountName="none"))
        assert str(refused.value) == (
            'pods "p" is forbidden: error looking up service account default/none: serviceaccount "none" not found'
        )


@virtual
async def test_the_first_pod_of_a_namespace_waits_for_its_account(clock: VirtualClock, control_plane: Any) -> None:
    """`kubectl apply` of a namespace and its Pod would otherwise fail, or not, as it happens; but it does not wait for ever."""
    async with control_plane(clock) as plane:
        admit(plane, clock)
        creating = asyncio.create_task(plane.create(Pod, pod()))
        await clock.sleep(0.5)
        await plane.create(ServiceAccount, {"metadata": {"name": "default"}})
        assert (await creating)["spec"]["serviceAccountName"] == "default"
        await plane.delete(ServiceAccount, "default")
        began_s = clock.monotonic()
        with pytest.raises(ForbiddenError):
            await plane.create(Pod, pod("q"))
        assert clock.monotonic() - began_s <= 2


@virtual
async def test_a_malformed_pod_is_refused_by_the_schema_not_by_a_crash(clock: VirtualClock, control_plane: Any) -> None:
    """Admission sees it before anybody has judged its shape."""
    async with control_plane(clock, service_accounts(lambda: CA)) as plane:
        admit(plane, clock)
        await plane.engine.settled()
        for spec in (None, "x", {"containers": "x"}, {"containers": ["x"]}, {"containers": [{"name": "a", "volumeMounts": 1}]}):
            with pytest.raises((BadRequestError, InvalidError)):
                await plane.create(Pod, {"metadata": {"name": "p"}, "spec": spec})
