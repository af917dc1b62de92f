"""A step as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from adwright.campaigns.cycle.step import StepCall, last_words, run_step
from adwright.core.atomic import claim, locked


def call(folder: Path, *words: str, seconds: float | None = None) -> StepCall:
    return StepCall(words, folder, folder / "step.log", folder / "step.lock", seconds)


def test_a_step_runs_a_verb_in_its_folder_and_says_how_it_ended(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("item_id,title\ntea,Tea\n")
    end = run_step(call(tmp_path, "creatives", "list", "--tenant", "acme"))
    assert end.code == 2
    assert end.said == "Error: there is no such store"
    assert "to do:" in (tmp_path / "step.log").read_text()
    assert run_step(call(tmp_path, "--version")).code == 0


def test_a_step_whose_time_is_over_is_ended_and_lets_go(tmp_path: Path) -> None:
    with locked(tmp_path / "step.lock"):  # it waits for that
        assert run_step(call(tmp_path, "--version", seconds=0.2)).code is None
    release = claim(tmp_path / "step.lock")
    assert release is not None
    release()


def test_a_step_ends_with_the_cycle_that_was_killed(tmp_path: Path) -> None:
    words = f"""
import sys
from pathlib import Path
from adwright.campaigns.cycle.step import StepCall, run_step
here = Path({str(tmp_path)!r})
run_step(StepCall(["--version"], here, here / "step.log", here / "step.lock"))
"""
    with locked(tmp_path / "step.lock"):
        parent = subprocess.Popen([sys.executable, "-c", words])
        while not (tmp_path / "step.log").exists():
            time.sleep(0.01)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        time.sleep(1.2)
    assert (tmp_path / "step.log").read_text() == ""  # it was gone before its turn came


def test_last_words_are_those_of_an_error_or_the_last_line(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert last_words(log) == ""
    log.write_text("one\nError: two\n  to do: three\n")
    assert last_words(log) == "Error: two"
    log.write_text("one\ntwo\n\n")
    assert last_words(log) == "two"
