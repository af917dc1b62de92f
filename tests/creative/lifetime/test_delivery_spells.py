"""Lives out of a delivery record: where they end and why, and that nothing of them peeks."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ArtifactError, ConfigError, DataError, SchemaError
from adwright.creative.editor.job_judges import sees_pictures
from adwright.creative.judges import open_judge
from adwright.creative.judging import IMAGE
from adwright.creative.lifetime.lives import (
    SEGMENTS,
    DeliverySpellConfig,
    DeliverySpells,
    delivery_spells,
)
from adwright.creative.lifetime.replay import (
    FatiguePoint,
    FatigueRule,
    Frontier,
    Replay,
    ReplayConfig,
    ReplayLead,
    RulePoint,
    StopPoints,
    StopSums,
    fatigue_grid,
    low_in_a_row,
    matched,
    replay,
)
from adwright.creative.lifetime.stop_rule import (
    RetireConfig,
    ValueConfig,
    credibility,
    fit_values,
    flat_outlook,
    keeping_index,
    keeping_value,
    outlook_of,
)
from adwright.creative.lifetime.survival_curves import FittedLifetime, PictureLife, mean_life
from adwright.creative.lifetime.survival_fit import LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.survival_network import LifeTerms
from adwright.creative.records.ad_record import AdRecord
from adwright.metrics.bootstrap import MethodInterval, draw_counts
from tests.support.data.deliveries import FIRST, record
from tests.support.data.small_life_log import SmallLives
from tests.support.data.small_spells import small_spells

WEEK = timedelta(days=7)


def row(creative: str, day: int, shown: int = 10, **others: object) -> dict[str, object]:
    return {
        "creative_id": creative,
        "day": FIRST + timedelta(days=day),
        "impressions": shown,
        **others,
    }


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    """With a creative that runs through day 30, so that the record is not closed before."""
    return pl.DataFrame([*rows, *(row("runs on", day) for day in range(31))])


def lives_of(found: DeliverySpells) -> dict[str, list[tuple[int, float, int]]]:
    """By unit: (first day, time, cause) of each life."""
    table = found.table
    lives: dict[str, list[tuple[int, float, int]]] = {}
    for name, first, time, cause in zip(
        found.units["unit_id"], found.units["first"], table.time, table.cause, strict=True
    ):
        # Who is censored has lived half a day more than is known to be survived.
        seen = float(time) + 0.5 * (cause == 0)
        lives.setdefault(name, []).append(((first - FIRST).days, seen, int(cause)))
    return lives


def test_a_life_runs_from_the_first_to_the_last_day_and_bridges_short_gaps() -> None:
    days = frame(*(row("a", day) for day in (2, 3, 6, 7)), *(row("b", day) for day in (0, 4)))
    lives = lives_of(delivery_spells(days, DeliverySpellConfig(gap=2)))
    assert lives == {"a": [(2, 6, 1)], "b": [(0, 1, 1), (4, 1, 1)], "runs on": [(0, 31, 0)]}
    assert lives_of(delivery_spells(days, DeliverySpellConfig(gap=3)))["b"] == [(0, 5, 1)]


def test_an_end_is_seen_only_when_more_than_the_gap_has_passed() -> None:
    days = frame(*(row("a", day) for day in range(28)), *(row("b", day) for day in range(27)))
    # Of the 31 days, two follow the last one of a, and three that of b.
    lives = lives_of(delivery_spells(days, DeliverySpellConfig(gap=3)))
    assert (lives["a"], lives["b"]) == ([(0, 28, 0)], [(0, 27, 1)])


@pytest.mark.parametrize(
    ("cause", "expected"),
    [("operator", 1), ("automatic", 1), ("budget", 0), ("flight", 0), ("account", 0), (None, 1)],
)
def test_only_a_judgement_ends_a_life(cause: str | None, expected: int) -> None:
    days = frame(row("a", 1, stop_cause=cause), row("a", 2, stop_cause=cause))
    assert lives_of(delivery_spells(days))["a"] == [(1, 2, expected)]


def test_several_causes_may_compete_and_the_record_speaks_of_the_last_life() -> None:
    days = frame(
        row("a", 1, stop_cause="automatic"), row("a", 9, stop_cause="automatic"), row("b", 1)
    )
    ends = (("operator",), ("automatic", "refused"))
    found = delivery_spells(days, DeliverySpellConfig(ends=ends))
    assert found.table.causes == ("operator", "automatic")
    assert lives_of(found)["a"] == [(1, 1, 1), (9, 1, 2)]


def test_the_end_of_a_flight_is_no_stop() -> None:
    over, open_ = FIRST + timedelta(days=4), FIRST + timedelta(days=20)
    days = frame(row("a", 4, ends=over), row("b", 4, ends=open_), row("c", 4))
    lives = lives_of(delivery_spells(days))
    assert [lives[name][0][2] for name in "abc"] == [0, 1, 1]


def test_a_record_closes_with_its_account() -> None:
    days = frame(*(row("a", day, account_id="closed") for day in range(5)))
    days = days.with_columns(pl.col("account_id").fill_null("open"))
    assert lives_of(delivery_spells(days))["a"] == [(0, 5, 0)]


def test_an_ad_may_be_the_unit() -> None:
    days = frame(row("a", 1), row("a", 5)).with_columns(
        ad_id=pl.col("creative_id") + pl.col("day").cast(pl.String)
    )
    assert len(delivery_spells(days, DeliverySpellConfig(unit_of="ad")).table) == 33
    with pytest.raises(SchemaError, match="ad_id"):
        delivery_spells(days.drop("ad_id"), DeliverySpellConfig(unit_of="ad"))


def test_a_record_of_weeks_is_counted_in_weeks() -> None:
    rows = [
        {"creative_id": name, "day": FIRST + week * WEEK, "period_days": 7, "impressions": 9}
        for name, weeks in (("a", range(2, 5)), ("on", range(12)))
        for week in weeks
    ]
    found = delivery_spells(pl.DataFrame(rows))
    assert found.table.unit == "week"
    assert found.table.time.tolist() == [3, 11.5]
    assert found.units["first"].to_list() == [FIRST + 2 * WEEK, FIRST]
    assert found.units["last"].to_list() == [FIRST + 4 * WEEK, FIRST + 11 * WEEK]
    mixed = pl.DataFrame(rows).with_columns(period_days=pl.Series([1, *[7] * 14]))
    with pytest.raises(DataError, match="not in both"):
        delivery_spells(mixed)


@pytest.mark.parametrize("landmark", [1, 3])
def test_units_reach_the_landmark(landmark: int) -> None:
    days = record()
    every = delivery_spells(days).table
    found, units = delivery_spells(days, DeliverySpellConfig(landmark=landmark))
    if landmark == 1:
        assert len(found) == len(every)
    else:  # some pause on the third day
        assert 0.7 * (every.time > 2).sum() < len(found) < (every.time > 2).sum()
    there = set(days.select("creative_id", "day").iter_rows())
    for name, first, _ in units.rows():
        assert (name, first + timedelta(days=landmark - 1)) in there
    assert set(found.entry) == {landmark - 1}
    assert 0.2 < found.ended.mean() < 1


@pytest.mark.parametrize("landmark", [1, 3])
def test_features_are_equal_to_the_bit_whatever_comes_after_the_landmark(landmark: int) -> None:
    cut = FIRST + timedelta(days=40)
    past = record().filter(pl.col("day") < cut)
    other = pl.concat([past, record(seed=9).filter(pl.col("day") >= cut)])
    config = DeliverySpellConfig(landmark=landmark)
    found = []
    for days in (pl.concat([past, record().filter(pl.col("day") >= cut)]), other):
        spells = delivery_spells(days, config)
        known = spells.units["first"] + timedelta(days=landmark - 1) < cut
        rows = np.flatnonzero(known.to_numpy())
        found.append((spells.table.take(rows), spells.units[rows]))
    (one, ids), (two, others) = found
    assert len(one) > 15
    assert ids.select("unit_id", "first").equals(others.select("unit_id", "first"))
    assert one.numbers.tobytes() == two.numbers.tobytes()
    for name in ("categories", "clicks", "shown", "entry", "start"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (one.time != two.time).any()


def test_several_currencies_are_said(caplog: pytest.LogCaptureFixture) -> None:
    days = frame(row("a", 1, currency="EUR"), row("b", 1, currency="USD"))
    with caplog.at_level(logging.WARNING, "adwright"):
        table = delivery_spells(days).table
    assert "several currencies" in caplog.text
    assert table.category_names == ("currency",)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(SchemaError, match="impressions"):
        delivery_spells(frame().drop("impressions"))
    with pytest.raises(DataError, match="no life in the record"):
        delivery_spells(frame(), DeliverySpellConfig(landmark=40))
    for wrong in ({"landmark": 0}, {"gap": -1}, {"ends": ()}, {"ends": (("a",), ("a",))}):
        with pytest.raises(ConfigError):
            DeliverySpellConfig(**wrong)  # type: ignore[arg-type]


GAP = 3


def ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom else float("nan")


@pytest.mark.parametrize("landmark", [1, 4])
def test_numbers_are_sums_up_to_the_landmark(landmark: int) -> None:
    days = record()
    rows = days.to_dicts()
    found = delivery_spells(days, DeliverySpellConfig(landmark=landmark, gap=GAP))
    every = delivery_spells(days, DeliverySpellConfig(gap=GAP)).units
    account = {row["creative_id"]: row["account_id"] for row in rows}
    assert len(found.table) > 25
    for place in range(0, len(found.table), 3):
        name, first, _ = found.units.row(place)
        at = first + timedelta(days=landmark - 1)
        numbers = dict(
            zip(found.table.number_names, found.table.numbers[place].tolist(), strict=True)
        )
        mine = [x for x in rows if x["creative_id"] == name and first <= x["day"] <= at]
        spans = {"so_far": mine, "now": [x for x in mine if x["day"] == at]}
        for span, some in spans.items():
            sums = {key: sum(x[key] for x in some) for key in days.columns[5:]}
            for key, value in sums.items():
                assert numbers[f"{key}_{span}"] == pytest.approx(value, rel=1e-6)
            expected = {
                "click_rate": ratio(sums["clicks"], sums["impressions"]),
                "cost_per_click": ratio(sums["spend"], sums["clicks"]),
                "conversion_rate": ratio(sums["conversions"], sums["clicks"]),
            }
            for key, value in expected.items():
                assert numbers[f"{key}_{span}"] == pytest.approx(value, rel=1e-5, nan_ok=True)
        by_day: dict[date, int] = {}
        for x in mine:
            by_day[x["day"]] = by_day.get(x["day"], 0) + x["impressions"]
        assert numbers["periods_so_far"] == landmark
        assert numbers["periods_shown_so_far"] == len(by_day)
        share = by_day.get(at, 0) / max(by_day.values())
        assert numbers["impressions_to_peak_so_far"] == pytest.approx(share)
        campaign = [
            x
            for x in rows
            if x["campaign_id"] == mine[0]["campaign_id"] and first <= x["day"] <= at
        ]
        total = sum(x["impressions"] for x in campaign)
        assert numbers["campaign_impressions_so_far"] == total
        assert numbers["share_of_campaign_so_far"] == pytest.approx(sum(by_day.values()) / total)
        clicks = sum(x["clicks"] for x in campaign)
        assert numbers["campaign_click_rate_so_far"] == pytest.approx(clicks / total)
        lives = [(who, a, b) for who, a, b in every.rows() if account[who] == account[name]]
        over = [(b - a).days + 1 for _, a, b in lives if b + timedelta(days=GAP + 1) <= at]
        assert numbers["ended_of_account_before"] == len(over)
        mean = ratio(sum(over), len(over))
        found_mean = numbers["mean_periods_of_account_before"]
        assert found_mean == pytest.approx(mean, rel=1e-6, nan_ok=True)
        before = [a for who, a, _ in lives if who == name and a < first]
        assert numbers["lives_before"] == len(before)


def test_categories_are_those_of_the_first_day() -> None:
    days = record()
    table, units = delivery_spells(days)
    assert table.category_names == ("account_id", "campaign_id", "placement")
    assert set(table.category_names) <= set(SEGMENTS)
    for place, (name, first, _) in enumerate(units.rows()):
        rows = days.filter((pl.col("creative_id") == name) & (pl.col("day") == first))
        best = rows.sort("impressions", descending=True).row(0, named=True)
        texts = [
            values[code]
            for code, values in zip(table.categories[place], table.category_values, strict=True)
        ]
        assert texts == [best[key] for key in table.category_names]


def test_words_come_with_the_texts() -> None:
    days = record()
    texts = pl.DataFrame(
        {"creative_id": ["c000", "c001"], "text": ["Fresh TEA, fresh start!", "Tee für 2"]}
    )
    table, units = delivery_spells(days, texts=texts)
    said = {
        name: [table.vocabulary[w] for w in table.words[slice(*table.offsets[n : n + 2])]]
        for n, name in enumerate(units["unit_id"])
    }
    assert said["c000"] == ["fresh", "start", "tea"]
    assert said["c001"] == ["2", "für", "tee"]
    assert said["c002"] == []
    assert delivery_spells(days).table.vocabulary == ()
    with pytest.raises(SchemaError, match="id and a text"):
        delivery_spells(days, texts=texts.rename({"text": "title"}))


TABLE = small_spells(600)
#: Of two numbers, the first of which says that the ad is red, which ends sooner.
SHOWN = np.stack([TABLE.categories[:, 0] == 0, np.arange(600) % 2], 1).astype(np.float32)
CONFIG = LifetimeConfig(
    terms=LifeTerms((0.0, 1.0, 2.0, 4.0, 8.0, 12.0), ()), heads=1, epochs=8, batch=64, min_count=5
)
ADS = [AdRecord(title="red"), AdRecord(title="other")]
BOTH = {IMAGE: np.array([[1, 0], [0, 0]], np.float32)}


@pytest.fixture(scope="module")
def model() -> FittedLifetime:
    return fit_lifetime(TABLE, None, CONFIG, vectors={IMAGE: SHOWN})


def test_what_ended_sooner_is_judged_to_live_shorter(
    model: FittedLifetime, caplog: pytest.LogCaptureFixture
) -> None:
    judge = PictureLife(model)
    with caplog.at_level(logging.WARNING, "adwright"):
        said = judge.judge(ADS, BOTH)
    assert caplog.records == []
    assert said.value[0] < said.value[1]
    assert (said.low <= said.value).all()
    assert (said.high <= 12).all()
    assert not said.unlike.any()
    assert said.coverage == pytest.approx(0.9)
    assert (judge.name, judge.unit) == ("expected_life", "week")
    alone = judge.judge(ADS[1:], {IMAGE: BOTH[IMAGE][1:]})
    np.testing.assert_allclose(alone.value, said.value[1:], rtol=1e-5)


def test_the_mean_is_the_area_below_the_curve(model: FittedLifetime) -> None:
    curves = model.predict(TABLE, {IMAGE: SHOWN}).take(np.arange(5))
    for at, found in enumerate(mean_life(curves)):
        literal = float(curves.edges[0])
        for bin_ in range(len(curves.edges) - 1):
            wide = float(curves.edges[bin_ + 1] - curves.edges[bin_])
            literal += wide * float(curves.survival[at, bin_] + curves.survival[at, bin_ + 1]) / 2
        assert found == pytest.approx(literal, rel=1e-5)


def test_it_is_opened_as_any_judge(model: FittedLifetime, tmp_path: Path) -> None:
    model.save(tmp_path / "life" / "model")
    judge = open_judge(tmp_path / "life")
    assert isinstance(judge, PictureLife)
    assert sees_pictures(judge, "life") == {"vectors": True, "colours": False}
    assert judge.reads(IMAGE)
    assert not judge.reads("text")
    assert judge.nearest(ADS) == [(), ()]
    np.testing.assert_allclose(
        judge.judge(ADS, BOTH).value, PictureLife(model).judge(ADS, BOTH).value, rtol=1e-6
    )


def test_what_is_no_judge_of_pictures(model: FittedLifetime, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="by the picture"):
        PictureLife(model).judge(ADS)
    with pytest.raises(SchemaError, match="wide"):
        PictureLife(model).judge(ADS, {IMAGE: np.zeros((2, 3), np.float32)})
    blind = fit_lifetime(TABLE, None, LifetimeConfig(epochs=1, batch=256, min_count=5))
    blind.save(tmp_path / "blind")
    with pytest.raises(ArtifactError, match="reads no pictures"):
        open_judge(tmp_path / "blind")


WEEKS = range(15, 20)
#: LifeRecord bring about 5 a cost: at the default, half of it, nothing would be stopped.
RULE = RetireConfig(break_even=5.0, half_life=8.0)
SMALL = ReplayConfig(RULE, drops=(0.1, 0.2, 0.3), in_a_row=(1, 2, 3), draws=200)


@pytest.fixture(scope="module")
def replayed(drawn_lives: SmallLives, drawn_model: FittedLifetime) -> Replay:
    """With a model."""
    return replay(drawn_lives, drawn_model, WEEKS, SMALL)


def literal(lives: SmallLives, model: FittedLifetime | None) -> tuple[float, float, int, int]:
    """Cost saved, value lost, lives stopped and wrongly so, by a walk over weeks and lives."""
    log, gone = lives.log, set()
    saved = lost = 0.0
    stopped = wrong = 0
    for week in WEEKS:
        ran = lives.running(week)
        rates = credibility(log, week, ran.life, half_life=8.0)
        outlook = flat_outlook(log, week, len(rates))
        if model is not None:
            curves = model.predict(ran.table)
            outlook = outlook_of(curves, int(np.ceil(curves.edges[-1])))
        worth = keeping_value(rates, outlook, 5.0)
        for place, life in enumerate(ran.life.tolist()):
            if life in gone or worth[place] >= 0:
                continue
            gone.add(life)
            rows = range(*log.offsets[life : life + 2])
            after = [row for row in rows if log.period[row] > week]
            cost, value = log.cost[after].sum(), log.value[after].sum()
            saved, lost = saved + cost, lost + value
            stopped += cost > 0
            wrong += cost > 0 and value >= 5.0 * cost
    return saved, lost, stopped, wrong


@pytest.mark.parametrize("name", ["model", "rate rule"])
def test_a_rule_saves_what_a_walk_over_weeks_and_lives_saves(
    name: str, replayed: Replay, drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    row = replayed.point(name)
    saved, lost, stopped, wrong = literal(drawn_lives, drawn_model if name == "model" else None)
    assert stopped > 5
    assert row.saved == pytest.approx(saved)
    assert row.cost_saved == pytest.approx(saved / replayed.cost)
    assert 1 - row.value_kept == pytest.approx(lost / replayed.value)
    assert row.stopped == stopped
    assert row.wrongly == pytest.approx(wrong / stopped)
    log = drawn_lives.log
    counted = (log.period >= 15) & (log.period <= 20)
    assert replayed.cost == pytest.approx(log.cost[counted].sum())
    assert replayed.value == pytest.approx(log.value[counted].sum())


def literal_rule(
    clicks: np.ndarray, shown: np.ndarray, offsets: np.ndarray, rule: FatigueRule
) -> list[tuple[int, list[int]]]:
    """By life the period, from 1, in which the rule first fires, 0 for never; rows of low ones."""
    found = []
    for life in range(len(offsets) - 1):
        peak, row, fired, rows = 0.0, 0, 0, []
        for age, place in enumerate(range(*offsets[life : life + 2]), start=1):
            rows.append(0)
            value = clicks[place]
            if rule.measure == "rate":
                if shown[place] == 0:
                    continue
                value = value / shown[place]
            peak = max(peak, value)
            row = row + 1 if value < (1 - rule.drop) * peak else 0
            rows[-1] = row
            fired = fired or age * (row >= rule.periods)
        found.append((fired, rows))
    return found


@pytest.mark.parametrize("measure", ["rate", "sales"])
@pytest.mark.parametrize("drop", [0.2, 0.35])
def test_low_ones_in_a_row_are_those_of_a_loop(measure: Any, drop: float) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 12, 200)
    shown = rng.integers(0, 5, lengths.sum()) * 10.0
    clicks = rng.binomial(shown.astype(int), 0.3).astype(float)
    offsets, rule = np.concatenate(([0], np.cumsum(lengths))), FatigueRule(measure, drop)
    expected = [one for _, rows in literal_rule(clicks, shown, offsets, rule) for one in rows]
    assert low_in_a_row(clicks, shown, offsets, rule).tolist() == expected
    assert low_in_a_row(*np.empty((2, 0)), np.zeros(3, np.int64), rule).tolist() == []


def test_fatigue_rules_stop_where_they_first_fire(drawn_lives: SmallLives) -> None:
    log = drawn_lives.log
    # From the first week on, so that no rule fires before the replay begins.
    found = replay(drawn_lives, None, range(1, 20), SMALL)
    series = log.value, log.shown, log.offsets
    assert [each.rule for each in found.fatigue] == fatigue_grid(SMALL)
    for each in found.fatigue:
        fired = np.array([first for first, _ in literal_rule(*series, each.rule)])
        rows, life = np.arange(len(log.period)), log.whose
        late = (fired[life] > 0) & (rows >= log.offsets[life] + fired[life])
        assert each.point.saved == pytest.approx(log.cost[late].sum())
        lost = log.value[late].sum() / found.value
        assert 1 - each.point.value_kept == pytest.approx(lost)
    tools = found.point("ad tools' fatigue rule")
    at = [each.rule for each in found.fatigue].index(FatigueRule())
    assert tools.saved == found.fatigue[at].point.saved > 0


def test_the_best_fatigue_rule_is_given_or_the_best_in_hindsight(
    replayed: Replay, drawn_lives: SmallLives
) -> None:
    merit = [each.point.cost_saved + each.point.value_kept for each in replayed.fatigue]
    assert replayed.best == replayed.fatigue[int(np.argmax(merit))].rule
    given = FatigueRule("sales", 0.45, 2)
    found = replay(drawn_lives, None, WEEKS, replace(SMALL, best=given, draws=5))
    assert found.best == found.fatigue[-1].rule == given
    assert [lead.a for lead in found.leads] == ["rate rule"]


def test_rules_are_compared_at_equal_value_kept(replayed: Replay) -> None:
    own = replayed.point("model")
    for name in ("rate rule", "age rule", "random"):
        assert replayed.point(name, "as the model").value_kept == pytest.approx(own.value_kept)
    best = replayed.point("best fatigue rule")
    # The model's own threshold lies on its curve.
    again = replayed.point("model", "as the best fatigue rule")
    assert again.value_kept == pytest.approx(best.value_kept)
    lead = replayed.leads[0]
    assert lead.found.value == pytest.approx(again.cost_saved - best.cost_saved)
    for name, curve in replayed.curves.items():
        saved, kept = np.array(curve).T
        assert (np.diff(saved) >= -1e-9).all(), name
        assert (np.diff(kept) <= 1e-9).all(), name
        assert kept[0] == pytest.approx(1.0)


def test_the_interval_is_that_of_resamples_matched_anew(drawn_lives: SmallLives) -> None:
    found = replay(drawn_lives, None, WEEKS, SMALL)
    log = drawn_lives.log
    life, period, index = [], [], []
    for week in WEEKS:
        ran = drawn_lives.running(week)
        rates = credibility(log, week, ran.life, half_life=8.0)
        life.append(ran.life)
        period.append(np.full(len(ran.life), week))
        index.append(keeping_index(rates, flat_outlook(log, week, len(rates))) - 5.0)
    who, when, score = (np.concatenate(each) for each in (life, period, index))
    order = np.lexsort((when, who))
    points = StopPoints.of(log, who, when, 5.0, 20)
    low = low_in_a_row(log.value, log.shown, log.offsets, found.best)[points.row]
    fires = np.flatnonzero(low >= found.best.periods)
    stops = fires[np.unique(points.life[fires], return_index=True)[1]]
    drawn = []
    for counts in draw_counts(len(points.owners), 200, np.random.default_rng(0)):
        for times in counts:
            weighted = replace(
                points,
                sums=points.sums * times[points.owner, None],
                cost=points.cost * times,
                value=points.value * times,
            )
            frontier = Frontier.of(weighted, score[order])
            saved, lost = weighted.sums[stops, :2].sum(0)
            lost_at, saved_at = frontier.sums[None, :, 1], frontier.sums[None, :, 0]
            more = matched(lost_at, saved_at, np.array([lost]))[0] - saved
            drawn.append(more / weighted.cost.sum())
    low_end, high_end = np.quantile(drawn, [0.025, 0.975])
    lead = found.leads[0].found
    assert lead.low == pytest.approx(low_end, abs=0.004)
    assert lead.high == pytest.approx(high_end, abs=0.004)


def test_trainings_widen_the_interval_and_are_averaged(
    drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    config = replace(SMALL, draws=50)
    found = replay(drawn_lives, [drawn_model, drawn_model], WEEKS, config)
    once = replay(drawn_lives, drawn_model, WEEKS, config)
    assert found.models == 2
    assert found.point("model").saved == pytest.approx(once.point("model").saved)
    assert found.leads[0].found.seeds == 2
    assert once.leads[0].found.seeds == 1
    assert found.leads[0].found.low == pytest.approx(once.leads[0].found.low)


def test_nothing_after_the_last_period_counts(drawn_lives: SmallLives) -> None:
    cut = replay(drawn_lives, None, range(12, 15), replace(SMALL, until=16, draws=5))
    log = drawn_lives.log
    counted = (log.period >= 12) & (log.period <= 16)
    assert cut.cost == pytest.approx(log.cost[counted].sum())
    whole = replay(drawn_lives, None, range(12, 15), replace(SMALL, draws=5))
    assert cut.point("rate rule").saved < whole.point("rate rule").saved


def test_a_model_that_may_know_the_answers_is_refused(
    drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    for before, said in ((None, "does not say"), (16, "may know what"), (18, "before 18")):
        late = replace(drawn_model, config={**drawn_model.config, "before": before})
        with pytest.raises(ConfigError, match=said):
            replay(drawn_lives, late, WEEKS, SMALL)
    with pytest.raises(ConfigError, match="needs periods"):
        replay(drawn_lives, None, [], SMALL)


def test_what_is_expected_of_units_is_replayed_beside_their_record(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, replayed: Replay
) -> None:
    values = fit_values(drawn_lives, 15, ValueConfig(hidden=8, batch=64, half_life=8.0))
    config = replace(SMALL, draws=20)
    found = replay(drawn_lives, drawn_model, WEEKS, config, values=values)
    assert found.point("model") == replayed.point("model")
    assert found.point("value model") != found.point("model")
    assert [lead.a for lead in found.leads][:3] == ["value model", "model", "rate rule"]
    # Without curves, all units have the same number of periods ahead.
    saved = 0.0
    gone: set[int] = set()
    log = drawn_lives.log
    for week in WEEKS:
        ran = drawn_lives.running(week)
        rates = credibility(log, week, ran.life, half_life=8.0)
        expected = values.rates(ran.table, rates)
        worth = keeping_value(expected, flat_outlook(log, week, len(rates)), 5.0)
        for life in ran.life[worth < 0].tolist():
            rows = slice(*log.offsets[life : life + 2])
            if life not in gone:
                saved += log.cost[rows][log.period[rows] > week].sum()
            gone.add(life)
    alone = replay(drawn_lives, None, WEEKS, config, values=values)
    assert alone.point("value model").saved == pytest.approx(saved)
    with pytest.raises(ConfigError, match="goes with one"):
        replay(drawn_lives, drawn_model, WEEKS, config, values=[values, values])
    with pytest.raises(ConfigError, match="before 15"):
        replay(drawn_lives, None, range(14, 20), config, values=values)


FATIGUE = FatigueRule("sales", 0.5, 2)
ROWS = (
    RulePoint.of("model", "own", StopSums(30, 5, 12, 3, 48, 100, 200)),
    RulePoint.of("best fatigue rule", "own", StopSums(0, 0, 0, 0, 0, 100, 200)),
    RulePoint.of("random", "as the model", StopSums(3, 5, 6, 6, 6, 100, 200)),
)
FOUND = Replay(
    periods=(15, 19),
    until=20,
    named=("week 15", "week 19", "week 20"),
    unit="week",
    cost_name="display weeks",
    value_name="sales",
    lives=40,
    owners=6,
    cost=100.0,
    value=200.0,
    break_even=1.0,
    half_life=None,
    models=3,
    best=FATIGUE,
    table=ROWS,
    fatigue=(FatiguePoint(FATIGUE, ROWS[1], {"model": 0.0}),),
    leads=(ReplayLead("model", "rate rule", 0.975, MethodInterval(0.02, 0.01, 0.03, 3)),),
    curves={"model": [(0.0, 1.0), (0.3, 0.975)]},
)


def test_sums_over_lives_become_shares() -> None:
    row = FOUND.point("model")
    assert (row.cost_saved, row.value_kept) == (0.3, 0.975)
    assert (row.wrongly, row.mean_age, row.stopped, row.saved) == (0.25, 4.0, 12, 30)
    none = FOUND.point("best fatigue")
    assert (none.wrongly, none.mean_age) == (None, None)
    assert FOUND.point("random", "as the model").wrongly == 1.0
    with pytest.raises(LookupError):
        FOUND.point("random")


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [((0.01, 0.03), "more"), ((-0.03, -0.01), "less"), ((-0.1, 0.1), "no more")],
)
def test_a_comparison_says_no_more_than_its_interval(
    ends: tuple[float, float], verdict: str
) -> None:
    lead = ReplayLead("model", "rate rule", 0.975, MethodInterval(0.0, *ends, 1))
    last = replace(FOUND, leads=(lead,)).text().splitlines()[-1]
    assert f"the model saves {verdict}" in last
    assert "trainings" not in last
    assert "3 trainings" in FOUND.text().splitlines()[-1]


def test_the_table_is_told_in_words() -> None:
    text = FOUND.text()
    assert "Replay from week 15 to week 19, judged until week 20" in text
    assert "an upper bound" in text
    assert re.search(r"^model .* 30.0% +97.5% +25.0% +4.0$", text, re.M)
    assert re.search(r"^best fatigue rule .* 0.0% +100.0% +- +-$", text, re.M)
    assert "  random, value kept as the model" in text


def test_all_of_it_is_json() -> None:
    said = json.loads(FOUND.to_json())
    assert said["best"] == {"measure": "sales", "drop": 0.5, "periods": 2}
    assert said["curves"]["model"] == [[0.0, 1.0], [0.3, 0.975]]
    assert said["leads"][0]["found"]["low"] == 0.01
    assert len(said["table"]) == 3
