"""The report of a simulation, as JSON, as Markdown and as a page.

The assumptions are part of it and stand beside the numbers in each form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.campaigns.simulation.ab_test import ArmResult, Verdict
from adwright.campaigns.simulation.realism import RealAndExpected, Realism
from adwright.campaigns.simulation.replay import OffPolicy
from adwright.core.atomic import atomic_write_text
from adwright.core.config import to_jsonable

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Logged", "SimulationReport", "Table", "write_report"]


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
            (
                "lift, B over A",
                verdict.lift.text("+.1%", brackets=True),
            ),
            ("sizes of the arms as planned, p", f"{verdict.sample_ratio:.2f}"),
        ]
        if verdict.looks:
            last = verdict.looks[-1]
            rows.append(
                (
                    f"a person and week, always valid, day {last.day}",
                    last.difference.text("+.4f", brackets=True),
                )
            )
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
    from adwright.metrics.reports.page import page_environment

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
    from adwright.metrics.reports.page import inline_svg

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
