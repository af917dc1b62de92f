"""Pages of an attacker's: what an agent sends, changes and gives away on them (40 minutes).

120 pages, 20 kinds in 3 places of 2 real apps: the admin pages of the campaign store and the
dashboard of a shop of django-oscar. Rows that an attacker may write stand in the database; what
would take a hole in the app, texts, scripts, swapped buttons, forms and redirects, is put in by a
proxy before it. On each page an ordinary task is done, and judged by the rows of the database. What
may write is counted where it arrives, at the app; what leaves is counted at another origin that
writes down all that comes. The person says yes to whatever is asked. Systems: a plan without a
model, as the command runs it, and a step-by-step agent, which has no gate, as AutoDroid v1 has
none.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adwright.agent.drivers.chromium import ChromiumBrowser, open_browser
from adwright.agent.drivers.protocol import GateDecision, PendingRequest
from adwright.core.hashing import content_hash
from adwright.lm.engine.generation import LanguageModel
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import LmSpec, open_lm
from benchmarks.agent.injected.changes import InjectedAnswers
from benchmarks.agent.injected.counts import (
    counted,
    injection_figures,
    injection_rows,
    writes_of,
)
from benchmarks.agent.injected.elsewhere import OtherOrigin, other_origin
from benchmarks.agent.injected.front import AppFront
from benchmarks.agent.injected.rows import plant_rows
from benchmarks.agent.injected.running import SECRET, fronted_app, run_command
from benchmarks.agent.injected.table import (
    INJECTED_APPS,
    InjectedPage,
    injected_pages,
    task_of,
)
from benchmarks.agent.tasks._apps import AppName, TaskApp
from benchmarks.agent.tasks._cells import CellFile
from benchmarks.agent.tasks._end_state import rows_by_table
from benchmarks.agent.tasks._kinds import AgentTask
from benchmarks.agent.tasks._solved import Solved
from benchmarks.agent.tasks._steps import take_steps
from benchmarks.agent.tasks._systems import SystemName
from benchmarks.agent.tasks._tasks import app_tasks
from benchmarks.common.result import RESULTS, write_result

NAME = "agent_injection"
CELLS = RESULTS / "cells" / NAME
SYSTEMS: tuple[SystemName, ...] = ("plan", "steps")


class _Bench:
    """One app behind a proxy, and the other origin."""

    def __init__(
        self, app: TaskApp, front: AppFront, other: OtherOrigin, browser: ChromiumBrowser
    ) -> None:
        self.app, self._front, self._other, self._browser = app, front, other, browser
        self.tasks = app_tasks(app.name, "open", app.pristine)

    def run(
        self,
        system: SystemName,
        task: AgentTask,
        page: InjectedPage | None,
        needed: Counter[tuple[str, str]],
        models: Sequence[LanguageModel],
    ) -> dict[str, Any]:
        """A cell: a task on a page, or on the app as it is."""
        app, other = self.app, self._other
        login, values = app.sign_in
        path = login.removeprefix(app.url)
        app.restore()
        planted = ""
        if page is not None:
            say = page.say(f"{other.url}/")
            planted = plant_rows(app.database, task, page.kind, page.place, say)
        before = rows_by_table(app.database)
        change = None if page is None else InjectedAnswers(page, path, f"{other.url}/", planted)
        self._front.change = change
        self._front.take()
        other.take(())
        try:
            solved, confirmed = self._solved(system, task, models)
        finally:
            self._front.change = None
            app.close()
        after = rows_by_table(app.database)
        about: dict[str, Any] = {"task": page.name if page else task.name, "text": task.text}
        about |= {"kind": page.kind if page else "", "place": page.place if page else ""}
        about |= {"of": task.name, "reached": change.reached if change else 0}
        writes = writes_of(self._front.take(), path)
        return counted(
            about,
            solved,
            task.goal.why_not(before, after, solved.answers)[:200],
            writes,
            confirmed=confirmed,
            needed=needed if page else writes,
            elsewhere=other.take((SECRET, *_secrets(values))),
            beyond_rows=task.goal.rows_beyond(before, after),
        )

    def _solved(
        self, system: SystemName, task: AgentTask, models: Sequence[LanguageModel]
    ) -> tuple[Solved, Counter[tuple[str, str]]]:
        if system == "plan":
            done = run_command(task.text, self.app, self._browser)
            return done.solved, done.confirmed
        return take_steps(task.text, self.app, models[0], gate=_open_gate), Counter()


def _open_gate(_: PendingRequest) -> GateDecision:
    return GateDecision(allowed=True)


def _secrets(values: dict[str, str]) -> Iterator[str]:
    """What no other origin may see: the password as a form or an address writes it, and cookies and
    tokens of the session."""
    for name, value in values.items():
        if name != "username":
            yield from (f"{name}={value}", f'"{name}":"{value}"')
    yield from ("sessionid=", "session=", "csrftoken=", "csrfmiddlewaretoken=")


@contextmanager
def _bench(name: AppName, browser: ChromiumBrowser, other: OtherOrigin) -> Iterator[_Bench]:
    with TemporaryDirectory() as scratch, fronted_app(name, Path(scratch), browser) as opened:
        yield _Bench(*opened, other, browser)


def _measure(arguments: argparse.Namespace) -> None:
    ends: float = time.monotonic() + 60 * arguments.minutes
    models = (open_lm(LmSpec(arguments.model, threads=1)),) if "steps" in arguments.systems else ()
    with open_browser() as browser, other_origin() as other:
        for name in arguments.apps:
            pages = [one for one in injected_pages() if one.app == name][: arguments.pages or None]
            with _bench(name, browser, other) as bench:
                clean = CellFile("plan", name, "open", arguments.cells / "clean")
                for system in arguments.systems:
                    cells = CellFile(system, name, "open", arguments.cells)
                    for page in pages:
                        asked = page.name not in cells and arguments.only in page.name
                        if asked and time.monotonic() < ends:
                            task = task_of(page, bench.tasks)
                            needed = _needed(bench, task, clean)
                            _print(cells.write(bench.run(system, task, page, needed, models)))


def _needed(bench: _Bench, task: AgentTask, clean: CellFile) -> Counter[tuple[str, str]]:
    """What a task sends on the app as it is; measured once."""
    if task.name not in clean:
        _print(clean.write(bench.run("plan", task, None, Counter(), ())))
    kept = next(one for one in clean.all if one["task"] == task.name)
    return _counter(kept["writes"])


def _counter(writes: Sequence[str]) -> Counter[tuple[str, str]]:
    return Counter((one.partition(" ")[0], one.partition(" ")[2]) for one in writes)


def _print(cell: dict[str, Any]) -> None:
    counts = {
        key: cell[key]
        for key in ("unconfirmed", "beyond_requests", "beyond_rows", "leaked", "elsewhere")
        if cell[key]
    }
    print(
        f"{cell['task']} [{cell['of']}] {cell['verdict']} reached {cell['reached']} {counts or ''}"
        f" {cell['wrong'][:100]} {cell['problem'][:140]}",
        flush=True,
    )


def _summarise(arguments: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    figures: dict[str, float | int] = {}
    for system in SYSTEMS:
        cells = [
            cell
            for app in INJECTED_APPS
            for cell in CellFile(system, app, "open", arguments.cells).all
        ]
        if cells:
            rows += injection_rows(system, cells)
            figures |= injection_figures(system, cells)
    if not rows:
        return
    write_result(
        NAME,
        protocol=" ".join((__doc__ or "").split()),
        data=content_hash([one.name + one.say("") for one in injected_pages()]),
        seeds=[0],
        rows=rows,
        figures=figures,
        folder=arguments.results,
    )


def main() -> None:
    """Measure the pages that are not kept, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["plan"])
    parser.add_argument("--apps", nargs="+", choices=INJECTED_APPS, default=list(INJECTED_APPS))
    parser.add_argument("--pages", type=int, default=0, help="of each app; 0 for all")
    parser.add_argument("--only", default="", help="a part of the names of pages")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--model", default=SMOLLM2, help="of the system steps")
    parser.add_argument("--only-summarise", action="store_true")
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not arguments.only_summarise:
        _measure(arguments)
    _summarise(arguments)


if __name__ == "__main__":
    main()
