"""Probes: thresholds, early questions, and the questions themselves."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence

import attrs
import pytest

from reconcile.resources.kubelet.asking import ask, port_number
from reconcile.resources.kubelet.probes import Answer, EarlyPauses, ProbeSpec, ProbeType, Threshold, probe_forever
from reconcile.resources.kubelet.runtime import Runtime


@attrs.define
class Hours:
    """A clock on which sleeping is free."""

    at: float = 0.0
    random: random.Random = attrs.field(factory=random.Random)

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)

    def uid(self) -> str:
        return "uid"

    async def past(self, at: float) -> None:
        """Let others run until it is `at`."""
        while True:
            await asyncio.sleep(0)
            if self.at >= at:
                return


def test_a_result_changes_only_after_enough_answers_in_a_row() -> None:
    """One slow answer must not restart anybody."""
    counted = Threshold(successes=2, failures=3, result=True)
    changes = [counted.note(ok) for ok in (False, False, True, False, False, False, False, True, True)]
    assert changes == [False, False, False, False, False, True, False, False, True]


def test_early_pauses_grow_up_to_what_is_left() -> None:
    """Quick at first, never beyond the next counted probe."""
    pauses = EarlyPauses(0.02, 10.0)
    assert [round(pauses.pause(9.0), 3) for _ in range(4)] == [0.02, 0.03, 0.045, 0.068]
    assert pauses.pause(0.01) == 0.01
    assert EarlyPauses(0.0, 10.0).pause(9.0) == 9.0


async def watched(
    type_: ProbeType, answers: Callable[[float], bool], spec: ProbeSpec, until_s: float, result: bool | None = None
) -> tuple[list[tuple[float, bool]], int]:
    """The changes that a probe reports (when, what) and the failures that it counts, up to a time."""
    clock, changes, fallen = Hours(), [], 0

    async def asking() -> Answer:
        return Answer(answers(clock.at))

    def report(ok: bool, message: str) -> bool:
        changes.append((round(clock.at, 2), ok))
        return True

    def fell(message: str) -> None:
        nonlocal fallen
        fallen += 1

    task = asyncio.create_task(probe_forever(type_, spec, asking, report, fell, clock=clock, early_s=0.02, result=result))
    await clock.past(until_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return changes, fallen


async def test_a_container_that_is_up_early_is_ready_early() -> None:
    """Time to ready decides how fast a rollout goes: 0.3 s of start-up must not cost a period of 10 s."""
    changes, fallen = await watched("readiness", lambda at: at >= 0.3, ProbeSpec({}), 20.0)
    assert changes[0][1] is True
    assert changes[0][0] < 0.5
    assert fallen == 0, "early questions may only bring good news"


async def test_liveness_fails_after_its_threshold_of_full_periods() -> None:
    """Early questions must not add up to a restart."""
    changes, fallen = await watched("liveness", lambda at: at < 25, ProbeSpec({}), 60.0, result=True)
    assert changes == [(50.0, False)]
    assert fallen >= 3


async def test_a_startup_probe_gives_the_whole_time_that_it_promises() -> None:
    """failureThreshold times periodSeconds, early questions or not."""
    changes, _ = await watched("startup", lambda at: False, ProbeSpec({}, period_s=2.0, failures=5), 30.0)
    assert changes[0] == (10.0, False)


async def test_readiness_is_lost_after_its_threshold_and_found_again() -> None:
    """A busy server leaves the Service, and comes back."""
    changes, _ = await watched("readiness", lambda at: not 15 < at < 65, ProbeSpec({}), 100.0)
    assert changes == [(0.0, True), (40.0, False), (70.0, True)]


async def serve(answer: bytes) -> asyncio.Server:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "ok", "message"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True, ""),
        (b"HTTP/1.0 302 Found\r\nlocation: /\r\n\r\n", True, ""),
        (b"HTTP/1.1 503 No\r\n\r\nwarming up", False, "HTTP probe failed with statuscode: 503: warming up"),
        (b"SSH-2.0\r\n", False, "the answer is not HTTP: it begins with 'SSH-2.0\\r\\n'"),
    ],
)
async def test_an_http_answer_is_judged_by_its_status(answer: bytes, ok: bool, message: str) -> None:
    """2xx and 3xx are well; all else says what came."""
    server = await serve(answer)
    port = server.sockets[0].getsockname()[1]
    container = {"name": "c", "ports": [{"name": "web", "containerPort": port}]}
    action = {"httpGet": {"port": "web", "path": "/health?x=1", "httpHeaders": [{"name": "X-Probe", "value": "1"}]}}
    got = await ask(NO_RUNTIME, "u", container, action, as_is, address="127.0.0.1", timeout_s=2)
    server.close()
    assert got == Answer(ok, message)


async def as_is(argv: Sequence[str]) -> Sequence[str]:
    return argv


async def test_nobody_listening_and_nobody_answering_are_failures() -> None:
    """A probe never raises, and never hangs."""
    server = socket.create_server(("127.0.0.1", 0))  # the kernel takes the connection, nobody answers
    port = server.getsockname()[1]
    slow = await ask(NO_RUNTIME, "u", {"name": "c"}, {"httpGet": {"port": port}}, as_is, address="127.0.0.1", timeout_s=0.05)
    reached = await ask(NO_RUNTIME, "u", {"name": "c"}, {"tcpSocket": {"port": port}}, as_is, address="127.0.0.1", timeout_s=1)
    server.close()
    refused = await ask(NO_RUNTIME, "u", {"name": "c"}, {"tcpSocket": {"port": port}}, as_is, address="127.0.0.1", timeout_s=1)
    assert slow.message == "no answer within 0.05s"
    assert reached.ok
    assert refused == Answer(False, f"dial tcp 127.0.0.1:{port}: connect: connection refused")
    unknown = await ask(NO_RUNTIME, "u", {"name": "c"}, {"grpc": {"port": 1}}, as_is, address="127.0.0.1", timeout_s=1)
    assert "asks by exec, httpGet or tcpSocket" in unknown.message


def test_a_named_port_that_is_not_there_is_named() -> None:
    """A typo in a probe must be readable from the event."""
    container = {"name": "c", "ports": [{"name": "web", "containerPort": 80}]}
    assert port_number(container, "web") == 80
    assert port_number(container, "8080") == 8080
    with pytest.raises(ValueError, match=r"couldn't find port: 'wbe'.*its named ports: web"):
        port_number(container, "wbe")


NO_RUNTIME: Runtime = None  # type: ignore[assignment]  # questions over the network never ask the runtime
