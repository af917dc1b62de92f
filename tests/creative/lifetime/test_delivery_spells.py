"""Lives out of a delivery record: where they end and why, and that nothing of them peeks."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from pathlib import Path

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
from adwright.creative.lifetime.survival_curves import FittedLifetime, PictureLife, mean_life
from adwright.creative.lifetime.survival_fit import LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.survival_network import LifeTerms
from adwright.creative.records.ad_record import AdRecord
from tests.support.data.deliveries import FIRST, record
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
    with pytest.raises(ConfigError, match="unit_of"):
        DeliverySpellConfig(unit_of="page")  # type: ignore[arg-type]


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


class Reds:
    """In the place of the encoder: whether a picture is red."""

    def encode_pictures(self, pictures: object, count: int) -> np.ndarray:
        means = [np.asarray(one).mean((0, 1)) for one in pictures]  # type: ignore[attr-defined]
        return np.array([[red > blue, 0] for red, _, blue in means], np.float32).reshape(count, 2)


def test_what_is_no_judge_of_pictures(model: FittedLifetime, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="by the picture"):
        PictureLife(model).judge(ADS)
    with pytest.raises(SchemaError, match="wide"):
        PictureLife(model).judge(ADS, {IMAGE: np.zeros((2, 3), np.float32)})
    blind = fit_lifetime(TABLE, None, LifetimeConfig(epochs=1, batch=256, min_count=5))
    blind.save(tmp_path / "blind")
    with pytest.raises(ArtifactError, match="reads no pictures"):
        open_judge(tmp_path / "blind")
