"""What to stop, refresh or keep at the close of a period: a row a running unit, with its reasons.

    FOLDER/
      list.json       settings, totals, the model and the record that it was made from
      units.parquet   a row a unit, the largest net saving first

Beside each unit stands what the rule without a model says (`rule_action`): value per cost alone,
with one expectation of periods to come for all units.

Letters: R lives, N running units, L of them explained.

Why a unit is on the list: what moved its risk, and past units that were like it.

What an input adds is the expected number of periods to come, less what is expected where that
input alone is missing. So it is relative to an average unit, and inputs that tell the same share
what they say. Where nothing predicts lives there are no reasons. Past units are those whose lives
ended before the period, as they were known at an earlier one, nearest in what moves the model (of
the network its last hidden layer), by the euclidean distance; all of them are looked at.

Letters: N units, I inputs, P past units, H hidden units.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PolarsError

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, FileUnreadableError
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.kept_life import AnyLife, KeptLife, LifeModel
from adwright.creative.lifetime.lives import LifeLog, LifeRecord, RunningUnits
from adwright.creative.lifetime.replay import Replay
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.stop_rule import (
    Decisions,
    Rates,
    RetireConfig,
    ValueModel,
    break_even_of,
    credibility,
    decide,
    flat_outlook,
    keeping_value,
    outlook_of,
)
from adwright.creative.lifetime.survival_network import Vectors
from adwright.metrics.reports.charts import learning_curves, to_svg
from adwright.metrics.reports.report import inline_svg, page_environment

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Units whose distances to all past ones are in memory at once.
_ROWS = 256
#: Past units that are looked at; reasons and past units like it that are told of a unit.
_PAST, _TOLD = 20_000, 3
#: A change of fewer periods is no reason.
_LEAST = 0.05


@dataclass(frozen=True, eq=False)
class Influences:
    """names: I inputs. values: [N] texts of each, "" where missing. change: float64 [N, I], periods
    that the value adds to those expected (below 0: it shortens the life)."""

    names: tuple[str, ...]
    values: tuple[list[str], ...]
    change: Floats

    def strongest(self, count: int, unit: str) -> list[list[str]]:
        """For each unit the inputs that moved it most, in words: "impressions_now 12: -3.1 weeks".
        unit: of a period, "week" or "day"."""
        order = np.argsort(-np.abs(self.change), axis=1, kind="stable")[:, :count]
        return [
            [
                f"{f'{self.names[i]} {self.values[i][row]}'.rstrip()}: {change:+.1f} {unit}s"
                for i in inputs
                if abs(change := float(self.change[row, i])) >= _LEAST
            ]
            for row, inputs in enumerate(order.tolist())
        ]


def influences(
    model: LifeModel, table: SpellTable, vectors: Vectors | None = None, *, horizon: int
) -> Influences:
    """What each input adds to the expected periods of N units. horizon: periods that count."""
    seen = vectors or {}

    def expected(units: SpellTable, shown: Vectors) -> Floats:
        return outlook_of(model.predict(units, shown), horizon).further

    whole, names = expected(table, seen), model.reads
    change = [whole - expected(*_hidden(name, table, seen)) for name in names]
    texts = tuple(_texts(name, table) for name in names)
    return Influences(names, texts, np.array(change).reshape(len(names), len(table)).T)


@dataclass(frozen=True, eq=False)
class PastUnits:
    """life: int64 [P], places in the log, each once; hidden: float32 [P, H]."""

    life: Ints
    hidden: npt.NDArray[np.float32]

    def nearest(self, hidden: npt.NDArray[np.float32], count: int) -> tuple[Ints, Floats]:
        """(places in the log [N, K], distances [N, K]) of the nearest, nearest first; equally near
        ones by place. K is `count`, or P where that is less. hidden: of N units."""
        count = min(count, len(self.life))
        found = np.empty((len(hidden), count), np.int64)
        far = np.empty((len(hidden), count))
        past = self.hidden.astype(np.float64)
        square = (past**2).sum(1)
        for start in range(0, len(hidden) if count else 0, _ROWS):
            part = hidden[start : start + _ROWS].astype(np.float64)
            distance = (part**2).sum(1)[:, None] - 2 * part @ past.T + square
            near = np.argpartition(distance, count - 1, axis=1)[:, :count]
            of = np.take_along_axis(distance, near, 1)
            order = np.lexsort((self.life[near], of), axis=1)
            near = np.take_along_axis(near, order, 1)
            found[start : start + _ROWS] = self.life[near]
            far[start : start + _ROWS] = np.take_along_axis(distance, near, 1)
        return found, np.sqrt(np.maximum(far, 0))


def past_units(
    model: LifeModel, lives: LifeRecord, period: int, vectors: Vectors | None = None
) -> PastUnits:
    """Lives whose end is known by `period`, as they were known 1, 2, 4, 8 ... periods before it,
    each as of the latest of these; at most 20,000, the latest.

    vectors: name -> float32 [R, D], of all lives of the log.
    """
    log = lives.log
    begin = int(log.first.min(initial=period))
    ended, known = log.last + log.gap < period, np.zeros(len(log), np.bool_)
    life, hidden, step, count = [np.zeros(0, np.int64)], [], 1, 0
    while (at := period - step) >= begin and count < _PAST:
        step *= 2
        if not ((log.first <= at) & (log.last >= at) & ended & ~known).any():
            continue
        ran = lives.running(at)
        rows = np.flatnonzero(ended[ran.life] & ~known[ran.life])[: _PAST - count]
        chosen = ran.life[rows]
        known[chosen] = True
        count += len(rows)
        life.append(chosen)
        hidden.append(model.hidden(ran.table.take(rows), vectors_of(vectors, chosen)))
    found = np.concatenate(hidden) if hidden else np.zeros((0, 0), np.float32)
    return PastUnits(np.concatenate(life), found)


def vectors_of(vectors: Mapping[str, npt.NDArray[np.float32]] | None, life: Ints) -> Vectors:
    """Those [N, D] of the lives [N], out of those [R, D] of all."""
    return {name: x[life] for name, x in (vectors or {}).items()}


def _hidden(name: str, table: SpellTable, vectors: Vectors) -> tuple[SpellTable, Vectors]:
    """The units with an input hidden: a missing value."""
    if name in table.number_names:
        numbers = table.numbers.copy()
        numbers[:, table.number_names.index(name)] = np.nan
        return replace(table, numbers=numbers), vectors
    if name in table.category_names:
        codes = table.categories.copy()
        codes[:, table.category_names.index(name)] = -1
        return replace(table, categories=codes), vectors
    if name == "words":
        return replace(table, words=table.words[:0], offsets=np.zeros_like(table.offsets)), vectors
    if name in vectors:
        vectors = {**vectors, name: np.full_like(vectors[name], np.nan)}
    return table, vectors


def _texts(name: str, table: SpellTable) -> list[str]:
    """The values of an input [N], as they are read by people."""
    if name in table.number_names:
        column = table.numbers[:, table.number_names.index(name)]
        return [f"{x:.4g}" if np.isfinite(x) else "" for x in column.tolist()]
    if name in table.category_names:
        place = table.category_names.index(name)
        texts = (*table.category_values[place], "")  # the last is what -1 finds
        return [texts[code] for code in table.categories[:, place].tolist()]
    if name == "words":
        ends = table.offsets.tolist()
        return [
            " ".join(table.vocabulary[word] for word in table.words[start : min(start + 4, stop)])
            for start, stop in pairwise(ends)
        ]
    return [""] * len(table)


#: Where the rule alone is worth so great a part of the model's stops, it is as good.
_AS_GOOD = 0.99


@dataclass(frozen=True)
class ListFacts:
    """What a list was made from and with. period: at whose close; named: what it is called;
    expects: whether value per cost is what features tell, or what was. unit:
    of periods and ages.
    ahead, horizon: as they were used. break_even, overall: value per cost, of the rule and of all
    that ran. half_life: None where all periods weigh alike. last_edge: of the curve.
    value_left_out: see `Rates`. record_hash: of the log, see `record_hash`. made:
    when, in UTC. kept: which model was kept, by how much, and what it expects."""

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
    kept: tuple[str, ...] = ()


def left_in_words(
    left: npt.NDArray[np.float64], age: npt.NDArray[np.float64], last_edge: float, unit: str
) -> list[str]:
    """Of units, by their quantiles [N, 3] and ages [N]: "4 (1 to 9) weeks"; what lies beyond the
    curve is "more than" what is left of it."""
    said = []
    beyond = np.floor(last_edge - age).tolist()
    for (low, middle, high), rest in zip(left.tolist(), beyond, strict=True):
        more = f"more than {rest:g}"
        if rest < 1:
            said.append("not known, older than the curve")
        elif np.isinf(low):
            said.append(f"{more} {unit}{'s' * (rest != 1)}")
        elif np.isinf(middle):
            said.append(f"{more} (from {low:g} on) {unit}s")
        else:
            top = more if np.isinf(high) else f"{high:g}"
            said.append(f"{middle:g} ({low:g} to {top}) {unit}s")
    return said


def list_in_words(
    facts: ListFacts, units: pl.DataFrame, totals: Mapping[str, float], rows: int
) -> str:
    """Totals, how it was decided, what the rule without a model says, and the first `rows` units
    that are not kept."""
    saving, loss, net = (
        f"{each:,.0f}" if abs(each) >= 1000 else f"{each:.4g}"
        for each in (totals["saving"], totals["loss"], totals["net"])
    )
    lines = [
        *facts.kept[:1],
        f"{facts.named}: {totals['units']:,.0f} units run: stop "
        f"{totals['stop']:,.0f}, refresh {totals['refresh']:,.0f}, keep "
        f"{totals['keep']:,.0f}",
        *_how(facts),
        f"to stop saves {saving} {facts.cost_name} of the {facts.horizon} "
        f"{facts.unit}s to come and gives up {loss} {facts.value_name}: at the "
        f"break-even {net} {facts.value_name} net",
    ]
    stops, said = units.filter(pl.col("action") == "stop"), []
    for column, what in (("cause", "{}"), ("ending", "likeliest to end of {!r}")):
        counts = stops.drop_nulls(column)[column].value_counts().sort(column)
        said += [f"{count:,} {what.format(name)}" for name, count in counts.iter_rows()]
    if said:
        lines.append(f"of those to stop: {', '.join(said)}")
    lines.append(_beside(totals))
    shown = units.filter(pl.col("action") != "keep").head(rows)
    lines += [f"  {line}" for row in shown.iter_rows(named=True) for line in _unit(row, facts)]
    more = int(totals["stop"] + totals["refresh"]) - len(shown)
    if more > 0:
        lines.append(f"  and {more:,} more")
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
        f"refresh: in the long term, half of such units end within {facts.ahead} {facts.unit}s, "
        "and more of them ended than of all, on lives held out",
    ]
    if facts.value_left_out > 0.005:
        lines.append(
            f"{facts.value_left_out:.1%} of the {facts.value_name} came in {facts.unit}s without "
            "cost and counts for no unit"
        )
    return lines


def _beside(totals: Mapping[str, float]) -> str:
    """What the rule without a model says."""
    said = (
        f"value per cost alone, without the model, would stop {totals['rule_stop']:,.0f}, of "
        f"which {totals['both']:,.0f} are the same"
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


_LIST, _UNITS, _FORMAT = "list.json", "units.parquet", 1
_IDS = ("item_id", "creative_id", "name")


@dataclass(frozen=True, eq=False)
class RetirementList:
    """facts: what it was made from. units: a row a running unit, by net saving.

    unit_id, item_id, creative_id, name: text, the last three null where not known. action: "stop",
    "refresh" or "keep"; rule_action: "stop" or "keep", without a model. cause: "cut-out",
    "wear-out" or null; ending: the likeliest of several causes, or null. age: periods lived.
    left_low, left, left_high: periods left until a tenth, half and nine tenths of such units have
    ended, infinite beyond the curve; left_said: the same in words. ends: chance to end within
    `facts.ahead`. value_per_cost, spread: expected, and its standard deviation. break_even. score:
    what keeping is worth. cost: expected, of a period. saving: expected cost of the periods to
    come; loss: the value that goes with it; net: break_even x saving - loss.
    why: what moved its risk; like: past units like it, and how long they lived; lists of texts,
    null of units that are not explained.
    """

    facts: ListFacts
    units: pl.DataFrame

    def __len__(self) -> int:
        return len(self.units)

    @cached_property
    def id(self) -> str:
        """A hash of what it was made from, when, and of what it says to do."""
        said = self.units.select("unit_id", "item_id", "creative_id", "action").sort("unit_id")
        actions = hashlib.sha256(said.write_csv().encode()).hexdigest()
        return content_hash({"facts": to_jsonable(self.facts), "actions": actions})

    def with_items(self, items: Mapping[str, str]) -> RetirementList:
        """The same list, by its id, too, where units that name no item have that of their creative.
        items: creative_id -> item_id."""
        if not items:
            return self
        found = pl.col("creative_id").replace_strict(items, default=None, return_dtype=pl.String)
        filled = replace(self, units=self.units.with_columns(pl.col("item_id").fill_null(found)))
        filled.__dict__["id"] = self.id
        return filled

    @property
    def stops(self) -> pl.DataFrame:
        """The units to stop."""
        return self.units.filter(pl.col("action") == "stop")

    @cached_property
    def totals(self) -> dict[str, float]:
        """Units by action, and of those to stop saving, loss and net; what the rule without a model
        would stop: rule_stop, rule_net by the model's expectations, and both of the two."""
        units = self.units
        stop, rule = pl.col("action") == "stop", pl.col("rule_action") == "stop"
        sums = units.select(
            units=pl.len(),
            stop=stop.sum(),
            refresh=(pl.col("action") == "refresh").sum(),
            keep=(pl.col("action") == "keep").sum(),
            saving=pl.col("saving").filter(stop).sum(),
            loss=pl.col("loss").filter(stop).sum(),
            net=pl.col("net").filter(stop).sum(),
            rule_stop=rule.sum(),
            rule_net=pl.col("net").filter(rule).sum(),
            both=(stop & rule).sum(),
        )
        return {name: float(value) for name, value in sums.row(0, named=True).items()}

    def text(self, rows: int = 10) -> str:
        """In plain words: totals, how it was decided, and the first `rows` units that are not
        kept."""
        return list_in_words(self.facts, self.units, self.totals, rows)

    def check_current(self, log: LifeLog) -> None:
        """Raises ConfigError where the record has changed since."""
        if record_hash(log) != self.facts.record_hash:
            raise ConfigError(
                "the record has changed since the list was made",
                where=f"list {self.id[:12]}, {self.facts.named}",
                hint="make the list anew from the record as it is",
            )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder, whole or not at all. Raises ResourceError as `atomic_folder`."""
        with atomic_folder(folder, overwrite=overwrite) as new:
            self.units.write_parquet(new / _UNITS)
            said = {"format": _FORMAT, "id": self.id, "facts": to_jsonable(self.facts)}
            atomic_write_text(new / _LIST, json.dumps({**said, "totals": self.totals}, indent=1))

    @classmethod
    def open(cls, folder: str | Path) -> RetirementList:
        """The list of a folder. Raises FileUnreadableError where there is none, ArtifactError where
        it was changed by hand."""
        path = Path(folder) / _LIST
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            if said["format"] != _FORMAT:
                raise ValueError(f"format {said['format']}")
            units = pl.read_parquet(path.parent / _UNITS)
            opened = cls(from_jsonable(ListFacts, said["facts"]), units)
            intact = opened.id == said["id"]
        except (OSError, ValueError, LookupError, TypeError, ConfigError, PolarsError) as error:
            raise FileUnreadableError(
                f"this folder holds no readable list of what to stop: {error}",
                file=str(path),
                hint="make the list again",
            ) from error
        if not intact:
            raise ArtifactError(
                "the list was changed after it was made",
                where=str(path.parent),
                hint="make it again, and leave out of the application what is not to be stopped",
            )
        return opened


def retirement_list(
    model: AnyLife,
    lives: LifeRecord,
    period: int | None = None,
    config: RetireConfig | None = None,
    *,
    vectors: Vectors | None = None,
    values: ValueModel | None = None,
    model_id: str = "",
    explained: int = 1000,
    clock: Clock | None = None,
) -> RetirementList:
    """What to do with each unit that runs in `period`, at its close; by default the record's last.

    vectors: name -> float32 [R, D] of texts or images, of all lives of the log in its order, NaN
    where missing. values: what units will bring; None takes what they brought. model_id: of its
    artifact; "" takes a hash of its weights. explained: units to stop or refresh, those of the
    largest net saving, that get their reasons: the three strongest inputs and as many past units
    like it. clock: says when the list was made, which is part of its id.

    Raises ConfigError and DataError as `LifeRecord.running` and `credibility`, SchemaError where
    the model counts in other units than the record.
    """
    config, kept = config or RetireConfig(), KeptLife.of(model)
    log = lives.log
    period = log.closed if period is None else period
    ran = lives.running(period)
    curves = kept.predict(ran.table, vectors_of(vectors, ran.life))
    rates = credibility(log, period, ran.life, half_life=config.half_life)
    expected = rates if values is None else values.rates(ran.table, rates)
    decided = decide(config, curves, expected, kept.ends_sooner(curves))
    break_even = break_even_of(config, rates)
    flat = keeping_value(rates, flat_outlook(log, period, len(rates)), break_even)
    facts = ListFacts(
        period=period,
        named=log.period_name(period),
        expects=values is not None,
        unit=log.unit,
        cost_name=log.cost_name,
        value_name=log.value_name,
        config=config,
        ahead=config.ahead_of(curves.terms),
        horizon=config.horizon_of(curves.terms),
        break_even=break_even,
        overall=rates.overall,
        half_life=rates.half_life if np.isfinite(rates.half_life) else None,
        last_edge=float(curves.edges[-1]),
        value_left_out=rates.value_left_out,
        model_id=model_id or kept.digest(),
        kept=tuple(kept.sentences()[:2]),
        record_hash=record_hash(log),
        made=(clock or SystemClock()).now().astimezone(UTC).isoformat(),
    )
    units = _frame(log, ran, facts, expected, decided, flat < config.threshold)
    chosen = units.filter(pl.col("action") != "keep").head(explained)
    reasons = _reasons(kept, lives, ran, chosen["place"].to_numpy(), vectors, facts)
    return RetirementList(facts, units.join(reasons, on="place", how="left").drop("place"))


def record_hash(log: LifeLog) -> str:
    """SHA-256 of all that a record says of its lives."""
    said = f"{log.unit} {log.closed} {log.gap} {log.cost_name} {log.value_name}"
    digest = hashlib.sha256(said.encode())
    for whole in (log.first, log.last, log.owner, log.pool, log.period, log.offsets):
        digest.update(np.ascontiguousarray(whole, np.int64).tobytes())
    for number in (log.cost, log.value, log.shown):
        digest.update(np.ascontiguousarray(number, np.float64).tobytes())
    for name in sorted(log.ids.columns):
        digest.update(f"\0{name}\0".encode())
        digest.update(log.ids.select(pl.col(name).cast(pl.String)).write_csv().encode())
    return digest.hexdigest()


def _frame(
    log: LifeLog,
    ran: RunningUnits,
    facts: ListFacts,
    rates: Rates,
    decided: Decisions,
    rule_stops: npt.NDArray[np.bool_],
) -> pl.DataFrame:
    """The rows of a list, by net saving, without reasons; place: in `ran`."""
    ids = log.ids[ran.life]
    missing = [pl.lit(None, pl.String).alias(name) for name in _IDS if name not in ids.columns]
    ids = ids.with_columns(missing).select(pl.col("unit_id", *_IDS).cast(pl.String))
    low, left, high = decided.left.T
    age = ran.table.entry.astype(np.float64) + 1
    said = left_in_words(decided.left, age, facts.last_edge, facts.unit)
    texts = {
        "action": decided.action.tolist(),
        "rule_action": np.where(rule_stops, "stop", "keep").tolist(),
        "cause": [text or None for text in decided.cause.tolist()],
        "ending": [text or None for text in decided.ending.tolist()],
    }
    numbers = {"ends": decided.ends, "value_per_cost": rates.mean, "spread": rates.spread}
    expected = {"saving": decided.saving, "loss": decided.loss, "net": decided.net}
    return ids.with_columns(
        **{name: pl.Series(values, dtype=pl.String) for name, values in texts.items()},
        age=pl.Series(age),
        left_low=pl.Series(low),
        left=pl.Series(left),
        left_high=pl.Series(high),
        left_said=pl.Series(said, dtype=pl.String),
        **{name: pl.Series(values) for name, values in numbers.items()},
        break_even=pl.lit(facts.break_even),
        score=pl.Series(decided.score),
        cost=pl.Series(rates.recent),
        **{name: pl.Series(values) for name, values in expected.items()},
        place=pl.int_range(pl.len(), dtype=pl.Int64),
    ).sort("net", "unit_id", descending=[True, False])


def _reasons(
    model: KeptLife,
    lives: LifeRecord,
    ran: RunningUnits,
    place: Ints,
    vectors: Vectors | None,
    facts: ListFacts,
) -> pl.DataFrame:
    """place, why and like of the units at these places of `ran`."""
    why: list[list[str]] = [[] for _ in place]
    alike: list[list[str]] = [[] for _ in place]
    if len(place) and model.reads:
        table, seen = ran.table.take(place), vectors_of(vectors, ran.life[place])
        moved = influences(model, table, seen, horizon=facts.horizon)
        why = moved.strongest(_TOLD, facts.unit)
        past = past_units(model, lives, facts.period, vectors)
        near, _ = past.nearest(model.hidden(table, seen), _TOLD)
        alike = _lived(lives.log, near)
    texts = pl.List(pl.String)
    return pl.DataFrame(
        {"place": place, "why": why, "like": alike},
        schema={"place": pl.Int64, "why": texts, "like": texts},
    )


def _lived(log: LifeLog, near: npt.NDArray[np.int64]) -> list[list[str]]:
    """Past units in words, and how long they lived."""
    lived = (log.last - log.first + 1)[near]
    names = log.ids[near.ravel()]
    if "name" in names.columns:
        names = names.select(pl.format("{} ({})", "name", "unit_id").fill_null(pl.col("unit_id")))
    texts = names.to_series().to_list()
    said = [
        f"{text}: lived {periods} {log.unit}{'s' * (periods != 1)}"
        for text, periods in zip(texts, lived.ravel().tolist(), strict=True)
    ]
    wide = near.shape[1]
    return [said[row * wide : (row + 1) * wide] for row in range(len(near))]


# --------------------------------------------------------------------------------------------------
# Its page, a single HTML file without scripts: what to stop and refresh, and why.

_ACTIONS = ("stop", "refresh", "keep")
_SHOWN = 50


def curves_by_action(
    model: LifeModel, lives: LifeRecord, found: RetirementList, vectors: Vectors | None = None
) -> list[dict[str, Any]]:
    """The mean of the predicted curves of the units of each action, from now to the horizon of the
    list: rows of a chart, the share ("value") of an action ("series") that still runs "after" so
    many periods. vectors: as of `retirement_list`."""
    ran = lives.running(found.facts.period)
    curves = model.predict(ran.table, vectors_of(vectors, ran.life))
    survival = outlook_of(curves, found.facts.horizon, ages=found.facts.horizon).survival
    ids = lives.log.ids["unit_id"][ran.life].cast(pl.String)
    by_unit = found.units.select(pl.col("unit_id").cast(pl.String), "action")
    action = pl.DataFrame({"unit_id": ids}).join(by_unit, on="unit_id", maintain_order="left")
    points: list[dict[str, Any]] = []
    for name in _ACTIONS:
        rows = (action["action"] == name).to_numpy()
        if rows.any() and survival is not None:
            shares = np.append(1.0, survival[rows, : found.facts.horizon].mean(0))
            points += [
                {"after": at, "series": name, "value": share}
                for at, share in enumerate(shares.tolist())
            ]
    return points


def write_list_page(
    path: str | Path,
    found: RetirementList,
    *,
    curves: Sequence[Mapping[str, Any]] = (),
    replay: Replay | None = None,
    facts: Mapping[str, str] | None = None,
    rows: int = _SHOWN,
) -> None:
    """Write the page, whole or not at all. rows: of each action at most. facts: further lines on
    how it was made. Raises ResourceError where the disk is full."""
    about = found.facts
    # Lines that are indented are units.
    sentences = [line for line in found.text(rows=0).splitlines() if line[:1].strip()]
    chart = ""
    if curves:
        lines = learning_curves(
            list(curves),
            x="after",
            title="Predicted lives by action",
            x_title=f"{about.unit.capitalize()}s from now",
            y_title="Share that still runs",
        )
        chart = inline_svg(to_svg(lines), "curves")
    values = {
        "title": f"What to stop at the close of {about.named}",
        "sentences": sentences,
        "unit": about.unit,
        "curves": chart,
        "parts_of_list": _tables(found, rows),
        "replay": None if replay is None else _replayed(replay),
        "facts": {
            "list": found.id[:16],
            "model": about.model_id[:16],
            "record": about.record_hash[:16],
            **(facts or {}),
        },
    }
    environment = page_environment(__package__ or "")
    atomic_write_text(path, environment.get_template("stops.html").render(values))


def _replayed(found: Replay) -> dict[str, object]:
    """The part of the page about a replay."""
    rows = [
        {"saved": saved, "series": name, "value": kept}
        for name, curve in found.curves.items()
        for saved, kept in curve
    ]
    chart = learning_curves(
        rows,
        x="saved",
        title="Value kept against cost saved",
        x_title=f"Share of the {found.cost_name} saved",
        y_title=f"Share of the {found.value_name} kept",
    )
    lines = found.text().splitlines()
    return {
        "chart": inline_svg(to_svg(chart), "replay"),
        "sentences": [*lines[:2], *(line for line in lines if line.startswith("At "))],
        "header": ("rule", "saved", "kept", "stopped wrongly", "mean age"),
        "rows": [row.cells() for row in found.table],
    }


def _tables(found: RetirementList, rows: int) -> list[dict[str, Any]]:
    tables = []
    for name, title, about in (
        ("stop", "To stop", "By what stopping saves, less what goes with it."),
        ("refresh", "To refresh", "They pay still, and half of such units end soon."),
    ):
        units = found.units.filter(pl.col("action") == name)
        if not units.is_empty():
            shown = [_row(unit, found.facts.unit) for unit in units.head(rows).to_dicts()]
            header = (
                *("ad", "cause", "age", "left", "value per cost"),
                *("saving", "loss", "what moved it", "past ones like it"),
            )
            left = max(units.height - rows, 0)
            table = {"title": title, "about": about, "header": header, "rows": shown, "left": left}
            tables.append(table)
    return tables


def _row(unit: Mapping[str, object], period: str) -> tuple[str, ...]:
    name, key = unit["name"], str(unit["unit_id"])
    reasons = [unit["why"] or [], unit["like"] or []]
    why, like = ("; ".join(map(str, each)) for each in reasons if isinstance(each, list))
    return (
        f"{name} ({key})" if name else key,
        str(unit["ending"] or unit["cause"] or ""),
        f"{unit['age']:g} {period}s",
        str(unit["left_said"]),
        f"{unit['value_per_cost']:.3g} of {unit['break_even']:.3g}",
        f"{unit['saving']:,.4g}",
        f"{unit['loss']:,.4g}",
        why,
        like,
    )
