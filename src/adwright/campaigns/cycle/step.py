"""A step as a process of its own, which ends when the cycle is killed, or its time is over.

It holds a lock of the cycle while it acts, so that no step of a later call begins before one that
is being killed has ended.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from adwright.core.atomic import locked
from adwright.core.child_process import WorkerProcess, take_up
from adwright.core.errors import AdwrightError, ResourceError

_MODULE = "adwright.campaigns.cycle.step"
#: Seconds in which a process of ours begins.
_BEGINS = 60.0
#: How lines begin that say what a person may do next.
_ADVICE = ("next:", "to publish it:", "to go back:")
#: Bytes of a log that are looked at for what a step says last.
_TAIL = 1 << 16


@dataclass(frozen=True)
class StepCall:
    """What is to be run: the words behind `adwright`, in this folder. log: file for what it prints.
    lock: of the cycle's steps. seconds: that it may take; None for no bound."""

    words: Sequence[str]
    folder: Path
    log: Path
    lock: Path
    seconds: float | None = None


@dataclass(frozen=True)
class StepEnd:
    """How it ended. code: its exit code, None where its time was over. said: what it said last."""

    code: int | None
    said: str = ""


#: Runs a step to its end.
Runner: TypeAlias = Callable[[StepCall], StepEnd]


def run_step(call: StepCall) -> StepEnd:
    """Run a step in a process of its own."""
    told = {"words": list(call.words), "folder": str(call.folder), "log": str(call.log)}
    life = WorkerProcess(_MODULE, {**told, "lock": str(call.lock)})
    try:
        life.ready(_BEGINS, _refusal)
        over = not life.gone_within(call.seconds) if call.seconds is not None else False
        while not over and life.alive:
            life.gone_within(60.0)
        code = None if over else life.code
    finally:
        if life.alive:
            with suppress(ProcessLookupError):  # it ended just now
                os.killpg(life.pid, signal.SIGKILL)
        life.end()
    return StepEnd(code, last_words(call.log))


def last_words(log: Path) -> str:
    """The line of an error that a log ends with, else its last line that is no advice."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip()]
    errors = [line for line in told if line.startswith("Error:")]
    told = [line for line in told if not line.lower().startswith(_ADVICE)] or told
    return (errors or told or [""])[-1][:500]


def _refusal(said: str, log: Path) -> AdwrightError:
    return ResourceError(f"a step could not begin: {said}", where=str(log), hint="try it again")


def _act() -> None:
    """What the process does: the verb, as the command line does it."""
    lifeline = take_up()
    told = lifeline.settings
    os.chdir(told["folder"])
    log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    lifeline.ready()
    with locked(told["lock"]):
        sys.argv = ["adwright", *told["words"]]
        runpy.run_module("adwright", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _act()
