"""Lives out of a delivery record: where they end and why, and that nothing of them peeks."""

from __future__ import annotations

import logging
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.creative.lifetime.delivery_spells import (
    DeliverySpellConfig,
    DeliverySpells,
    delivery_spells,
)
from tests.support.data.deliveries import FIRST, record

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


def test_days_without_impressions_are_no_life() -> None:
    days = frame(row("a", 1), row("a", 2, shown=0), row("never", 3, shown=0))
    assert lives_of(delivery_spells(days)) == {"a": [(1, 1, 1)], "runs on": [(0, 31, 0)]}


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
        {
            "creative_id": name,
            "day": FIRST + week * WEEK,
            "period_days": 7,
            "impressions": 9,
        }
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
