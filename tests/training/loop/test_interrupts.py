"""Ctrl-C, as the operating system sends it."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from adwright.training.loop.run_folder import Interrupts


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def step_in_which(held: Interrupts, done: list[str], times: int) -> None:
    """Take a step in which Ctrl-C is pressed so many times."""
    with held.step():
        for _ in range(times):
            press()
        done.append("the rest of the step")


def test_a_step_is_ended_first() -> None:
    held, done = Interrupts(), list[str]()
    with held.watched():
        with pytest.raises(KeyboardInterrupt):
            step_in_which(held, done, 1)
        assert held.whole
    assert done == ["the rest of the step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_ends_the_step() -> None:
    held, done = Interrupts(), list[str]()
    with held.watched(), pytest.raises(KeyboardInterrupt):
        step_in_which(held, done, 2)
    assert done == []
    assert not held.whole


def test_between_two_steps_it_comes_at_once() -> None:
    held = Interrupts()
    with held.watched():
        with held.step():
            pass
        with pytest.raises(KeyboardInterrupt):
            press()
        assert held.whole


def test_several_processes_and_handlers_of_others_are_left_alone() -> None:
    held = Interrupts()
    with held.watched(alone=False):
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt), held.step():
            press()
        assert not held.whole
    seen: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("mine"))
    try:
        with held.watched(), held.step():
            press()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["mine"]
    assert not held.whole


def test_another_thread_may_train() -> None:
    held, found = Interrupts(), []

    def work() -> None:
        with held.watched(), held.step():
            found.append(held.whole)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
