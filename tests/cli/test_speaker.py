"""A terminal that takes nothing must not stop the control plane."""

from __future__ import annotations

import threading

import pytest

from reconcile.cli.speaker import Speaker


@pytest.fixture
def held() -> threading.Event:
    """While it is not set, the terminal takes nothing (somebody typed Ctrl-S)."""
    return threading.Event()


def test_nobody_waits_for_a_terminal_that_is_held_and_the_newest_picture_is_drawn(held: threading.Event) -> None:
    """Lines wait in their order, pictures are replaced, and more than the bound is counted."""
    said: list[str] = []
    speaker = Speaker(lines_max=3)
    speaker.start()
    began = threading.Event()

    def block() -> None:
        began.set()
        held.wait(10)

    speaker.say(block)
    assert began.wait(10)
    speaker.say(lambda: said.append("first"))
    speaker.show(lambda: said.append("old picture"))
    speaker.show(lambda: said.append("new picture"))
    speaker.say(lambda: said.append("second"))
    speaker.say(lambda: said.append("one too many"))
    assert speaker.lost == 1
    assert said == []

    held.set()
    speaker.stop(10)
    assert said == ["first", "new picture", "second"]


def test_a_reader_that_has_gone_ends_nothing(held: threading.Event) -> None:
    """`up | head` closes the pipe; the processes go on."""
    said: list[str] = []
    speaker = Speaker()
    speaker.start()

    def broken() -> None:
        raise BrokenPipeError

    speaker.say(broken)
    speaker.say(lambda: said.append("later"))
    speaker.stop(10)
    speaker.stop(10)

    assert said == ["later"]


def test_stopping_does_not_wait_for_ever(held: threading.Event) -> None:
    """Ctrl-C must work on a held terminal, too."""
    speaker = Speaker()
    speaker.start()
    speaker.say(lambda: held.wait(10))  # type: ignore[arg-type]  # what it returns is of no interest

    speaker.stop(0.01)

    held.set()
