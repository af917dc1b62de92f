"""The page of the loop: the life of three ads, what was predicted and what happened, and the test.

write_life_page(result, Path("runs/demo/life.html"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.demos.folder import write_demo_page
from adwright.demos.loop import BUDGET, LOOP, STATIC, AdLifeResult
from adwright.metrics.reports.charts import learning_curves, to_svg
from adwright.metrics.reports.report import inline_svg


@dataclass(frozen=True)
class AdLife:
    """An ad from its draft to its end. about: why it was chosen. line: when, what it became, by
    whom, and why or what came of it, by time. rates: week -> clicks an impression. rate: of all
    weeks; other: of the product's ads in the other arm."""

    about: str
    product: str
    text: str
    predicted: Mapping[str, float]
    line: Sequence[tuple[str, str, str, str]]
    rates: Mapping[int, float]
    rate: str
    other: str


def lives_of(result: AdLifeResult) -> list[AdLife]:
    """Three ads of the loop: the one that was shown most, the one that was stopped after most
    impressions, and the one shown most of those that were written later."""
    ads = result.ads.filter(campaign_id=LOOP).sort("impressions", descending=True)
    first = min((moves[0].time for moves in result.moves.values() if moves), default=None)
    later = [
        row
        for row in ads.iter_rows(named=True)
        if first is not None and (result.moves[row["creative_id"]][0].time - first).days > 1
    ]
    stopped = list(ads.filter(state="stopped").iter_rows(named=True))
    kept = list(ads.filter(state="live").iter_rows(named=True))
    chosen: dict[str, AdLife] = {}
    for about, rows in (
        ("shown most of those that are still live", kept),
        ("shown most of those that were taken down", stopped),
        ("shown most of those that were written while people came", later),
    ):
        left = [row for row in rows if row["creative_id"] not in chosen]
        if left:
            chosen[left[0]["creative_id"]] = _life(result, about, left[0])
    return list(chosen.values())


def _life(result: AdLifeResult, about: str, row: Mapping[str, Any]) -> AdLife:
    creative_id, item = row["creative_id"], row["item_id"]
    other = result.ads.filter(item_id=item, campaign_id=STATIC)
    line = [
        (one.time, f"{one.time:%d %B %Y}", one.state, one.author, one.why)
        for one in result.moves[creative_id]
    ]
    rates = {}
    weeks = result.weekly.filter(creative_id=creative_id).select("week", "impressions", "clicks")
    for week, shown, clicked in weeks.iter_rows():
        said = f"shown {shown:,} times, clicked {clicked:,} times ({_share(clicked, shown)})"
        # Before what was decided at the end of the week.
        end = result.start + timedelta(weeks=week, seconds=-1)
        line.append((end, f"week {week}", "", "people", said))
        if shown:
            rates[week] = clicked / shown
    return AdLife(
        about=about,
        product=result.products.get(item, item),
        text=" | ".join(row[slot] for slot in ("headline", "description") if row[slot]),
        predicted=told.scores if (told := result.foretold.get(creative_id)) else {},
        line=[one[1:] for one in sorted(line, key=lambda one: one[0])],
        rates=rates,
        rate=_share(row["clicks"], row["impressions"]),
        other=_share(int(other["clicks"].sum()), int(other["impressions"].sum())),
    )


def _share(clicked: int, shown: int) -> str:
    return f"{clicked / shown:.1%}" if shown else "-"


def predictions(result: AdLifeResult, least: int = 100) -> pl.DataFrame:
    """Of the loop's ads that were shown so often: the log-odds that the judge of clicks said before
    they were shown and those that were observed, each less the mean of the item's, so that ads
    compare and not items; own: whether the judge was the shop's own."""
    ads = result.ads.filter(pl.col("campaign_id") == LOOP, pl.col("impressions") >= least)
    rows = []
    for row in ads.iter_rows(named=True):
        told = result.foretold.get(row["creative_id"])
        said = [] if told is None else [v for k, v in told.scores.items() if "click" in k]
        if told is not None and said:
            rate = (row["clicks"] + 0.5) / (row["impressions"] + 1)
            rows.append((row["item_id"], told.own, _odds(said[-1]), _odds(rate)))
    types = {"item": pl.String, "own": pl.Boolean, "said": pl.Float64, "seen": pl.Float64}
    table = pl.DataFrame(rows, types, orient="row")
    several = pl.len().over("item", "own") > 1
    within = [pl.col(name) - pl.col(name).mean().over("item", "own") for name in ("said", "seen")]
    return table.filter(several).with_columns(within)


def _odds(p: float) -> float:
    return float(np.log(p / (1 - p)))


def write_life_page(result: AdLifeResult, path: Path) -> None:
    """Write the page. Raises ResourceError where the disk is full."""
    lives, weeks = lives_of(result), _by_week(result)
    values = {
        "result": result,
        "lives": lives,
        "weeks": weeks,
        "charts": _charts(weeks, lives),
        "predicted": predicted(result),
        "budget": BUDGET,
    }
    write_demo_page(path, "life.html", values)


def predicted(result: AdLifeResult) -> str:
    """What the judges' words were worth, in sentences."""
    table = predictions(result)
    said = []
    for own, who in (
        (False, "The judge of the package, which knows headlines of news alone"),
        (True, "The shop's own judge, which learnt from what was shown"),
    ):
        mine = table.filter(own=own)
        rho = mine.select(pl.corr("said", "seen", method="spearman")).item() if len(mine) else None
        if rho is None or not np.isfinite(rho):
            said.append(f"{who}, judged too few ads that were then shown enough to say.")
        else:
            said.append(
                f"{who}, ordered {mine.height} ads within their products with a rank correlation "
                f"of {rho:+.2f} to what was clicked."
            )
    return " ".join(said)


def _charts(weeks: Sequence[Sequence[str]], lives: Sequence[AdLife]) -> dict[str, str]:
    rows: list[dict[str, Any]] = []
    for week, _, static, _, loop in weeks:
        for arm, share in ((STATIC, static), (LOOP, loop)):
            if share != "-":
                value = float(share.rstrip("%")) / 100
                rows.append({"week": int(week), "series": f"all ads, {arm}", "value": value})
    for number, life in enumerate(lives, start=1):
        name = f"{number}: {life.product}"
        rows += [{"week": w, "series": name, "value": rate} for w, rate in life.rates.items()]
    chart = learning_curves(
        rows, x="week", title="Clicks an impression, by week", y_title="Clicks an impression"
    )
    return {"weeks": inline_svg(to_svg(chart), "weeks")}


def _by_week(result: AdLifeResult) -> list[tuple[str, ...]]:
    """Week, and of each arm impressions and clicks an impression."""
    arms = result.ads.select("creative_id", "campaign_id")
    sums = (
        result.weekly.join(arms, on="creative_id")
        .group_by("week", "campaign_id")
        .agg(pl.col("impressions", "clicks").sum())
    )
    rows = []
    for week in sorted(set(sums["week"])):
        cells = [f"{week}"]
        for arm in (STATIC, LOOP):
            mine = sums.filter(week=week, campaign_id=arm)
            shown, clicked = int(mine["impressions"].sum()), int(mine["clicks"].sum())
            cells += [f"{shown:,}", _share(clicked, shown)]
        rows.append(tuple(cells))
    return rows
