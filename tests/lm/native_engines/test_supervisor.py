"""?"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adwright.core.child_process import WorkerProcess
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.lm.engine.base import cancelled_score
from adwright.lm.engine.generation import Cancellation
from adwright.lm.native_engines.supervisor import RestartBounds, Second, Supervisor
from tests.support.lm.worker_lives import WORKER, worker_settings

pytest.importorskip("xllamacpp", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")


#: The module that a life runs, by what becomes of it; one reads its input to the end.
MODULES = {"ready": WORKER, "fails": "adwright.nowhere", "hangs": "json.tool"}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Supervisor]:
    settings = worker_settings(tmp_path_factory.mktemp("models"))

    def made(
        how: Callable[[], str] = lambda: "ready",
        bounds: RestartBounds | None = None,
        ping: Callable[[WorkerProcess], bool] = lambda _: True,
    ) -> Supervisor:
        return Supervisor(
            "calm",
            lambda: WorkerProcess(MODULES[how()], settings),
            refusal=refusal,
            ping=ping,
            bounds=RestartBounds() if bounds is None else bounds,
        )

    return made


def refusal(told: str, _: Path) -> AdwrightError:
    return ConfigError(told, where="x", hint="y")


def until(what: Callable[[], bool]) -> bool:
    over = time.monotonic() + 30
    while not what() and time.monotonic() < over:
        time.sleep(0.02)
    return what()


def test_it_is_started_again_after_each_kill(make: Callable[..., Supervisor]) -> None:
    with closing(make()) as lives:
        for _ in range(3):
            life = lives.life()
            lives.worked()
            os.kill(life.pid, signal.SIGKILL)
            assert "killed by SIGKILL" in str(lives.broken(life))
            assert lives.life().pid != life.pid
            assert lives.health(working=False) == "ready"
        assert "broke the connection" in str(lives.broken(lives.life()))
    assert lives.health(working=False) == "dead"
    with pytest.raises(ResourceError, match="closed"):
        lives.life()
    assert not lives.current.alive


def test_the_first_start_is_the_callers_to_know(make: Callable[..., Supervisor]) -> None:
    with pytest.raises(ConfigError, match="ended with code 1"):
        make(lambda: "fails")


def test_starts_that_fail_become_rare(make: Callable[..., Supervisor]) -> None:
    hows: Iterator[str] = iter(["ready", *["fails"] * 100])
    started = []

    def how() -> str:
        started.append(time.monotonic())
        return next(hows)

    with closing(make(how, RestartBounds(wait=0.2, first=0.5))) as lives:
        os.kill(lives.life().pid, signal.SIGKILL)
        assert until(lambda: lives.health(working=False) == "dead")
        with pytest.raises(ResourceError, match="started again"):
            lives.life()
        count = len(started)
    assert count == len(started) < 10


def test_one_that_gives_no_sign_is_stuck_and_then_ended(make: Callable[..., Supervisor]) -> None:
    with closing(make(bounds=RestartBounds(quiet=0.1, kill=3.0), ping=lambda _: False)) as lives:
        life = lives.life()
        assert until(lambda: lives.health(working=False) == "stuck")
        lives.heard()
        assert lives.health(working=False) == "ready"
        assert until(lambda: not life.alive)
        assert until(lambda: lives.current is not life)


def test_work_without_a_token_is_stuck(make: Callable[..., Supervisor]) -> None:
    with closing(make(bounds=RestartBounds(tokens=0.1))) as lives:
        lives.moved()
        assert until(lambda: lives.health(working=True) == "stuck")
        assert lives.health(working=False) == "ready"


def test_it_can_be_closed_while_it_starts(make: Callable[..., Supervisor]) -> None:
    hows = iter(["ready", "hangs"])
    lives = make(lambda: next(hows))
    os.kill(lives.life().pid, signal.SIGKILL)
    assert until(lambda: lives.health(working=False) == "starting")
    time.sleep(0.3)
    began = time.monotonic()
    lives.close()
    assert time.monotonic() - began < 20
    assert not lives.current.alive


class Thing:
    """Counts how often it was opened and closed."""

    def __init__(self) -> None:
        self.may_open = threading.Event()
        self.may_open.set()
        self.opened, self.closed, self.fails = 0, 0, 0

    def open(self) -> Thing:
        self.may_open.wait(20)
        self.opened += 1
        if self.opened <= self.fails:
            raise ValueError("not this time")
        return self

    def close(self) -> None:
        self.closed += 1


def test_it_is_opened_once_and_closed() -> None:
    thing = Thing()
    second = Second(thing.open)
    assert second.opened is None
    assert second.get(None, cancelled_score) is second.get(None, cancelled_score) is second.opened
    second.close()
    assert (thing.opened, thing.closed) == (1, 1)
    with pytest.raises(ConfigError, match="closed"):
        second.get(None, cancelled_score)


def test_who_waits_can_be_cancelled_and_closing_does_not_wait() -> None:
    thing = Thing()
    thing.may_open.clear()
    second, cancel = Second(thing.open), Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        second.get(cancel, cancelled_score)
    second.close()
    assert thing.closed == 0
    thing.may_open.set()
    until = time.monotonic() + 20
    while not thing.closed and time.monotonic() < until:
        time.sleep(0.01)
    assert thing.closed == 1


def test_one_that_cannot_be_opened_is_tried_again() -> None:
    thing = Thing()
    thing.fails = 1
    second = Second(thing.open)
    with pytest.raises(ValueError, match="not this time"):
        second.get(None, cancelled_score)
    assert second.opened is None
    assert second.get(None, cancelled_score) is thing
