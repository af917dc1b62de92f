"""What `adwright retire` says of lives, by its defaults, beside Kaplan-Meier, Cox and boosting.

A record of days goes through `ads import` and `retire train --before`, seven tenths of the way;
held out is each life at the first period in which it ran from then on, and how long it went on.
Rules are fitted on what was known before: by age alone (Kaplan-Meier with delayed entry), Cox's
model on the ads' numbers and categories (lifelines, one period of each life), boosting on the
hazard of the next period (scikit-learn). Where the command refuses, since nothing ends, it has kept
"nothing"; where no held life ends, none is before another, and every order has .5.

Nulls: ads whose hazard is .03 a day whatever they are, and ads of which half, by their format, have
twice that; in the way that `retire train` goes.
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.cli.retire import RecordOptions, opened_lives
from adwright.core.progress import say
from adwright.creative.lifetime.lives import DeliveryLives, DeliverySpellConfig, LifeRecord
from adwright.creative.lifetime.retire import choice_of, open_retirement, training_units
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.stop_rule import outlook_of
from benchmarks.strangers._drawn_lives import drawn_ads
from benchmarks.strangers.kit import Held, run_command

Floats = NDArray[np.float64]
_SPLIT, _HELD, _SHARE = 0.7, 1500, 0.1
_NULLS = 34  # of a seed, with and without


def held(name: str, seed: int, folder: Path) -> Held:
    """See the module."""
    run = folder / "run"
    if name == "complete-journey":
        options = RecordOptions(name, share=_SHARE)
        words = ["retire", "train", name, "--share", str(_SHARE), "--before"]
    else:
        days = folder / "days.csv"
        _DAYS[name]().write_csv(days)
        run_command("ads", "import", days, "--out", folder / "ads", *_IMPORT.get(name, ()))
        options = RecordOptions(str(folder / "ads"), "ad")
        words = ["retire", "train", str(folder / "ads"), "--unit-of", "ad", "--before"]
    lives = opened_lives(options)
    first, closed = int(lives.log.period.min()), lives.log.closed
    before = first + round(_SPLIT * (closed - first + 1))
    at = str(lives.day_of(before)) if isinstance(lives, DeliveryLives) else str(before)
    kept, told = "nothing", (0.5, 0.5, 0.5)
    table, life = _held_units(lives, before)
    ours = np.zeros(len(table))
    try:
        run_command(*words, at, "--out", run, "--seed", str(seed))
    except RuntimeError as error:
        say(str(error))
    else:
        model = open_retirement(run).model
        kept, told = model.choice["kept"], tuple(model.choice["told"])
        curves = model.predict(table)
        ours = -outlook_of(curves, int(np.ceil(model.terms.joined[-1]))).further
    left, ended = (table.time - table.entry).astype(np.float64), table.ended
    unit = lives.log.owner[life] if name == "complete-journey" else life
    return Held(
        "lives", name, seed,
        command=" ".join(w for w in words if "/" not in w) + f" {at} --seed {seed}",
        kept=kept, told=told[0], told_low=told[1], told_high=told[2],
        measure="concordance", truth=np.stack([left, ended], 1), ours=ours,
        rules=_rules(lives, before, table, seed), units=unit,
        more={"lives": float(len(table)), "ended": float(ended.sum())},
    )  # fmt: skip


def _held_units(lives: LifeRecord, before: int) -> tuple[SpellTable, NDArray[np.int64]]:
    """Each life once, at its first period from then on, with how it went on."""
    log = lives.log
    ran = np.unique(log.period[(log.period >= before) & (log.period <= log.closed - 1 - log.gap)])
    table, life = training_units(lives, ran.tolist(), log.closed + 1)
    known = np.flatnonzero(table.time > table.entry + 0.75)
    once = known[np.unique(life[known], return_index=True)[1]]
    once = once[:: max(1, -(-len(once) // _HELD))]
    return table.take(once), life[once]


def _rules(lives: LifeRecord, before: int, held_out: SpellTable, seed: int) -> dict[str, Floats]:
    from lifelines import CoxPHFitter, KaplanMeierFitter
    from lifelines.exceptions import ConvergenceError
    from sklearn.ensemble import HistGradientBoostingClassifier

    table, life = training_units(lives, None, before)
    rules = {"pooled life": np.zeros(len(held_out))}
    known = table.time > table.entry + 0.75
    table, life = table.take(known), life[known]
    if not table.ended.any():
        return rules
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table))
    once = order[np.unique(life[order], return_index=True)[1]]
    meier = KaplanMeierFitter().fit(table.time[once], table.ended[once], entry=table.entry[once])
    ages = np.arange(int(table.time.max()) + 2)
    survival = meier.predict(ages).to_numpy()
    at = np.minimum(held_out.entry.astype(int), len(ages) - 1)
    later = np.cumsum(survival[::-1])[::-1]
    rules["by age, Kaplan-Meier"] = -later[at] / np.maximum(survival[at], 1e-6)
    columns, asked = _columns(table, table), _columns(held_out, table)
    frame = columns.iloc[once].assign(left=(table.time - table.entry)[once], end=table.ended[once])
    for penalizer in (0.1, 1.0):
        try:
            cox = CoxPHFitter(penalizer=penalizer).fit(frame, "left", "end")
        except ConvergenceError:
            continue
        rules["Cox"] = cox.predict_log_partial_hazard(asked).to_numpy()
        break
    ends = table.ended & (table.time <= table.entry + 1)
    if 0 < ends.sum() < len(ends):
        boosted = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.1, random_state=seed)
        some = rng.permutation(len(table))[:60_000]
        boosted.fit(columns.to_numpy()[some], ends[some])
        rules["boosting on the hazard"] = boosted.predict_proba(asked.to_numpy())[:, 1]
    return rules


def _columns(table: SpellTable, training: SpellTable) -> Any:
    """Numbers scaled by training, gaps 0, and the values of categories of 30 units or more."""
    import pandas as pd

    made: dict[str, Any] = {"age": np.log1p(table.entry)}
    for at, name in enumerate(training.number_names):
        if name.startswith("season_"):
            continue
        x, seen = (np.sign(t.numbers[:, at]) * np.log1p(np.abs(t.numbers[:, at]))
                   for t in (table, training))  # fmt: skip
        spread = float(np.nanstd(seen)) or 1.0
        made[name] = np.nan_to_num((x - np.nanmean(seen)) / spread)
    for at, name in enumerate(training.category_names):
        for value in training.category_values[at]:
            own, other = (
                np.isin(t.categories[:, at], [t.category_values[at].index(value)])
                if value in t.category_values[at] else np.zeros(len(t), bool)
                for t in (table, training)
            )  # fmt: skip
            if 30 <= other.sum() < len(other):
                made[f"{name}={value}"] = own.astype(float)
    return pd.DataFrame(made)


def _adwords() -> pl.DataFrame:
    """Keywords by day: no cost, no conversions."""
    path = Path(os.environ["ADWRIGHT_DATA"]) / "crealytics-adwords" / "adwords.csv.gz"
    return pl.read_csv(path).select("date", "impressions", "clicks", ad_id="id")


def _cells() -> pl.DataFrame:
    """Cells of campaign, banner and placement by day of 2020; parts of a cell are added up."""
    path = (
        Path(os.environ["ADWRIGHT_DATA"])
        / "online-advertising"
        / "online_advertising_performance_data.csv"
    )
    seen = pl.read_csv(path, infer_schema_length=None)
    text = pl.format("{} {} 2020", "month", "day")
    return (
        seen.with_columns(
            date=text.str.to_date("%B %d %Y"),
            campaign_id="campaign_number",
            format="banner",
            ad_id=pl.format("{} / {} / {}", "campaign_number", "banner", "placement"),
        )
        .group_by("ad_id", "campaign_id", "format", "placement", "date")
        .agg(
            impressions=pl.col("displays").sum(),
            clicks=pl.col("clicks").sum(),
            spend=pl.col("cost").sum(),
            conversions=pl.col("post_click_conversions").sum(),
            conversion_value=pl.col("post_click_sales_amount").sum(),
        )
        .sort("ad_id", "date")
    )


_DAYS = {"crealytics-adwords": _adwords, "online-advertising": _cells}
_IMPORT = {"crealytics-adwords": ("--excess-clicks", "cap")}  # as the refusal says


def nulls(seed: int, folder: Path) -> dict[str, int]:
    """Of simulated sets how many were told to hold nothing, and how many signals were found."""
    counts = {"told_nothing": 0, "without": 0, "found": 0, "with": 0}
    for number in range(_NULLS):
        planted = 0.5 if number % 2 else 2.0
        for times, key, total in ((1.0, "told_nothing", "without"), (planted, "found", "with")):
            days = drawn_ads(1000 + _NULLS * seed + number, times=times).rename({"date": "day"})
            lives = DeliveryLives(days, DeliverySpellConfig(unit_of="ad"))
            with redirect_stderr(io.StringIO()):
                found = choice_of(lives, seed=seed)
            counts[total] += 1
            counts[key] += (found.kept is None) == (times == 1.0)
        say(f"{number + 1} of {_NULLS}: {counts}")
    return counts


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        if sys.argv[1] == "nulls":
            print(nulls(int(sys.argv[2]), Path(place)))
        else:
            from benchmarks.strangers.kit import compared

            print(compared([held(sys.argv[1], int(sys.argv[2]), Path(place))]))
