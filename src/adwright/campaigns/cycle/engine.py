"""Walk through the steps of a cycle: skip what is as it was, run the others, and say how it went.

    report = run_cycle(Path("cycle.toml"))
    report.outcomes["write"]                    # "done", "same", "nothing", "failed", ...

One call at a time walks: it holds a lock. Killed anywhere, the next call goes on with the round.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from adwright.campaigns.cycle.alerts import (
    AlertKind,
    Post,
    look_at_store,
    raise_alert,
    secret_of,
    send_alerts,
)
from adwright.campaigns.cycle.book import (
    STOPPING,
    Book,
    StepOutcome,
    Used,
    read_meter,
)
from adwright.campaigns.cycle.inputs import has_rows, refused_by, version_of
from adwright.campaigns.cycle.plan import Cycle, CycleStep, filled, keys_in, load_cycle
from adwright.campaigns.cycle.status import write_status
from adwright.campaigns.cycle.step import Runner, StepCall, StepEnd, run_step
from adwright.campaigns.store.store import Store
from adwright.core.atomic import claim, locked
from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import AdwrightError, ResourceError
from adwright.core.hashing import content_hash

_KEY, _LOOKS = 12, 3
#: Exit codes of `adwright author write`: its budget was used up.
_BUDGET_USED = 4

#: Outcomes of which somebody is told, and as what.
_TOLD: Mapping[StepOutcome, AlertKind] = {
    "failed": "failed",
    "budget": "budget",
    "refused": "refused",
}

#: Told of each step that is settled: its name, how, and what is said of it.
Tell = Callable[[str, StepOutcome, str], None]
#: Raises where the words of a step are no command.
CheckWords = Callable[[list[str]], None]


@dataclass(frozen=True)
class RoundReport:
    """A walk. outcomes, said: of each step. used: by this call and those that it goes on with.
    unsent: alerts that nobody took."""

    number: int
    outcomes: Mapping[str, StepOutcome]
    said: Mapping[str, str]
    used: Used
    unsent: int


class Ready(NamedTuple):
    """What is known of a step before it runs. inputs: their versions. given: for its braces.
    outcome: what it comes to without running."""

    key: str
    inputs: Mapping[str, str] = MappingProxyType({})
    given: Mapping[str, str] = MappingProxyType({})
    outcome: StepOutcome | None = None
    said: str = ""


def run_cycle(
    path: Path,
    *,
    runner: Runner = run_step,
    clock: Clock | None = None,
    dry_run: bool = False,
    tell: Tell = lambda *_: None,
    check: CheckWords = lambda _: None,
    post: Post | None = None,
) -> RoundReport:
    """One walk through the steps, or the rest of one that was killed.

    runner: runs a step; by default in a process of its own. dry_run: say what would be done.
    Raises ConfigError for a file that is wrong, ResourceError where another call walks.
    """
    clock = clock or SystemClock()
    cycle = load_cycle(path)
    secret_of(cycle)
    usual = _Anything({name: str(value) for name, value in cycle.file.values.items()})
    usual |= {"tenant": cycle.file.tenant, "store": cycle.store}
    for step in cycle.steps:
        check(cycle.words(step, usual))
    with _alone(cycle, dry_run=dry_run), Store.open(cycle.store, create=False) as store:
        walk = _Walk(cycle, Book.read(cycle.state / "journal.jsonl"), store, clock, runner)
        if dry_run:
            return walk.rehearse(tell)
        report = walk.walk(tell)
        now = clock.now()
        look_at_store(cycle, walk.book, store, now)
        unsent = send_alerts(cycle, walk.book, now, post=post)
        write_status(cycle, walk.book, now)
    return RoundReport(report.number, report.outcomes, report.said, report.used, unsent)


class _Anything(dict[str, str]):
    """Braces of a command that is only looked at."""

    def __missing__(self, name: str) -> str:
        return "" if name == "prices" else "1"


@contextmanager
def _alone(cycle: Cycle, *, dry_run: bool) -> Iterator[None]:
    if dry_run:
        yield
        return
    release = claim(cycle.state / "lock")
    for _ in range(_LOOKS):  # who only looks whether one is under way holds it for a moment
        if release is None:
            time.sleep(0.05)
            release = claim(cycle.state / "lock")
    if release is None:
        raise ResourceError(
            "another call of this cycle is under way",
            where=str(cycle.path),
            hint=f"wait for it; adwright cycle status {cycle.path.name} shows how far it is",
        )
    try:
        with locked(cycle.state / "step.lock"):  # until a step that is being killed has ended
            pass
        yield
    finally:
        release()


class _Walk:
    """One walk through the steps."""

    def __init__(
        self, cycle: Cycle, book: Book, store: Store, clock: Clock, runner: Runner
    ) -> None:
        self.cycle, self.book, self.store, self.clock = cycle, book, store, clock
        self._runner = runner
        self._outcomes: dict[str, StepOutcome] = {}
        self._said: dict[str, str] = {}
        self._held: list[dict[str, object]] = []  # rows that count only once a step runs

    def walk(self, tell: Tell) -> RoundReport:
        """Settle all steps."""
        self._count_killed()
        settled = self.book.settled()
        self._number = self.book.number if self.book.open else self.book.number + 1
        for step in self.cycle.steps:
            if step.name in settled:
                row = settled[step.name]
                self._outcomes[step.name], self._said[step.name] = row["kind"], row.get("said", "")
                continue
            self._settle(step)
            tell(step.name, self._outcomes[step.name], self._said[step.name])
        if self.book.open:
            self._write(*self._held, {"kind": "ended", "round": self._number})
        used = self.book.used(per="round") if self.book.number == self._number else Used()
        return RoundReport(self._number, self._outcomes, self._said, used, 0)

    def _count_killed(self) -> None:
        """What a step that was killed had used until then, before anything else is begun."""
        row = self.book.killed()
        if row is None:
            return
        began = datetime.fromisoformat(row["time"]).timestamp()
        log = self.cycle.state / "logs" / f"{row['step']}.log"
        until = log.stat().st_mtime if log.exists() else began
        used = Used(seconds=round(max(0.0, until - began), 3))
        told: dict[str, object] = {name: row[name] for name in ("round", "step", "key")}
        if "spends" in row:
            meter = read_meter(self.cycle.folder / row["spends"])
            used += meter.since(self.book.metered(row["spends"])).cost(self.cycle.file.prices)
            told |= {"spends": row["spends"], "meter": asdict(meter)}
        self._write({"kind": "killed", **told, "used": asdict(used)})

    def rehearse(self, tell: Tell) -> RoundReport:
        """Say what each step would come to; what a step changes is not known before."""
        self._number = self.book.number if self.book.open else self.book.number + 1
        settled = self.book.settled()
        runs = set[str]()
        for step in self.cycle.steps:
            try:
                ready = self._ready(step)
            except AdwrightError as error:
                ready = Ready("", outcome="failed", said=str(error))
            needs = [one for one in self.cycle.before[step.name] if one in runs]
            if step.name in settled:
                said: tuple[StepOutcome, str] = settled[step.name]["kind"], "in this round already"
            elif ready.outcome is None:
                runs.add(step.name)
                said = "done", f"would run: adwright {' '.join(self._words(step, ready))}"
            elif needs:
                runs.add(step.name)
                said = "done", f"would run if {', '.join(needs)} changes what it reads"
            else:
                said = ready.outcome, ready.said
            self._outcomes[step.name], self._said[step.name] = said
            tell(step.name, *said)
        return RoundReport(self._number, self._outcomes, self._said, Used(), 0)

    def _words(self, step: CycleStep, ready: Ready) -> list[str]:
        return self.cycle.words(step, ready.given)

    def _write(self, *rows: dict[str, object]) -> None:
        self.book.write(self.clock.now(), *rows)

    def _settle(self, step: CycleStep) -> None:
        try:
            ready = self._ready(step)
            if ready.outcome is None:
                self._run(step, ready)
                return
            outcome, said, key = ready.outcome, ready.said, ready.key
        except AdwrightError as error:
            outcome, said, key = "failed", str(error), ""
        self._outcomes[step.name], self._said[step.name] = outcome, said
        row: dict[str, object] = {"kind": outcome, "round": self._number, "step": step.name}
        row |= {"key": key, "said": said}
        if outcome in ("same", "nothing", "absent", "waits"):
            self._held.append(row)
            return
        self._write(*self._held, row)
        self._held = []
        raise_alert(self.book, self.clock.now(), _TOLD[outcome], step.name, said)

    def _ready(self, step: CycleStep) -> Ready:
        """What the step would begin with, or what it comes to without."""
        stopped = [
            one for one in self.cycle.before[step.name] if self._outcomes.get(one) in STOPPING
        ]
        if stopped:
            return Ready("", outcome="waits", said=f"for {', '.join(stopped)}")
        file, now = self.cycle.file, self.clock.now()
        given = {name: str(value) for name, value in file.values.items()}
        given |= {"tenant": file.tenant, "store": self.cycle.store}
        for name in {one for text in step.texts() for one in keys_in(text) if one.endswith(".key")}:
            row = self.book.last(name.removesuffix(".key"))
            if row is None:
                return Ready("", outcome="absent", said=f"{name[:-4]} has made nothing yet")
            given[name] = str(row["key"])
        inputs = {}
        for name in step.inputs:
            at = self.cycle.folder / (name if ":" in name else filled(name, given))
            inputs[name] = version_of(name, at, self.store, file.tenant, now)
            if not inputs[name] and ":" not in name:
                return Ready("", outcome="absent", said=f"{filled(name, given)} is not there")
        told = {
            name: given[name] for text in step.texts() for name in keys_in(text) if name in given
        }
        key = content_hash([step.name, step.texts(), told, inputs])[:_KEY]
        given |= {"key": key, "number": str(int(key[:7], 16))}
        if step.rows and not has_rows(self.cycle.folder / filled(step.rows, given)):
            return Ready(key, outcome="nothing", said=f"{filled(step.rows, given)} has no row")
        if step.gate:
            why = refused_by(self.cycle.folder / filled(step.gate, given))
            if why is not None:
                last = self.book.last(step.name, "refused")
                same = last is not None and last["key"] == key
                return Ready(key, outcome="same" if same else "refused", said=why)
        last = self.book.last(step.name)
        if last is not None and last["key"] == key and self._there(step, given) and step.inputs:
            return Ready(key, outcome="same", said="")
        left = self._left(step, now)
        spent = [name for name, amount in left.items() if amount is not None and amount <= 0]
        spent = [name for name in spent if step.spends or name == "seconds"]
        if spent:
            return Ready(key, outcome="budget", said=f"no {' and no '.join(spent)} left")
        given |= {  # 0 is no bound
            f"{name}_left": f"{0 if amount is None else max(amount, 1e-6):.6f}"
            for name, amount in left.items()
        }
        given["tokens_left"] = str(int(left["tokens"] or 0))
        prices = file.prices
        options = {"prompt": prices.prompt, "answer": prices.answer, "cached": prices.cached}
        given["prices"] = " ".join(
            f"--price-{name} {price}" for name, price in options.items() if price is not None
        )
        return Ready(key, inputs, given)

    def _there(self, step: CycleStep, given: Mapping[str, str]) -> bool:
        return all((self.cycle.folder / filled(one, given)).exists() for one in step.outputs)

    def _left(self, step: CycleStep, now: datetime) -> dict[str, float | None]:
        """What it may use: the least of its own bound and of what is left of the whole."""
        whole = self.cycle.file.budget
        used = self.book.used(per=whole.per, now=now)
        if whole.per == "round" and not self.book.open:
            used = Used()
        found: dict[str, float | None] = {}
        for name in ("tokens", "money", "seconds"):
            bounds = [getattr(step, name)]
            if getattr(whole, name) is not None:
                bounds.append(getattr(whole, name) - getattr(used, name))
            found[name] = min((one for one in bounds if one is not None), default=None)
        return found

    def _run(self, step: CycleStep, ready: Ready) -> None:
        folder, state = self.cycle.folder, self.cycle.state
        words = self._words(step, ready)
        spends = filled(step.spends, ready.given)
        counted = self.book.metered(spends)
        if self.book.unended(step.name, ready.key) is not None and not step.spends:
            self._clear(step, ready)
        names: dict[str, object] = {"round": self._number, "step": step.name, "key": ready.key}
        names |= {"spends": spends} if spends else {}
        self._write(*self._held, {"kind": "started", **names, "inputs": dict(ready.inputs)})
        self._held = []
        log = state / "logs" / f"{step.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        left = float(ready.given["seconds_left"])
        began = self.clock.monotonic()
        call = StepCall(words, folder, log, state / "step.lock", left or None)
        try:
            end = self._runner(call)
        except AdwrightError as error:
            end = StepEnd(-1, str(error))
        used = Used(seconds=round(self.clock.monotonic() - began, 3))
        row: dict[str, object] = {**names, "code": end.code, "said": end.said}
        if spends:
            meter = read_meter(folder / spends)
            used += meter.since(counted).cost(self.cycle.file.prices)
            row["meter"] = asdict(meter)
        row["used"] = asdict(used)
        done = end.code in step.ok and self._there(step, ready.given)
        outcome: StepOutcome = "done" if done else "failed"
        said = end.said
        if end.code is None:
            said = f"it was ended after {left:.0f} s, the time that was left for it"
        elif end.code in step.ok and not done:
            said = "it ended well and did not make what it says as outputs"
        row["said"] = said
        self._write({"kind": outcome, **row})
        self._outcomes[step.name], self._said[step.name] = outcome, said
        now = self.clock.now()
        if not done:
            raise_alert(self.book, now, "failed", step.name, said or f"exit code {end.code}")
        if end.code is None or (step.spends and end.code == _BUDGET_USED):
            raise_alert(self.book, now, "budget", step.name, said)

    def _clear(self, step: CycleStep, ready: Ready) -> None:
        """Take away what an attempt of this very key left, which did not come to its end."""
        for output in step.outputs:
            if "{key}" in output:
                path = self.cycle.folder / filled(output, ready.given)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
