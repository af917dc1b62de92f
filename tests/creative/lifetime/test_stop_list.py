"""The list: its rows, its words, its folder."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.creative.lifetime.kept_life import KeptLife
from adwright.creative.lifetime.replay import ReplayConfig, replay
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.stop_events import apply_stops, held_back, stop_events
from adwright.creative.lifetime.stop_list import (
    Influences,
    ListFacts,
    PastUnits,
    RetirementList,
    curves_by_action,
    influences,
    left_in_words,
    list_in_words,
    past_units,
    record_hash,
    retirement_list,
    vectors_of,
    write_list_page,
)
from adwright.creative.lifetime.stop_rule import (
    RetireConfig,
    credibility,
    decide,
    flat_outlook,
    keeping_value,
    outlook_of,
)
from adwright.creative.lifetime.survival_curves import FittedLifetime
from adwright.data.schema import validate_events
from adwright.data.sources.log import open_log, save_log
from adwright.data.sources.tables import write_events
from adwright.data.stops import Stops, stopped
from tests.support.data.small_life_log import SmallLives, small_images, small_life_log, small_model
from tests.support.data.small_stop_list import small_stop_list

Vectors = dict[str, np.ndarray]
CONFIG = RetireConfig(floor=0.95, ahead=3)


@pytest.fixture(scope="module")
def images(drawn_lives: SmallLives) -> Vectors:
    return {"image": small_images(drawn_lives)}


@pytest.fixture(scope="module")
def plan(drawn_lives: SmallLives, drawn_model: FittedLifetime, images: Vectors) -> RetirementList:
    return retirement_list(drawn_model, drawn_lives, 14, CONFIG, vectors=images)


def test_a_row_says_what_the_rule_says(
    plan: RetirementList, drawn_lives: SmallLives, drawn_model: FittedLifetime, images: Vectors
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
    few = retirement_list(drawn_model, drawn_lives, 14, CONFIG, explained=2).units
    assert len(few.drop_nulls("why")) == 2
    drawn_lives.asked.clear()
    none = retirement_list(drawn_model, drawn_lives, 14, CONFIG, explained=0).units
    assert none["why"].null_count() == len(none)
    assert drawn_lives.asked == [14]


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
    plan.check_current(log)
    value = log.value.copy()
    value[5] += 1
    names = log.ids.with_columns(item_id=pl.lit("other"))
    for changed in (replace(log, value=value), replace(log, closed=21), replace(log, ids=names)):
        assert record_hash(changed) != record_hash(log)
        with pytest.raises(ConfigError, match="the record has changed"):
            plan.check_current(changed)
    assert plan.facts.model_id == KeptLife.of(drawn_model).digest()
    assert KeptLife.of(small_model(drawn_lives, until=12)).digest() != plan.facts.model_id


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


def expected(model: FittedLifetime, table: SpellTable, vectors: Vectors) -> np.ndarray:
    return outlook_of(model.predict(table, vectors), 9).further


def test_an_input_adds_what_is_expected_less_without_it(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, images: Vectors
) -> None:
    ran = drawn_lives.running(14)
    table, seen = ran.table, {"image": images["image"][ran.life]}
    found = influences(drawn_model, table, seen, horizon=9)
    assert found.names == ("spend_now", "sales_now", "colour", "image", "words")
    whole = expected(drawn_model, table, seen)
    # The same, by tables and vectors in which the value is missing.
    numbers, codes = table.numbers.copy(), np.full_like(table.categories, -1)
    numbers[:, 1] = np.nan
    wordless = replace(table, words=table.words[:0], offsets=np.zeros_like(table.offsets))
    blind = {"image": np.full_like(seen["image"], np.nan)}
    for name, other, vectors in (
        ("sales_now", replace(table, numbers=numbers), seen),
        ("colour", replace(table, categories=codes), seen),
        ("words", wordless, seen),
        ("image", table, blind),
    ):
        change = found.change[:, found.names.index(name)]
        hidden = expected(drawn_model, other, vectors)
        np.testing.assert_allclose(change, whole - hidden, atol=1e-5, err_msg=name)
        assert np.abs(change).max() > 0.05
    # What is missing moves nothing.
    missing = np.isnan(seen["image"]).any(1)
    assert missing.any()
    np.testing.assert_allclose(found.change[missing, 3], 0, atol=1e-6)
    assert found.values[2][0] in ("red", "green", "blue")
    assert float(found.values[1][0]) == pytest.approx(table.numbers[0, 1], rel=1e-3)


def test_the_strongest_are_named_with_value_and_sign() -> None:
    found = Influences(
        ("a", "b", "image"),
        (["1", "2"], ["x", "y"], ["", ""]),
        np.array([[0.04, -2.0, 0.5], [0.3, 0.1, -0.06]]),
    )
    assert found.strongest(2, "week") == [
        ["b x: -2.0 weeks", "image: +0.5 weeks"],
        ["a 2: +0.3 weeks", "b y: +0.1 weeks"],
    ]
    # A change that is too small to show is no reason.
    assert found.strongest(3, "day")[0] == ["b x: -2.0 days", "image: +0.5 days"]


def test_nearest_past_units_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    past = rng.integers(0, 4, (400, 3)).astype(np.float32)  # with ties
    asked = rng.integers(0, 4, (600, 3)).astype(np.float32)
    life = rng.permutation(1000)[:400]
    found, distance = PastUnits(life, past).nearest(asked, 4)
    place = {each: at for at, each in enumerate(life.tolist())}
    for unit in range(0, 600, 37):
        far = sorted(math.dist(asked[unit], each) for each in past)
        np.testing.assert_allclose(distance[unit], far[:4], atol=1e-6)
        of = [math.dist(asked[unit], past[place[each]]) for each in found[unit].tolist()]
        np.testing.assert_allclose(of, far[:4], atol=1e-6)
        assert len(set(found[unit].tolist())) == 4
        named = list(zip(of, found[unit].tolist(), strict=True))
        assert named == sorted(named)
    few, _ = PastUnits(life[:2], past[:2]).nearest(asked, 4)
    assert few.shape == (600, 2)
    none, _ = PastUnits(life[:0], past[:0]).nearest(asked, 4)
    assert none.shape == (600, 0)


def test_past_units_ended_before_and_are_known_as_of_an_earlier_period(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, images: Vectors
) -> None:
    log = drawn_lives.log
    drawn_lives.asked.clear()
    past = past_units(drawn_model, drawn_lives, 14, images)
    assert drawn_lives.asked == [13, 12, 10, 6]
    assert (log.last[past.life] < 14).all()
    assert len(set(past.life.tolist())) == len(past.life) > 50
    known: dict[int, np.ndarray] = {}
    for at in (6, 10, 12, 13):
        ran = drawn_lives.running(at)
        hidden = drawn_model.hidden(ran.table, vectors_of(images, ran.life))
        known |= dict(zip(ran.life.tolist(), hidden, strict=True))
    for life, hidden in zip(past.life.tolist(), past.hidden, strict=True):
        np.testing.assert_allclose(hidden, known[life], atol=1e-5)
    assert len(past_units(drawn_model, drawn_lives, 1, images).life) == 0
    # Where a life may pause, its end is known later.
    paused = past_units(drawn_model, SmallLives(gap=4), 14)
    assert (log.last[paused.life] < 10).all()
    assert len(paused.life) > 20


def test_curves_are_means_of_what_each_action_has(
    plan: RetirementList, drawn_lives: SmallLives, drawn_model: FittedLifetime, images: Vectors
) -> None:
    points = curves_by_action(drawn_model, drawn_lives, plan, images)
    ran = drawn_lives.running(14)
    curves = drawn_model.predict(ran.table, {"image": images["image"][ran.life]})
    survival = outlook_of(curves, plan.facts.horizon).survival
    assert survival is not None
    actions = dict(plan.units.select("unit_id", "action").iter_rows())
    for name in set(actions.values()):
        rows = [at for at, life in enumerate(ran.life) if actions[f"u{life}"] == name]
        shares = [one["value"] for one in points if one["series"] == name]
        assert shares[0] == 1
        expected = survival[rows][:, : plan.facts.horizon].mean(0)
        np.testing.assert_allclose(shares[1:], expected)


def test_the_page_names_units_reasons_and_the_replay(
    plan: RetirementList, drawn_lives: SmallLives, drawn_model: FittedLifetime, tmp_path: Path
) -> None:
    odd = plan.units.with_columns(name=pl.lit("<b>ad</b> ") + pl.col("unit_id"))
    changed = RetirementList(plan.facts, odd)
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


def test_a_list_without_stops_has_no_table(plan: RetirementList, tmp_path: Path) -> None:
    kept = RetirementList(plan.facts, plan.units.filter(pl.col("action") == "keep"))
    write_list_page(tmp_path / "page.html", kept)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "To stop" not in text
    assert "stop 0" in text


INF = np.inf


def facts(config: RetireConfig | None = None, **changes: Any) -> ListFacts:
    values: dict[str, Any] = {
        "period": 9,
        "named": "day 9",
        "expects": False,
        "unit": "day",
        "cost_name": "spend",
        "value_name": "conversions",
        "config": config or RetireConfig(),
        "ahead": 5,
        "horizon": 20,
        "break_even": 0.4,
        "overall": 0.8,
        "half_life": 8.0,
        "last_edge": 20.0,
        "value_left_out": 0.0,
        "model_id": "m",
        "record_hash": "r",
        "made": "2026-01-01T00:00:00+00:00",
    }
    return ListFacts(**{**values, **changes})


def units(*actions: str) -> pl.DataFrame:
    rows = len(actions)
    return pl.DataFrame(
        {
            "unit_id": [f"u{i}" for i in range(rows)],
            "name": ["ad", *[None] * (rows - 1)],
            "action": actions,
            "cause": ["wear-out"] * rows,
            "ending": ["budget"] * rows,
            "age": [7.0] * rows,
            "left_said": ["2 (1 to 4) days"] * rows,
            "value_per_cost": [0.1234] * rows,
            "saving": [12.0] * rows,
            "loss": [1.5] * rows,
            "why": [["clicks 3: -2.0 days"], *[[]] * (rows - 1)],
            "like": [["old: lived 9 days"], *[None] * (rows - 1)],
        }
    )


def totals(**changes: float) -> dict[str, float]:
    known = {"units": 3, "stop": 2, "refresh": 0, "keep": 1, "saving": 24, "loss": 3, "net": 6.6}
    return {**known, "rule_stop": 1, "rule_net": 3.3, "both": 1, **changes}


def test_periods_left_beyond_the_curve_are_more_than_what_is_left_of_it() -> None:
    left = np.array([[1, 4, 9], [1, 4, INF], [1, INF, INF], [INF, INF, INF], [INF, INF, INF]])
    age = np.array([3.0, 3.0, 3.0, 19.0, 20.0])
    assert left_in_words(left, age, 20.0, "day") == [
        "4 (1 to 9) days",
        "4 (1 to more than 17) days",
        "more than 17 (from 1 on) days",
        "more than 1 day",
        "not known, older than the curve",
    ]


def test_the_whole_list_is_said() -> None:
    text = list_in_words(facts(), units("stop", "stop", "keep"), totals(), 1)
    assert text == (
        "day 9: 3 units run: stop 2, refresh 0, keep 1\n"
        "stop: worth less than 0 to keep one day more, at a break-even of 0.4 conversions per cost "
        "in spend, 0.5 of the 0.8 of all so far; past periods fade with a half-life of 8 days, "
        "which told the next period best\n"
        "refresh: in the long term, half of such units end within 5 days, and more of them ended "
        "than of all, on lives held out\n"
        "to stop saves 24 spend of the 20 days to come and gives up 3 conversions: at the "
        "break-even 6.6 conversions net\n"
        "of those to stop: 2 wear-out, 2 likeliest to end of 'budget'\n"
        "value per cost alone, without the model, would stop 1, of which 1 are the same: 50% of "
        "the net, by the model's expectations\n"
        "  stop    ad (u0), wear-out, budget: age 7, left 2 (1 to 4) days; 0.123 per cost, saves "
        "12 spend, gives up 1.5 conversions\n"
        "          because of clicks 3: -2.0 days\n"
        "          like old: lived 9 days\n"
        "  and 1 more\n"
    )


def test_settings_that_were_given_are_said_to_be() -> None:
    config = RetireConfig(break_even=0.4, half_life=8.0, threshold=0.1)
    text = list_in_words(facts(config), units("keep"), totals(), 5)
    assert "worth less than 0.1 to keep" in text
    assert "per cost in spend, as given; past periods fade with a half-life of 8 days\n" in text
    text = list_in_words(facts(half_life=None, value_left_out=0.25), units("keep"), totals(), 5)
    assert "all past periods weigh alike" in text
    assert "25.0% of the conversions came in days without cost" in text


def test_what_is_refreshed_saves_nothing() -> None:
    text = list_in_words(facts(), units("refresh"), totals(stop=0, refresh=1), 1)
    assert "  refresh ad (u0), wear-out, budget: age 7, left 2 (1 to 4) days; 0.123" in text
    assert "is to cost 12 spend, to bring 1.5 conversions\n" in text


def test_it_says_where_the_simple_rule_is_as_good() -> None:
    good = list_in_words(facts(), units("stop"), totals(rule_net=6.59), 5)
    assert "that simple rule is as good" in good
    nothing = list_in_words(facts(), units("keep"), totals(stop=0, rule_stop=0), 5)
    assert "of which 1 are the same\n" in nothing
    worse = list_in_words(facts(), units("stop"), totals(net=0.0, rule_net=-1.0), 5)
    assert "% of the net" not in worse


NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PLAN = small_stop_list(
    [
        ("u1", "shoe", "c1", "stop"),
        ("u2", "hat", None, "stop"),
        ("u3", "shoe", "c2", "keep"),
        ("u4", "bag", "c4", "refresh"),
    ]
)


def test_each_unit_to_stop_is_an_event() -> None:
    events = stop_events(PLAN, "anna", NOW)
    assert validate_events(events).equals(events)
    assert events.select("item_id", "creative_id", "kind", "user_id", "value").rows() == [
        ("shoe", "c1", "stop", "anna", 1.0),
        ("hat", None, "stop", "anna", 1.0),
    ]
    assert events["time"].to_list() == [NOW, NOW]
    assert [json.loads(text) for text in events["context"]] == [
        {
            "action": "stop",
            "cause": "wear-out",
            "ending": None,
            "days_left": days,
            "saving": saving,
            "saving_in": "spend",
            "list": PLAN.id,
        }
        for days, saving in ((14, 10.5), (None, 9.5))
    ]


def test_the_log_obeys_them_and_forgets_them() -> None:
    creatives = pl.DataFrame({"creative_id": ["c1", "c2"], "item_id": ["shoe", "shoe"]})
    stops, undone = stop_events(PLAN, "anna", NOW), stop_events(PLAN, "rule", LATER, undo=True)
    now = stopped(stops, creatives, LATER)
    assert (set(now.items), set(now.creatives)) == ({"hat"}, {"c1"})
    after = stopped(pl.concat([stops, undone]), creatives, LATER)
    assert (after.items, after.creatives) == (frozenset(), frozenset())
    court = stops.with_columns(user_id=pl.lit("legal"), event_id=pl.lit("court")).tail(1)
    assert stopped(pl.concat([stops, court, undone]), creatives).items == {"hat"}
    assert undone["value"].to_list() == [0, 0]
    assert json.loads(undone["context"][0])["action"] == "undo"


def test_ids_follow_from_the_list() -> None:
    first, again = stop_events(PLAN, "anna", NOW), stop_events(PLAN, "ben", LATER)
    assert first["event_id"].to_list() == again["event_id"].to_list()
    other = small_stop_list([("u1", "shoe", "c1", "stop")], record_hash="other")
    ids = {*first["event_id"], *stop_events(PLAN, "anna", NOW, undo=True)["event_id"]}
    ids |= set(stop_events(other, "anna", NOW)["event_id"])
    assert len(ids) == 5


def test_what_a_stop_would_take_down_as_well_holds_it_back() -> None:
    plan = small_stop_list(
        [
            ("s1", "soap", None, "stop"),  # of one product, two stores stop and one goes on
            ("s2", "soap", None, "stop"),
            ("s3", "soap", None, "keep"),
            ("t1", "tea", None, "stop"),  # all go
            ("t2", "tea", None, "stop"),
            ("v1", "veil", "c1", "stop"),  # two campaigns show the creative, one stops
            ("v2", "veil", "c1", "refresh"),
            ("v3", "veil", "c2", "stop"),  # another creative of the item goes on
            ("w1", "wig", None, "stop"),  # the item would take its creative down
            ("w2", "wig", "c9", "keep"),
        ]
    )
    assert stop_events(plan, "anna", NOW)["item_id"].to_list() == ["tea", "tea", "veil"]
    held = held_back(plan)
    assert held.rows() == [
        ("s1", "ad s1", "soap", None, 1),
        ("s2", "ad s2", "soap", None, 1),
        ("v1", "ad v1", "veil", "c1", 1),
        ("w1", "ad w1", "wig", None, 1),
    ]
    # What is left out goes on too.
    events = stop_events(plan, "anna", NOW, leave_out=["t2"])
    assert events["item_id"].to_list() == ["veil"]
    assert "t1" in held_back(plan, leave_out=["t2"])["unit_id"]


def test_units_without_an_item_are_named() -> None:
    rows = [(f"u{n}", None, f"c{n}", "stop") for n in range(7)]
    plan = small_stop_list([*rows, ("k", None, None, "keep")])
    with pytest.raises(DataError, match=r"7 units to stop have no item_id") as raised:
        stop_events(plan, "anna", NOW)
    assert "ad u0 (u0), ad u1 (u1)" in str(raised.value)
    assert "a catalogue of creatives" in raised.value.hint
    left = [f"u{n}" for n in range(7)]
    assert len(stop_events(plan, "anna", NOW, leave_out=left)) == 0
    with pytest.raises(ConfigError, match="no unit 'u9' on the list"):
        stop_events(plan, "anna", NOW, leave_out=["u9"])


LOG = small_life_log(30)
STOPS = small_stop_list(
    [("u1", "shoe", "c1", "stop"), ("u2", "hat", None, "stop"), ("u3", "bag", None, "keep")],
    record_hash=record_hash(LOG),
)
OLD = validate_events(
    pl.DataFrame(
        {
            "event_id": ["e1", "e2"],
            "time": [NOW - timedelta(days=1)] * 2,
            "request_id": ["r", "r"],
            "user_id": ["u", "v"],
            "kind": ["impression", "click"],
            "item_id": ["hat", "bag"],
            "context": ['{"store": 3}', None],
        }
    )
)


def read(path: Path) -> pl.DataFrame:
    return open_log(path, tell=False).events.collect()


def stops(path: Path) -> Stops:
    return stopped(read(path), None, LATER)


@pytest.mark.parametrize("name", ["events.parquet", "events.jsonl"])
@pytest.mark.parametrize("old", [True, False])
def test_a_file_keeps_what_it_holds(tmp_path: Path, name: str, *, old: bool) -> None:
    path = tmp_path / name
    if old and path.suffix == ".parquet":
        write_events(path, OLD.drop("propensity", "policy_id"))
    elif old:
        path.write_text(OLD.select(pl.exclude("value")).write_ndjson().rstrip("\n"))
    before = path.read_bytes() if old else None
    dry = apply_stops(STOPS, path, "anna", NOW, log=LOG, dry_run=True)
    assert (dry.new, dry.dry_run, dry.where) == (2, True, str(path))
    assert (path.read_bytes() if path.exists() else None) == before
    done = apply_stops(STOPS, path, "anna", NOW, log=LOG)
    assert (done.new, len(done.events), len(done.held_back)) == (2, 2, 0)
    assert stops(path).items == {"hat"}
    assert stops(path).creatives == {"c1"}
    ids = read(path)["event_id"].to_list()
    assert ids == [*(["e1", "e2"] if old else []), *done.events["event_id"]]
    # Twice is once.
    again = apply_stops(STOPS, path, "ben", LATER, log=LOG)
    assert again.new == 0
    assert "there already: 2 events" in again.text()
    assert read(path)["event_id"].to_list() == ids
    # And back.
    back = apply_stops(STOPS, str(path), "anna", LATER, log=None, undo=True)
    assert (back.new, back.undo) == (2, True)
    assert stops(path).table.is_empty()
    assert [each.name for each in tmp_path.iterdir() if not each.name.startswith(".")] == [name]


def test_lines_with_objects_get_objects(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    row = {"event_id": "e1", "time": "2024-05-01T00:00:00Z", "user_id": "u", "kind": "click"}
    path.write_text(json.dumps({**row, "item_id": "hat", "context": {"store": 3}}) + "\n")
    apply_stops(STOPS, path, "anna", NOW, log=None)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["context"] == {"store": 3}
    assert lines[1]["context"]["list"] == STOPS.id
    assert lines[1]["time"].startswith("2024-06-01T12:00:00")


def test_a_saved_log_gets_them_among_its_events(tmp_path: Path) -> None:
    log = open_log(OLD, tell=False)
    save_log(tmp_path / "log", log)
    with pytest.raises(ValueInvalidError, match="not in the items table"):
        apply_stops(STOPS, tmp_path / "log", "anna", NOW, log=LOG)
    assert len(read(tmp_path / "log")) == 2
    done = apply_stops(STOPS, tmp_path / "log", "anna", NOW, log=LOG, leave_out=["u1"])
    assert done.new == 1
    assert stops(tmp_path / "log").items == {"hat"}
    save_log(tmp_path / "csv", log, format="csv")
    with pytest.raises(SchemaError, match="are CSV"):
        apply_stops(STOPS, tmp_path / "csv", "anna", NOW, log=LOG)


def test_a_folder_of_parts_gets_a_part(tmp_path: Path) -> None:
    write_events(tmp_path / "part-1.parquet", OLD)
    assert apply_stops(STOPS, tmp_path, "anna", NOW, log=LOG, dry_run=True).new == 2
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    for new in (2, 0):
        assert apply_stops(STOPS, tmp_path, "anna", NOW, log=LOG).new == new
    apply_stops(STOPS, tmp_path, "anna", LATER, log=LOG, undo=True)
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    assert len(read(tmp_path)) == 6
    assert stops(tmp_path).table.is_empty()
    other = tmp_path / "other"
    other.mkdir()
    pl.DataFrame({"x": [1]}).write_parquet(other / "a.parquet")
    with pytest.raises(SchemaError, match="other columns than events"):
        apply_stops(STOPS, other, "anna", NOW, log=LOG)


def test_what_is_no_file_of_events_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="Parquet or to JSON lines"):
        apply_stops(STOPS, tmp_path / "events.csv", "anna", NOW, log=LOG)
    path = tmp_path / "numbers.parquet"
    pl.DataFrame({"x": [1]}).write_parquet(path)
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="no file of events"):
        apply_stops(STOPS, path, "anna", NOW, log=LOG)
    pl.DataFrame({"event_id": ["a"], "x": [1]}).write_parquet(path)
    with pytest.raises(SchemaError):
        apply_stops(STOPS, path, "anna", NOW, log=LOG)
    pl.read_parquet(path)
    assert before != path.read_bytes()


def test_a_writer_is_given_them_and_says_how_many_were_new() -> None:
    given: list[pl.DataFrame] = []

    def write(events: pl.DataFrame) -> int:
        given.append(events)
        return 1

    dry = apply_stops(STOPS, write, "anna", NOW, log=LOG, dry_run=True)
    assert (given, dry.new) == ([], None)
    assert dry.text() == "would be stopped: 2 units, in the log behind the writer\n"
    done = apply_stops(STOPS, write, "anna", NOW, log=LOG)
    assert done.new == 1
    assert given[0].equals(done.events)
    apply_stops(STOPS, write, "anna", NOW, log=LOG, leave_out=["u1", "u2"])
    assert len(given) == 1


def test_a_list_that_is_out_of_date_stops_nothing_but_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    newer = replace(LOG, closed=LOG.closed + 1)
    with pytest.raises(ConfigError, match="the record has changed"):
        apply_stops(STOPS, path, "anna", NOW, log=newer)
    assert list(tmp_path.iterdir()) == []
    assert apply_stops(STOPS, path, "anna", NOW, log=newer, undo=True).new == 2
    assert apply_stops(STOPS, path, "anna", NOW, log=None).new == 2
