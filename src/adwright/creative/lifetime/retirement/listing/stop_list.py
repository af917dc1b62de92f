"""What to stop, refresh or keep at the close of a period: a row a running unit, with its reasons.

    FOLDER/
      list.json       settings, totals, the model and the record that it was made from
      units.parquet   a row a unit, the largest net saving first

Beside each unit stands what the rule without a model says (`rule_action`): value per cost alone,
with one expectation of periods to come for all units.

Letters: R lives, N running units, L of them explained.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
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
from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.hazards.inputs import Vectors
from adwright.creative.lifetime.retirement.listing.evidence import (
    hidden_of,
    influences,
    past_units,
    vectors_of,
)
from adwright.creative.lifetime.retirement.listing.stop_text import (
    ListFacts,
    left_in_words,
    list_in_words,
)
from adwright.creative.lifetime.retirement.lives import LifeLog, LifeRecord, RunningUnits
from adwright.creative.lifetime.retirement.rates import Rates, credibility
from adwright.creative.lifetime.retirement.rule import (
    Decisions,
    RetireConfig,
    break_even_of,
    decide,
    flat_outlook,
    keeping_value,
)
from adwright.creative.lifetime.retirement.values import ValueModel

__all__ = ["RetirementList", "model_hash", "record_hash", "retirement_list"]

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
        return content_hash({"facts": _plain(self.facts), "actions": actions})

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

    def check_current(self, log: LifeLog, model_id: str = "") -> None:
        """Raises ConfigError where the record has changed since, or the model is another one."""
        if record_hash(log) != self.facts.record_hash:
            raise ConfigError(
                "the record has changed since the list was made",
                where=f"list {self.id[:12]}, {self.facts.named}",
                hint="make the list anew from the record as it is",
            )
        if model_id and model_id != self.facts.model_id:
            raise ConfigError(
                "the list was made with another model",
                where=f"list {self.id[:12]}, model {self.facts.model_id[:12]}",
                hint="make the list anew with this model",
            )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder, whole or not at all. Raises ResourceError as `atomic_folder`."""
        with atomic_folder(folder, overwrite=overwrite) as new:
            self.units.write_parquet(new / _UNITS)
            said = {"format": _FORMAT, "id": self.id, "facts": _plain(self.facts)}
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
    model: FittedLifetime,
    lives: LifeRecord,
    period: int | None = None,
    config: RetireConfig | None = None,
    *,
    vectors: Vectors | None = None,
    values: ValueModel | None = None,
    model_id: str = "",
    explained: int = 1000,
    strongest: int = 3,
    like: int = 3,
    clock: Clock | None = None,
) -> RetirementList:
    """What to do with each unit that runs in `period`, at its close; by default the record's last.

    vectors: name -> float32 [R, D] of texts or images, of all lives of the log in its order, NaN
    where missing. values: what units will bring; None takes what they brought. model_id: of its
    artifact; "" takes a hash of its weights. explained: units to stop or refresh, those of the
    largest net saving, that get their reasons: the `strongest` inputs and as many past units like
    it as `like` says. 0 leaves any of the three out. clock: says when the list was made, which is
    part of its id.

    Raises ConfigError and DataError as `LifeRecord.running` and `credibility`, SchemaError where
    the model counts in other units than the record.
    """
    if min(explained, strongest, like) < 0:
        raise ConfigError(
            "counts of reasons are 0 or more", where=f"{explained}, {strongest}, {like}"
        )
    config = config or RetireConfig()
    log = lives.log
    period = log.closed if period is None else period
    ran = lives.running(period)
    curves = model.predict(ran.table, vectors_of(vectors, ran.life))
    rates = credibility(log, period, ran.life, half_life=config.half_life)
    expected = rates if values is None else values.rates(ran.table, rates)
    decided = decide(config, curves, expected)
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
        model_id=model_id or model_hash(model),
        record_hash=record_hash(log),
        made=(clock or SystemClock()).now().astimezone(UTC).isoformat(),
    )
    units = _frame(log, ran, facts, expected, decided, flat < config.threshold)
    chosen = units.filter(pl.col("action") != "keep").head(explained)
    reasons = _reasons(model, lives, ran, chosen, vectors, facts, (strongest, like))
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


def model_hash(model: FittedLifetime) -> str:
    """SHA-256 of a model's weights, inputs and edges."""
    network = model.network
    said = [to_jsonable(each) for each in (network.config, network.spec, model.terms)]
    digest = hashlib.sha256(content_hash([*said, list(model.causes), model.unit]).encode())
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
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
    return ids.with_columns(
        action=pl.Series(decided.action.tolist(), dtype=pl.String),
        rule_action=pl.Series(np.where(rule_stops, "stop", "keep").tolist(), dtype=pl.String),
        cause=_text_or_null(decided.cause),
        ending=_text_or_null(decided.ending),
        age=pl.Series(age),
        left_low=pl.Series(low),
        left=pl.Series(left),
        left_high=pl.Series(high),
        left_said=pl.Series(
            left_in_words(decided.left, age, facts.last_edge, facts.unit), dtype=pl.String
        ),
        ends=pl.Series(decided.ends),
        value_per_cost=pl.Series(rates.mean),
        spread=pl.Series(rates.spread),
        break_even=pl.lit(facts.break_even),
        score=pl.Series(decided.score),
        cost=pl.Series(rates.recent),
        saving=pl.Series(decided.saving),
        loss=pl.Series(decided.loss),
        net=pl.Series(decided.net),
        place=pl.int_range(pl.len(), dtype=pl.Int64),
    ).sort("net", "unit_id", descending=[True, False])


def _text_or_null(texts: npt.NDArray[np.str_]) -> pl.Series:
    return pl.Series([text or None for text in texts.tolist()], dtype=pl.String)


def _reasons(
    model: FittedLifetime,
    lives: LifeRecord,
    ran: RunningUnits,
    chosen: pl.DataFrame,
    vectors: Vectors | None,
    facts: ListFacts,
    counts: tuple[int, int],
) -> pl.DataFrame:
    """place, why and like of the units of `chosen`."""
    place, (strongest, like) = chosen["place"].to_numpy(), counts
    why: list[list[str]] = [[] for _ in place]
    alike: list[list[str]] = [[] for _ in place]
    if len(place):
        table, seen = ran.table.take(place), vectors_of(vectors, ran.life[place])
        if strongest:
            moved = influences(model, table, seen, horizon=facts.horizon)
            why = moved.strongest(strongest, facts.unit)
        if like:
            past = past_units(model, lives, facts.period, vectors)
            near, _ = past.nearest(hidden_of(model, table, seen), like)
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


def _plain(facts: ListFacts) -> dict[str, Any]:
    found: dict[str, Any] = to_jsonable(facts)
    return found
