"""`reconcile store`: serve a store as an etcd, and look after its file.

`serve` needs the `etcd` extra (grpcio and etcd's messages). `stats`, `verify` and `snapshot` read beside a running
server; `compact` and `defrag` ask the `up` that has the store open, or open it themselves; a running `store serve` is
asked with etcdctl. `restore` makes a new folder.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import CommandError
from .etcd_face import Face, face_options
from .printing import examples

if TYPE_CHECKING:
    from reconcile.runtime.store import Settings
    from reconcile.runtime.store.etcd import EtcdSettings
    from reconcile.runtime.store.inspection import Stats
    from reconcile.runtime.store.retention import HistoryKeep

_SQLITE = b"SQLite format 3\0"
"""So begins a snapshot of ours; every other is taken for an etcd's."""
_EVERYTHING = 1 << 62
_FOLDER = click.Path(file_okay=False, path_type=Path)
_data_dir = click.option("--data-dir", required=True, type=_FOLDER, help="The folder of the store.")
_existing = click.option(
    "--data-dir", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="The folder of the store."
)


@click.group("store")
def command() -> None:
    """Serve a store as an etcd, and look after its file."""


@command.command(
    "serve",
    epilog=examples(
        "reconcile store serve --data-dir data",
        "reconcile store serve --data-dir data --listen 0.0.0.0:2379 --cert-file s.crt --key-file s.key --trusted-ca-file ca.crt",
    ),
)
@_data_dir
@click.option("--listen", default="127.0.0.1:2379", show_default=True, metavar="HOST:PORT", help="Where to serve etcd's gRPC.")
@click.option("--name", default="default", show_default=True, help="What `etcdctl member list` calls it.")
@click.option(
    "--quota-bytes",
    "--quota-backend-bytes",
    default=2 << 30,
    show_default=True,
    help="How large the file may grow; 0: without limit.",
)
@click.option("--max-request-bytes", default=1_572_864, show_default=True, help="How large a request may be.")
@click.option("--max-txn-ops", default=128, show_default=True, help="How many operations a txn may hold.")
@click.option(
    "--auto-compaction-mode",
    type=click.Choice(["periodic", "revision"]),
    default="periodic",
    show_default=True,
    help="What --auto-compaction-retention is: a time, or a number of revisions.",
)
@click.option(
    "--auto-compaction-retention",
    default="0",
    show_default=True,
    help="How much history is kept: 30m, 1 (hours) or, by revision, 1000; 0: all, until somebody compacts it.",
)
@click.option("--progress-interval-s", default=600.0, show_default=True, help="How often quiet watches are told of progress.")
@click.option(
    "--auth-token",
    default="simple",
    show_default=True,
    help="Tokens: simple, or jwt,sign-method=ES256,priv-key=FILE[,pub-key=FILE][,ttl=5m] as with etcd.",
)
@click.option(
    "--auth-token-ttl", default=300, show_default=True, help="Seconds after which a simple token ends that nobody uses."
)
@face_options()
@click.option("--unsafe-no-fsync", is_flag=True, help="For tests: a power failure loses acknowledged writes.")
def serve(
    data_dir: Path, listen: str, name: str, quota_bytes: int, max_request_bytes: int, max_txn_ops: int,
    auto_compaction_mode: str, auto_compaction_retention: str, progress_interval_s: float, auth_token: str,
    auth_token_ttl: int, face: Face, unsafe_no_fsync: bool,
) -> None:  # fmt: skip
    """Serve the store in a folder as an etcd of one member, until SIGTERM or Ctrl-C.

    Whatever speaks etcd v3 works: etcdctl --endpoints 127.0.0.1:2379 put greeting hello
    """
    settings = face.settings(
        listen,
        name=name,
        quota_bytes=quota_bytes,
        request_bytes_max=max_request_bytes,
        progress_interval_s=progress_interval_s,
        auth_token=auth_token,
        token_ttl_s=auth_token_ttl,
    )
    from reconcile.runtime.store import Settings

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    store_settings = Settings(
        unsafe_no_fsync=unsafe_no_fsync, request_bytes_max=max_request_bytes, txn_operations_max=max_txn_ops
    )
    keep = kept_history(auto_compaction_mode, auto_compaction_retention)
    asyncio.run(_serve(data_dir, listen, settings, store_settings, keep))


def kept_history(mode: str, retention: str) -> HistoryKeep | None:
    """How much history etcd's two options ask to keep; None: all of it."""
    from reconcile.runtime.store import HistoryKeep

    if retention == "0":
        return None
    # A number alone is hours, or revisions.
    text = f"/{retention}" if mode == "revision" else f"{retention}h" if retention.isdecimal() else retention
    try:
        return HistoryKeep.parse(text)
    except ValueError as error:
        raise CommandError(f"--auto-compaction-retention: {error}") from error


