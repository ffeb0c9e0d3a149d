"""`reconcile up FOLDER`: the control plane in the foreground, and what happens in it, live."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shlex
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from .choosing import EVERY, Choice, read_choice
from .errors import EXIT_INTERRUPTED, CommandError, TimedOut
from .etcd_face import Face, face_options
from .locate import data_dir_for, note_used
from .printing import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconcile.runtime.store import HistoryKeep

    from .running import Session
    from .scene import PodRow, Scene

LOG_NAME = "control-plane.log"
_LOG_BYTES_MAX = 1 << 20
_REDRAW_S = 0.1
_AGES_S = 5.0


class View(Protocol):
    """How `up` tells what happens: `live` in a terminal, `plain` elsewhere."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""

    def line(self, text: str, took_s: float) -> None:
        """Say one thing that happened."""

    def draw(self, scene: Scene, pods: Sequence[PodRow], url: str, now_s: float) -> None:
        """Show the state as it is."""


@click.command(
    "up",
    epilog=examples(
        "reconcile up samples/hello",
        "reconcile up . --keep",
        "reconcile up . --store etcd://127.0.0.1:2379/team-a",
        "reconcile up deploy --detach --wait --timeout 60",
        "reconcile up . --controllers '*,-job-controller' --no-scheduler",
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data-dir", help="Where state is kept [default: $RECONCILE_HOME, else .reconcile beside FOLDER].")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that the API listens on.")
@click.option("--port", type=int, default=0, help="The port that the API listens on [default: the one it had, or a free one].")
@click.option(
    "--token-auth-file",
    "token_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help='Further callers of the API, one a line: TOKEN,user,uid,"group1,group2".',
)
@click.option(
    "--keep/--stop", default=False, help="On Ctrl-C: leave the processes running, or stop them gracefully [default: stop]."
)
@click.option("--etcd-listen", default="", metavar="HOST:PORT", help="Serve the store as an etcd there [needs the etcd extra].")
@face_options("etcd-")
@click.option("--wait", is_flag=True, help="Fail with exit code 4 if not everything is ready within --timeout.")
@click.option("--timeout", "timeout_s", type=float, default=300.0, show_default=True, help="Seconds that --wait allows.")
@click.option("--detach", "-d", is_flag=True, help="Run in the background; with --wait, return when everything is ready.")
@click.option(
    "--history-keep", default="1h/10000", show_default=True, metavar="TIME/REVISIONS",
    help="How much history `get --at`, `history` and `diff` can read: what either bound asks for, whichever is more.",
)  # fmt: skip
@click.option("--allow-empty", is_flag=True, help="Delete the objects even if everything vanishes from FOLDER at once.")
@click.option(
    "--controllers",
    default=EVERY,
    show_default=True,
    metavar="LIST",
    callback=read_choice,
    is_eager=True,
    help="The controllers to run, as kube-controller-manager has it: '*' all, 'foo' this one, '-foo' all but this one, with "
    "commas. `--controllers list` tells their names.",
)
@click.option("--scheduler/--no-scheduler", default=True, help="Run the scheduler, or leave Pods to another one.")
@click.option("--simulate", type=int, default=0, metavar="N", help="Run pods on N simulated nodes instead of as processes.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="NAME=COMMAND",
    help="What to run for an image where a container names no command; NAME without a tag stands for all of its tags.",
)
@click.option(
    "--store",
    metavar="ADDRESS",
    default="",
    envvar="RECONCILE_STORE",
    show_envvar=True,
    help="Keep objects in an etcd cluster: etcd://HOST:2379,HOST:2379/PREFIX (etcds:// for TLS) [default: a store of its own].",
)
@click.option("--plain", is_flag=True, help="Plain lines even in a terminal.")
@click.option(
    "--verbose",
    "-v",
    is_flag=True,
    help="Log what the control plane does to stderr; warnings are in control-plane.log in the state folder.",
)
@click.option("--ready-fd", type=int, default=-1, hidden=True)
def command(
    folder: Path, data_dir: str | None, host: str, port: int, token_file: Path | None, keep: bool, wait: bool,
    timeout_s: float, detach: bool,
    history_keep: str, allow_empty: bool, controllers: frozenset[str], scheduler: bool, simulate: int,
    images: tuple[str, ...], store: str, etcd_listen: str, face: Face,
    plain: bool, verbose: bool, ready_fd: int,
) -> None:  # fmt: skip
    """Run FOLDER: its YAML becomes running processes, its Python controllers run, and both follow every change.

    Files are watched: drop one in, edit one, delete one, and the change is live at once. State is kept, so that stopping
    and starting again goes on where it was.
    """
    history = _history_keep(history_keep)
    state = data_dir_for(folder, data_dir)
    if detach and ready_fd < 0:  # with a descriptor to tell, this is the process in the background already
        from .detached import start_detached  # only this path needs it

        start_detached(state, wait=wait, timeout_s=timeout_s)
        return
    _log_into(state, verbose)
    if face.given and not etcd_listen:
        raise CommandError("the --etcd-... options say how to serve an etcd, but not where: add --etcd-listen HOST:PORT")
    if store and etcd_listen:
        raise CommandError(f"the objects are in {store}: point etcdctl there; --etcd-listen serves a store of its own only")
    # Objects come by the ten thousand and stay: looking through the young ones 70 times less often gives 11 % more pods a
    # second (bench_deploy: 867 against 782, medians of 8) for 8 % less CPU, at the same memory. A switch interval of 0.5 ms
    # was tried with it and gained nothing; neither makes a difference to the start of twenty pods (0.70 s). Set before
    # anything heavy is loaded, it saves the collector some passes over modules that are there to stay.
    gc.set_threshold(50_000, 20, 50)
    # What serves HTTP takes longest to load, and half of that is OpenSSL, which lets others run meanwhile.
    threading.Thread(target=import_module, args=("aiohttp.web",), name="loads HTTP").start()
    from .running import Session, UpSettings  # heavy: only `up` pays for it

    settings = UpSettings(
        folder=folder.resolve(),
        data_dir=state,
        host=host,
        port=port,
        token_file=token_file,
        keep=keep,
        allow_empty=allow_empty,
        history=history,
        simulated_nodes=simulate,
        images=dict(map(_image, images)),
        etcd_listen=etcd_listen,
        etcd=face.settings(etcd_listen, name=folder.resolve().name) if etcd_listen else None,
        store=store,
        choice=Choice(controllers, scheduler),
    )
    with _traces():
        asyncio.run(_run(Session(settings), plain=plain, wait=wait, timeout_s=timeout_s, ready_fd=ready_fd))


def _traces() -> contextlib.AbstractContextManager[None]:
    if not any(name.startswith("OTEL_") for name in os.environ):
        return contextlib.nullcontext()
    from .traced import traced  # few want it

    return traced("reconcile")


def _log_into(state: Path, verbose: bool) -> None:
    """Warnings and errors go into a file in the state folder, which is kept small; with `verbose` more, and to stderr too.

    The live view tells a person what concerns them; this is for who looks for a mistake of the control plane itself.
    """
    from logging.handlers import RotatingFileHandler

    file = RotatingFileHandler(state / LOG_NAME, maxBytes=_LOG_BYTES_MAX, backupCount=1, delay=True, encoding="utf-8")
    handlers: list[logging.Handler] = [file, logging.StreamHandler()] if verbose else [file]
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, handlers=handlers, format="%(asctime)s %(levelname)s %(name)s %(message)s")


