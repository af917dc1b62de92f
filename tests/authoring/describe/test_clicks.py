"""Clicks by a log with propensities: in made logs the truth is known."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.authoring.describe.clicks import (
    ClickConfig,
    SimulatedClickConfig,
    clicks_from_log,
    expected_clicks,
    simulate_clicks,
)
from adwright.authoring.describe.search import INDEXES, DescriptionSearch
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.data.schema import validate_events

ARMS = {"old": "original", "new": "written"}
FAST = ClickConfig(draws=100)


def log(
    rows: int = 4000, *, seed: int = 0, rates: tuple[float, float] = (0.1, 0.2)
) -> pl.DataFrame:
    """Products that are liked more show the new text less often, which fools the plain rates."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 8, rows)
    chance = np.where(item < 4, 0.2, 0.8)
    new = rng.random(rows) < chance
    liked = np.array(rates)[new.astype(int)] * np.where(item < 4, 1.5, 0.5)
    clicked = rng.random(rows) < liked
    start = datetime(2024, 1, 1, tzinfo=UTC)
    shown = pl.DataFrame(
        {
            "event_id": [f"i{at}" for at in range(rows)],
            "time": [start + timedelta(seconds=at) for at in range(rows)],
            "request_id": [f"r{at}" for at in range(rows)],
            "user_id": [f"u{at % 900}" for at in range(rows)],
            "kind": ["impression"] * rows,
            "item_id": [f"p{one}" for one in item],
            "creative_id": np.where(new, "new", "old"),
            "propensity": np.where(new, chance, 1 - chance),
        }
    )
    clicks = shown.filter(pl.Series(clicked)).with_columns(
        event_id=pl.lit("c") + pl.col("event_id"),
        kind=pl.lit("click"),
        creative_id=pl.lit(None, pl.String),
        propensity=pl.lit(None, pl.Float64),
    )
    return validate_events(pl.concat([shown, clicks]))


@pytest.mark.parametrize("estimator", ["dr", "ips", "snips"])
def test_the_truth_lies_in_the_interval(estimator: Any) -> None:
    found = clicks_from_log(log(seed=1), ARMS, ClickConfig(estimator=estimator, draws=200))
    old, new = found.arms
    assert old.rate.low < 0.1 < old.rate.high
    assert new.rate.low < 0.2 < new.rate.high
    assert found.lead.low < 0.1 < found.lead.high
    assert found.lead.excludes(0)
    # The plain rates do not tell the two apart by as much.
    assert new.logged - old.logged < 0.05
    assert not found.simulated
    assert found.warnings == ()
    assert (found.impressions, found.users, found.left_out) == (4000, 900, 0)
    assert new.clicks + old.clicks == log(seed=1).filter(kind="click").height


def test_a_click_belongs_to_its_creative_where_it_names_one() -> None:
    events = log(400)
    named = events.with_columns(
        creative_id=pl.when(kind="click").then(pl.lit("new")).otherwise("creative_id")
    )
    old, _ = clicks_from_log(named, ARMS, FAST).arms
    assert old.clicks == 0


def test_settings_change_the_estimate() -> None:
    usual = clicks_from_log(log(800), ARMS, FAST)
    for change in ({"prior": 1.0}, {"folds": 2}, {"draws": 50}, {"confidence": 0.5}, {"seed": 5}):
        other = clicks_from_log(log(800), ARMS, ClickConfig(**{"draws": 100, **change}))
        assert other.lead != usual.lead, change
    turned = clicks_from_log(log(800), ARMS, FAST, compared=("written", "original"))
    assert turned.lead.value == pytest.approx(-usual.lead.value)


def test_wrong_propensities_are_told() -> None:
    events = log().with_columns(propensity=pl.col("propensity").clip(0.5))
    found = clicks_from_log(events, ARMS, FAST)
    assert any("not 1" in one for one in found.warnings)


def test_products_that_never_showed_a_kind_are_told() -> None:
    few = pl.col("item_id").is_in(["p0", "p1", "p2"]) & (pl.col("creative_id") == "new")
    found = clicks_from_log(log().filter(~few), ARMS, FAST)
    assert any("never showed written" in one for one in found.warnings)


