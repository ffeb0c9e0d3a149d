"""kopf's examples 01 to 17 run with nothing changed but the import: `import reconcile.kopf as kopf`.

A few of them in the suite; all with `make kopf`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.foreign import CLUSTER
from tests.kopf.conftest import Kubectl, start
from tests.plane import Plane, wait_until

ALL = os.environ.get("RECONCILE_KOPF_EXAMPLES") == "all"


class Story(NamedTuple):
    """What is done with an example's object, and what must be said or be so after each step."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    status: str = ""
    events: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    once: tuple[str, ...] = ()
    pods: bool = False
    fast: bool = False


STORIES = {
    "01-minimal": Story(created=("And here we are! Creating: ",), status='{"create_fn":{"message":"hello world"}}', fast=True),
    "02-children": Story(status=r'{"create_fn":{"children":\["[-0-9a-f]{36}"\]}}'),
    "03-exceptions": Story(
        created=(
            "instant_failure_with_only_a_message .*Fail once and for all.; not again until it changes",
            "eventual_success_with_a_few_messages .*Expected recoverable error.; again in 1 s",
            r"(?s)eventual_failure_with_tracebacks .*; again in .*eventual_failure_with_tracebacks .*not again until it changes",
            "instant_failure_with_traceback .*not again until it changes",
        ),
    ),
    "04-events": Story(
        events=("SomeType SomeReason Some message", "Warning SomeReason Some message", "Error SomeReason .*text.")
    ),
    "05-handlers": Story(
        created=("CREATED 1st", "CREATED 2nd", "FIELD CHANGED: None -> value"),
        changed=("UPDATED", "FIELD CHANGED: value -> changed"), deleted=("DELETED 1st", "DELETED 2nd"), never=("RESUMED",),
        once=("CREATED 1st", "CREATED 2nd", "UPDATED", "DELETED 1st"), fast=True,
    ),
    "06-peering": Story(created=(r"running: 1 handlers",)),
    "07-subhandlers": Story(
        created=("=== Handling creation for item1. ===", "=== Handling creation for item2. ==="), once=("for item1", "for item2")
    ),
    "08-events": Story(
        created=("Exception: Oops!", "Event received: {'type': 'ADDED'"), changed=("'type': 'MODIFIED'",),
        deleted=("'type': 'DELETED'",),
    ),
    "09-testing": Story(created=(r"\[\w+/kopf-example-1\] Something was logged here.",)),
    "10-builtins": Story(created=("=== Pod killing happens in 30s.",), deleted=("=== Pod killing is cancelled!",), pods=True),
    "11-filtering-handlers": Story(
        created=(
            "Label is matching", "Label is present", "Label is absent", "Label callback matching", "Annotation is matching",
            "Annotation is present", "Annotation is absent", "Filter satisfied", "Field value is satisfied",
            "Field presence is satisfied", "Field daemon is satisfied",
        ),
        changed=("Field change is satisfied",), fast=True,
        never=("callback mismatch", "Filter not satisfied", "value is not satisfied", "presence is not satisfied"),
    ),
    "13-hooks": Story(created=("Logging in in 2s", "Going to succeed in 1s", "Starting retried", "running: 7 handlers")),
    "14-daemons": Story(
        created=("=> Ping from a sync daemon: field='value', retry=3", "=> Ping from an async daemon: field='value'"),
        status='{"message":"Failed 3 times."}', fast=True,
    ),
    "15-timers": Story(created=("Ping from a sync timer: field='value'", "Ping from an async timer: field='value'")),
    "16-indexing": Story(created=(r"{}",), status=r'{"running-pods":\[\]}'),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, story in STORIES.items() if ALL or story.fast])
def test_an_example_of_kopf_runs_with_its_import_changed(
    plane: Plane, kubectl: Kubectl, examples: Path, tmp_path: Path, name: str
) -> None:
    """Created, changed, deleted, stopped: what the example is to show happens, once, and the process ends well."""
    story, space = STORIES[name], f"ns{name[:2]}"
    kubectl("create", "namespace", space)
    running = start(plane, tmp_path / "log", str(examples / name / "example.py"), "-n", space)
    wait = _waiting(running.said)
    try:
        wait("running: ")
        _begin(kubectl, space, story)
        for words in story.created:
            wait(words)
        if story.status:
            read = ["get", "kopfexample", "kopf-example-1", "-n", space, "-o", "jsonpath={.status}"]
            wait_until(story.status, lambda: re.fullmatch(story.status, kubectl(*read)), 30.0, running.said)
        columns = "custom-columns=T:.type,R:.reason,M:.message"
        for words in story.events:
            pattern = re.compile(words.replace(" ", r"\s+"))
            wait_until(words, lambda: pattern.search(kubectl("get", "events", "-n", space, "-o", columns)), 30.0)  # noqa: B023
        if story.changed:
            kubectl("patch", "-f", "obj.yaml", "-n", space, "--type", "merge", "-p", '{"spec":{"field":"changed"}}')
        for words in story.changed:
            wait(words)
        kubectl("delete", *(["pod", "p"] if story.pods else ["-f", "obj.yaml"]), "-n", space, "--timeout", "20s")
        for words in story.deleted:
            wait(words)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0, running.said()
        said = running.said()
        assert not [words for words in story.never if re.search(words, said)]
        assert {words: len(re.findall(words, said)) for words in story.once} == dict.fromkeys(story.once, 1)
    finally:
        running.process.kill()
        running.process.wait()


