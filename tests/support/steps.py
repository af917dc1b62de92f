"""Steps of a cycle, run in the process of a test one after the other."""

from __future__ import annotations

import contextlib

from adwright.campaigns.cycle.step import StepCall, StepEnd, last_words
from adwright.cli.app import app


def run_here(call: StepCall) -> StepEnd:
    """Run a step without a process of its own, and without a bound of time."""
    with (
        contextlib.chdir(call.folder),
        call.log.open("w") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            app(["--quiet", *call.words])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return StepEnd(code, last_words(call.log))
