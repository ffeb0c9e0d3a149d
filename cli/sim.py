"""`reconcile sim`: run controllers under every fault, for those who have no tests yet."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import CommandError
from .printing import examples, output_option, show, table

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from reconcile.runtime.testing.convergence import Convergence, Explored
    from reconcile.runtime.testing.plan import Pattern

_NAMES = ("intermediate", "stale", "unobserved", "chaos")


@click.command(
    "sim",
    epilog=examples(
        "reconcile sim app.py",
        "reconcile sim app.py --workload samples/web.yaml --patterns sieve",
        "reconcile sim app.py --patterns chaos --seeds 500",
        "reconcile sim app.py --plan crash:app:9",
        "reconcile sim app.py --plan incident.json",
    ),
)
@click.argument(
    "apps", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="APP.py..."
)
@click.option(
    "-w", "--workload", "workloads", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Objects to make, delete and make again: a file, a folder, or an incident (.json); else drawn from the kinds' schemas.",
)  # fmt: skip
@click.option(
    "--patterns", default="sieve", show_default=True,
    help=f"Which faults: sieve (the first three of) {', '.join(_NAMES)}; several with commas.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="At most so many plans of a pattern.")
@click.option("--seeds", type=click.IntRange(1), default=100, show_default=True, help="So many random plans of chaos.")
@click.option("--steps", type=click.IntRange(1), default=3, show_default=True, help="So many changes of each object.")
@click.option("--plan", default="", help="Run this plan only, as a report names it, or the incident of a file.")
@click.option("--cluster", is_flag=True, help="Surround the app with the built-in controllers, a scheduler and simulated nodes.")
@click.option("--ignore", multiple=True, metavar="KIND:PATH", help="A field that may differ, such as webapps:status.startedAt.")
@output_option("json", "yaml")
def command(
    apps: tuple[Path, ...], workloads: tuple[Path, ...], patterns: str, limit: int, seeds: int, steps: int, plan: str,
    cluster: bool, ignore: tuple[str, ...], output: str | None,
) -> None:  # fmt: skip
    """Run the controllers of APP.py in virtual time: once without faults, then under each plan of faults.

    They must come to the same end, make no more objects than needed, and stop writing. The first plan that fails is shrunk
    and explained; then the exit code is 1.
    """
    from reconcile.runtime.testing.incident import plan_given, read_incident
    from reconcile.runtime.testing.plan import read_plan

    if plan.endswith(".json"):  # what was done and what went wrong, in one file
        workloads = (*workloads, Path(plan))
    incidents = [file for file in workloads if file.suffix == ".json"]
    if incidents and len(workloads) > 1:
        raise CommandError(f"{incidents[-1]} says what is done; give no other --workload with it")
    relived = read_incident(incidents[0]) if incidents else None
    faults = read_plan(plan := plan_given(plan))
    chosen = _patterns(patterns, limit, seeds)
    convergence = _convergence(apps, workloads, steps, cluster, _ignored(ignore), relived)
    _reference(convergence, quiet=bool(output))
    seen = [_given(convergence, plan)] if faults else _explore(convergence, chosen, quiet=bool(output))
    _tell(seen, output, _again(apps, workloads, steps, cluster, ignore))


def _patterns(text: str, limit: int, seeds: int) -> list[Pattern]:
    from reconcile.runtime.testing.plan import chaos, sieve

    known = {pattern.name: pattern for pattern in (*sieve(limit), *chaos(seeds))}
    chosen: list[Pattern] = []
    for name in text.split(","):
        if name == "sieve":
            chosen.extend(sieve(limit))
        elif name in known:
            chosen.append(known[name])
        else:
            raise click.UsageError(f"there is no pattern {name!r}; there are: sieve, {', '.join(_NAMES)}")
    return chosen


def _ignored(given: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in given:
        kind, colon, path = one.partition(":")
        if not colon or not kind or not path:
            raise click.UsageError(f"--ignore {one!r}: write KIND:PATH, such as webapps:status.startedAt")
        found.setdefault(kind, []).append(path)
    return found


def _convergence(
    apps: tuple[Path, ...], workloads: tuple[Path, ...], steps: int, cluster: bool, ignore: dict[str, list[str]],
    relived: dict[str, Any] | None,
) -> Convergence:  # fmt: skip
    from reconcile.runtime.testing.apps import apps_of
    from reconcile.runtime.testing.convergence import Convergence, Experiment
    from reconcile.runtime.testing.everyday import declared_by, everyday
    from reconcile.runtime.testing.incident import reliving
    from reconcile.testing.ground import ignored, surroundings

    made = apps_of(list(apps))
    files = [file for workload in workloads for file in _manifests(workload)] if relived is None else []
    if relived is None and not files and not declared_by(made):
        raise CommandError("nothing to do: the app declares no kind with a spec; give it objects with --workload FILE")
    workload = reliving(relived) if relived is not None else everyday(made, files, steps)
    return Convergence(Experiment(made, workload, surroundings(cluster=cluster), ignore=ignored(cluster, ignore)))


def _manifests(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
    if not found:
        raise CommandError(f"{path} holds no YAML files")
    return found


def _reference(convergence: Convergence, *, quiet: bool) -> None:
    """Run without faults; what goes wrong then is the app's or the workload's mistake, not a fault's."""
    from reconcile.errors import ReconcileError

    begun_s = time.perf_counter()
    try:
        reference = convergence.reference
    except ReconcileError:
        raise
    except AssertionError as error:
        raise CommandError(f"the workload fails without any fault: {error}") from error
    if not quiet:
        took_ms = 1000 * (time.perf_counter() - begun_s) / 2
        count = len(reference.rests)
        click.echo(
            f"without faults: {len(reference.writes)} writes, {len(reference.events)} events, {count} times at rest; "
            f"{took_ms:.0f} ms, and the same twice"
        )


