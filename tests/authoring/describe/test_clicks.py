"""Clicks by a log with propensities: in made logs the truth is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.authoring.describe.clicks import ClickConfig, clicks_from_log
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
