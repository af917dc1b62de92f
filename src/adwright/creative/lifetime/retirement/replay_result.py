"""What a replay found: a table of rules, comparisons with intervals, curves for a chart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from adwright.core.config import to_jsonable
from adwright.creative.lifetime.fatigue import FatigueRule
from adwright.creative.lifetime.retirement.frontier import StopSums
from adwright.metrics.two_level import MethodInterval

__all__ = ["FatiguePoint", "Replay", "ReplayLead", "RulePoint"]


@dataclass(frozen=True)
class RulePoint:
    """A rule at one threshold.

    at: "own", or whose share of value kept it was given. cost_saved: share of all cost, and `saved`
    the cost itself. value_kept: share of all value. wrongly: share of the stopped lives that in the
    periods saved brought the break-even at least; None where nothing was stopped, like `mean_age`,
    periods lived at the stop. stopped: lives whose stop saved something.
    """

    name: str
    at: str
    cost_saved: float
    value_kept: float
    wrongly: float | None
    mean_age: float | None
    stopped: float
    saved: float

    @classmethod
    def of(cls, name: str, at: str, sums: StopSums) -> RulePoint:
        """From sums over lives."""
        some = sums.stopped > 0
        return cls(
            name,
            at,
            sums.cost_saved,
            sums.value_kept,
            sums.wrongly if some else None,
            sums.mean_age if some else None,
            sums.stopped,
            sums.saved,
        )


@dataclass(frozen=True)
class FatiguePoint:
    """A fatigue rule, what it did, and the share of cost that others save at its value kept."""

    rule: FatigueRule
    point: RulePoint
    others: dict[str, float]


@dataclass(frozen=True)
class ReplayLead:
    """Share of cost saved by a less that by b, where both keep the share `kept` of the value."""

    a: str
    b: str
    kept: float
    found: MethodInterval


@dataclass(frozen=True, eq=False)
class Replay:
    """periods: the first and last in which was decided. until: the last that counts. named: what
    the three are called. cost, value: of all that ran in them. break_even: mean over decisions,
    value per cost. half_life: of past periods, None for an infinite one. models: trainings
    replayed. best: the fatigue rule compared with. table: rules at their own point and at equal
    value kept. fatigue: the grid. leads: with intervals over owners, and over trainings where there
    are several. curves: by rule, pairs of cost saved and value kept.
    """

    periods: tuple[int, int]
    until: int
    named: tuple[str, str, str]
    unit: str
    cost_name: str
    value_name: str
    lives: int
    owners: int
    cost: float
    value: float
    break_even: float
    half_life: float | None
    models: int
    best: FatigueRule
    table: tuple[RulePoint, ...]
    fatigue: tuple[FatiguePoint, ...]
    leads: tuple[ReplayLead, ...]
    curves: dict[str, list[tuple[float, float]]]

    def point(self, name: str, at: str = "own") -> RulePoint:
        """The row of the table whose name begins so. Raises LookupError where there is none."""
        for row in self.table:
            if row.name.startswith(name) and row.at == at:
                return row
        raise LookupError(f"no rule {name!r} at {at!r}")

    def to_json(self) -> str:
        """All of it."""
        found: dict[str, Any] = to_jsonable(self)
        return json.dumps(found, indent=1, allow_nan=False)

    def text(self) -> str:
        """In plain words: the table, then the comparisons."""
        first, last, until = self.named
        lines = [
            f"Replay from {first} to {last}, judged until {until}: "
            f"{self.lives:,} lives of {self.owners:,} owners, {self.cost:,.0f} {self.cost_name}, "
            f"{self.value:,.0f} {self.value_name}.",
            f"A life pays from {self.break_even:.4g} on, {self.value_name} per "
            f"{self.cost_name}. What a stopped life would have brought counts as lost, an upper "
            "bound: a part of it would have come without it.",
            "",
            f"{'rule':<62} {'saved':>7} {'kept':>7} {'wrong':>7} {'age':>6}",
        ]
        for row in self.table:
            name = row.name if row.at == "own" else f"  {row.name}, value kept {row.at}"
            lines.append(
                f"{name:<62} {row.cost_saved:>7.1%} {row.value_kept:>7.1%} "
                f"{_or_dash(row.wrongly, '.1%'):>7} {_or_dash(row.mean_age, '.1f'):>6}"
            )
        lines.append("")
        lines += [self._lead(lead) for lead in self.leads]
        return "\n".join(lines)

    def _lead(self, lead: ReplayLead) -> str:
        found = lead.found
        verdict = "no more and no less"
        if found.excludes(0):
            verdict = "more" if found.low > 0 else "less"
        many = f", {found.seeds} trainings" if found.seeds > 1 else ""
        return (
            f"At {lead.kept:.1%} of the value kept the {lead.a} saves {verdict} than the {lead.b}: "
            f"{found.value:+.2%} of all cost ({found.low:+.2%} to {found.high:+.2%}{many})."
        )


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
