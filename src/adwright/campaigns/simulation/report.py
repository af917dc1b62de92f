"""The report of a simulation, as JSON, as Markdown and as a page.

The assumptions are part of it and stand beside the numbers in each form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from adwright.campaigns.simulation.ab_test import (
    ArmResult,
    Odds,
    OffPolicy,
    Verdict,
    VerdictConfig,
    compare_arms,
    judge_from_log,
)
from adwright.campaigns.simulation.population import Population, pair_features, visits_of
from adwright.campaigns.simulation.purchase_model import UserItemFeatures, Visits
from adwright.campaigns.simulation.run import Client, Plan, Source, drive, read_back
from adwright.core.atomic import atomic_write_text
from adwright.core.config import to_jsonable
from adwright.core.errors import DataError
from adwright.data.time import SECONDS_PER_WEEK
from adwright.training.loop.stage_timer import Stages

if TYPE_CHECKING:
    import altair as alt


# --------------------------------------------------------------------------------------------------
# Compare the simulated population with real users, on weeks that it was not fitted on.
#
#     visits     real visits of the weeks, and how many the arrival model expects
#     basket     items a real visit took, and how many the response model expects
#     favourites of the ten items that each visitor had taken most often before: the share taken,
#                real and expected; this is the base rate of a slate of personal favourites
#
# The response model sees the real past of each visit, those weeks included.


@dataclass(frozen=True)
class RealAndExpected:
    """A measure of the real users, and its expectation for the population."""

    real: float
    expected: float

    @property
    def ratio(self) -> float:
        """expected / real; NaN without anything real."""
        return self.expected / self.real if self.real else float("nan")


@dataclass(frozen=True)
class Realism:
    """Visits per week, items per visit, share of favourites taken. weeks: that were compared."""

    weeks: float
    visits: RealAndExpected
    basket: RealAndExpected
    favourites: RealAndExpected


def check_population(
    population: Population,
    later: pl.LazyFrame | pl.DataFrame,
    *,
    visits: int = 2_000,
    favourites: int = 10,
) -> Realism:
    """Compare with `later`, an EventLog; of it counts what lies after the start.

    visits: so many are drawn for the response model. Raises DataError where nothing lies there.
    """
    real, weeks = _later(population, later)
    present = np.isin(real.user, population.present)
    rng = np.random.default_rng([population.config.seed, 2])
    chosen = np.flatnonzero(present)
    rate = RealAndExpected(
        len(chosen) / weeks, float(population.arrivals.rate[population.present].sum())
    )
    some = real.sample(chosen, visits, rng)
    history = population.history_features.with_events(*real.events())
    pairs, features = pair_features(history, population.season, some, rng, population.config)
    expected = population.purchase_model.chance(features)
    basket = RealAndExpected(
        float(pairs.taken.sum()) / len(some), float(pairs.weight @ expected) / len(some)
    )
    return Realism(weeks, rate, basket, _favourites(population, history, some, favourites))


def _later(population: Population, later: pl.LazyFrame | pl.DataFrame) -> tuple[Visits, float]:
    users, items = pl.Series(population.users), pl.Series(population.items)
    table = (
        later.lazy()
        .filter(
            pl.col("kind").is_in(population.config.kinds),
            pl.col("time") >= population.start,
            pl.col("user_id").is_in(users.implode()),
            pl.col("item_id").is_in(items.implode()),
        )
        .select("user_id", "item_id", "time")
        .collect()
    )
    if not table.height:
        raise DataError(
            "nothing in this log lies after the start",
            column="time",
            value=population.start.isoformat(),
            hint="pass events of weeks that the population was not fitted on",
        )
    real = visits_of(table, users, items)
    return real, (int(real.time.max()) - int(population.start.timestamp())) / SECONDS_PER_WEEK


def _favourites(
    population: Population, history: UserItemFeatures, visits: Visits, k: int
) -> RealAndExpected:
    """Share of the k most frequent past items that is taken, at visits of users who have k."""
    first, end = history.past.things_of(visits.user)
    owner = np.repeat(np.arange(len(visits)), end - first)
    place = np.concatenate([np.arange(a, b) for a, b in zip(first, end, strict=True)])
    item = history.past.things[place.astype(np.int64)]
    count, _ = history.past.before(visits.user[owner], item, visits.time[owner])
    order = np.lexsort((item, -count, owner))
    owner, item, count = owner[order], item[order], count[order]
    start = np.searchsorted(owner, np.arange(len(visits)))
    had = (np.arange(len(owner)) - start[owner] < k) & (count > 0)
    full = np.bincount(owner[had], minlength=len(visits)) == k
    chosen = had & full[owner]
    if not chosen.any():
        return RealAndExpected(0.0, 0.0)
    owner, item = owner[chosen], item[chosen]
    taken = np.repeat(np.arange(len(visits)), np.diff(visits.offsets)) * history.items
    real = np.isin(owner * history.items + item, taken + visits.item)
    expected = population.purchase_model.chance(
        history.features(visits.user[owner], item, visits.time[owner], population.season)
    )
    return RealAndExpected(float(real.mean()), float(expected.mean()))


def _labelled(text: str) -> Any:
    return field(metadata={"label": text})


@dataclass(frozen=True)
class Logged:
    """Counts of what was sent and what the log holds, each with the label of its row in reports."""

    visits: int = _labelled("visits decided")
    acknowledged: int = _labelled("events acknowledged, and found in the log exactly once")
    impressions: int = _labelled("impressions")
    clicks: int = _labelled("clicks")
    purchases: int = _labelled("purchases")
    retries: int = _labelled("calls sent again after 429 or a failure")
    files: int = _labelled("Parquet files of the log")
    others: int = _labelled("other events in the same log")


@dataclass(frozen=True)
class SimulationReport:
    """The results of a simulation. model: which one decided. realism: the population on weeks of
    the log after its start, None where there are none. off_policy: None where it could not be told.
    retrained: name -> value of the training on what was written; empty without one. seconds: of the
    stages.
    """

    name: str
    model: str
    start: datetime
    days: float
    places: int
    seed: int
    assumptions: tuple[str, ...]
    logged: Logged
    verdict: Verdict
    off_policy: OffPolicy | None = None
    realism: Realism | None = None
    retrained: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    confidence: float = 0.95

    def to_json(self) -> str:
        """JSON text."""
        return json.dumps(to_jsonable(self), indent=1, allow_nan=False) + "\n"

    def tables(self) -> list[Table]:
        """The numbers as tables of text, in the order of reading."""
        tables = [self._arms(), self._difference()]
        if self.off_policy is not None:
            tables.append(self._off_policy(self.off_policy))
        if self.realism is not None:
            tables.append(_realism(self.realism))
        tables.append(self._logged())
        if self.retrained:
            rows = tuple((name, value) for name, value in self.retrained.items())
            tables.append(Table("Trained again on what was written", ("", ""), rows))
        return tables

    def to_markdown(self) -> str:
        """The report as Markdown."""
        lines = [f"# {self.title}", "", self.summary, ""]
        for table in self.tables():
            lines += [f"## {table.title}", "", *table.markdown(), ""]
        lines += ["## What all of this rests on", ""]
        lines += [f"- {sentence}" for sentence in self.assumptions]
        return "\n".join(lines) + "\n"

    @property
    def title(self) -> str:
        """One line."""
        return f"{_name(self.verdict.b)} against {_name(self.verdict.a)}, on simulated people"

    @property
    def summary(self) -> str:
        """The verdict in two sentences."""
        verdict = self.verdict
        lift, adjusted = verdict.lift, verdict.adjusted.text("+.4f", brackets=True)
        told = (
            f"the sequential test had decided after day {verdict.stopped}"
            if verdict.stopped is not None
            else "the sequential test has not decided"
        )
        return (
            f"In {self.days:g} days, B less A was {adjusted} items taken a "
            f"simulated person ({lift.value:+.0%}, CUPED); {told}. "
            f"{self.confidence:.0%} intervals throughout."
        )

    def _arms(self) -> Table:
        arms = (self.verdict.a, self.verdict.b)
        lines: dict[str, Callable[[ArmResult], str]] = {
            "people": lambda arm: f"{arm.people:,}",
            "of them came": lambda arm: f"{arm.visitors:,}",
            "visits": lambda arm: f"{arm.visits:,}",
            "items shown": lambda arm: f"{arm.impressions:,}",
            "clicked": lambda arm: f"{arm.clicks:,}",
            "taken": lambda arm: f"{arm.responses:,}",
            "taken a person": lambda arm: arm.per_person.text(brackets=True),
            "taken a visit": lambda arm: arm.per_visit.text(brackets=True),
            "answered by": lambda arm: ", ".join(f"{k} {v:.0%}" for k, v in arm.stages.items()),
        }
        rows = tuple((name, *map(show, arms)) for name, show in lines.items())
        return Table("The two arms", ("", *map(_name, arms)), rows)

    def _difference(self) -> Table:
        verdict = self.verdict
        rows = [
            ("taken a person, B less A", verdict.difference.text("+.4f", brackets=True)),
            ("the same with CUPED", verdict.adjusted.text("+.4f", brackets=True)),
            ("variance that CUPED removed", f"{verdict.variance_reduction:.0%}"),
            ("lift, B over A", verdict.lift.text("+.1%", brackets=True)),
            ("sizes of the arms as planned, p", f"{verdict.sample_ratio:.2f}"),
        ]
        if verdict.looks:
            last = verdict.looks[-1]
            said = last.difference.text("+.4f", brackets=True)
            rows.append((f"a person and week, always valid, day {last.day}", said))
            rows.append(("its p-value, whenever one looks", f"{last.p_value:.2g}"))
        decided = "not yet" if verdict.stopped is None else f"after day {verdict.stopped}"
        rows.append(("the sequential test decided", decided))
        return Table("How far they are apart", ("", "value"), tuple(rows))

    def _off_policy(self, found: OffPolicy) -> Table:
        rows = [
            (f"B from A's log, {name}", one.text(brackets=True))
            for name, one in found.estimates.items()
        ]
        rows += [
            ("B's own", found.own.text(brackets=True)),
            ("A's visits that were asked again", f"{found.visits:,} ({found.recomputed:.1%})"),
            ("worth as many places of B's own", f"{found.effective:,.0f}"),
            ("A's places that B would never fill so", f"{found.unseen:.1%}"),
        ]
        return Table("B judged from A's log, taken a visit", ("", "value"), tuple(rows))

    def _logged(self) -> Table:
        rows = tuple(
            (each.metadata["label"], f"{getattr(self.logged, each.name):,}")
            for each in fields(self.logged)
        )
        return Table("What the service wrote, read back from its Parquet log", ("", "number"), rows)


@dataclass(frozen=True)
class Table:
    """Cells of text. title: of the table."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> list[str]:
        """Lines of a Markdown table."""
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def write_report(folder: str | Path, report: SimulationReport) -> Path:
    """Write report.json, report.md and report.html; the page is returned.

    Raises ResourceError where the disk is full.
    """
    from adwright.metrics.reports.report import page_environment

    folder = Path(folder)
    atomic_write_text(folder / "report.json", report.to_json())
    atomic_write_text(folder / "report.md", report.to_markdown())
    page = folder / "report.html"
    text = (
        page_environment("adwright.campaigns.simulation")
        .get_template("simulation.html")
        .render(report=report, tables=report.tables(), charts=_charts(report))
    )
    atomic_write_text(page, text)
    return page


