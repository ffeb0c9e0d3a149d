"""`reconcile run app.py`: an operator as a process of its own, against any Kubernetes API server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from .errors import EXIT_INTERRUPTED, CommandError, NoControlPlane
from .locate import find_data_dir
from .printing import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from reconcile.client import Client
    from reconcile.registry import Operator
    from reconcile.runtime.client.http import HttpClient
    from reconcile.runtime.client.kubeconfig import Access
    from reconcile.runtime.remote import RemoteOperators
    from reconcile.runtime.sync.programs import Program
    from reconcile.runtime.webhooks import Webhooks

    from .programs import Programs

log = logging.getLogger("reconcile.run")
_BURST_MS = 50


class RunSettings(NamedTuple):
    """What the command line said, besides which programs to run and where."""

    crds: bool = False
    dev: bool = False
    listen: str = ""
    elect: bool = False
    shard: bool = False
    elect_name: str = ""
    elect_namespace: str = ""
    namespace: str = ""
    webhooks: str = ""
    observe: Path | None = None


@click.command(
    "run",
    epilog=examples(
        "reconcile run app.py",
        "reconcile run app.py --dev --crds",
        "reconcile run -m shop.operator --kubeconfig ~/.kube/config --context prod --elect --listen :8080",
        "reconcile run app.py --shard",
    ),
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-m", "--module", "modules", multiple=True, help="A module to import and run; may be given several times.")
@click.option("--kubeconfig", type=click.Path(dir_okay=False), help="The kubeconfig of the cluster [default: see below].")
@click.option("--context", default="", help="The context of the kubeconfig.")
@click.option("--data-dir", default=None, help="The state folder of the control plane that is meant.")
@click.option("-n", "--namespace", default="", help="Handle objects of this namespace alone [default: all].")
@click.option("--crds", is_flag=True, help="Apply the CustomResourceDefinitions of the programs' kinds first.")
@click.option("--dev", is_flag=True, help="Load a file again whenever it changes.")
@click.option("--listen", default="", metavar="HOST:PORT", help="Serve /livez, /readyz and /metrics there.")
@click.option(
    "--webhooks", default="", metavar="HOST:PORT", help="Serve admission handlers and conversions, there for the API server."
)
@click.option("--elect", is_flag=True, help="Work only while holding a Lease: of several replicas one works.")
@click.option("--shard", is_flag=True, help="Share the objects with all other replicas that are run so.")
@click.option("--elect-name", default="", help="The Lease's name, or what Leases of shards begin with [default: the domain].")
@click.option("--elect-namespace", default="", help="The Leases' namespace [default: the context's].")
@click.option(
    "--observe",
    default=None,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add the rights that are used to this file, for `reconcile export --observed`.",
)
@click.option("--log-format", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
@click.option("-v", "--verbose", is_flag=True, help="Log everything.")
@click.option("-q", "--quiet", is_flag=True, help="Log warnings and errors only.")
def command(
    files: tuple[Path, ...], modules: tuple[str, ...], kubeconfig: str | None, context: str, data_dir: str | None, namespace: str,
    crds: bool, dev: bool, listen: str, webhooks: str, elect: bool, shard: bool, elect_name: str, elect_namespace: str,
    observe: Path | None, log_format: str, verbose: bool, quiet: bool,
) -> None:  # fmt: skip
    """Run the operators that FILES declare, until Ctrl-C or SIGTERM; then stop them gracefully.

    The cluster is that of --kubeconfig, else of $KUBECONFIG, else the control plane of this folder (`reconcile up`), else the one
    that this pod runs in, else that of ~/.kube/config.
    """
    from .operator_logs import log_to_stderr
    from .programs import Programs
    from .traced import traced

    log_to_stderr(log_format, logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    if dev and not files:
        raise CommandError("--dev loads files again; give FILE.py (modules given with -m are not watched)")
    if elect and shard:
        raise CommandError("--elect has one replica work, --shard all of them; give one of the two")
    access = find_access(kubeconfig, context, data_dir)
    settings = RunSettings(
        crds, dev, listen, elect or (bool(elect_name) and not shard), shard, elect_name, elect_namespace or access.namespace,
        namespace, webhooks, observe,
    )  # fmt: skip
    with traced("reconcile-run"):
        asyncio.run(_run(Programs(files, modules), access, settings))


def find_access(kubeconfig: str | None, context: str, data_dir: str | None) -> Access:
    """How to reach the cluster that is meant.

    Raises:
        NoControlPlane: there is none, or its kubeconfig is wrong.
    """
    from reconcile.runtime.client.errors import KubeconfigError
    from reconcile.runtime.client.kubeconfig import load

    try:
        if kubeconfig:
            return load(Path(kubeconfig).expanduser(), context=context)
        if os.environ.get("KUBECONFIG") and data_dir is None:
            return load(context=context)
        found = find_data_dir(data_dir)
        if found is not None and (found / "kubeconfig").exists():
            return load(found / "kubeconfig", context=context)
        if data_dir is not None:
            raise NoControlPlane(f"no control plane at {data_dir}; start one with `reconcile up FOLDER`")
        return load(context=context)
    except KubeconfigError as error:
        raise NoControlPlane(str(error)) from error


async def _run(programs: Programs, access: Access, settings: RunSettings) -> None:
    from reconcile.runtime.client.http import HttpClient
    from reconcile.runtime.clock import SystemClock
    from reconcile.runtime.engine.election import Election
    from reconcile.runtime.engine.membership import Membership
    from reconcile.runtime.login import Login
    from reconcile.runtime.observing import Observing
    from reconcile.runtime.remote import RemoteOperators

    from .programs import operators_of

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _on_signal, stop)
    clock = SystemClock()
    loaded = programs.load()
    operators = operators_of(loaded)
    login = Login(operators, access)
    async with HttpClient(access, clock, user_agent="reconcile-run", log_in=login if login else None, slim=True) as client:
        election: Election | Membership | None = None
        if settings.elect or settings.shard:
            identity = f"{socket.gethostname()}_{clock.uid()[:8]}"
            name = settings.elect_name or next((op.domain for op in operators if op.handlers), operators[0].domain)
            made = Membership if settings.shard else Election
            election = made(client, clock, name=name, namespace=settings.elect_namespace, identity=identity)
        async with contextlib.AsyncExitStack() as stack:
            hooks = await stack.enter_async_context(_webhooks(settings, client, operators)) if settings.webhooks else None
            given = stack.enter_context(_observed(client, settings.observe)) if settings.observe else client
            remote = await stack.enter_async_context(
                RemoteOperators(
                    given, clock, election=election, register=settings.crds, namespace=settings.namespace, webhooks=hooks
                )
            )
            login.engine = remote.engine
            if settings.listen:
                observing = await stack.enter_async_context(Observing(remote, settings.listen))
                log.info("listening on %s: /livez, /readyz, /metrics", observing.url)
            for operator in operators:
                await remote.start_operator(operator)
            await _tell(remote, loaded, access)
            if settings.dev:
                watching = asyncio.create_task(_reload(programs, loaded, remote), name="reload")
                stack.callback(watching.cancel)
            await _until(stop, remote)
            log.info("stopping")
    log.info("stopped")


@contextlib.asynccontextmanager
async def _webhooks(settings: RunSettings, client: HttpClient, operators: list[Operator]) -> AsyncIterator[Webhooks]:
    """A server of webhooks whose certificate nobody needs after it."""
    import tempfile

    from reconcile.runtime.clock import SystemClock
    from reconcile.runtime.webhooks import Webhooks

    name = next((op.domain for op in operators if op.handlers), operators[0].domain)
    with tempfile.TemporaryDirectory() as folder:
        async with Webhooks(client, SystemClock(), settings.webhooks, Path(folder), name=name) as webhooks:
            yield webhooks


@contextlib.contextmanager
def _observed(client: HttpClient, file: Path) -> Iterator[Client]:
    """A client whose use is noted, and written down when it is over."""
    from reconcile.permissions import Permissions
    from reconcile.runtime.engine.recording import RecordingClient, add_to

    seen = Permissions()
    try:
        yield RecordingClient(client, seen)
    finally:
        try:
            add_to(file, seen)
        except (OSError, ValueError) as error:
            log.error("--observe %s: %s", file, error)
        else:
            log.info("the rights that were used are in %s", file)


async def _tell(remote: RemoteOperators, loaded: list[Program], access: Access) -> None:
    from reconcile.runtime.remote import unserved

    from .programs import operators_of

    operators = operators_of(loaded)
    handlers = sum(len(operator.handlers) for operator in operators)
    for kind in await unserved(remote.engine.client, operators):
        log.warning("%s is not served by %s yet; apply its definition, or run with --crds", kind, access.server)
    state = "running" if remote.leading else "standing by"
    log.info(
        "%s: %d handlers of %s on %s", state, handlers, ", ".join(op.domain for op in operators if op.handlers), access.server
    )


async def _until(stop: asyncio.Event, remote: RemoteOperators) -> None:
    """Until somebody wants it to end, or it cannot go on."""
    stopping: asyncio.Future[bool | None] = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({stopping, remote.failed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    if remote.failed.done():
        remote.failed.result()


async def _reload(programs: Programs, loaded: list[Program], remote: RemoteOperators) -> None:
    """Load a file anew when it changed. One that does not load leaves its last good version running."""
    from watchfiles import awatch

    by_file = dict(zip(programs.files, loaded, strict=False))
    folders = {file.parent for file in programs.files}
    async for changes in awatch(*folders, step=_BURST_MS, recursive=False):
        for file in sorted({Path(path) for _, path in changes} & set(by_file)):
            try:
                program = programs.load_file(file)
            except CommandError as error:
                log.error("%s (the version that worked before keeps running)", error.message)
                continue
            for operator in by_file[file].operators:
                await remote.stop_operator(operator)
            by_file[file] = program
            for operator in program.operators:
                try:
                    await remote.start_operator(operator)
                except Exception:  # the user's startup handler: mended by the next save
                    log.exception("%s: operator %s does not start", file.name, operator.domain)
            log.info("%s is loaded again", file.name)


def _on_signal(stop: asyncio.Event) -> None:
    """The first asks to stop; the second means it."""
    if stop.is_set():
        os._exit(EXIT_INTERRUPTED)
    stop.set()
