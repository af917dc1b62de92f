"""The prior and the measures of click rates; tables of outcomes."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import AdColumns
from adwright.creative.response.models import (
    BetaPrior,
    RateCalibration,
    fit_prior,
)
from adwright.creative.response.outcomes import (
    CountedTable,
    CreativeOutcomes,
    OutcomeColumns,
    check_inputs,
    check_names,
    components,
    is_label_name,
    number_tests,
    read_counts,
    read_groups,
    read_outcomes,
    stories_of,
    story_folds,
)
from adwright.data.schema import in_file
from benchmarks.creative._time_split import split_by_week


def _drawn_rates(a: float, b: float, rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    n = rng.integers(50, 4000, rows)
    return rng.binomial(n, rng.beta(a, b, rows)), n


def test_it_finds_the_prior_that_counts_were_drawn_from() -> None:
    found = fit_prior(*_drawn_rates(2.0, 120.0))
    assert found.a == pytest.approx(2.0, rel=0.08)
    assert found.mean == pytest.approx(2 / 122, rel=0.05)


def test_creatives_that_do_not_differ_have_a_prior_that_is_nearly_sure() -> None:
    found = fit_prior(np.full(50, 10), np.full(50, 100))
    assert found.a + found.b > 1e5
    assert found.mean == pytest.approx(0.1, rel=1e-3)


def test_rates_and_weights_follow_their_formulas() -> None:
    prior = BetaPrior(2.0, 98.0)
    np.testing.assert_allclose(prior.smoothed([5, 0], [100, 1]), [7 / 200, 2 / 101])
    logs = np.log(beta(2, 98).rvs(400_000, random_state=0))
    assert prior.log_variance == pytest.approx(logs.var(), rel=0.01)
    noise = 0.98 / (1000 * 0.02)
    expected = prior.log_variance / (prior.log_variance + noise)
    assert prior.weights([1000])[0] == pytest.approx(expected)
    assert np.all(np.diff(prior.weights([1, 10, 100, 10_000])) > 0)


@pytest.mark.parametrize(("clicks", "impressions"), [([0, 0], [5, 9]), ([3, 2], [3, 2])])
def test_no_prior_of_no_click(clicks: list[int], impressions: list[int]) -> None:
    with pytest.raises(DataError, match="0 or 1 alone"):
        fit_prior(clicks, impressions)


@pytest.mark.parametrize("clicks", [[1, 4], [1, -1], [1, math.nan]])
def test_counts_that_cannot_be_name_their_row(clicks: list[float]) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        fit_prior(clicks, [3, 3])
    assert caught.value.row == 1
    with pytest.raises(DataError, match="one length"):
        fit_prior([1], [3, 3])
    with pytest.raises(ConfigError):
        BetaPrior(0.0, 1.0)


def _drawn_calibration(seed: int, rows: int = 1500) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    known = rng.normal(-4, 0.5, rows)
    impressions = rng.integers(500, 4000, rows)
    rates = np.exp(known + rng.normal(0, 0.3, rows))
    return known, rng.binomial(impressions, np.minimum(rates, 1)), impressions


def test_expected_clicks_are_those_found() -> None:
    known, clicks, impressions = _drawn_calibration(0)
    made = RateCalibration.fit(known - 1, clicks, impressions)
    value, _, _ = made.rates(known - 1)
    assert (value * impressions).sum() == pytest.approx(clicks.sum())
    assert made.level == pytest.approx(1 + 0.045, abs=0.05)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_rates_of_new_ads_are_covered_noise_and_all(coverage: float) -> None:
    known, clicks, impressions = _drawn_calibration(1)
    made = RateCalibration.fit(known, clicks, impressions, coverage=coverage)
    known, clicks, impressions = _drawn_calibration(2, 4000)
    value, low, high = made.rates(known)
    inside = (low <= clicks / impressions) & (clicks / impressions <= high)
    assert abs(inside.mean() - coverage) < 0.025
    assert (low <= value).all()
    assert (value <= high).all()
    assert made.rates(np.array([5.0]))[0][0] == 1


def test_no_level_without_a_click() -> None:
    known, clicks, impressions = _drawn_calibration(0)
    with pytest.raises(DataError, match="no held-out ad"):
        RateCalibration.fit(known, clicks * 0, impressions)


def test_what_levels_move_from_step_to_step_is_in_the_interval() -> None:
    rng = np.random.default_rng(0)
    steps = np.repeat(np.arange(40), 50)
    moved = np.cumsum(rng.normal(0, 0.4, 41))
    known, impressions = rng.normal(-4, 0.3, 2000), np.full(2000, 20_000)
    clicks = rng.binomial(impressions, np.exp(known + moved[steps]))
    made = RateCalibration.fit(known, clicks, impressions, steps=steps)
    still = RateCalibration.fit(known + moved[steps], clicks, impressions)
    assert made.level == pytest.approx(moved[39], abs=0.05)
    (_, low, high), (_, least, most) = made.rates(known), still.rates(known)
    assert np.median(high / low) > 2 * np.median(most / least)


def test_a_rate_of_nothing_is_near_a_small_one() -> None:
    rng = np.random.default_rng(0)
    known = np.full(2000, np.log(0.001))
    clicks = rng.binomial(1000, np.exp(known))
    value, low, high = RateCalibration.fit(known, clicks, np.full(2000, 1000)).rates(known[:1])
    assert low == 0 < value < high < 0.005


ADS = AdColumns(id="id", title="headline", words=("body",))
COLUMNS = OutcomeColumns(ads=ADS, test="test", image_id="picture")
TABLE = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e"],
        "headline": ["Bread", "Fresh bread", "Tea", "Black tea", "Milk"],
        "body": ["Baked at six.", "Baked at six.", None, "", "White"],
        "shown": [100, 100, 200, 0, 50],
        "hits": [3, 4, 8, 0, 0],
        "test": ["t2", "t2", "t1", "t1", None],
        "week": [201401, 201401, 201402, 201402, 201403],
        "picture": ["p", "p", "q", "q", None],
    }
).rename({"shown": "impressions", "hits": "clicks"})


def _with(**columns: list) -> pl.DataFrame:
    return TABLE.with_columns(pl.Series(name, values) for name, values in columns.items())


def test_a_table_is_read_and_repairs_are_said() -> None:
    found = read_outcomes(TABLE, COLUMNS)
    assert found.ids == ("a", "b", "c", "e")
    assert found.records[1].title == "Fresh bread"
    assert found.impressions.tolist() == [100, 100, 200, 50]
    assert found.rate.tolist() == [0.03, 0.04, 0.04, 0.0]
    assert found.tests.tolist() == [0, 0, -1, -1]
    assert found.images == ("p", "p", "q", "")
    assert found.ledes == ("Baked at six.", "Baked at six.", "", "White")
    assert found.varied.tolist() == [True, True, False, False]
    assert found.records[0].text == "Bread\nBaked at six."
    assert "1 creatives that were never shown are left out" in found.notes
    assert "1 creatives have no test and are in no test" in found.notes
    assert "1 creatives are alone in their test and are in no test" in found.notes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clicks": [3, 101, 8, 0, 0]}, "must not be above impressions.*row 1"),
        ({"id": ["a", "a", "c", "d", "e"]}, "row 1"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, change: dict, said: str) -> None:
    path = tmp_path / "ads.parquet"
    _with(**change).write_parquet(path)
    with pytest.raises(ValueInvalidError, match=said) as error:
        read_outcomes(path, COLUMNS)
    assert error.value.file == str(path)


def test_missing_columns_are_named() -> None:
    with pytest.raises(SchemaError, match="column clicks"):
        read_outcomes(TABLE.drop("clicks"), COLUMNS)
    with pytest.raises(SchemaError, match="column nowhere"):
        read_outcomes(TABLE, replace(COLUMNS, test="nowhere"))


def test_nothing_shown_is_no_table() -> None:
    with pytest.raises(DataError, match="no creative was ever shown"):
        read_outcomes(_with(impressions=[0] * 5, clicks=[0] * 5), COLUMNS)


def test_a_label_named_as_text_or_input_is_refused() -> None:
    labelled = TABLE.with_columns(winner=pl.lit("no"), note=pl.lit("x"))
    with pytest.raises(SchemaError, match="'winner' says how an ad did"):
        read_outcomes(
            labelled, replace(COLUMNS, ads=AdColumns(title="headline", words=("winner",)))
        )


def test_a_column_is_either_the_ad_or_its_test() -> None:
    with pytest.raises(SchemaError, match="cannot be read as its outcome, test"):
        read_outcomes(TABLE, replace(COLUMNS, ads=AdColumns(title="headline", words=("test",))))


def test_rows_are_taken_in_any_order() -> None:
    found = read_outcomes(TABLE, COLUMNS)
    some = found.take(np.array([2, 0]))
    assert some.ids == ("c", "a")
    assert (some.images, some.ledes) == (("q", "p"), ("", "Baked at six."))
    assert some.data_hash != found.data_hash


def test_tests_are_numbered_by_name_whatever_the_order() -> None:
    assert number_tests(["b", "a", None, "a", "b", "c"]).tolist() == [1, 0, -1, 0, 1, -1]
    assert number_tests([]).tolist() == []


def _table(decimal_comma: bool = False, **columns: list) -> CountedTable:
    return CountedTable(pl.DataFrame(columns), in_file("ads.csv"), "ads.csv", decimal_comma)


def _counts(shown: list, clicked: list) -> list[tuple[int, ...]]:
    return read_counts(_table(shown=shown, hits=clicked), "shown", "hits").rows()


def test_counts_are_read_from_numbers_floats_and_text() -> None:
    expected = [(1200, 3), (7, 0)]
    assert _counts([1200, 7], [3, 0]) == expected
    assert _counts([1200.0, 7.0], [3.0, 0.0]) == expected
    assert _counts(["1,200", "7"], ["3", "0"]) == expected
    assert _counts(["1.200", "7"], ["3", "0"]) == expected
    assert _counts([0], [0]) == [(0, 0)]


@pytest.mark.parametrize(
    ("shown", "clicked", "said"),
    [
        ([5, 5], [1, 6], r"hits must not be above shown.*ads.csv, row 1, column hits, value 6"),
        ([5, -5], [1, 0], r"shown must not be negative.*row 1, column shown, value -5"),
        ([5, 5], [-1, 0], r"hits must not be negative.*row 0"),
        ([5.0, 5.5], [1, 0], r"shown must be a whole number.*row 1, column shown, value 5.5"),
        ([5, None], [1, 0], r"shown must not be empty.*row 1"),
        ([5.0, float("nan")], [1, 0], r"shown must not be empty.*row 1"),
        ([5.0, float("inf")], [1, 0], r"shown must be finite.*row 1"),
        (["5", "--"], ["1", "0"], r"shown must not be empty.*row 1"),
        (["5", "many"], ["1", "0"], r"shown cannot be read as a number.*row 1.*many"),
        (["5", "5.51"], ["1", "0"], r"shown must be a whole number.*row 1"),
        ([1e300], [1], r"more than anybody counts.*row 0"),
    ],
)
def test_a_wrong_count_is_named_with_its_place(shown: list, clicked: list, said: str) -> None:
    with pytest.raises(ValueInvalidError, match=said):
        _counts(shown, clicked)


def test_counts_of_another_type_are_refused() -> None:
    with pytest.raises(SchemaError, match="column hits"):
        _counts([1], [date(2014, 1, 1)])
    with pytest.raises(ValueInvalidError, match="must not be empty"):
        _counts([None], [None])


def test_a_comma_parts_decimals_where_the_file_says_so() -> None:
    table = _table(decimal_comma=True, shown=["12,5"], hits=["1"])
    with pytest.raises(ValueInvalidError, match="whole number"):
        read_counts(table, "shown", "hits")


def test_groups_are_names_and_empty_cells_are_none() -> None:
    assert read_groups(_table(test=["a ", "", None]), "test") == ("a", None, None)
    assert read_groups(_table(test=[7, None]), "test") == ("7", None)
    assert read_groups(_table(test=[None]), "test") == (None,)
    with pytest.raises(SchemaError, match="text or whole numbers"):
        read_groups(_table(test=[0.5]), "test")


OUTCOMES_TESTS, SIZE = 120, 4
RNG = np.random.default_rng(0)
TEST = np.repeat(np.arange(OUTCOMES_TESTS), SIZE)
IMPRESSIONS = RNG.integers(800, 1200, OUTCOMES_TESTS * SIZE)
CLICKS = RNG.binomial(IMPRESSIONS, RNG.uniform(0.01, 0.05, OUTCOMES_TESTS * SIZE))
RATE = CLICKS / IMPRESSIONS
BEST = RATE.reshape(OUTCOMES_TESTS, SIZE).max(1).repeat(SIZE) == RATE
PLACE = RATE.reshape(OUTCOMES_TESTS, SIZE).argsort(1).argsort(1).ravel()
#: Words of an ad that nobody could learn the outcome from.
WORDS = [" ".join(RNG.choice(["bread", "milk", "tea", "2", "for", "1"], 4)) for _ in RATE]


def _check(values: object, *, tests: np.ndarray = TEST) -> None:
    check_inputs(pl.DataFrame({"x": values}), ["x"], IMPRESSIONS, CLICKS, tests, file="ads.csv")


@pytest.mark.parametrize(
    "name",
    ["ctr", "CTR (all)", "Link clicks", "impressions", "significance", "winner", "first_place"],
)
def test_a_label_is_known_by_its_name(name: str) -> None:
    assert is_label_name(name)
    with pytest.raises(SchemaError, match="by its name"):
        check_names(["headline", name])


@pytest.mark.parametrize(
    "label",
    [
        RATE,
        -RATE,
        RATE.round(3).astype(str),
        BEST,
        np.where(BEST, "yes", "no"),
        np.where(np.quantile(RATE, 0.7) < RATE, "strong", "weak"),
        [f"seen {n}, rate {rate:.4f}" for n, rate in enumerate(RATE)],
        [["a", "won"] if best else ["a"] for best in BEST],
        [{"note": "won" if best else "lost"} for best in BEST],
        [b"\xff1" if best else b"\xff0" for best in BEST],
        pl.Series([int(rate * 1e9) for rate in RATE]).cast(pl.Datetime("us")),
        np.where(TEST < 40, np.where(BEST, 1.0, 0.0), np.nan),
    ],
)
def test_a_label_is_known_by_what_it_picks(label: object) -> None:
    with pytest.raises(SchemaError, match=r"cannot be an input: .*ads.csv, column x") as error:
        _check(label)
    assert "leave it out" in str(error.value)


def test_a_label_is_known_without_tests() -> None:
    none = np.full(len(RATE), -1)
    for label in (RATE, CLICKS, IMPRESSIONS, RATE.round(2).astype(str)):
        with pytest.raises(SchemaError, match="ranks agree"):
            _check(label, tests=none)


@pytest.mark.parametrize(
    "fair",
    [
        WORDS,
        np.arange(len(RATE)),
        RNG.normal(size=len(RATE)),
        np.full(len(RATE), 3),
        pl.Series([None] * len(RATE), dtype=pl.String),
        RATE + RNG.normal(size=len(RATE)) * 0.02,
        [f"brand {test}" for test in TEST],
        # Each pair of tests has the same texts, and what is better in one is so in the other.
        [f"text {test // 2} {'abcd'[at]}" for test, at in zip(TEST, PLACE, strict=True)],
    ],
)
def test_what_a_person_could_know_before_passes(fair: object) -> None:
    _check(fair)
    _check(fair, tests=np.full(len(RATE), -1))
    assert len(WORDS) == OUTCOMES_TESTS * SIZE


def test_rows_that_were_never_shown_are_not_looked_at() -> None:
    shown = np.where(np.arange(len(RATE)) == 0, 0, IMPRESSIONS)
    clicks = np.where(shown == 0, 0, CLICKS)
    with pytest.raises(SchemaError, match="picks the best"):
        check_inputs(pl.DataFrame({"x": RATE}), ["x"], shown, clicks, TEST)


KEY = st.one_of(st.none(), st.integers(0, 5))


@given(st.lists(st.tuples(KEY, KEY, KEY), max_size=25))
def test_components_are_what_walking_from_row_to_row_reaches(rows: list) -> None:
    found = components([[row[kind] for row in rows] for kind in range(3)]) if rows else np.empty(0)
    story = [-1] * len(rows)
    for start in range(len(rows)):
        if story[start] >= 0:
            continue
        number, reached = max(story) + 1, [start]
        while reached:
            row = reached.pop()
            story[row] = number
            for other in range(len(rows)):
                pairs = zip(rows[row], rows[other], strict=True)
                if story[other] < 0 and any(a == b and a is not None for a, b in pairs):
                    reached.append(other)
    assert found.tolist() == story


def _outcomes(
    titles: list[str],
    *,
    tests: list[int] | None = None,
    ledes: list[str] | None = None,
    images: list[str] | None = None,
) -> CreativeOutcomes:
    rows = len(titles)
    return CreativeOutcomes(
        records=tuple(AdRecord(title=title) for title in titles),
        ids=tuple(str(n) for n in range(rows)),
        impressions=np.full(rows, 10),
        clicks=np.ones(rows, np.int64),
        tests=np.array(tests or [-1] * rows),
        ledes=tuple(ledes or [""] * rows),
        images=tuple(images or [""] * rows),
    )


def test_each_link_makes_a_story_and_nothing_makes_none() -> None:
    lede = "a text of more than twenty signs"
    assert stories_of(_outcomes(["a", "b", "a", ""])).tolist() == [0, 1, 0, 2]
    assert stories_of(_outcomes(["a", "b"], tests=[3, 3])).tolist() == [0, 0]
    assert stories_of(_outcomes(["a", "b"], images=["p", "p"])).tolist() == [0, 0]
    assert stories_of(_outcomes(["a", "b"], ledes=[lede, lede])).tolist() == [0, 0]
    assert stories_of(_outcomes(["a", "b"], ledes=["short", "short"])).tolist() == [0, 1]
    assert stories_of(_outcomes(["", ""])).tolist() == [0, 1]


@given(st.lists(st.integers(0, 12), min_size=10, max_size=80), st.integers(0, 3))
def test_folds_hold_whole_stories_and_are_balanced(stories: list[int], seed: int) -> None:
    story = np.array(stories)
    if len(set(stories)) < 3:
        return
    fold = story_folds(story, 3, seed=seed)
    assert all(len(set(fold[story == one])) == 1 for one in set(stories))
    rows = np.bincount(fold, minlength=3)
    assert rows.max() - rows.min() <= np.bincount(story).max()
    assert (story_folds(story, 3, seed=seed) == fold).all()


def test_time_splits_by_week_and_leaves_out_stories_that_go_on() -> None:
    stories, weeks = stories_of(_outcomes(["a", "b", "a", "c"])), np.array([1, 1, 2, 3])
    split = split_by_week(weeks, 2, stories)
    assert (split.train.tolist(), split.held_out.tolist(), split.left_out) == ([0, 1], [3], 1)
    with pytest.raises(DataError, match="one side of the split is empty"):
        split_by_week(weeks, 9, stories)