def _charts(report: SimulationReport) -> Sequence[str]:
    from adwright.metrics.reports.charts import interval_chart, to_svg
    from adwright.metrics.reports.report import inline_svg

    verdict = report.verdict
    charts: list[alt.TopLevelMixin] = [
        interval_chart(
            {_name(arm): arm.per_person for arm in (verdict.a, verdict.b)},
            title="Items taken, simulated people",
            x_title="Taken a person",
            confidence=report.confidence,
        )
    ]
    if verdict.looks:
        charts.append(
            interval_chart(
                {f"day {look.day}": look.difference for look in verdict.looks},
                title="The sequential test, day by day",
                x_title="Taken a person and week, B less A",
                reference=0,
                confidence=report.confidence,
            )
        )
    if report.off_policy is not None:
        found = report.off_policy
        charts.append(
            interval_chart(
                {**found.estimates, "B's own": found.own},
                title="B judged from A's log, and B itself",
                x_title="Taken a visit",
                confidence=report.confidence,
            )
        )
    return [inline_svg(to_svg(chart), f"c{number}") for number, chart in enumerate(charts)]


def _realism(found: Realism) -> Table:
    def line(name: str, one: RealAndExpected, digits: int) -> tuple[str, ...]:
        return (name, f"{one.real:,.{digits}f}", f"{one.expected:,.{digits}f}", f"{one.ratio:.2f}")

    rows = (
        line("visits a week", found.visits, 0),
        line("items a visit", found.basket, 2),
        line("taken of a visitor's ten favourites", found.favourites, 4),
    )
    title = f"The population beside real people, {found.weeks:.0f} weeks after its start"
    return Table(title, ("", "real", "population", "ratio"), rows)


