"""A list of what to stop in plain words, and the facts that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.creative.lifetime.retirement.rule import RetireConfig

__all__ = ["ListFacts", "left_in_words", "list_in_words"]

#: Where the rule alone is worth so great a part of the model's stops, it is as good.
_AS_GOOD = 0.99


@dataclass(frozen=True)
class ListFacts:
    """What a list was made from and with. period: at whose close; named: what it is called;
    expects: whether value per cost is what features tell, or what was. unit:
    of periods and ages.
    ahead, horizon: as they were used. break_even, overall: value per cost, of the rule and of all
    that ran. half_life: None where all periods weigh alike. last_edge: of the curve.
    value_left_out: see `rates.Rates`. record_hash: of the log, see `stop_list.record_hash`. made:
    when, in UTC."""

    period: int
    named: str
    expects: bool
    unit: str
    cost_name: str
    value_name: str
    config: RetireConfig
    ahead: int
    horizon: int
    break_even: float
    overall: float
    half_life: float | None
    last_edge: float
    value_left_out: float
    model_id: str
    record_hash: str
    made: str


def left_in_words(
    left: npt.NDArray[np.float64], age: npt.NDArray[np.float64], last_edge: float, unit: str
) -> list[str]:
    """Of units, by their quantiles [N, 3] and ages [N]: "4 (1 to 9) weeks"; what lies beyond the
    curve is "more than" what is left of it."""
    beyond = np.floor(last_edge - age).tolist()
    return [
        _left(low, middle, high, rest, unit)
        for (low, middle, high), rest in zip(left.tolist(), beyond, strict=True)
    ]


def list_in_words(
    facts: ListFacts, units: pl.DataFrame, totals: Mapping[str, float], rows: int
) -> str:
    """Totals, how it was decided, what the rule without a model says, and the first `rows` units
    that are not kept."""
    lines = [
        f"{facts.named}: {_whole(totals['units'])} units run: stop "
        f"{_whole(totals['stop'])}, refresh {_whole(totals['refresh'])}, keep "
        f"{_whole(totals['keep'])}",
        *_how(facts),
        f"to stop saves {_number(totals['saving'])} {facts.cost_name} of the {facts.horizon} "
        f"{facts.unit}s to come and gives up {_number(totals['loss'])} {facts.value_name}: at the "
        f"break-even {_number(totals['net'])} {facts.value_name} net",
        *_causes(units),
        _beside(totals),
    ]
    shown = units.filter(pl.col("action") != "keep").head(rows)
    lines += [f"  {line}" for row in shown.iter_rows(named=True) for line in _unit(row, facts)]
    more = int(totals["stop"] + totals["refresh"]) - len(shown)
    if more > 0:
        lines.append(f"  and {_whole(more)} more")
    return "\n".join(lines) + "\n"


def _how(facts: ListFacts) -> list[str]:
    per = f"{facts.value_name} per cost in {facts.cost_name}"
    given = "as given"
    if facts.config.break_even is None:
        given = f"{facts.config.floor:g} of the {facts.overall:.4g} of all so far"
    weighs = "all past periods weigh alike"
    if facts.half_life is not None:
        chosen = "" if facts.config.half_life else ", which told the next period best"
        weighs = f"past periods fade with a half-life of {facts.half_life:g} {facts.unit}s{chosen}"
    if facts.expects:
        weighs += ", and features tell the rest"
    lines = [
        f"stop: worth less than {facts.config.threshold:g} to keep one {facts.unit} more, at a "
        f"break-even of {facts.break_even:.4g} {per}, {given}; {weighs}",
        f"refresh: in the long term, and half of such units end within {facts.ahead} {facts.unit}s",
    ]
    if facts.value_left_out > 0.005:
        lines.append(
            f"{facts.value_left_out:.1%} of the {facts.value_name} came in {facts.unit}s without "
            "cost and counts for no unit"
        )
    return lines


def _causes(units: pl.DataFrame) -> list[str]:
    stops = units.filter(pl.col("action") == "stop")
    counts = stops.drop_nulls("cause")["cause"].value_counts().sort("cause")
    said = [f"{_whole(count)} {cause}" for cause, count in counts.iter_rows()]
    endings = stops.drop_nulls("ending")["ending"].value_counts().sort("ending")
    said += [f"{_whole(count)} likeliest to end of {cause!r}" for cause, count in endings.rows()]
    return [f"of those to stop: {', '.join(said)}"] if said else []


def _beside(totals: Mapping[str, float]) -> str:
    """What the rule without a model says."""
    said = (
        f"value per cost alone, without the model, would stop {_whole(totals['rule_stop'])}, of "
        f"which {_whole(totals['both'])} are the same"
    )
    if not totals["stop"] and not totals["rule_stop"]:
        return said
    net, rule = totals["net"], totals["rule_net"]
    if rule >= _AS_GOOD * net:
        return f"{said}: on this list that simple rule is as good, by the model's own expectations"
    return f"{said}: {rule / net:.0%} of the net, by the model's expectations" if net > 0 else said


def _unit(row: Mapping[str, object], facts: ListFacts) -> list[str]:
    name = row["unit_id"] if row["name"] is None else f"{row['name']} ({row['unit_id']})"
    cause = ", ".join(str(row[key]) for key in ("cause", "ending") if row[key] is not None)
    spends, brings = "saves", "gives up"
    if row["action"] != "stop":
        spends, brings = "is to cost", "to bring"
    lines = [
        f"{row['action']:<7} {name}{f', {cause}' if cause else ''}: age {row['age']:g}, left "
        f"{row['left_said']}; {row['value_per_cost']:.3g} per cost, {spends} {row['saving']:.3g} "
        f"{facts.cost_name}, {brings} {row['loss']:.3g} {facts.value_name}"
    ]
    for key, what in (("why", "because of"), ("like", "like")):
        reasons = row[key]
        if isinstance(reasons, list) and reasons:
            lines.append(f"        {what} {'; '.join(reasons)}")
    return lines


def _left(low: float, middle: float, high: float, rest: float, unit: str) -> str:
    if rest < 1:
        return "not known, older than the curve"
    more = f"more than {rest:g}"
    if np.isinf(low):
        return f"{more} {unit}{'s' * (rest != 1)}"
    if np.isinf(middle):
        return f"{more} (from {low:g} on) {unit}s"
    top = more if np.isinf(high) else f"{high:g}"
    return f"{middle:g} ({low:g} to {top}) {unit}s"


def _whole(count: float) -> str:
    return f"{int(count):,}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
