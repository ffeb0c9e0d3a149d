"""Start one container: address, sandbox, volumes, environment, command, process, postStart hook; in that order.

What is missing or wrong leaves the container waiting with a reason that says so, and is looked at again later; nothing is
raised.

Source: pkg/kubelet/kuberuntime/kuberuntime_container.go startContainer
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Mapping, Sequence

from reconcile.errors import ApiError, ReconcileError, Tree

from .api_access import ACCOUNT_PATH, api_environment
from .container import HASH_LABEL, Container
from .environment import environment
from .errors import PodConfigError, SandboxNotFoundError, StartError, UnsafePathError
from .expansion import expand
from .hooks import run_hook
from .mounts import Mounts, link_relative, mounts_of
from .pod_state import ADDRESS_LABEL, PodState
from .runtime import ContainerConfig, ContainerStatus, SandboxConfig
from .termination_message import message_file

SOURCE_DIR_ANNOTATION = "reconcile.dev/source-dir"
IMAGE_REASON = "ImageNeedsContainerRuntime"
_FAR_S = 10 * 365 * 86400.0
_HOOK_S_MAX = 3600.0


class Starter:
    """Starts the containers of one pod."""

    def __init__(self, state: PodState) -> None:
        self._state, self._host = state, state.host
        self._sandbox_lock = asyncio.Lock()
        self._told: set[str] = set()

    async def start(self, container: Container) -> ContainerStatus | None:
        """Try to start the container's next attempt; None: it waits, and `container.waiting` says why."""
        state, clock = self._state, self._host.clock
        try:
            self._argv(container.spec, {})  # before a sandbox is made for something that cannot run here
            await self._ensure_sandbox()
            config = await self._config(container)
            return await self._launch(config)
        except PodConfigError as error:
            later_s = _FAR_S if error.reason == IMAGE_REASON else self._host.settings.config_retry_s
            if container.waiting != (error.reason, error.message):
                self._host.events.warning(error.event, f"Error: {error.message}", about=state.pod)
            container.waiting, container.retry_at = (error.reason, error.message), clock.now() + later_s
        except StartError as error:
            self._host.events.warning("Failed", f"Error: {error.status.message}", about=state.pod)
            return error.status
        except (ReconcileError, OSError) as error:
            if isinstance(error, ApiError) and error.code == 404:
                # The namespace goes away, and the pod with it; until then it must not be tried without a pause.
                container.retry_at = clock.now() + self._host.settings.config_retry_s
                return None
            container.backoff.restarted()
            self._host.events.warning("FailedCreatePodSandBox", str(error), about=state.pod)
            container.waiting = ("RunContainerError", str(error))
            container.retry_at = clock.now() + container.backoff.delay_s
        return None

    async def post_start(self, container: Container) -> str:
        """Run the postStart hook; returns what is wrong with it, or an empty string."""
        state = self._state
        answer = await run_hook(
            self._host.runtime, self._host.clock, state.uid, container.spec, "postStart",
            functools.partial(self.rewritten, container), address=state.address, timeout_s=_HOOK_S_MAX,
        )  # fmt: skip  # one field a word reads better packed
        return "" if answer.ok else f"PostStartHook failed: {answer.message}"

    async def rewritten(self, container: Container, argv: Sequence[str]) -> Sequence[str]:
        """A command that is to run in a container, with the mounted paths that it names as they are on this node."""
        try:
            mounts = await self.mounts(container, container.attempt)
        except (PodConfigError, UnsafePathError, ApiError, OSError):
            return argv  # the container runs with what it has; a command that names none of it needs none of this
        return [mounts.rewritten(argument) for argument in argv]

    async def refresh_volumes(self) -> bool:
        """Bring ConfigMap, Secret and downward API volumes of a running pod up to date."""
        state = self._state
        return await state.volumes.prepare(state.tree, state.addresses(), self._host.allocatable)

    async def _launch(self, config: ContainerConfig) -> ContainerStatus:
        try:
            return await self._host.runtime.start_container(self._state.uid, config)
        except SandboxNotFoundError:
            # Its shim was killed: a new one takes the sandbox over.
            self._state.sandboxed = False
            await self._ensure_sandbox()
            return await self._host.runtime.start_container(self._state.uid, config)

    async def _ensure_sandbox(self) -> None:
        state, host = self._state, self._host
        async with self._sandbox_lock:
            if state.sandboxed:
                return
            if state.spec.get("hostNetwork"):
                state.address = host.settings.host_ip
            else:
                state.address = host.addresses.allocate(state.uid, state.address or state.status.get("podIP") or "")
            meta = state.tree["metadata"]
            labels = {
                ADDRESS_LABEL: state.address, "io.kubernetes.pod.name": meta["name"],
                "io.kubernetes.pod.namespace": meta["namespace"], "io.kubernetes.pod.uid": state.uid,
            }  # fmt: skip  # pairs read better packed
            await host.runtime.run_sandbox(SandboxConfig(state.uid, meta["namespace"], meta["name"], labels))
            try:
                host.pod_dir(state.uid).mkdir(parents=True, exist_ok=True)
                await self.refresh_volumes()
            finally:
                # Set also where a volume is missing: the sandbox is there, and the next try begins at the volumes.
                state.sandboxed = True

    async def _config(self, container: Container) -> ContainerConfig:
        state, host = self._state, self._host
        own = host.pod_dir(state.uid)
        attempt = container.attempt + 1
        mounts = await self.mounts(container, attempt)
        given = {**self._given(container.spec), **mounts.variables}
        env = await self._environment(container, given)
        # What the node gives is true as it stands (a PATH is not to be rewritten); what the pod says is meant as mounted.
        env = {name: value if given.get(name) == value else mounts.rewritten(value) for name, value in env.items()}
        working_dir = self._working_dir(container.spec, mounts)
        self._tell_about_mounts(container, mounts, link_relative(mounts, working_dir, own))
        argv = [mounts.rewritten(argument) for argument in self._argv(container.spec, env)]
        return ContainerConfig(
            container.name, attempt, argv, env, working_dir,
            str(host.log_dir(state.tree) / container.name / f"{attempt}.log"), labels={HASH_LABEL: container.hash},
            stdin=bool(container.spec.get("stdin")), stdin_once=bool(container.spec.get("stdinOnce")),
            tty=bool(container.spec.get("tty")),
        )  # fmt: skip  # one field a word reads better packed

    async def mounts(self, container: Container, attempt: int) -> Mounts:
        """Which paths stand for which in an attempt of the container.

        Raises:
            PodConfigError, UnsafePathError: its mounts cannot be had.
        """
        state, own = self._state, self._host.pod_dir(self._state.uid)
        if set(state.volumes.paths) != {volume["name"] for volume in state.spec.get("volumes") or ()}:
            await self.refresh_volumes()
        sub_paths = await self._sub_paths(container, self._given(container.spec))
        mounts = mounts_of(container.spec, state.volumes.paths, own / "containers" / container.name / "root", sub_paths)
        return _with_message_file(mounts, container.spec, str(message_file(own, container.name, attempt)))

    async def _environment(self, container: Container, given: Mapping[str, str]) -> dict[str, str]:
        state = self._state
        return await environment(
            state.tree, container.spec, self._host, given=given, addresses=state.addresses(),
            allocatable=self._host.allocatable,
        )  # fmt: skip  # one field a word reads better packed

    async def _sub_paths(self, container: Container, given: Mapping[str, str]) -> dict[str, str]:
        """The subPathExpr of each mount that has one, by mountPath."""
        mounts = [mount for mount in container.spec.get("volumeMounts") or () if mount.get("subPathExpr")]
        env = await self._environment(container, given) if mounts else {}
        return {mount["mountPath"]: expand(mount["subPathExpr"], env) for mount in mounts}

    def _given(self, container: Tree) -> dict[str, str]:
        """What the node puts into every container's environment."""
        state, meta = self._state, self._state.tree["metadata"]
        scratch = self._host.pod_dir(state.uid) / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        given = {
            **self._host.settings.environment, "TMPDIR": str(scratch), "POD_IP": state.address, "POD_NAME": meta["name"],
            "POD_NAMESPACE": meta["namespace"], "HOSTNAME": state.spec.get("hostname") or meta["name"],
        }  # fmt: skip  # pairs read better packed
        if self._host.api_address is not None:
            own = self._host.pod_dir(state.uid)
            given |= api_environment(container, meta["namespace"], self._host.api_address, state.volumes.paths, own)
        ports = container.get("ports") or ()
        return {**given, "PORT": str(ports[0]["containerPort"])} if ports else given

    def _argv(self, container: Tree, env: Mapping[str, str]) -> Sequence[str]:
        """What to execute: command and args, or what the node knows to run for the image.

        Raises:
            PodConfigError: there is no command, and the image would need a container runtime.
        """
        command: Sequence[str] = container.get("command") or ()
        if not command:
            image = container.get("image") or ""
            known = self._host.settings.image_argv(image)
            if known is None:
                shown = f"image {image!r}" if image else "no image"
                raise PodConfigError(
                    IMAGE_REASON,
                    f"container {container['name']!r} has {shown} and no command: this node runs processes of this machine, "
                    f"not images. Set `command` to the program to run, or say what stands for the image "
                    f"(`reconcile up --image NAME=COMMAND`), or run this pod on a node with a container runtime",
                )
            command = known
        return [expand(str(part), env) for part in (*command, *(container.get("args") or ()))]

    def _working_dir(self, container: Tree, mounts: Mounts) -> str:
        """The folder a manifest came from where there is one, else the pod's own; `workingDir` is seen from there."""
        source = (self._state.tree["metadata"].get("annotations") or {}).get(SOURCE_DIR_ANNOTATION)
        start = source or str(self._host.pod_dir(self._state.uid))
        return os.path.normpath(os.path.join(start, mounts.rewritten(container.get("workingDir") or "")))

    def _tell_about_mounts(self, container: Container, mounts: Mounts, refused: Sequence[str]) -> None:
        """Say once what a mount means on a node without mount namespaces."""
        declared = {mount["mountPath"].rstrip("/") for mount in container.spec.get("volumeMounts") or ()}
        # The account's own volume is in every pod, and its clients find it by a variable.
        moved = [path for path in mounts.rewrites if path in declared and path != ACCOUNT_PATH]
        if moved and f"mount {container.name}" not in self._told:
            self._told.add(f"mount {container.name}")
            self._host.events.normal(
                "MountPathRewritten",
                f"container {container.name}: this node mounts nothing at {', '.join(moved)}; where command, args or env name "
                f"such a path they were pointed at the volume, which is also in $VOLUME_<NAME> and below $POD_ROOT",
                about=self._state.pod,
            )
        for path in refused:
            self._host.events.warning(
                "MountPathNotHonoured",
                f"container {container.name}: mountPath {path!r} cannot be linked into its working directory; "
                f"use $VOLUME_<NAME> instead",
                about=self._state.pod,
            )


def _with_message_file(mounts: Mounts, container: Tree, file: str) -> Mounts:
    path = container.get("terminationMessagePath") or "/dev/termination-log"
    return Mounts(mounts.root, mounts.variables, {**mounts.rewrites, path: file}, mounts.relative)