def _begin(kubectl: Kubectl, space: str, story: Story) -> None:
    if story.pods:
        kubectl("run", "p", "--image=none", "-n", space, "--command", "--", "sleep", "60")
    else:
        kubectl("create", "-f", "obj.yaml", "-n", space)


def _waiting(said: Callable[[], str]) -> Callable[[str], None]:
    def wait(words: str) -> None:
        wait_until(words, lambda: re.search(words, said()), 30.0, said)

    return wait


@pytest.mark.skipif(not ALL, reason="`make kopf` runs it")
def test_the_embedded_example_runs_as_a_script(plane: Plane, examples: Path) -> None:
    """`kopf.operator()` in a thread, stopped by an event of threads."""
    env = {**plane.env, "KUBECONFIG": str(plane.data_dir / "kubeconfig")}
    done = subprocess.run(
        [sys.executable, str(examples / "12-embedded" / "example.py")],
        check=False,
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for step in range(3):
        assert f"Hello, kopf-example-{step}!" in done.stdout
        assert f"Good bye, kopf-example-{step}!" in done.stdout
    assert done.stdout.rstrip().endswith("Exiting the main app.")


@pytest.mark.skipif(bool(CLUSTER), reason="a cluster of others has no folder")
def test_the_example_with_admission_handlers_runs_in_the_folder(plane: Plane, kubectl: Kubectl, examples: Path) -> None:
    """There the API server calls them in its own process: no certificates, no tunnels."""
    (plane.folder / "admission.py").write_text((examples / "17-admission" / "example.py").read_text())
    try:
        asked = _judged(plane, kubectl, "ns17")
    finally:
        (plane.folder / "admission.py").unlink()
    plane.wait("it is not called any more", lambda: "unidentified" not in kubectl(*asked))


def test_the_example_with_admission_handlers_runs_by_itself(
    plane: Plane, kubectl: Kubectl, examples: Path, tmp_path: Path
) -> None:
    """As webhooks, which any API server calls; they are withdrawn at its end, or nothing could be written any more."""
    source = str(examples / "17-admission" / "example.py")
    running = start(plane, tmp_path / "log", source, "--webhooks", "127.0.0.1:0")
    try:
        asked = _judged(plane, kubectl, "ns18")
        assert "example.reconcile.local" in kubectl("get", "validatingwebhookconfigurations", "-o", "name")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0, running.said()
    finally:
        running.process.kill()
        running.process.wait()
    assert "example" not in kubectl("get", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "-o", "name")
    assert "unidentified" not in kubectl(*asked)


def _judged(plane: Plane, kubectl: Kubectl, space: str) -> list[str]:
    """Everything that the example says of writes; gives a dry run that it warns of."""
    kubectl("create", "namespace", space)
    asked = ["create", "-f", "obj.yaml", "-n", space, "--dry-run=server"]
    plane.wait("its warnings come", lambda: "unidentified" in kubectl(*asked))
    said = kubectl(*asked)
    assert "SSL peer is not identified." in said
    assert "Also update status.field to match spec.field" in said
    kubectl("create", "-f", "obj.yaml", "-n", space)
    assert kubectl("get", "kex", "kopf-example-1", "-n", space, "-o", "jsonpath={.spec.injected}") == "123"
    for field, words in (
        ("wrong", "Meh! I don't like it. Change the field."),
        ("not-allowed", "I'm too lazy anyway. Go away!"),
    ):
        change = ["patch", "-f", "obj.yaml", "-n", space, "--type", "merge", "-p", f'{{"spec":{{"field":"{field}"}}}}']
        assert words in kubectl(*change, check=False)
    status = ["patch", "kex", "kopf-example-1", "-n", space, "--subresource=status", "--type", "merge", "-p"]
    assert "status.field MUST be equal to spec.field!" in kubectl(*status, '{"status":{"field":"x"}}', check=False)
    kubectl(*status, '{"status":{"field":"value"}}')
    kubectl("delete", "-f", "obj.yaml", "-n", space, "--timeout", "20s")
    return asked
