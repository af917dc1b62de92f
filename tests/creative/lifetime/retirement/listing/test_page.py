"""The page shows each unit that is not kept with its reasons, and the curves of the actions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.retirement.listing.page import curves_by_action, write_list_page
from adwright.creative.lifetime.retirement.listing.stop_list import RetirementList, retirement_list
from adwright.creative.lifetime.retirement.replay import ReplayConfig, replay
from adwright.creative.lifetime.retirement.rule import RetireConfig, outlook_of
from tests.support.data.small_life_log import SmallLives, small_images

CONFIG = RetireConfig(floor=0.95, ahead=3)


@pytest.fixture(scope="module")
def images(drawn_lives: SmallLives) -> dict[str, np.ndarray]:
    return {"image": small_images(drawn_lives)}


@pytest.fixture(scope="module")
def found(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, images: dict[str, np.ndarray]
) -> RetirementList:
    return retirement_list(drawn_model, drawn_lives, 14, CONFIG, vectors=images)


def test_curves_are_means_of_what_each_action_has(
    found: RetirementList,
    drawn_lives: SmallLives,
    drawn_model: FittedLifetime,
    images: dict[str, np.ndarray],
) -> None:
    points = curves_by_action(drawn_model, drawn_lives, found, images)
    ran = drawn_lives.running(14)
    curves = drawn_model.predict(ran.table, {"image": images["image"][ran.life]})
    survival = outlook_of(curves, found.facts.horizon).survival
    assert survival is not None
    actions = dict(found.units.select("unit_id", "action").iter_rows())
    for name in set(actions.values()):
        rows = [at for at, life in enumerate(ran.life) if actions[f"u{life}"] == name]
        shares = [one.share for one in points if one.action == name]
        assert shares[0] == 1
        expected = survival[rows][:, : found.facts.horizon].mean(0)
        np.testing.assert_allclose(shares[1:], expected)


def test_the_page_names_units_reasons_and_the_replay(
    found: RetirementList, drawn_lives: SmallLives, drawn_model: FittedLifetime, tmp_path: Path
) -> None:
    odd = found.units.with_columns(name=pl.lit("<b>ad</b> ") + pl.col("unit_id"))
    changed = RetirementList(found.facts, odd)
    points = curves_by_action(drawn_model, drawn_lives, changed)
    past = replay(drawn_lives, None, range(10, 15), ReplayConfig(draws=20))
    page = tmp_path / "stops.html"
    write_list_page(page, changed, curves=points, replay=past, facts={"seed": "3"}, rows=4)
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert "<b>ad" not in text
    stops = changed.stops.head(4)
    for unit in stops["unit_id"]:
        assert f"&lt;b&gt;ad&lt;/b&gt; {unit} ({unit})" in text
    assert stops["why"][0][0] in text
    assert stops["like"][0][0].split(":")[0] in text
    assert f"{changed.stops.height - 4:,} more in the list" in text
    for part in (
        "Predicted lives by action",
        "Value kept against cost saved",
        "best fatigue rule",
        ">seed<",
    ):
        assert part in text
    assert changed.facts.record_hash[:16] in text


def test_a_list_without_stops_has_no_table(found: RetirementList, tmp_path: Path) -> None:
    kept = RetirementList(found.facts, found.units.filter(pl.col("action") == "keep"))
    write_list_page(tmp_path / "page.html", kept)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "To stop" not in text
    assert "stop 0" in text
