"""How far a long job is: a live bar for a person, one line at the end for a log file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from adwright.core.clock import Clock, SystemClock

__all__ = ["Progress", "progress"]


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


@contextmanager
def progress(
    total: int | None,
    label: str,
    unit: str = "rows",
    *,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> Iterator[Progress]:
    """Show how a job of `total` units (None where unknown) proceeds.

    On a terminal: a bar with the count, the rate and the time left. Elsewhere nothing until
    the end, then one line with count, seconds and rate, so that logs stay short.

    stream: where to write, the standard error stream by default.
    clock: measures the rate; the machine's own by default.

        with progress(len(batches), "train", "batches") as bar:
            for batch in batches:
                ...
                bar.advance()
    """
    out = sys.stderr if stream is None else stream
    timer = SystemClock() if clock is None else clock
    if out.isatty() and os.environ.get("TERM") != "dumb":
        with _bar(total, label, unit, out, timer) as bar:
            yield bar
        return
    start = timer.monotonic()
    quiet = Progress()
    ended = "stopped after "
    try:
        yield quiet
        ended = ""
    finally:
        seconds = timer.monotonic() - start
        rate = f" ({quiet.done / seconds:,.0f} {unit}/s)" if seconds > 0 else ""
        out.write(f"{label}: {ended}{quiet.done:,} {unit} in {seconds:.1f} s{rate}\n")
        out.flush()


@contextmanager
def _bar(total: int | None, label: str, unit: str, out: TextIO, timer: Clock) -> Iterator[Progress]:
    # Imported here: a log file never needs it, and it costs a tenth of a second.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    start = timer.monotonic()
    with RichProgress(*columns, console=Console(file=out), get_time=timer.monotonic) as display:
        task = display.add_task(label, total=total, count="", rate="")

        def show(done: int) -> None:
            seconds = timer.monotonic() - start
            of = "" if total is None else f"/{total:,}"
            rate = f"{done / seconds:,.0f} {unit}/s" if seconds > 0 else ""
            display.update(task, completed=done, count=f"{done:,}{of} {unit}", rate=rate)

        yield Progress(show)