async def _serve(
    data_dir: Path, listen: str, settings: EtcdSettings, store_settings: Settings, keep: HistoryKeep | None
) -> None:  # fmt: skip
    from reconcile.runtime.clock import SystemClock
    from reconcile.runtime.store import Store, StoreLockedError
    from reconcile.runtime.store.etcd import EtcdServer
    from reconcile.runtime.store.retention import keep_history

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clock = SystemClock()
    try:
        store = await Store.open(data_dir, clock, settings=store_settings)
    except StoreLockedError as error:
        raise CommandError(error.detail) from error
    async with store:
        server = await EtcdServer.serve(store, clock, listen, settings)
        tls = "no TLS" if settings.tls is None else "TLS" if settings.tls.trusted_ca_file is None else "TLS, client certificates"
        click.echo(f"serving {data_dir} at revision {store.revision} on {server.address} ({tls}); stop with Ctrl-C")
        forgetting = asyncio.create_task(keep_history(store, clock, keep)) if keep is not None else None
        await stop.wait()
        if forgetting is not None:
            forgetting.cancel()
        await server.close()
    click.echo("stopped; everything acknowledged is on disk")


@command.command("stats")
@_existing
def stats(data_dir: Path) -> None:
    """Print sizes, revisions and counts; a running server does not mind."""
    from reconcile.runtime.store import inspection

    _print(inspection.stats(data_dir))


@command.command("verify")
@_existing
def verify(data_dir: Path) -> None:
    """Check the file and the history in it; exit code 1 when something is wrong."""
    from reconcile.runtime.store import inspection

    report = inspection.verify(data_dir, b"/registry/")
    _print(report.stats)
    click.echo(f"HashKV       {report.hash_kv}")
    if report.problems:
        raise CommandError("\n".join(("the store is damaged; restore a snapshot:", *report.problems)))
    if report.unreadable:
        what = "the store is sound, but the API cannot read what somebody wrote into it; `reconcile delete --unreadable`:"
        raise CommandError("\n".join((what, *report.unreadable)))
    click.echo("sound")


@command.command("snapshot")
@_existing
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def snapshot(data_dir: Path, file: Path) -> None:
    """Copy the store into FILE, as it is at one moment; a running server goes on."""
    from reconcile.runtime.store import inspection

    try:
        revision = inspection.snapshot(data_dir, file)
    except FileExistsError as error:
        raise CommandError(str(error)) from error
    click.echo(f"{file}: {file.stat().st_size} bytes, revision {revision}")


@command.command("restore")
@_data_dir
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--auth-off", is_flag=True, help="Ask nobody who they are, until `etcdctl auth enable`: for users of a real etcd.")
def restore(data_dir: Path, file: Path, auth_off: bool) -> None:
    """Make a new store from FILE: a snapshot of ours, or one that etcdctl saved, from ours or from a real etcd."""
    from functools import partial

    from reconcile.runtime.store import inspection

    load_into = None
    with file.open("rb") as opened:
        ours = opened.read(len(_SQLITE)) == _SQLITE
    if not ours:
        try:
            from reconcile.runtime.store.etcd import snapshots
        except ModuleNotFoundError as error:
            raise CommandError(f"a snapshot of an etcd needs {error.name}: pip install 'reconcile-toolkit[etcd]'") from error
        load_into = partial(snapshots.load_into, auth_off=auth_off)
    try:
        _print(inspection.restore(file, data_dir, load_into))
    except FileExistsError as error:
        raise CommandError(str(error)) from error


@command.command("compact", epilog=examples("reconcile store compact --data-dir .reconcile/app/store --keep 1000"))
@_existing
@click.option(
    "--keep", type=click.IntRange(0), default=0, show_default=True, help="How many of the newest revisions stay readable."
)
def compact(data_dir: Path, keep: int) -> None:
    """Forget old history and give its space back; a running `reconcile up` does it itself, and goes on serving."""
    _tidy_up(data_dir, keep)


@command.command("defrag", epilog=examples("reconcile store defrag --data-dir .reconcile/app/store"))
@_existing
def defrag(data_dir: Path) -> None:
    """Give the space of what is forgotten back to the file system, slice by slice; history stays as it is."""
    _tidy_up(data_dir, _EVERYTHING)


def _tidy_up(data_dir: Path, keep: int) -> None:
    from reconcile.runtime.store import StoreLockedError, inspection

    before = inspection.stats(data_dir)
    try:
        asyncio.run(_compact(data_dir, keep))
    except StoreLockedError as error:
        _ask_to_compact(data_dir, keep, error.detail)
    after = inspection.stats(data_dir)
    begins = max(1, after.compacted)
    click.echo(f"history begins at revision {begins}; {before.size_bytes} bytes became {after.size_bytes}")


async def _compact(data_dir: Path, keep: int) -> None:
    from reconcile.runtime.clock import SystemClock
    from reconcile.runtime.store import Store

    async with await Store.open(data_dir, SystemClock()) as store:
        revision = store.revision - keep
        if revision > max(1, store.compacted):
            await store.compact(revision, physical=True)
        await store.defragment()


def _ask_to_compact(data_dir: Path, keep: int, locked: str) -> None:
    """Have the control plane do it that has the store open: its kubeconfig lies beside the store."""
    from .target import open_target

    state = data_dir.resolve().parent
    if not (state / "kubeconfig").exists():
        raise CommandError(f"{locked}; or ask it: etcdctl compaction REVISION, etcdctl defrag")
    open_target(str(state), "", "").write("POST", "/history", None, keep=str(keep))


def _print(figures: Stats) -> None:
    import attrs

    for name, value in attrs.asdict(figures).items():
        click.echo(f"{name:12s} {value}")