def _name(arm: ArmResult) -> str:
    """The policy, with the arm in front unless it stands there."""
    return (
        arm.policy_id if arm.policy_id.startswith(f"{arm.arm} ") else f"{arm.arm} {arm.policy_id}"
    )


# --------------------------------------------------------------------------------------------------
# One round of the loop: users come, a service decides and logs, the log is read, a model is
# trained on it, and A is compared with B.
#
#     report = run_loop(people, plan, Setting("cascade v12", client, sources), later=log.events)
#
# What decides and what learns are passed in, so the same loop runs against a service elsewhere,
# one in this process, and a few lines of a test.

#: Trains on the events that were written; facts about the result, name -> value as text.
Retrain = Callable[[pl.DataFrame], Mapping[str, str]]


@dataclass(frozen=True, eq=False)
class Setting:
    """The service that decides. model: its name in the report. client: speaks to it. sources: where
    it keeps what it is sent. odds: computes the propensities of both policies again, for off-policy
    evaluation; None leaves that out. retries: calls that had to be sent again, so far. notes: what
    the numbers rest on beside the population's assumptions, in sentences."""

    model: str
    client: Client
    sources: Sequence[Source]
    odds: Odds | None = None
    retries: Callable[[], int] = lambda: 0
    notes: tuple[str, ...] = ()


