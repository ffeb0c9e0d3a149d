"""Jobs at work, on the real API and engine in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconcile.client import DeleteOptions
from reconcile.conditions import condition
from reconcile.errors import BadRequestError, InvalidError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.batch import Job
from reconcile.resources.batch.job_controller import job_controller
from reconcile.resources.batch.job_expiry import job_expiry
from reconcile.resources.core import Pod
from reconcile.resources.gc import garbage_collector
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]


def standing(tree: Tree, type_: str) -> Tree:
    """The condition of that type, which must be there."""
    found = condition(tree["status"].get("conditions"), type_)
    assert found is not None, tree["status"]
    return found


def job(run_s: float = 1, code: int = 0, restarts: str = "Never", **spec: Any) -> Tree:
    """A Job `work` whose Pods run so long and end with that code."""
    told = {"reconcile.dev/sim-run-s": str(run_s), "reconcile.dev/sim-exit-code": str(code)}
    inner = {"restartPolicy": restarts, "containers": [{"name": "main", "image": "x:1"}]}
    return {"metadata": {"name": "work"}, "spec": {"template": {"metadata": {"annotations": told}, "spec": inner}, **spec}}


def parts() -> tuple[Any, ...]:
    return job_controller(), job_expiry(), scheduler(), simulated_nodes(3), garbage_collector()


async def ended(plane: Any, how: str, limit_s: float = 600.0) -> Tree:
    """Wait until the Job has that condition; returns it."""

    async def fact() -> Tree | None:
        tree: Tree = await plane.get(Job, "work")
        found = condition(tree["status"].get("conditions"), how)
        return tree if found and found["status"] == "True" else None

    tree: Tree = await plane.until(fact, f"work is {how}", limit_s)
    return tree


def counts(tree: Tree) -> tuple[int, int, int]:
    status = tree["status"]
    return status.get("active", 0), status.get("succeeded", 0), status.get("failed", 0)


@virtual
async def test_a_job_runs_its_pods_until_enough_succeeded(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The whole of its job: two at a time, five in all, each counted once and then let go."""
    async with control_plane(clock, *parts()) as plane:
        began_s = clock.now()
        await plane.create(Job, job(10, parallelism=2, completions=5))
        await clock.sleep(5)
        assert counts(await plane.get(Job, "work")) == (2, 0, 0)
        tree = await ended(plane, "Complete")
        assert counts(tree) == (0, 5, 0)
        assert 29 < clock.now() - began_s < 35, "three rounds of ten seconds"
        types = [c["type"] for c in tree["status"]["conditions"]]
        assert types == ["SuccessCriteriaMet", "Complete"]
        assert tree["status"]["completionTime"]
        pods = await plane.all(Pod)
        assert len(pods) == 5
        assert all("finalizers" not in pod["metadata"] for pod in pods)
        assert {pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] for pod in pods} == {"work"}
        reasons = [reason for reason, _ in await plane.events("work")]
        assert (reasons.count("SuccessfulCreate"), reasons.count("Completed")) == (5, 1)


