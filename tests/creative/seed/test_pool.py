""""""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.seed.rounds import run_seed
from adwright.creative.seed.texts import (
    KnownAd,
    SeedBudget,
    SeedConfig,
    SeedData,
    known_ads,
    plan_seed,
    record_of,
    run_parts,
)
from tests.support.creative.seed_rounds import (
    CONFIG,
    RepeatingWriter,
    WordJudge,
    seed_ads,
    seed_data,
)


def test_ads_of_a_table_come_once_and_whole() -> None:
    records = [
        AdRecord(brand="A", title="One"),
        AdRecord(brand="A", title="One"),
        AdRecord(brand="", title="Nobody's"),
        AdRecord(brand="A", title="Two"),
    ]
    found = known_ads(records, list("wxyz"), "slogan", source="t", scores=[0.1, 0.2, 0.3, None])
    assert [(ad.brief.id, ad.answer, ad.score) for ad in found] == [
        ("t-w", "One", 0.1),
        ("t-z", "Two", None),
    ]
    with pytest.raises(DataError, match="4 ads, 3 ids"):
        known_ads(records, list("xyz"), "slogan", source="t")


def test_originals_are_judged_as_what_takes_their_place() -> None:
    """A story is no part of its headline, and the name of a product is one of its description."""
    record = AdRecord(title="Fresh at six", words="A long story of bread")
    for kind, title, words in (
        ("headline", "Fresh at six", ""),
        ("description", "Fresh at six", "A long story of bread"),
    ):
        (ad,) = known_ads([record], ["x"], kind, source="t")  # type: ignore[arg-type]
        assert (ad.judged.title, ad.judged.words) == (title, words)
        written = record_of("Warm by noon", ad.brief)
        assert (written.title == title) == (kind == "description")


def test_scores_tell_labelled_ads_from_the_pool() -> None:
    data = SeedData(seed_ads(3) + seed_ads(2, scored=False, source="p"))
    assert (len(data.labelled), len(data.pool)) == (3, 2)
    with pytest.raises(ValueInvalidError, match="no number"):
        KnownAd(data.ads[0].brief, data.ads[0].record, float("nan"))


def test_what_a_run_depends_on_changes_its_digest() -> None:
    ads = seed_ads(3)
    data = SeedData(ads)
    first = ads[0]
    others = [
        SeedData(ads[:2]),
        SeedData((replace(first, score=9.0), *ads[1:])),
        SeedData((replace(first, record=replace(first.record, title="Other")), *ads[1:])),
        SeedData(ads, (replace(first.brief, id="more"),)),
    ]
    assert len({one.digest for one in [data, *others]}) == 5
    assert SeedData(seed_ads(3)).digest == data.digest


def test_ids_are_told_apart() -> None:
    with pytest.raises(DataError, match="one id") as caught:
        SeedData(seed_ads(2) + seed_ads(1))
    assert caught.value.row == 2
    with pytest.raises(DataError, match="no ad"):
        SeedData(())


def test_no_group_is_in_two_parts() -> None:
    data = seed_data(60, pool=60, briefs=30)
    parts = run_parts(data, CONFIG)
    learned = {ad.brief.held_by for ad in (*parts.labelled, *parts.pool)}
    learned |= {brief.held_by for brief in parts.briefs}
    watched = {ad.brief.held_by for ad in parts.watch}
    held = {ad.brief.held_by for ad in parts.held}
    assert not learned & watched | learned & held | watched & held
    assert {ad.source for ad in (*parts.watch, *parts.held)} == {"s"}, "labelled ones, if any"
    assert len(parts.labelled) + len(parts.watch) + len(parts.held) == 60


def test_without_labels_the_pool_is_measured_with() -> None:
    parts = run_parts(SeedData(seed_ads(60, scored=False)), CONFIG)
    assert parts.labelled == ()
    assert len(parts.held) > 0
    assert len(parts.watch) > 0


def test_parts_are_bounded_the_same_way_each_time() -> None:
    data = seed_data(200)
    whole = run_parts(data, CONFIG)
    few = replace(CONFIG, watch_most=3, held_most=5)
    parts = run_parts(data, few)
    assert (len(parts.watch), len(parts.held)) == (3, 5)
    assert set(parts.held) < set(whole.held)
    assert run_parts(data, few) == parts
    assert run_parts(data, replace(few, seed=1)).held != parts.held


def test_rounds_draw_their_briefs() -> None:
    parts = run_parts(seed_data(), CONFIG)
    some = replace(CONFIG, briefs=7)
    first, second = parts.briefs_of(1, some), parts.briefs_of(2, some)
    assert len(first) == len(second) == 7
    assert first != second
    assert list(first) == [brief for brief in parts.briefs if brief in first]
    assert parts.briefs_of(1, some) == first
    assert parts.briefs_of(1, CONFIG) == parts.briefs


def test_an_empty_part_is_told() -> None:
    with pytest.raises(DataError, match="held out") as caught:
        run_parts(seed_data(), replace(CONFIG, held=0.0))
    assert "shares of watch and held" in caught.value.hint


def test_a_plan_counts_what_a_run_does(tmp_path: Path) -> None:
    data = seed_data()
    plan = plan_seed(CONFIG, data)
    writer = RepeatingWriter()
    report = run_seed(CONFIG, data, writer, WordJudge("zing"), WordJudge("calm"), tmp_path)
    parts = run_parts(data, CONFIG)
    assert plan.parts == parts
    assert plan.briefs == report.rounds[1].sampled
    assert plan.rows[0] == report.rounds[0].rows
    for rows, one in zip(plan.rows, report.rounds, strict=True):
        assert one.rows <= rows
    # The scripted writer has a token a byte, a model has one for some four.
    written = sum(one.written for one in report.costs) / 4
    assert 0.4 < plan.work["written"] / written < 2.5


def test_more_work_costs_more() -> None:
    data, base = seed_data(), plan_seed(CONFIG, seed_data()).seconds
    for more in ({"rounds": 4}, {"samples": 9}, {"measured": 9}, {"keep": 0.9}, {"pool": 1.0}):
        assert plan_seed(replace(CONFIG, **more), data).seconds > base
    for less in ({"briefs": 3}, {"rows": 5}, {"pool_most": 1}, {"held_most": 1}):
        assert plan_seed(replace(CONFIG, **less), data).seconds < base


def test_the_plan_is_told_in_words() -> None:
    plan = plan_seed(CONFIG, seed_data())
    text = plan.text()
    assert "nothing was done yet" in text
    assert f"from 0: {', '.join(map(str, plan.rows))}" in text
    with pytest.raises(DataError, match="none is"):
        plan_seed(replace(CONFIG, watch=0.0), seed_data())


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: 0} for name in ("rounds", "samples", "measured", "patience", "batch", "draws")),
        *({name: -1} for name in ("briefs", "pool_most", "rows", "watch_most", "held_most")),
        {"keep": 1.5},
        {"pool": -0.1},
        {"temperature": 0.0},
        {"top_p": 0.0},
        {"watch": 0.6, "held": 0.5},
        {"rounds": "3"},
        {"minutes": -1.0},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    made = SeedBudget if "minutes" in wrong else SeedConfig
    with pytest.raises(ConfigError):
        made(**wrong)
