from __future__ import annotations

import io

import pytest

from adwright.core.clock import FixedClock
from adwright.core.progress import progress


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
