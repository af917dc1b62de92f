"""How far a long job is: a live bar on a terminal, one line that changes in a notebook, and
elsewhere a line every so often and one at the end, so that a log file is neither silent nor long.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TextIO

from adwright.core.clock import Clock, SystemClock

#: Seconds between two lines: of the first minute, and after it; and of a notebook.
_FIRST_SECONDS, _LATER_SECONDS, _MINUTE = 10.0, 60.0, 60.0
_NOTEBOOK = 0.5, 0.5
#: What commands a terminal, turns the direction of text or hides: all controls but the line end and
#: the tab, and marks of format but the joiners, which scripts and emoji need.
_COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


class Progress:
    """Counts what is done; `done` is the count so far."""

    def __init__(self, show: Callable[[int], None] | None = None) -> None:
        self.done = 0
        self._show = show

    def advance(self, n: int = 1) -> None:
        """`n` more units are done; zero or more."""
        if n < 0:
            raise ValueError(f"progress cannot go back by {-n}")
        self.done += n
        if self._show is not None:
            self._show(self.done)


class Rhythm:
    """When a log file gets a line: every ten seconds in the first minute, then once a minute.

    Jobs that make a whole share one, such as the epochs of a training. seconds: between two lines,
    of the first minute and after it.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        seconds: tuple[float, float] = (_FIRST_SECONDS, _LATER_SECONDS),
    ) -> None:
        self._clock = SystemClock() if clock is None else clock
        self._seconds = seconds
        self._start = self._last = self._clock.monotonic()

    def is_due(self) -> bool:
        """Whether it is time for the next line, which is then taken as written."""
        now = self._clock.monotonic()
        if now - self._last < self._seconds[now - self._start > _MINUTE]:
            return False
        self._last = now
        return True


@dataclass(frozen=True)
class _Wording:
    """What is said of a job. note: what else there is to say of it by now, such as a loss."""

    total: int | None
    label: str
    unit: str
    note: Callable[[], str]

    def running(self, done: int, seconds: float) -> str:
        """While it runs: count, share, rate, time left."""
        of = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{done:,}{of} {self.unit}"]
        if self.total:
            parts[0] += f" ({min(done / self.total, 1):.0%})"
        if done and seconds > 0:
            parts.append(self.rate(done, seconds))
            if self.total is not None:
                parts.append(f"{duration(max(self.total - done, 0) * seconds / done)} left")
        return f"{self.label}: {', '.join(filter(None, (*parts, self.note())))}"

    def ended(self, done: int, seconds: float, how: str) -> str:
        """At the end. how: "", or that it was stopped."""
        rate = f" ({self.rate(done, seconds)})" if seconds > 0 else ""
        text = f"{self.label}: {how}{done:,} {self.unit} in {seconds:.1f} s{rate}"
        return ", ".join(filter(None, (text, self.note())))

    def rate(self, done: int, seconds: float) -> str:
        """Units in a second."""
        rate = done / seconds
        return f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.2g} {self.unit}/s"


@contextmanager
def progress(
    total: int | None,
    label: str,
    unit: str = "rows",
    *,
    note: Callable[[], str] | None = None,
    rhythm: Rhythm | None = None,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> Iterator[Progress]:
    """Show how a job of `total` units (None where unknown) proceeds.

    On a terminal: a bar with the count, the rate and the time left. In a notebook one line with
    the same, which changes. Elsewhere a line when `rhythm` says so, and one at the end.

    note: what else to show, asked for whenever something is shown: "loss 0.31".
    rhythm: by default one of this job's own.
    stream: where to write, the standard error stream by default.
    clock: measures the rate; the machine's own by default.

        with progress(len(batches), "train", "batches") as bar:
            for batch in batches:
                ...
                bar.advance()
    """
    out = sys.stderr if stream is None else stream
    timer = SystemClock() if clock is None else clock
    told = note or (lambda: "")
    job = _Wording(total, printable(label), unit, lambda: printable(told()))
    if stream is None and (show := _notebook()) is not None:
        with _lines(job, timer, show, Rhythm(timer, _NOTEBOOK).is_due) as bar:
            yield bar
    elif out.isatty() and os.environ.get("TERM") != "dumb":
        with _bar(job, out, timer) as bar:
            yield bar
    else:

        def write(text: str) -> None:
            out.write(f"{text}\n")
            out.flush()

        due = (Rhythm(timer) if rhythm is None else rhythm).is_due
        with _lines(job, timer, write, due) as bar:
            yield bar


def say(text: str) -> None:
    """Write a line beside the progress: to the standard error stream, or into the notebook."""
    text = printable(text)
    show = _notebook()
    if show is not None:
        show(text)
        return
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """The text as a terminal may get it, whoever wrote it: what would move the cursor, colour,
    ring, hide or turn other text around stands there as an escape.

    >>> printable("Tea\\x1b[31m")
    'Tea\\\\x1b[31m'
    """
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def duration(seconds: float) -> str:
    """Some time in words: 42 s, 12 min, 3.5 h.

    >>> duration(42.4), duration(720), duration(12600)
    ('42 s', '12 min', '3.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


@contextmanager
def _lines(
    job: _Wording, timer: Clock, write: Callable[[str], None], due: Callable[[], bool]
) -> Iterator[Progress]:
    start = timer.monotonic()

    def show(done: int) -> None:
        if due():
            write(job.running(done, timer.monotonic() - start))

    bar, how = Progress(show), "stopped after "
    try:
        yield bar
        how = ""
    finally:
        write(job.ended(bar.done, timer.monotonic() - start, how))


def _notebook() -> Callable[[str], None] | None:
    """What shows a text in one place of a notebook, each time instead of the one before; None
    where this is no notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(shell, "kernel"):
        return None
    display: Any = import_module("IPython.display").display
    handles: list[Any] = []

    def show(text: str) -> None:
        shown = {"text/plain": text}
        if handles:
            handles[0].update(shown, raw=True)
        else:
            handles.append(display(shown, raw=True, display_id=True))

    return show


@contextmanager
def _bar(job: _Wording, out: TextIO, timer: Clock) -> Iterator[Progress]:
    # Imported here: a log file never needs it, and it costs a tenth of a second.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    start, total = timer.monotonic(), job.total
    with RichProgress(*columns, console=Console(file=out), get_time=timer.monotonic) as display:
        task = display.add_task(job.label, total=total, count="", rate="", note="")

        def show(done: int) -> None:
            seconds = timer.monotonic() - start
            of = "" if total is None else f"/{total:,}"
            rate = job.rate(done, seconds) if seconds > 0 else ""
            count = f"{done:,}{of} {job.unit}"
            display.update(task, completed=done, count=count, rate=rate, note=job.note())

        yield Progress(show)
