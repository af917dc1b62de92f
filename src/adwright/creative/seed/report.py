"""What a run of SEED found, as a table, a JSON file and a page.

    report.text()                 # a line a round, then the gain on held-out briefs
    write_report(report, out)     # out/report.json and out/report.html

Gains are by both judges, side by side: the own judge is what the rounds chase.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from adwright.core.atomic import atomic_write_text
from adwright.core.config import settings
from adwright.core.progress import duration
from adwright.creative.seed.measures import Measured, StepCost, compared
from adwright.creative.seed.writer import TuneCost
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.charts import interval_chart, learning_curves, to_svg
from adwright.metrics.reports.page import inline_svg, page_environment

#: Why a run ended: all rounds are done, the second judge saw no gain, or the budget is spent and
#: the same call goes on.
SeedEnd = Literal["rounds", "stopped", "budget"]

_ENDS: Mapping[SeedEnd, str] = {
    "rounds": "All rounds are done.",
    "stopped": "Stopped: by the second judge's view the last rounds brought nothing.",
    "budget": "The budget is spent; the same command goes on from here.",
}
_HEADER = (
    *("round", "own judge", "second judge", "agree", "kept", "answered", "usable", "grounded"),
    *("copied", "distinct-1", "distinct-2", "words", "loss"),
)


@dataclass(frozen=True)
class RoundResult:
    """One round. measured: on the watched briefs. sampled: briefs that it wrote for, of which the
    ads of `kept` are tuned on. rows: that it was tuned on. tune: what that took."""

    at: int
    measured: Measured
    sampled: int
    kept: int
    rows: int
    tune: TuneCost

    def line(self) -> str:
        """One line of progress."""
        found = self.measured
        loss = "" if self.tune.loss is None else f", loss {self.tune.loss:.3f}"
        return (
            f"round {self.at}: own judge {_gain(found.own)}, second judge {_gain(found.second)}, "
            f"kept {self.kept:,} of {self.sampled:,}{loss}"
        )

    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        found = self.measured
        return (
            str(self.at),
            _gain(found.own),
            _gain(found.second),
            "" if found.agreement is None else f"{found.agreement:.2f}",
            f"{self.kept:,} of {self.sampled:,}" if self.sampled else "",
            f"{found.answered:.0%}",
            f"{found.texts.usable:.0%}",
            f"{found.texts.grounded:.0%}",
            f"{found.texts.copied:.0%}",
            f"{found.texts.distinct1:.3f}",
            f"{found.texts.distinct2:.3f}",
            f"{found.texts.words:.1f}",
            "" if self.tune.loss is None else f"{self.tune.loss:.3f}",
        )


@settings
class SeedReport:
    """A run. chosen: the round that the second judge likes most on the watched briefs. before,
    after: the writers of round 0 and of the chosen one on the held-out briefs; None where the
    budget was spent before. about: names, settings and sizes."""

    end: SeedEnd
    chosen: int
    rounds: tuple[RoundResult, ...]
    before: Measured | None
    after: Measured | None
    costs: tuple[StepCost, ...]
    about: Mapping[str, Any]
    draws: int = 1000

    @property
    def rise(self) -> Interval | None:
        """Gain of the chosen writer less that of round 0, by the second judge, on the held-out
        briefs; None without both."""
        if self.before is None or self.after is None:
            return None
        return compared(self.after, self.before, draws=self.draws)

    @property
    def distinct2_ratio(self) -> float | None:
        """Diversity of what the chosen writer wrote over that of round 0; None without both."""
        if self.before is None or self.after is None or not self.before.texts.distinct2:
            return None
        return self.after.texts.distinct2 / self.before.texts.distinct2

    def findings(self) -> tuple[str, ...]:
        """What it comes to, a sentence each."""
        told = [_ENDS[self.end]]
        if self.after is not None:
            told.append(
                f"Round {self.chosen} on {len(self.after.briefs):,} held-out briefs, of which "
                f"{self.after.answered:.0%} got a usable ad, against their original ads: "
                f"{_gain(self.after.own)} by the own judge, "
                f"{_gain(self.after.second)} by the second judge."
            )
        if self.rise is not None and self.chosen:
            told.append(f"Beyond the writer of before the rounds: {_gain(self.rise)}.")
        if self.after is not None and self.hacked:
            told.append(
                "Only the judge that the rounds chased is sure of a gain: the writer may have "
                "found what that judge is wrong about. Do not use these ads on its word."
            )
        if self.distinct2_ratio is not None and self.chosen:
            told.append(f"Diversity (distinct-2) is {self.distinct2_ratio:.2f} of what it was.")
        return (*told, "Scores are estimates of judges; nobody was asked what he remembers.")

    @property
    def hacked(self) -> bool:
        """Whether the own judge sees a gain for sure, and the second one none."""
        if self.after is None or self.after.own is None or self.after.second is None:
            return False
        return self.after.own.low > 0 >= self.after.second.low

    def text(self) -> str:
        """The table in plain text, what it comes to, and what it cost."""
        cells = [_HEADER, *(one.cells() for one in self.rounds)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(_HEADER))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        return "\n".join([*lines, "", *self.findings(), self.cost()])

    def cost(self) -> str:
        """What all calls took together."""
        cpu = sum(one.cpu_seconds for one in self.costs)
        read, written, tuned = (
            sum(getattr(one, name) for one in self.costs) for name in ("read", "written", "tuned")
        )
        return (
            f"Cost: {duration(cpu)} of CPU; tokens: {read:,} read, {written:,} written, "
            f"{tuned:,} tuned on."
        )

    def to_json(self) -> str:
        """All of it as JSON."""
        told = {
            **asdict(self),
            "rise": None if self.rise is None else asdict(self.rise),
            "distinct2_ratio": self.distinct2_ratio,
            "hacked": self.hacked,
        }
        return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_report(
    report: SeedReport, out: Path, *, samples: Sequence[tuple[str, str, str]] = ()
) -> None:
    """Write report.json and report.html. samples: brief, original and written ad, for the page.
    Raises ResourceError where the disk is full."""
    atomic_write_text(out / "report.json", report.to_json())
    values = {
        "sentences": [*report.findings(), report.cost()],
        "facts": {
            **{name: report.about[name] for name in ("writer", "own", "second")},
            **report.about.get("ads", {}),
        },
        "curves": _curves(report.rounds),
        "held": _held(report),
        "header": _HEADER,
        "rows": [one.cells() for one in report.rounds],
        "reasons": [
            (f"round {one.at}", *_reasons(one.measured)) for one in report.rounds if one.rows
        ],
        "samples": list(samples),
    }
    page = page_environment(__package__ or "").get_template("seed.html").render(values)
    atomic_write_text(out / "report.html", page)


def _curves(rounds: Sequence[RoundResult]) -> str:
    rows = [
        {"round": one.at, "series": name, "value": 100 * gain.value}
        for one in rounds
        for name, gain in (
            ("own judge", one.measured.own),
            ("second judge", one.measured.second),
        )
        if gain is not None
    ]
    if not rows:
        return ""
    chart = learning_curves(
        rows,
        x="round",
        title="Watched briefs, by round",
        x_title="Round",
        y_title="Gain over the original ads, %",
    )
    return inline_svg(to_svg(chart), "rounds")


def _held(report: SeedReport) -> str:
    """Intervals on the held-out briefs, before and after the rounds."""
    values: dict[str, Interval] = {}
    for name, found in (("before", report.before), ("after", report.after)):
        for judge in ("own", "second"):
            gain = None if found is None else getattr(found, judge)
            if gain is not None:
                values[f"{judge} judge, {name}"] = Interval(
                    100 * gain.value, 100 * gain.low, 100 * gain.high
                )
    if not values:
        return ""
    chart = interval_chart(
        values,
        title="Held-out briefs",
        x_title="Gain over the original ads, %",
        reference=0.0,
    )
    return inline_svg(to_svg(chart), "held")


def _reasons(found: Measured) -> tuple[str, str]:
    told = sorted(found.texts.reasons.items(), key=lambda one: -one[1])
    return f"{found.texts.usable:.0%}", ", ".join(f"{name} {count:,}" for name, count in told)


def _gain(found: Interval | None) -> str:
    if found is None:
        return "none to tell"
    return f"{found.value:+.1%} ({found.low:+.1%} to {found.high:+.1%})"
