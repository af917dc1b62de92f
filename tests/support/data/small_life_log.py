"""A log of lives that differ in what they bring, by pool and by life, made up in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.errors import ConfigError
from adwright.creative.lifetime.lives import LifeLog, RunningUnits
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_curves import FittedLifetime
from adwright.creative.lifetime.survival_fit import LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.survival_network import LifeTerms, SurvivalConfig

Ints = npt.NDArray[np.int64]


def small_life_log(
    lives: int = 120, *, seed: int = 0, pools: int = 12, noise: float = 1.0, drift: float = 0.0
) -> LifeLog:
    """Weeks 1 to 20. Lives of 1 to 12 weeks, some with weeks left out; every tenth week has no
    cost. noise: standard deviation of value per cost at cost 1; drift: of its steps by week."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, pools, lives)
    level = 5 + rng.normal(size=pools)[pool] + 0.7 * rng.normal(size=lives)
    first = rng.integers(1, 18, lives)
    last = np.minimum(first + rng.geometric(0.2, lives) - 1, 20)
    rows, offsets = [], [0]
    for i in range(lives):
        now = level[i]
        for week in range(first[i], last[i] + 1):
            now += drift * rng.normal()
            if first[i] < week < last[i] and rng.random() < 0.1:
                continue
            cost = 0.0 if rng.random() < 0.1 else float(rng.integers(1, 6))
            value = max(cost * now + float(np.sqrt(cost)) * noise * rng.normal(), 0.0)
            rows.append((week, cost, value))
        offsets.append(len(rows))
    table = np.array(rows)
    return LifeLog(
        unit="week",
        ids=pl.DataFrame(
            {
                "unit_id": [f"u{i}" for i in range(lives)],
                "item_id": [f"p{i}" for i in range(lives)],
                "creative_id": [f"c{i}" for i in range(lives)],
                "name": [f"ad {i}" for i in range(lives)],
            }
        ),
        first=first.astype(np.int64),
        last=last.astype(np.int64),
        owner=pool.astype(np.int64),
        pool=(7 * pool - 3).astype(np.int64),
        period=table[:, 0].astype(np.int64),
        cost=table[:, 1],
        value=table[:, 2],
        shown=10 * table[:, 1],
        offsets=np.array(offsets, np.int64),
        cost_name="spend",
        value_name="sales",
        closed=20,
    )


class SmallLives:
    """The lives of `small_life_log` with what is known of them. Lives of red pools end sooner, and
    those that cost little now."""

    def __init__(self, lives: int = 300, *, seed: int = 0, **changes: Any) -> None:
        log = small_life_log(lives, seed=seed)
        hazard = 0.08 + 0.5 * (log.owner % 3 == 0)
        rng = np.random.default_rng(seed + 1)
        last = np.minimum(log.first + rng.geometric(hazard) - 1, log.last)
        life = np.repeat(np.arange(lives), np.diff(log.offsets))
        kept = log.period <= last[life]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(life[kept], minlength=lives))])
        part = {name: getattr(log, name)[kept] for name in ("period", "cost", "value", "shown")}
        last = part["period"][offsets[1:] - 1]
        self.log = replace(log, **part, last=last, offsets=offsets, **changes)
        self.asked: list[int] = []

    def running(self, period: int) -> RunningUnits:
        """Those with a row in the period."""
        if not 1 <= period <= self.log.closed:
            raise ConfigError("no such week", where=f"{period}")
        self.asked.append(period)
        life = np.repeat(np.arange(len(self.log)), np.diff(self.log.offsets))
        place = np.flatnonzero(self.log.period == period)
        return RunningUnits(life[place], self.table(life[place], np.full(len(place), period)))

    def history(self, until: int) -> SpellTable:
        """All lives at the close of each of their periods before `until`: what to train on."""
        place = np.flatnonzero(self.log.period < until)
        life = np.repeat(np.arange(len(self.log)), np.diff(self.log.offsets))[place]
        return self.table(life, self.log.period[place]).seen_before(until)

    def table(self, life: Ints, period: Ints) -> SpellTable:
        """LifeRecord [N] at the close of periods [N], at which each has a row."""
        log, units = self.log, len(life)
        key = np.repeat(np.arange(len(log)), np.diff(log.offsets)) * 100 + log.period
        row = np.searchsorted(key, life * 100 + period)
        lived = log.last[life] - log.first[life] + 1
        return SpellTable(
            entry=(period - log.first[life]).astype(np.float32),
            time=lived.astype(np.float32),
            cause=(log.last[life] < log.closed).astype(np.int8),
            causes=("ended",),
            unit="week",
            numbers=np.stack([log.cost[row], log.value[row]], 1).astype(np.float32),
            number_names=("spend_now", "sales_now"),
            categories=(log.owner[life] % 3).astype(np.int32)[:, None],
            category_names=("colour",),
            category_values=(("red", "green", "blue"),),
            words=(log.owner[life] % 4).astype(np.int32),
            offsets=np.arange(units + 1, dtype=np.int64),
            vocabulary=("sale", "new", "fresh", "last"),
            clicks=None,
            shown=None,
            owner=log.owner[life].astype(np.int32),
            group=log.pool[life].astype(np.int32),
            start=log.first[life].astype(np.int32),
            landmark=0,
        )


def small_model(lives: SmallLives, *, until: int = 15) -> FittedLifetime:
    """Trained on what was known of them before week `until`, with images as `small_images`."""
    table = lives.history(until)
    image = {"image": small_images(lives)[_life_of(lives, table)]}
    config = LifetimeConfig(
        terms=LifeTerms(short=(0.0, 1.0, 2.0, 3.0), long=(0.0, 3.0, 6.0, 12.0)),
        network=SurvivalConfig(hidden=(16, 8), width=4, word_width=4, vector_width=4),
        epochs=25,
        batch=64,
        learning_rate=0.02,
    )
    model = fit_lifetime(table, None, config, vectors=image)
    return replace(model, config={**model.config, "before": until})


def small_images(lives: SmallLives) -> npt.NDArray[np.float32]:
    """[R, 3], NaN of every fifth life."""
    found = np.random.default_rng(4).normal(size=(len(lives.log), 3)).astype(np.float32)
    found[::5] = np.nan
    return found


def _life_of(lives: SmallLives, table: SpellTable) -> Ints:
    log = lives.log
    seen = log.period < int((table.start + table.entry).max()) + 1
    found: Ints = log.whose[np.flatnonzero(seen)]
    assert (log.first[found] == table.start).all()
    return found