def _given(convergence: Convergence, plan: str) -> Explored:
    from reconcile.runtime.testing.convergence import Explored
    from reconcile.runtime.testing.plan import read_plan

    failure = convergence.check(read_plan(plan))
    return Explored("given", 1, len(convergence.unreached), 0, failure)


def _explore(convergence: Convergence, patterns: list[Pattern], *, quiet: bool) -> list[Explored]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<13}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    seen: list[Explored] = []
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        for pattern in patterns:
            task = bar.add_task(pattern.name, total=None)
            explored = convergence.explore(pattern, partial(_advance, bar, task))
            seen.append(explored)
            if explored.failure is not None:
                break
    return seen


def _advance(bar: Progress, task: TaskID, done: int, of: int) -> None:
    bar.update(task, completed=done, total=of)


def _again(apps: tuple[Path, ...], workloads: tuple[Path, ...], steps: int, cluster: bool, ignore: tuple[str, ...]) -> str:
    words = ["reconcile sim", *map(str, apps), *(f"--workload {workload}" for workload in workloads), f"--steps {steps}"]
    words += ["--cluster"] * cluster + [f"--ignore '{one}'" for one in ignore]
    return " ".join(words)


def _tell(seen: list[Explored], output: str | None, again: str) -> None:
    from reconcile.runtime.testing.plan import plan_text
    from reconcile.runtime.testing.report import report

    failed = next((one.failure for one in seen if one.failure is not None), None)
    if output:
        show(_told(seen), output)
    else:
        rows = [(one.pattern, one.plans, one.skipped, one.unreached, "FAILED" if one.failure else "ok") for one in seen]
        click.echo(table(("Pattern", "Plans", "Left out", "Unreached", "Result"), rows))
        if failed is not None:
            click.echo("\n" + report(failed, f"{again} --plan '{plan_text(failed.plan)}'", seen))
    if failed is not None:
        sys.exit(1)


def _told(seen: list[Explored]) -> dict[str, Any]:
    from reconcile.runtime.testing.plan import plan_text
    from reconcile.runtime.testing.report import findings

    return {
        "patterns": [
            {
                "name": one.pattern, "plans": one.plans, "leftOut": one.skipped, "unreached": one.unreached,
                "converges": one.failure is None,
            }
            for one in seen
        ],
        "failure": next(
            (
                {
                    "plan": plan_text(one.failure.plan), "sort": one.failure.sort, "findings": findings(one.failure),
                    "why": list(one.failure.evidence),
                }
                for one in seen
                if one.failure is not None
            ),
            None,
        ),
    }  # fmt: skip
