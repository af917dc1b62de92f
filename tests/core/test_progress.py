from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any

import pytest

from adwright.core.clock import FixedClock
from adwright.core.progress import Rhythm, duration, progress, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_one_line_at_the_end(clock: FixedClock) -> None:
    out = io.StringIO()
    with progress(3000, "read", stream=out, clock=clock) as bar:
        for _ in range(3):
            clock.advance(0.5)
            bar.advance(1000)
            assert out.getvalue() == ""
    assert bar.done == 3000
    assert out.getvalue() == "read: 3,000 rows in 1.5 s (2,000 rows/s)\n"


def test_unit_and_default_step(clock: FixedClock) -> None:
    out = io.StringIO()
    with progress(None, "train", "batches", stream=out, clock=clock) as bar:
        bar.advance()
    assert out.getvalue() == "train: 1 batches in 0.0 s\n"


def test_default_stream_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1, "read"):
        pass
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("read: 0 rows in ")


def fail_after_two(out: io.StringIO, clock: FixedClock) -> None:
    with progress(5, "read", stream=out, clock=clock) as bar:
        bar.advance(2)
        clock.advance(1)
        raise ValueError("stop")


def test_error_passes_and_says_how_far_it_came(clock: FixedClock) -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="stop"):
        fail_after_two(out, clock)
    assert out.getvalue() == "read: stopped after 2 rows in 1.0 s (2 rows/s)\n"


def test_terminal_shows_count_rate_and_time_left(
    clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = Terminal()
    with progress(4000, "read", stream=out, clock=clock) as bar:
        clock.advance(1)
        bar.advance(1000)
        clock.advance(1)
        bar.advance(1000)
    text = out.getvalue()
    assert "2,000/4,000 rows" in text
    assert "1,000 rows/s" in text
    assert "0:00:02" in text  # both the time so far and the time left


def test_terminal_with_unknown_total(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = Terminal()
    with progress(None, "read", stream=out, clock=clock) as bar:
        bar.advance(7)
    assert "7 rows" in out.getvalue()


def test_dumb_terminal_gets_the_line(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    with progress(1, "read", stream=out, clock=clock) as bar:
        bar.advance()
    assert out.getvalue() == "read: 1 rows in 0.0 s\n"


def test_does_not_go_back() -> None:
    with progress(1, "read", stream=io.StringIO()) as bar:
        with pytest.raises(ValueError, match="go back"):
            bar.advance(-1)
        assert bar.done == 0


def test_a_long_job_speaks_in_between(clock: FixedClock) -> None:
    """Every ten seconds in the first minute, then once a minute."""
    out, seen = io.StringIO(), []
    with progress(4000, "read", stream=out, clock=clock) as bar:
        for second in range(1, 241):
            clock.advance(1)
            bar.advance(10)
            if len(out.getvalue().splitlines()) > len(seen):
                seen.append(second)
    assert seen == [10, 20, 30, 40, 50, 60, 120, 180, 240]
    assert out.getvalue().splitlines()[:2] == [
        "read: 100/4,000 rows (2%), 10 rows/s, 6 min left",
        "read: 200/4,000 rows (5%), 10 rows/s, 6 min left",
    ]


def test_jobs_that_make_a_whole_share_a_rhythm(clock: FixedClock) -> None:
    out, rhythm = io.StringIO(), Rhythm(clock)
    for _ in range(3):
        with progress(None, "epoch", stream=out, rhythm=rhythm, clock=clock) as bar:
            for _ in range(4):
                clock.advance(4)
                bar.advance(2)
    told = [line for line in out.getvalue().splitlines() if " in " not in line]
    assert told == [
        "epoch: 6 rows, 0.5 rows/s",
        "epoch: 4 rows, 0.5 rows/s",
        "epoch: 2 rows, 0.5 rows/s",
        "epoch: 8 rows, 0.5 rows/s",
    ]


def test_what_else_there_is_to_say(clock: FixedClock) -> None:
    out, losses = io.StringIO(), iter((0.5, 0.25))
    with progress(
        4, "train", "batches", note=lambda: f"loss {next(losses)}", stream=out, clock=clock
    ) as bar:
        clock.advance(20)
        bar.advance(2)
    assert out.getvalue().splitlines() == [
        "train: 2/4 batches (50%), 0.1 batches/s, 20 s left, loss 0.5",
        "train: 2 batches in 20.0 s (0.1 batches/s), loss 0.25",
    ]


def test_the_bar_has_the_note(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = Terminal()
    with progress(9, "train", note=lambda: "loss [0.5]", stream=out, clock=clock) as bar:
        clock.advance(1)
        bar.advance(2)
    assert "loss [0.5]" in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_what_strangers_wrote_commands_nothing(
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    terminal: bool,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = Terminal() if terminal else io.StringIO()
    hostile, shown = (
        "\u0928\u200c\x1b]0;p\x07\u202e\x9b",
        "\u0928\u200c" + r"\x1b]0;p\x07\u202e\x9b",
    )
    told = f"at {hostile}"
    with progress(9, f"on {hostile}", note=lambda: told, stream=out, clock=clock) as bar:
        clock.advance(1)
        bar.advance(2)
    say(hostile)
    assert capsys.readouterr().err == f"{shown}\n"
    assert f"on {shown}" in out.getvalue()
    assert f"at {shown}" in out.getvalue()
    assert hostile not in out.getvalue()


class Notebook:
    """Stands in for IPython in a notebook: the texts of each place on the page."""

    kernel = "one"

    def __init__(self) -> None:
        self.places: list[list[str]] = []

    def display(self, shown: dict[str, str], raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        place = [shown["text/plain"]]
        self.places.append(place)

        class Handle:
            def update(self, shown: dict[str, str], raw: bool) -> None:
                assert raw
                place.append(shown["text/plain"])

        return Handle()


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    found, shell, display = Notebook(), ModuleType("IPython"), ModuleType("IPython.display")
    shell.get_ipython = lambda: found  # type: ignore[attr-defined]
    display.display = found.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return found


def test_a_notebook_has_one_line_that_changes(
    clock: FixedClock, notebook: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(4, "train", "batches", clock=clock) as bar:
        for _ in range(4):
            clock.advance(0.25)
            bar.advance()
    assert notebook.places == [
        [
            "train: 2/4 batches (50%), 4 batches/s, 0 s left",
            "train: 4/4 batches (100%), 4 batches/s, 0 s left",
            "train: 4 batches in 1.0 s (4 batches/s)",
        ]
    ]
    say("measured")
    assert notebook.places[1] == ["measured"]
    assert capsys.readouterr().err == ""


def test_a_shell_of_ipython_is_no_notebook(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell: Any = sys.modules["IPython"]
    monkeypatch.setattr(shell, "get_ipython", lambda: None)
    say("measured")
    with progress(1, "read"):
        pass
    assert notebook.places == []
    assert capsys.readouterr().err.startswith("measured\nread: 0 rows")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (3600, "60 min"), (7200, "2.0 h")],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text