@virtual
async def test_failed_pods_are_tried_again_ever_more_slowly_until_the_limit(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A broken command must neither be hammered nor be tried for ever."""
    async with control_plane(clock, *parts()) as plane:
        began_s = clock.now()
        await plane.create(Job, job(0, 3, backoffLimit=3))
        tree = await ended(plane, "Failed")
        assert counts(tree) == (0, 0, 4)
        assert 70 <= clock.now() - began_s < 75, "10 s, 20 s and 40 s between four tries"
        assert standing(tree, "Failed")["reason"] == "BackoffLimitExceeded"
        assert "completionTime" not in tree["status"]
        assert ("BackoffLimitExceeded", "Job has reached the specified backoff limit") in await plane.events("work")


@virtual
async def test_restarts_of_containers_count_where_pods_stay(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """With OnFailure the kubelet tries again, and the Job ends it."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(1, 1, "OnFailure", backoffLimit=2))
        tree = await ended(plane, "Failed")
        assert standing(tree, "Failed")["reason"] == "BackoffLimitExceeded"
        assert len(await plane.all(Pod)) <= 1


@virtual
async def test_each_pod_of_an_indexed_job_has_a_number(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Work is divided by it."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(2, parallelism=2, completions=4, completionMode="Indexed"))
        await clock.sleep(1)
        first = sorted(await plane.all(Pod), key=lambda pod: pod["metadata"]["name"])
        assert [pod["metadata"]["name"][:7] for pod in first] == ["work-0-", "work-1-"]
        assert [pod["spec"]["hostname"] for pod in first] == ["work-0", "work-1"]
        label = "batch.kubernetes.io/job-completion-index"
        assert [pod["metadata"]["labels"][label] for pod in first] == ["0", "1"]
        assert first[1]["spec"]["containers"][0]["env"][-1]["name"] == "JOB_COMPLETION_INDEX"
        tree = await ended(plane, "Complete")
        assert (tree["status"]["completedIndexes"], tree["status"]["succeeded"]) == ("0-3", 4)


@virtual
async def test_indexes_fail_one_by_one_where_each_has_its_own_limit(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """One bad part of the work does not cost the others."""
    async with control_plane(clock, *parts()) as plane:
        spec: Tree = {"parallelism": 3, "completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1}
        await plane.create(Job, job(100, **spec))
        await clock.sleep(1)
        pods = {pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]: pod for pod in await plane.all(Pod)}
        for index, phase in (("0", "Succeeded"), ("1", "Failed"), ("2", "Succeeded")):
            await plane.patch(Pod, pods[index]["metadata"]["name"], {"status": {"phase": phase}}, "status")
        await clock.sleep(12)
        again = [pod for pod in await plane.all(Pod) if pod["status"]["phase"] == "Running"]
        assert [pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] for pod in again] == ["1"]
        await plane.patch(Pod, again[0]["metadata"]["name"], {"status": {"phase": "Failed"}}, "status")
        tree = await ended(plane, "Failed")
        assert standing(tree, "Failed")["reason"] == "FailedIndexes"
        assert (tree["status"]["completedIndexes"], tree["status"]["failedIndexes"]) == ("0,2", "1")


@virtual
async def test_a_success_policy_ends_the_job_before_all_indexes_are_done(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The leader of a simulation is what counts."""
    async with control_plane(clock, *parts()) as plane:
        policy = {"rules": [{"succeededIndexes": "0"}]}
        spec: Tree = {"parallelism": 3, "completions": 3, "completionMode": "Indexed", "successPolicy": policy}
        await plane.create(Job, job(100, **spec))
        await clock.sleep(1)
        (leader,) = [p for p in await plane.all(Pod) if p["spec"]["hostname"] == "work-0"]
        await plane.patch(Pod, leader["metadata"]["name"], {"status": {"phase": "Succeeded"}}, "status")
        tree = await ended(plane, "Complete")
        assert standing(tree, "Complete")["reason"] == "SuccessPolicy"
        assert counts(tree) == (0, 1, 0)


@virtual
async def test_a_suspended_job_has_no_pods_and_goes_on_when_it_is_resumed(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Queues of work are built on it."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(10, parallelism=2, completions=2, suspend=True))
        await clock.sleep(1)
        assert await plane.all(Pod) == []
        await plane.patch(Job, "work", {"spec": {"suspend": False}})
        await clock.sleep(1)
        assert len(await plane.all(Pod)) == 2
        await plane.patch(Job, "work", {"spec": {"suspend": True}})
        await clock.sleep(1)
        assert await plane.all(Pod) == []
        assert counts(await plane.get(Job, "work")) == (0, 0, 0), "stopping is no failure"
        await plane.patch(Job, "work", {"spec": {"suspend": False}})
        tree = await ended(plane, "Complete")
        assert counts(tree) == (0, 2, 0)
        assert standing(tree, "Suspended")["status"] == "False"
        assert {("Suspended", "Job suspended"), ("Resumed", "Job resumed")} <= set(await plane.events("work"))


@virtual
async def test_a_job_at_rest_may_ask_for_other_resources_and_other_nodes(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Whoever queues Jobs decides what they get when their turn comes; nothing else of the template ever changes."""

    def change(image: str, cpu: str) -> Tree:
        container = {"name": "main", "image": image, "resources": {"requests": {"cpu": cpu}}}
        return {"spec": {"template": {"spec": {"containers": [container], "nodeSelector": {"size": cpu}}}}}

    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(100, suspend=True))
        made = await plane.patch(Job, "work", change("x:1", "2"))
        assert made["spec"]["template"]["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "2"}}
        with pytest.raises(InvalidError, match="field is immutable"):
            await plane.patch(Job, "work", change("y:1", "2"))
        await plane.patch(Job, "work", {"spec": {"suspend": False, "template": {"spec": {"nodeSelector": None}}}})
        await clock.sleep(1)
        with pytest.raises(InvalidError, match="field is immutable"):
            await plane.patch(Job, "work", change("x:1", "3"))
        await plane.patch(Job, "work", {"spec": {"suspend": True}})
        with pytest.raises(InvalidError, match="field is immutable"):
            await plane.patch(Job, "work", change("x:1", "3"))  # its Pods are still on their way out
        await clock.sleep(1)
        await plane.patch(Job, "work", change("x:1", "3"))


@virtual
async def test_a_job_that_takes_too_long_fails(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Its Pods are stopped, and count as failed."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(1000, activeDeadlineSeconds=30, parallelism=2, completions=2))
        began_s = clock.now()
        tree = await ended(plane, "Failed")
        assert 29 <= clock.now() - began_s < 35
        assert standing(tree, "Failed")["reason"] == "DeadlineExceeded"
        assert counts(tree) == (0, 0, 2)


@virtual
async def test_a_finished_job_goes_with_its_pods_when_its_time_is_over(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Nobody has to clear up."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(1, ttlSecondsAfterFinished=20))
        await ended(plane, "Complete")
        await clock.sleep(15)
        assert len(await plane.all(Job)) == 1
        await clock.sleep(15)
        assert (await plane.all(Job), await plane.all(Pod)) == ([], [])


@pytest.mark.parametrize(
    ("action", "ends", "failed"), [("FailJob", "Failed", 1), ("Ignore", "Complete", 0), ("Count", "Complete", 1)]
)
@virtual
async def test_a_failure_policy_says_what_an_exit_code_means(
    action: str, ends: str, failed: int, clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """A usage error is not worth a second try; a lost node is not the work's fault."""
    async with control_plane(clock, *parts()) as plane:
        rules = [{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]
        await plane.create(Job, job(5, 42, podFailurePolicy={"rules": rules}, backoffLimit=1))
        await clock.sleep(4)
        (pod,) = await plane.all(Pod)
        if ends == "Complete":  # the next one shall end well
            told = {"reconcile.dev/sim-exit-code": "0"}
            state = {"terminated": {"exitCode": 42, "finishedAt": "2026-01-01T00:00:00Z"}}
            status = {"phase": "Failed", "containerStatuses": [{"name": "main", "state": state}]}
            await plane.patch(Pod, pod["metadata"]["name"], {"metadata": {"annotations": told}})
            await plane.patch(Pod, pod["metadata"]["name"], {"status": status}, "status")

            async def second() -> Tree | None:
                pods = [p for p in await plane.all(Pod) if p["status"].get("phase") == "Running"]
                return pods[0] if pods else None

            again = await plane.until(second, "another try")
            await plane.patch(Pod, again["metadata"]["name"], {"status": {"phase": "Succeeded"}}, "status")
        tree = await ended(plane, ends)
        assert tree["status"].get("failed", 0) == failed
        if ends == "Failed":
            why = standing(tree, "Failed")
            assert why["reason"] == "PodFailurePolicy"
            name = pod["metadata"]["name"]
            assert why["message"] == (
                f"Container main for pod default/{name} failed with exit code 42 matching FailJob rule at index 0"
            )


@virtual
async def test_a_pod_deleted_behind_its_back_is_counted_once_and_replaced(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The finalizer holds the Pod until it is counted, whoever deletes it."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(50))
        await clock.sleep(1)
        (pod,) = await plane.all(Pod)
        assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
        await plane.delete(Pod, pod["metadata"]["name"])
        tree = await ended(plane, "Complete")
        assert counts(tree) == (0, 1, 1)


@virtual
async def test_what_was_noted_and_not_counted_is_counted_after_a_crash(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Between taking the finalizer off and counting, the controller may die."""
    async with control_plane(clock) as plane:
        made = await plane.create(Job, job(1, completions=3, parallelism=1))
        noted = {"uncountedTerminatedPods": {"succeeded": ["gone-1", "gone-2"], "failed": []}, "succeeded": 0}
        await plane.patch(Job, "work", {"status": {**noted, "startTime": made["metadata"]["creationTimestamp"]}}, "status")
        for operator in parts():
            await plane.engine.start(operator)
        assert counts(await ended(plane, "Complete")) == (0, 3, 0)
        assert len(await plane.all(Pod)) == 1


@virtual
async def test_pods_of_a_job_that_is_gone_are_let_go(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Otherwise their finalizer would hold them for ever."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(1000, parallelism=2, completions=2))
        await clock.sleep(1)
        await plane.client.delete(kind_of(Job), "work", "default", DeleteOptions(propagation="Background"))

        async def empty() -> bool:
            return not await plane.all(Pod)

        await plane.until(empty, "no Pods left")


@virtual
async def test_fewer_at_a_time_stops_pods_without_counting_them(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Somebody else needs the machine."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(20, parallelism=4, completions=4))
        await clock.sleep(1)
        await plane.patch(Job, "work", {"spec": {"parallelism": 1}})
        await clock.sleep(1)
        assert len(await plane.all(Pod)) == 1
        assert counts(await ended(plane, "Complete")) == (0, 4, 0)


@virtual
async def test_somebody_elses_job_is_left_alone(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Queueing systems bring controllers of their own."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(managedBy="example.com/mine"))
        await clock.sleep(5)
        assert await plane.all(Pod) == []


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"restarts": "Always"}, 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'),
        ({"completions": -1}, "spec.completions: Invalid value: -1: must be greater than or equal to 0"),
        ({"completionMode": "Indexed", "parallelism": 1}, 'spec.completions: Required value: when completion mode is "Indexed"'),
        ({"successPolicy": {"rules": []}}, "spec.successPolicy: Invalid value: {\"rules\":[]}: requires indexed completion mode"),
        (
            {"restarts": "OnFailure", "podFailurePolicy": {"rules": [
                {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}]}},
            'only "Never" is supported when podFailurePolicy is specified',
        ),
    ],
)  # fmt: skip
@virtual
async def test_what_cannot_run_is_refused(given: Tree, text: str, clock: VirtualClock, control_plane: PlaneOf) -> None:
    """With the reference server's words."""
    async with control_plane(clock) as plane:
        with pytest.raises(InvalidError) as refused:
            await plane.create(Job, job(**given))
        assert text in str(refused.value)


@virtual
async def test_what_a_job_is_may_not_change(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """How many at a time may."""
    async with control_plane(clock) as plane:
        await plane.create(Job, job())
        for change in ({"completions": 3}, {"completionMode": "Indexed"}, {"template": {"metadata": {"labels": {"a": "b"}}}}):
            with pytest.raises(InvalidError, match="field is immutable"):
                await plane.patch(Job, "work", {"spec": change})
        await plane.patch(Job, "work", {"spec": {"parallelism": 3}})


@virtual
async def test_jobs_are_selected_by_their_successes(clock: VirtualClock, control_plane: Any) -> None:
    """By the label that the reference gives a field of another name; a Job without any has 0."""
    async with control_plane(clock, *parts()) as plane:
        made = await plane.create(Job, job())
        await plane.create(Job, {**job(run_s=1000), "metadata": {"name": "longer"}})
        await plane.until(lambda: finished(plane), "the first is done")

        async def found(fields: str) -> list[str]:
            items = (await plane.client.list(kind_of(Job), "default", fields=fields)).items
            return sorted(item["metadata"]["name"] for item in items)

        assert await found("status.successful=1") == ["work"]
        assert await found("status.successful=0") == ["longer"]
        assert await found("status.successful!=0,metadata.name=work") == ["work"]
        assert await found(f"metadata.name={made['metadata']['name']}") == ["work"]
        with pytest.raises(BadRequestError, match=r"field label not supported: status.succeeded"):
            await found("status.succeeded=1")


async def finished(plane: Any) -> bool:
    status = (await plane.get(Job, "work")).get("status") or {}
    return status.get("succeeded") == 1


@virtual
async def test_a_job_adopts_pods_that_match_and_lets_go_of_those_that_do_not(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A Pod whose owner was taken away would run on, counted by nobody, while another does its work again."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Job, job(1000, parallelism=2, completions=4))
        await plane.until(lambda: _running(plane, 2), "both run")
        name = (await plane.all(Pod))[0]["metadata"]["name"]
        await plane.patch(Pod, name, {"metadata": {"ownerReferences": None}})
        await plane.until(lambda: _owned(plane, name, wanted=True), "it is adopted")
        pod = await plane.get(Pod, name)
        assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
        await clock.sleep(1)
        assert sum(pod["status"]["phase"] == "Running" for pod in await plane.all(Pod)) == 2, "one of three was too many"

        name = (await plane.all(Pod))[0]["metadata"]["name"]
        labels = dict.fromkeys((await plane.get(Pod, name))["metadata"]["labels"])
        await plane.patch(Pod, name, {"metadata": {"labels": labels}})
        await plane.until(lambda: _owned(plane, name, wanted=False), "it is let go")
        await clock.sleep(1)
        assert "finalizers" not in (await plane.get(Pod, name))["metadata"]
        assert counts(await plane.get(Job, "work"))[0] == 2, "another takes its place"


async def _running(plane: Any, count: int) -> bool:
    phases = [pod.get("status", {}).get("phase") for pod in await plane.all(Pod)]
    return phases.count("Running") == count


async def _owned(plane: Any, name: str, *, wanted: bool) -> bool:
    return bool((await plane.get(Pod, name))["metadata"].get("ownerReferences")) is wanted


@virtual
async def test_a_job_without_a_name_is_refused(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The fuzzer sent one, and was answered 500."""
    async with control_plane(clock) as plane:
        with pytest.raises(InvalidError, match=r"metadata\.name: Required value"):
            await plane.create(Job, {**job(), "metadata": {}})
