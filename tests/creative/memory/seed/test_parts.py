from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.core.errors import DataError
from adwright.creative.memory.seed.parts import run_parts
from adwright.creative.memory.seed.pool import SeedData
from tests.support.creative.seed_rounds import CONFIG, seed_ads, seed_data


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
