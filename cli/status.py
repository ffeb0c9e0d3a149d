"""`reconcile status`: what runs, what does not, and why; the first thing to type when something is wrong."""

from __future__ import annotations

import time
from typing import Any

import click

from reconcile.clock import parse_timestamp
from reconcile.errors import ApiError, Tree

from .errors import EXIT_REFUSED, CommandError
from .printing import colour_of, colours, duration, examples, output_option, show
from .scene import Rollout, Scene, why_not_well
from .target import TABLE, Target, run_of, target_options

_LAST_WORDS_MAX = 10  # pods whose logs are asked for
_KINDS = (
    "deployments.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch", "pods", "services",
    "endpointslices.discovery.k8s.io", "folders.reconcile.dev", "nodes",
)  # fmt: skip


@click.command(
    "status", epilog=examples("reconcile status", "reconcile status --output json", "reconcile status && echo all is well")
)
@output_option("json", "yaml")
@target_options
def command(target: Target, output: str | None) -> None:
    """Show what runs and what does not. Exit code 0 if all is well, 1 if something needs a look."""
    scene = Scene()
    for word in _KINDS:
        try:
            resource = target.resolve(word)
        except CommandError:
            continue  # a real Kubernetes has no Folders
        for tree in target.items(resource, all_namespaces=True):
            scene.put(resource.kind, tree)
    pods = _pods(target, scene)
    _add_last_words(target, pods)
    well = scene.ready(all(pod["well"] for pod in pods))
    if output:
        show(_document(target, scene, pods, well), output)
    else:
        _print(target, scene, pods, well)
    if not well:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _pods(target: Target, scene: Scene) -> list[Tree]:
    """Pods with their printer columns, which the server computes."""
    document = target.read(target.path(target.resolve("pods"), all_namespaces=True), accept=TABLE)
    names = [column["name"] for column in document.get("columnDefinitions", ())]
    trees = {(tree["metadata"].get("namespace", ""), tree["metadata"]["name"]): tree for tree in scene.of("Pod")}
    found = []
    for row in document.get("rows") or ():
        cells = dict(zip(names, row["cells"], strict=False))
        metadata = row["object"]["metadata"]
        tree = trees.get((metadata.get("namespace", ""), metadata["name"]))
        if tree is None:
            continue  # it went between the two requests
        ready, status = str(cells.get("Ready")), str(cells.get("Status"))
        have, _, want = ready.partition("/")
        well = status in ("Completed", "Succeeded") or (status == "Running" and have == want)
        found.append(
            {
                "namespace": metadata.get("namespace", ""), "name": metadata["name"], "ready": ready, "status": status,
                "restarts": str(cells.get("Restarts")), "age": str(cells.get("Age")), "well": well,
                "address": tree.get("status", {}).get("podIP", ""), "why": "" if well else why_not_well(tree),
            }
        )  # fmt: skip
    return found


def _add_last_words(target: Target, pods: list[Tree]) -> None:
    """What crashing containers wrote last: most often that is the answer."""
    for pod in [p for p in pods if "exited with code" in p["why"]][:_LAST_WORDS_MAX]:
        resource = target.resolve("pods")
        here, target.namespace = target.namespace, pod["namespace"]
        try:
            lines = list(target.lines(target.path(resource, pod["name"], subresource="log"), tailLines="3"))
        except ApiError:
            continue  # its log is gone, or was never written
        finally:
            target.namespace = here
        pod["lastWords"] = [line.decode(errors="replace") for line in lines if line.strip()]


def _document(target: Target, scene: Scene, pods: list[Tree], well: bool) -> Tree:
    def plain(value: Any) -> Tree:
        import attrs  # only for this output

        return attrs.asdict(value)

    return {
        "well": well,
        "rollouts": [plain(rollout) for rollout in scene.rollouts()],
        "pods": pods,
        "services": [plain(row) for row in scene.services()],
        "problems": scene.problems(),
        "off": (run_of(target) or {}).get("off") or [],
    }


def _print(target: Target, scene: Scene, pods: list[Tree], well: bool) -> None:
    paint = colours()

    def styled(text: str, colour: str | None) -> str:
        return click.style(text, fg=colour) if paint and colour else text

    run = run_of(target)
    if run:
        up_for = duration(time.time() - parse_timestamp(run["started"]))
        click.echo(f"{run['folder']}: control plane {run['url']} (pid {run['pid']}), up for {up_for}")
        if run.get("off"):
            click.echo(f"left to other programs: {', '.join(run['off'])}")
        click.echo()
    for rollout in scene.rollouts():
        click.echo(_rollout_line(rollout, styled))
        for pod in [p for p in pods if p["namespace"] == rollout.namespace and p["name"].startswith(rollout.name + "-")]:
            click.echo(_pod_line(pod, "  ", styled))
    owned = {
        pod["name"]
        for r in scene.rollouts()
        for pod in pods
        if pod["namespace"] == r.namespace and pod["name"].startswith(r.name + "-")
    }
    for pod in pods:
        if pod["name"] not in owned:
            click.echo(_pod_line(pod, "", styled))
    for row in scene.services():
        click.echo(f"service/{row.name}  {row.addresses}  " + styled(f"{row.ready} ready", "green" if row.ready else "yellow"))
    for problem in scene.problems():
        where = ":".join(str(problem[part]) for part in ("file", "line", "column") if problem.get(part))
        click.echo(
            f"{styled('✗', 'red')} {styled(where, 'red')}: {problem['message']}"
            + (f" ({problem['hint']})" if problem.get("hint") else "")
        )
        if problem.get("traceback"):
            click.echo("    " + problem["traceback"].rstrip().replace("\n", "\n    "))
    if not pods and not scene.rollouts():
        click.echo("nothing runs")
    click.echo("\n" + (styled("all is well", "green") if well else styled("something needs a look", "yellow")))


def _rollout_line(rollout: Rollout, styled: Any) -> str:
    colour = "red" if rollout.stuck else "green" if rollout.done else "yellow"
    width = 20
    filled = width if not rollout.wanted else round(width * rollout.available / rollout.wanted)
    bar = styled("━" * filled, colour) + styled("─" * (width - filled), "bright_black")
    return f"{rollout.title}  {bar}  {styled(rollout.progress, colour)}" + (f"  {rollout.stuck}" if rollout.stuck else "")


def _pod_line(pod: Tree, indent: str, styled: Any) -> str:
    restarts = f"  restarted {pod['restarts']}" if pod["restarts"] not in ("0", "None") else ""
    why = "".join(f"\n{indent}    {line}" for line in (pod["why"], *(f"| {said}" for said in pod.get("lastWords", ()))) if line)
    status = styled(pod["status"], colour_of(pod["status"]))
    return f"{indent}pod/{pod['name']}  {pod['ready']}  {status}{restarts}  {pod['age']}  {pod['address']}{why}"