def run_loop(
    population: Population,
    plan: Plan,
    setting: Setting,
    *,
    later: pl.LazyFrame | pl.DataFrame | None = None,
    retrain: Retrain | None = None,
    config: VerdictConfig | None = None,
    stages: Stages | None = None,
) -> SimulationReport:
    """Drive the service, read its log back, train on it, and report.

    later: a log that goes on after the population's start, to check the population against;
    None, or one that does not, leaves that out. retrain: called with the events of this
    simulation out of the Parquet log. stages: keeps the times.
    Raises what `drive`, `read_back`, `compare_arms` and `retrain` raise.
    """
    config, stages = config or VerdictConfig(), stages or Stages()
    realism = None
    if later is not None:
        # A log that ends at the start leaves nothing to compare with.
        with stages.stage("check the population"), suppress(DataError):
            realism = check_population(population, later)
    with stages.stage("drive the service"):
        driven = drive(population, setting.client, plan)
    with stages.stage("read the log back"):
        read = read_back(setting.sources, plan, driven)
    learned: Mapping[str, str] = {}
    if retrain is not None:
        with stages.stage("train again"):
            learned = retrain(read.events)
    with stages.stage("compare the policies"):
        verdict = compare_arms(population, plan, read.events, config)
        off_policy = None
        if setting.odds is not None:
            off_policy = judge_from_log(
                read.events,
                plan.config.split,
                setting.odds,
                confidence=config.confidence,
                seed=config.seed,
            )
    return SimulationReport(
        name=plan.config.name,
        model=setting.model,
        start=population.start,
        days=plan.config.days,
        places=plan.config.places,
        seed=plan.config.seed,
        assumptions=(*population.assumptions(), *setting.notes),
        logged=Logged(
            visits=len(driven.shown),
            acknowledged=len(driven.event_ids),
            impressions=sum(map(len, driven.shown)),
            clicks=driven.count("click"),
            purchases=driven.count("purchase"),
            retries=setting.retries(),
            files=read.files,
            others=read.others,
        ),
        verdict=verdict,
        off_policy=off_policy,
        realism=realism,
        retrained=dict(learned),
        seconds=dict(stages.seconds),
        confidence=config.confidence,
    )
