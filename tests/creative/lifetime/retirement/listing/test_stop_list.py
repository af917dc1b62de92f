"""The list: its rows, its words, its folder."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ArtifactError, ConfigError, FileUnreadableError, ResourceError
from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.retirement.listing.stop_list import (
    RetirementList,
    model_hash,
    record_hash,
    retirement_list,
)
from adwright.creative.lifetime.retirement.rates import credibility
from adwright.creative.lifetime.retirement.rule import (
    RetireConfig,
    decide,
    flat_outlook,
    keeping_value,
)
from tests.support.data.small_life_log import SmallLives, small_images, small_model

CONFIG = RetireConfig(floor=0.95, ahead=3)


@pytest.fixture(scope="module")
def images(drawn_lives: SmallLives) -> dict[str, np.ndarray]:
    return {"image": small_images(drawn_lives)}


@pytest.fixture(scope="module")
def plan(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, images: dict[str, np.ndarray]
) -> RetirementList:
    return retirement_list(drawn_model, drawn_lives, 14, CONFIG, vectors=images)


def test_a_row_says_what_the_rule_says(
    plan: RetirementList,
    drawn_lives: SmallLives,
    drawn_model: FittedLifetime,
    images: dict[str, np.ndarray],
) -> None:
    log, ran = drawn_lives.log, drawn_lives.running(14)
    rates = credibility(log, 14, ran.life)
    curves = drawn_model.predict(ran.table, {"image": images["image"][ran.life]})
    decided = decide(CONFIG, curves, rates)
    flat = keeping_value(rates, flat_outlook(log, 14, len(rates)), 0.95 * rates.overall)
    order = np.argsort(-decided.net, kind="stable")
    units = plan.units
    assert units["unit_id"].to_list() == [f"u{ran.life[i]}" for i in order]
    for name, expected in (
        ("action", decided.action),
        ("cause", decided.cause),
        ("rule_action", np.where(flat < 0, "stop", "keep")),
    ):
        assert units[name].to_list() == expected[order].tolist(), name
    for name, numbers in (
        ("age", 14 - log.first[ran.life] + 1),
        ("left", decided.left[:, 1]),
        ("ends", decided.ends),
        ("value_per_cost", rates.mean),
        ("cost", rates.recent),
        ("saving", decided.saving),
        ("loss", decided.loss),
        ("net", decided.net),
    ):
        np.testing.assert_allclose(units[name].to_numpy(), numbers[order], err_msg=name)
    assert units["item_id"].to_list() == [f"p{ran.life[i]}" for i in order]
    assert units["ending"].null_count() == len(units)
    assert plan.facts.break_even == pytest.approx(0.95 * rates.overall)


def test_totals_are_sums_over_rows(plan: RetirementList) -> None:
    totals, stops = plan.totals, plan.stops
    assert totals["stop"] == len(stops) > 3
    assert totals["stop"] + totals["refresh"] + totals["keep"] == totals["units"] == len(plan)
    assert min(totals["refresh"], totals["keep"]) > 0
    for name in ("saving", "loss", "net"):
        assert totals[name] == pytest.approx(stops[name].sum())
    rule = plan.units.filter(rule_action="stop")
    assert totals["rule_net"] == pytest.approx(rule["net"].sum())
    assert totals["both"] == len(rule.filter(action="stop"))


def test_units_to_stop_or_refresh_have_reasons(plan: RetirementList) -> None:
    listed = plan.units.filter(pl.col("action") != "keep")
    kept = plan.units.filter(action="keep")
    assert listed["like"].list.len().to_list() == [3] * len(listed)
    assert listed["why"].list.len().max() == 3
    assert kept["why"].null_count() == kept["like"].null_count() == len(kept)
    reasons = listed["why"].explode().drop_nulls().to_list()
    assert any(text.startswith("colour red: -") and text.endswith(" weeks") for text in reasons)
    assert all(": lived " in text for text in listed["like"].explode())


def test_reasons_are_given_as_far_as_asked(
    drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    few = retirement_list(
        drawn_model, drawn_lives, 14, CONFIG, explained=2, strongest=1, like=0
    ).units
    assert len(few.drop_nulls("why")) == 2
    assert few["why"].list.len().max() == 1
    assert few["like"].list.len().max() == 0
    drawn_lives.asked.clear()
    none = retirement_list(drawn_model, drawn_lives, 14, CONFIG, explained=0).units
    assert none["why"].null_count() == len(none)
    assert drawn_lives.asked == [14]
    with pytest.raises(ConfigError, match="0 or more"):
        retirement_list(drawn_model, drawn_lives, 14, like=-1)


def test_it_is_said_in_words(plan: RetirementList) -> None:
    text = plan.text(rows=2)
    lines = text.splitlines()
    totals = plan.totals
    assert lines[0] == (
        f"week 14: {len(plan)} units run: stop {totals['stop']:.0f}, refresh "
        f"{totals['refresh']:.0f}, keep {totals['keep']:.0f}"
    )
    first = plan.units.filter(pl.col("action") != "keep").row(0, named=True)
    assert f"{first['name']} ({first['unit_id']}), {first['cause']}: age" in text
    assert f"and {totals['stop'] + totals['refresh'] - 2:.0f} more" in text
    assert "value per cost alone, without the model" in text


def test_the_last_period_is_meant_where_none_is_named(
    drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    last = retirement_list(drawn_model, drawn_lives, explained=0)
    assert last.facts.period == 20
    assert last.text().startswith("week 20: ")


def test_it_is_kept_in_a_folder(plan: RetirementList, tmp_path: Path) -> None:
    plan.save(tmp_path / "list")
    again = RetirementList.open(tmp_path / "list")
    assert again.units.equals(plan.units)
    assert (again.facts, again.id, again.totals) == (plan.facts, plan.id, plan.totals)
    assert again.text() == plan.text()
    with pytest.raises(ResourceError):
        plan.save(tmp_path / "list")
    plan.save(tmp_path / "list", overwrite=True)


def test_a_list_that_was_changed_or_broken_is_refused(plan: RetirementList, tmp_path: Path) -> None:
    plan.save(tmp_path / "list")
    plan.units.with_columns(action=pl.lit("stop")).write_parquet(tmp_path / "list/units.parquet")
    with pytest.raises(ArtifactError, match="changed after it was made"):
        RetirementList.open(tmp_path / "list")
    for content in ("{", json.dumps({"format": 9}), json.dumps({"format": 1, "facts": {}})):
        (tmp_path / "list/list.json").write_text(content)
        with pytest.raises(FileUnreadableError, match="no readable list"):
            RetirementList.open(tmp_path / "list")
    with pytest.raises(FileUnreadableError):
        RetirementList.open(tmp_path / "nothing")


def test_a_list_knows_its_record_and_its_model(
    plan: RetirementList, drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    log = drawn_lives.log
    plan.check_current(log, model_hash(drawn_model))
    value = log.value.copy()
    value[5] += 1
    names = log.ids.with_columns(item_id=pl.lit("other"))
    for changed in (replace(log, value=value), replace(log, closed=21), replace(log, ids=names)):
        assert record_hash(changed) != record_hash(log)
        with pytest.raises(ConfigError, match="the record has changed"):
            plan.check_current(changed)
    other = small_model(drawn_lives, until=12)
    with pytest.raises(ConfigError, match="another model"):
        plan.check_current(log, model_hash(other))


def test_a_list_has_an_id_of_its_model_and_its_moment(
    drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    clock = FixedClock()

    def made(model_id: str = "m1") -> RetirementList:
        return retirement_list(
            drawn_model, drawn_lives, 14, CONFIG, model_id=model_id, explained=0, clock=clock
        )

    one = made()
    assert (one.facts.model_id, one.facts.made) == ("m1", "2024-01-01T00:00:00+00:00")
    assert made().id == one.id != made("m2").id
    clock.advance(60)
    assert made().id != one.id


def test_ids_that_a_record_lacks_are_null(
    drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    bare = SmallLives(ids=drawn_lives.log.ids.select("unit_id"))
    plan = retirement_list(drawn_model, bare, 14, CONFIG)
    assert plan.units.null_count().select("item_id", "creative_id", "name").row(0) == (
        len(plan),
        len(plan),
        len(plan),
    )
    assert plan.units.drop_nulls("like")["like"].explode()[0].startswith("u")
    assert math.isfinite(plan.totals["net"])