def _history_keep(text: str) -> HistoryKeep:
    from reconcile.runtime.store import HistoryKeep

    try:
        return HistoryKeep.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--history-keep") from error


def _image(text: str) -> tuple[str, list[str]]:
    """What stands for an image: its name, and the words of the command."""
    name, _, command = text.partition("=")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint="--image") from error
    if not name or not words:
        raise click.BadParameter(f"{text!r} names no image or no command: give NAME=COMMAND", param_hint="--image")
    return name, words


async def _run(session: Session, *, plain: bool, wait: bool, timeout_s: float, ready_fd: int) -> None:
    """Start, show until a signal comes, stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    view = _view_for(session, plain)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _on_signal, stop, view)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        loop.add_signal_handler(signal.SIGHUP, _on_hangup, stop, [fd for fd in (1, 2) if os.isatty(fd)])
    session.told = lambda text: view.line(text, session.elapsed_s)
    view.start()
    try:
        async with session:
            note_used(session.settings.data_dir)
            # What was loaded stays: the collector need not look at it again and again.
            gc.collect()
            gc.freeze()
            try:
                await _show_until(session, view, stop, wait=wait, timeout_s=timeout_s, ready_fd=ready_fd)
            finally:
                session.told("stopping")
                view.stop()
    finally:
        view.stop()
        for line in session.farewell:
            click.echo(line)


def _on_signal(stop: asyncio.Event, view: View) -> None:
    """The first asks to stop; the second means it."""
    if stop.is_set():
        with contextlib.suppress(OSError):
            view.stop()
            click.echo(
                "ended at once: processes may still run; `reconcile up` takes them over, and stops them in order", err=True
            )
        os._exit(EXIT_INTERRUPTED)
    stop.set()


def _on_hangup(stop: asyncio.Event, terminals: Sequence[int]) -> None:
    """The terminal is gone: stop as for Ctrl-C, and write nothing more to where nobody reads."""
    with open(os.devnull, "wb") as nowhere:
        for fd in terminals:
            os.dup2(nowhere.fileno(), fd)
    stop.set()


def _view_for(session: Session, plain: bool) -> View:
    if sys.stdout.isatty() and not plain and os.environ.get("TERM") != "dumb":
        from .live import LiveView

        return LiveView(str(session.settings.folder.name))
    from .plain import PlainView

    return PlainView()


async def _show_until(session: Session, view: View, stop: asyncio.Event, *, wait: bool, timeout_s: float, ready_fd: int) -> None:
    """Draw whenever something changed, until asked to stop or the session fails."""
    waiting = wait
    stopping = asyncio.create_task(stop.wait(), name="signal")
    failing = asyncio.create_task(session.failure(), name="failure")
    ready_told = False
    try:
        while True:
            changed = asyncio.create_task(session.changed.wait(), name="changed")
            left_s = min(_AGES_S, max(0.0, timeout_s - session.elapsed_s)) if waiting else _AGES_S
            await asyncio.wait({changed, stopping, failing}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            session.changed.clear()
            view.draw(session.scene, session.pods(), session.url, session.clock.now())
            if failing.done():
                raise CommandError(failing.result())
            if stopping.done():
                return
            if session.ready and not ready_told and (session.url or not wait):
                ready_told, waiting = True, False
                session.told(f"ready: everything runs; API {session.url or 'starting'}")
            if waiting and session.elapsed_s >= timeout_s:
                raise TimedOut("\n".join([f"not ready after {timeout_s:g} s:", *session.unready()]))
            if ready_fd >= 0 and session.url and (ready_told or not wait):
                # Once: the number of a closed descriptor may be another file's by the next round.
                _tell_parent(ready_fd, "ready")
                ready_fd = -1
            await session.clock.sleep(_REDRAW_S)
    finally:
        for task in (stopping, failing):
            task.cancel()
        await asyncio.gather(stopping, failing, return_exceptions=True)


def _tell_parent(ready_fd: int, word: str) -> None:
    """Tell `up --detach`, which may have gone meanwhile."""
    with contextlib.suppress(OSError):
        os.write(ready_fd, word.encode())
    os.close(ready_fd)
