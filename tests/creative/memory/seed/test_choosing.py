from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.creative.memory.seed.choosing import best_of, best_round, kept_of, should_stop
from adwright.creative.memory.seed.sampling import WrittenAds
from adwright.creative.memory.seed.texts.brief import AdBrief
from tests.support.creative.seed_rounds import seed_ads


def test_the_best_of_each_collection_are_chosen_in_order() -> None:
    ads = seed_ads(4, source="a") + seed_ads(4, source="b")
    scores = [1.0, 4.0, 2.0, 3.0, 10.0, 40.0, 20.0, 30.0]
    assert best_of(ads, scores, share=0.5) == (ads[1], ads[3], ads[5], ads[7])
    assert best_of(ads, scores, share=0.5, most=2) == (ads[1], ads[5])
    assert best_of(ads, scores, share=0.0) == ()
    assert best_of((), [], share=0.5, most=3) == ()


def written(*texts: tuple[str, ...]) -> list[WrittenAds]:
    return [
        WrittenAds(AdBrief(f"b{at}", brand=f"B{at}"), each, (False,) * len(each))
        for at, each in enumerate(texts)
    ]


def test_the_best_ad_of_a_brief_is_kept_by_its_lift_alone() -> None:
    """The second brief has higher scores, the first one the larger lift."""
    ads = written(("warm rye now", "cold rye then"), ("sweet tea here", "plain tea there"))
    why = [["", ""], ["", ""]]
    scores: list[list[float | None]] = [[1.0, 3.0], [90.0, 91.0]]
    first, second = kept_of(ads, why, scores, share=1.0)
    assert (first.answer, first.score, first.lift) == ("cold rye then", 3.0, 1.0)
    assert (second.answer, second.lift) == ("plain tea there", 0.5)
    assert kept_of(ads, why, scores, share=0.5) == (first,)


def test_what_has_a_reason_is_out() -> None:
    ads = written(("one two three", "four five six", "seven eight nine"), ("a b c", "d e f"))
    why = [["", "", "copied"], ["", "cut"]]
    (kept,) = kept_of(ads, why, [[1.0, 2.0, 99.0], [50.0, None]], share=1.0)
    assert (kept.answer, kept.lift) == ("four five six", 0.5)


def test_one_ad_in_many_names_is_kept_once() -> None:
    ads = written(*((f"the best of all days, {name}", f"x {name} y") for name in "abc"))
    why, scores = [["", ""]] * 3, [[9.0 - at, 0.0] for at in range(3)]
    assert [one.brief.id for one in kept_of(ads, why, scores, share=1.0)] == ["b0"]
    assert len(kept_of(ads, why, scores, share=1.0, alike=1.0)) == 3


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ([1.0], 1, False),
        ([1.0, 1.1], 1, False),
        ([1.0, 1.0], 1, True),
        ([1.0, 1.1, 1.05], 2, False),
        ([1.0, 1.1, 1.05, 1.08], 2, True),
        ([1.0, 0.9, 1.2], 2, False),
    ],
)
def test_patience_counts_rounds_without_a_gain(
    values: list[float], patience: int, stops: bool
) -> None:
    assert should_stop(values, patience=patience) == stops


def test_a_gain_may_have_to_be_large() -> None:
    assert should_stop([1.0, 1.04], patience=1, gain=0.05)
    assert not should_stop([1.0, 1.06], patience=1, gain=0.05)
    assert not should_stop([-1.0, -0.9], patience=1, gain=0.05)


@given(st.lists(st.floats(-5, 5), min_size=1))
def test_the_best_round_is_the_earliest_of_the_best(values: list[float]) -> None:
    assert best_round(values) == values.index(max(values))
