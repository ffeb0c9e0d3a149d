"""One pod's worker: a state machine that goes sync -> terminating -> terminated, and never back.

It is level-triggered: whatever happens (the pod changed, a container ended, a probe spoke, a pause is over) only wakes it;
what to do follows from how things stand. There is one worker for each uid, in one task group with all that it started:
when the engine goes away it is cancelled, and the containers go on.

Source: pkg/kubelet/pod_workers.go, pkg/kubelet/kubelet.go SyncPod, SyncTerminatingPod, SyncTerminatedPod
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from reconcile.errors import ApiError, Tree
from reconcile.resources.core.pod import Pod
from reconcile.views import tree_of

from .admission import Rejection
from .container import Container, spec_hash
from .errors import PodConfigError, RuntimeFailure, UnsafePathError
from .host import Host
from .plan import plan
from .pod_state import Ending, PodState, Stage
from .probing import Prober
from .reporting import StatusWriter
from .runtime import ContainerStatus, SandboxStatus, container_id
from .starting import Starter
from .stopping import Stopper, grace_of, own_grace_s
from .termination_message import message_file, termination_message

_FIRST_STATUS_S = 0.15  # a container that starts within this is told in one write
_DELETE_RETRY_S = 1.0
_RENEW_RETRY_S = 10.0


class PodWorker:
    """Makes one pod run, and says how it goes."""

    def __init__(
        self, host: Host, pod: Pod, sandbox: SandboxStatus | None,
        judge: Callable[[Tree], Awaitable[Rejection | None]] | None = None,
    ) -> None:  # fmt: skip  # one field a word reads better packed
        """`sandbox` is what the runtime still has of the pod from before; `judge` says first whether its node takes it at all."""
        self._host = host
        self._judge = judge
        self.state = PodState.of(host, pod, sandbox)
        self._adopted = sandbox is not None
        self._wake = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._writer = StatusWriter(host, self.state.tree, self.state.desired_status)
        self._starter = Starter(self.state)
        self._stopper = Stopper(self.state, self.exited, self._starter.rewritten)
        self._prober = Prober(self.state, self._spawn, self._changed, self._kill, self._starter.rewritten)
        self._early_exits: dict[str, ContainerStatus] = {}
        self._gone = False
        self._leaving = False
        self._stale_volumes = False
        self._renewed_at = 0.0
        self._closed = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None  # Any: whatever the engine makes of the coroutine that runs it

    @property
    def over(self) -> bool:
        """Whether it works no more."""
        return self._closed.is_set()

    async def rewritten(self, container: Container, argv: Sequence[str]) -> Sequence[str]:
        """A command that is to run in a container, with the mounted paths that it names as they are on this node."""
        return await self._starter.rewritten(container, argv)

    # What wakes it; each of these returns at once.

    def update(self, pod: Pod) -> None:
        """The pod changed."""
        old, tree = self.state.tree, tree_of(pod)
        self.state.pod, self.state.tree = pod, tree
        self._writer.seen(tree)
        meta = tree["metadata"]
        if tree["spec"] is not old["spec"] and tree["spec"] != old["spec"]:
            self._take_spec()
        if meta.get("labels") != old["metadata"].get("labels") or meta.get("annotations") != old["metadata"].get("annotations"):
            self._stale_volumes = True
        if self.state.stage is Stage.TERMINATING and meta.get("deletionTimestamp"):
            self._shorten()
        self._writer.mark(_FIRST_STATUS_S)
        self._wake.set()

    def vanish(self) -> None:
        """The pod's object is gone."""
        self._gone = True
        self._writer.close()
        if self.state.stage is Stage.TERMINATING:
            self._shorten()
        self._wake.set()

    def exited(self, status: ContainerStatus) -> None:
        """A container ended."""
        container = self.state.containers.get(status.name)
        if container is None:
            return
        if container.current is None or status.attempt > container.attempt:
            self._early_exits[status.id] = status  # its start has not returned yet
            return
        file = message_file(self._host.pod_dir(self.state.uid), status.name, status.attempt)
        if container.ended(status, termination_message(file, container.spec, status)):
            self._changed()

    def sources_changed(self) -> None:
        """A ConfigMap or Secret that the pod names changed, or appeared."""
        self._stale_volumes = True
        for container in self.state.containers.values():
            if container.waiting[0] in ("CreateContainerConfigError", "ContainerCreating"):
                container.retry_at = 0.0
        self._wake.set()

    async def close(self) -> None:
        """End the pod's containers gracefully, and say so; its object stays, and another kubelet may start it again."""
        self._leaving = True
        if self.state.stage is Stage.SYNC and self._group is not None:
            self._begin_ending(Ending.CLOSING)
        self._wake.set()
        while self._group is not None and not self.over:
            try:
                async with asyncio.timeout(_DELETE_RETRY_S):
                    await self._closed.wait()
            except TimeoutError:
                if self.state.stage is Stage.TERMINATED:
                    self._writer.close()  # the API takes nothing any more: an end that waits for it would be none

    async def leave(self) -> None:
        """Stop working; what runs runs on, unwatched."""
        if self._task is not None and not self.over:
            self._task.cancel()
            await self._closed.wait()

    # The loop.

    async def run(self) -> None:
        """Work until the pod is over and its object gone, or the kubelet closes."""
        self._task = asyncio.current_task()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                writing = group.create_task(self._writer.run(), name=f"status of {self.state.name}")
                await self._pass_judgement()
                self._resume()
                while self.state.stage is not Stage.TERMINATED:
                    self._wake.clear()
                    due_at = self._tick()
                    await self._sleep(due_at)
                await self._finish()
                self._writer.close()
                await writing
        finally:
            self._group = None
            self._closed.set()

    async def _pass_judgement(self) -> None:
        """End a pod that its node does not take, before anything of it was started."""
        rejection = None if self._judge is None else await self._judge(self.state.tree)
        if rejection is not None:
            self.state.rejection = rejection
            self._host.events.warning(rejection.reason, rejection.why, about=self.state.pod)
            self._begin_ending(Ending.REJECTED)

    def _resume(self) -> None:
        """Take up what was adopted: probes of what runs; and nothing more where the pod is over."""
        for container in self.state.containers.values():
            if container.running:
                self._prober.begin(container, adopted=True)
            elif container.current is not None:
                file = message_file(self._host.pod_dir(self.state.uid), container.name, container.attempt)
                message = termination_message(file, container.spec, container.current)
                if message:
                    container.messages[container.attempt] = message
        if self.state.finished_before and self.state.stage is Stage.SYNC:
            self._begin_ending(Ending.FINISHED)
        self._stale_volumes = self._adopted  # their sources may have changed while nobody looked
        self._writer.mark(_FIRST_STATUS_S)

    def _tick(self) -> float | None:
        """Do what is to be done now; returns when to look again."""
        state, now = self.state, self._host.clock.now()
        if state.stage is Stage.SYNC:
            self._maybe_end(now)
        if state.stage is not Stage.SYNC:
            return None
        renew_at = state.volumes.due_at
        if renew_at is not None and now >= max(renew_at, self._renewed_at + _RENEW_RETRY_S):
            self._stale_volumes, self._renewed_at = True, now
        if self._stale_volumes and state.sandboxed:
            self._stale_volumes = False
            self._spawn(self._refresh(), f"volumes of {state.name}")
        decided = plan([c.seen(state.spec) for c in state.containers.values()], initialised=state.initialised, now=now)
        state.initialised = state.initialised or decided.initialised
        if decided.done:
            self._begin_ending(Ending.FINISHED)
            return None
        for name in decided.start:
            container = state.containers[name]
            container.starter = self._spawn(self._start(container), f"start {name} of {state.name}")
        if decided.due_at is not None:
            self._writer.mark()  # a pause begins: CrashLoopBackOff is told
        times = [at for at in (decided.due_at, state.deadline_at) if at is not None]
        if renew_at is not None:
            times.append(max(renew_at, self._renewed_at + _RENEW_RETRY_S))
        return min(times, default=None)

    def _maybe_end(self, now: float) -> None:
        state = self.state
        if self._gone:
            self._begin_ending(Ending.VANISHED)
        elif state.tree["metadata"].get("deletionTimestamp"):
            self._begin_ending(Ending.DELETED)
        elif state.deadline_at is not None and now >= state.deadline_at:
            self._host.events.normal("DeadlineExceeded", "Pod was active on the node longer than its deadline", about=state.pod)
            self._begin_ending(Ending.DEADLINE)

    async def _sleep(self, due_at: float | None) -> None:
        if self._wake.is_set():
            return
        if due_at is None:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, due_at - self._host.clock.now())):
                await self._wake.wait()
        except TimeoutError:
            return

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        assert self._group is not None, "a pod worker starts things only while it runs"
        return self._group.create_task(coroutine, name=name)

    def _changed(self) -> None:
        self._writer.mark()
        self._wake.set()

    # Starting.

    async def _start(self, container: Container) -> None:
        try:
            status = await self._starter.start(container)
            if status is None:
                return
            container.began(self._early_exits.pop(status.id, status))
            if not container.running:
                self._note_end(container)
                return
            self._host.events.normal("Started", f"Started container {container.name}", about=self.state.pod)
            await self._forget_older(container)
            if self.state.stage is not Stage.SYNC:
                return
            wrong = await self._starter.post_start(container)
            if not container.running:
                return
            if wrong:
                self._host.events.warning("FailedPostStartHook", wrong, about=self.state.pod)
                self._kill(container, f": {wrong}", None)
                return
            container.hooked = True
            self._prober.begin(container)
        finally:
            container.starter = None
            self._changed()

    def _note_end(self, container: Container) -> None:
        """A container was over before its start returned."""
        assert container.current is not None, "it has just been started"
        file = message_file(self._host.pod_dir(self.state.uid), container.name, container.attempt)
        message = termination_message(file, container.spec, container.current)
        if message:
            container.messages[container.attempt] = message

    async def _forget_older(self, container: Container) -> None:
        """Keep one ended instance of each container, with its log."""
        attempt = container.attempt - 2
        if attempt < 0:
            return
        uid = self.state.uid
        with contextlib.suppress(RuntimeFailure):  # it is forgotten with the sandbox at the latest
            await self._host.runtime.remove_container(uid, container_id(uid, container.name, attempt))
        folder = self._host.log_dir(self.state.tree) / container.name
        for file in folder.glob(f"{attempt}.log*"):
            file.unlink(missing_ok=True)
        message_file(self._host.pod_dir(uid), container.name, attempt).unlink(missing_ok=True)

    def _kill(self, container: Container, why: str, grace_s: int | None) -> None:
        """End one container; what follows its end is its restart policy's business."""
        if self.state.stage is not Stage.SYNC:
            return
        if container.stopper is not None and not container.stopper.done():
            return
        own_s = own_grace_s(self.state.spec)
        stopping = self._stopper.stop(container, grace_s=own_s if grace_s is None else float(grace_s), why=why)
        container.stopper = self._spawn(stopping, f"stop {container.name} of {self.state.name}")

    def _take_spec(self) -> None:
        """Take over a changed spec: a container that it changes is restarted, the others go on."""
        spec = self.state.spec
        self.state.add_ephemeral()
        for tree in (*(spec.get("initContainers") or ()), *spec["containers"]):
            container = self.state.containers.get(tree["name"])
            if container is None or container.spec == tree:
                continue
            digest = spec_hash(tree)
            container.spec = tree
            if digest == container.hash:
                continue
            container.hash, container.waiting, container.retry_at = digest, ("", ""), 0.0
            container.backoff.forget()
            container.outdated = container.current is not None
            if container.running and self._group is not None and self.state.stage is Stage.SYNC:
                self._kill(container, ": its definition changed", None)

    async def _refresh(self) -> None:
        try:
            await self._starter.refresh_volumes()
        except (PodConfigError, UnsafePathError, ApiError, OSError) as error:
            # A running pod keeps the files it has; the next change of the source is the next try.
            self._host.events.warning("FailedMount", str(error), about=self.state.pod)
        self._wake.set()  # it may be known now when its tokens are to be renewed

    # Ending.

    def _begin_ending(self, ending: Ending) -> None:
        self.state.stage, self.state.ending = Stage.TERMINATING, ending
        self._shorten()
        self._spawn(self._end(), f"end {self.state.name}")

    def _shorten(self) -> None:
        ending = Ending.VANISHED if self._gone else self.state.ending
        grace_s = grace_of(
            self.state.tree, ending, vanished_s=self._host.settings.vanished_grace_s, first_seen=self._adopted,
            now=self._host.clock.now(),
        )  # fmt: skip  # one field a word reads better packed
        if self._stopper.limit(grace_s) and self._group is not None:
            self._spawn(self._stopper.hurry(), f"hurry {self.state.name}")

    async def _end(self) -> None:
        """Stop everything, then let the loop finish."""
        state = self.state
        starting = [c.starter for c in state.containers.values() if c.starter is not None]
        for container in state.containers.values():
            if container.running and container.starter is not None:
                container.starter.cancel()  # it waits for its postStart hook
        if starting:
            await asyncio.wait(starting)
        if state.ending is Ending.DELETED:
            await self._stopper.linger()
        await self._stopper.stop_all()
        for container in state.containers.values():
            container.silence()
        state.stage = Stage.TERMINATED
        self._wake.set()

    async def _finish(self) -> None:
        """Tell how it ended, let go of the sandbox, and stay until the pod's object is gone."""
        if self.state.ending is Ending.CLOSING:
            await self._remove_sandbox()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DELETE_RETRY_S):
                    await self._writer.flush()
            return
        await self._writer.flush()  # first: with the sandbox, the exit codes are forgotten
        await self._remove_sandbox()
        while not self._gone and not self._leaving:
            self._wake.clear()
            if self.state.tree["metadata"].get("deletionTimestamp"):
                try:
                    await self._host.delete_pod(self.state.tree)
                    self._gone = True
                    break
                except ApiError:
                    await self._host.clock.sleep(_DELETE_RETRY_S)
                    continue
            await self._wake.wait()
        if not self._gone:
            return
        shutil.rmtree(self._host.pod_dir(self.state.uid), ignore_errors=True)
        shutil.rmtree(self._host.log_dir(self.state.tree), ignore_errors=True)

    async def _remove_sandbox(self) -> None:
        with contextlib.suppress(RuntimeFailure):  # the sweep at the next start removes what is left
            await self._host.runtime.remove_sandbox(self.state.uid)
        self._host.addresses.release(self.state.uid)
        self.state.sandboxed = False