def test_what_cannot_be_valued() -> None:
    events = log(100)
    with pytest.raises(DataError, match="no impression shows"):
        clicks_from_log(events, {"old": "original"}, FAST)
    with pytest.raises(DataError, match="known creative and a propensity"):
        clicks_from_log(events, {"else": "original"}, FAST)
    with pytest.raises(DataError, match="no click"):
        clicks_from_log(events.filter(kind="impression"), ARMS, FAST)
    with pytest.raises(ValueInvalidError, match="propensity"):
        clicks_from_log(events.with_columns(propensity=pl.lit(2.0)), ARMS, FAST)


def test_impressions_of_other_kinds_are_left_out_and_told() -> None:
    events = log(400).with_columns(
        creative_id=pl.when(item_id="p0").then(pl.lit("none")).otherwise("creative_id")
    )
    found = clicks_from_log(events, ARMS, FAST)
    assert found.left_out == events.filter(kind="impression", item_id="p0").height


@pytest.mark.parametrize(
    "change",
    [{"folds": 1}, {"prior": 0.0}, {"draws": 0}, {"confidence": 2.0}, {"estimator": "dm"}],
)
def test_other_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ClickConfig(**change)


def test_equals_the_formula() -> None:
    config = SimulatedClickConfig(decay=0.7, floor=0.1, highest=2)
    shown = [2, 0, math.nan, 1]
    want = sum(
        rank**-0.7 * (0.1 + 0.9 * (2**grade - 1) / 4)
        for rank, grade in enumerate(shown, start=1)
        if not math.isnan(grade)
    )
    assert expected_clicks(shown, config) == pytest.approx(want)


def test_equals_clicks_that_are_drawn() -> None:
    config, rng = SimulatedClickConfig(floor=0.2), np.random.default_rng(0)
    grades = np.array([3.0, 0, 1])
    looked = rng.random((200_000, 3)) < np.arange(1, 4) ** -1.0
    liked = rng.random((200_000, 3)) < 0.2 + 0.8 * (2**grades - 1) / 8
    assert (looked & liked).sum(1).mean() == pytest.approx(
        expected_clicks(grades, config), abs=0.01
    )


def result() -> DescriptionSearch:
    rng = np.random.default_rng(1)
    better = np.tile([3.0, 1, 0], (1, 40, 1))
    worse = rng.permuted(np.tile([0.0, 1, 0], (1, 40, 1)), axis=2)
    of = {"title": worse, "original": worse, "written": np.concatenate([better] * 2)}
    grades = {("words", index): of.get(index, better) for index in INDEXES}
    return DescriptionSearch((), 3, 40, 0, (40,), ((),), 0, 0, 0, grades)


def test_better_lists_get_more_clicks_and_are_called_simulated() -> None:
    (found,) = simulate_clicks(result())
    assert found.simulated
    assert found.ranker == "words"
    assert found.leads["written"].low > 0
    assert found.leads["title"].value == 0
    assert found.clicks["written"].seeds == 2
    assert found.clicks["original"].seeds == 0
    assert "original" not in found.leads


@pytest.mark.parametrize(
    "change",
    [
        {"decay": 0.0},
        {"floor": 0.3},
        {"highest": 5},
        {"draws": 20},
        {"confidence": 0.5},
        {"seed": 4},
    ],
)
def test_settings_change_the_clicks(change: dict[str, Any]) -> None:
    assert simulate_clicks(result(), SimulatedClickConfig(**change)) != simulate_clicks(result())


@pytest.mark.parametrize(
    "change",
    [{"decay": -1.0}, {"floor": 1.0}, {"highest": 0}, {"draws": 0}, {"confidence": 0.0}],
)
def test_simulated_clicks_other_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SimulatedClickConfig(**change)


def test_a_grade_above_the_highest_is_refused() -> None:
    with pytest.raises(ConfigError, match="above the highest"):
        expected_clicks([4.0], SimulatedClickConfig())
