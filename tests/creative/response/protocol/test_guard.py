"""What says how an ad did is refused as an input: by its name, and by what is measured."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import SchemaError
from adwright.creative.response.protocol.guard import check_inputs, check_names, is_label_name

TESTS, SIZE = 120, 4
RNG = np.random.default_rng(0)
TEST = np.repeat(np.arange(TESTS), SIZE)
IMPRESSIONS = RNG.integers(800, 1200, TESTS * SIZE)
CLICKS = RNG.binomial(IMPRESSIONS, RNG.uniform(0.01, 0.05, TESTS * SIZE))
RATE = CLICKS / IMPRESSIONS
BEST = RATE.reshape(TESTS, SIZE).max(1).repeat(SIZE) == RATE
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


@pytest.mark.parametrize("name", ["headline", "call_to_action", "lede", "clickability", "linker"])
def test_other_names_pass(name: str) -> None:
    check_names([name])
    assert not is_label_name(name)


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
        pl.Series([int(rate * 1e9) for rate in RATE]).cast(pl.Datetime("us")),
        np.where(TEST < 40, np.where(BEST, 1.0, 0.0), np.nan),
    ],
    ids=["rate", "minus", "text", "bool", "words", "half", "inside", "list", "time", "gaps"],
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
    ],
    ids=["words", "numbered", "noise", "constant", "empty", "weak", "brand"],
)
def test_what_a_person_could_know_before_passes(fair: object) -> None:
    _check(fair)
    _check(fair, tests=np.full(len(RATE), -1))
    assert len(WORDS) == TESTS * SIZE


def test_a_few_tests_prove_nothing() -> None:
    few = TEST < 10
    frame = pl.DataFrame({"x": BEST[few]})
    check_inputs(frame, ["x"], IMPRESSIONS[few], CLICKS[few], TEST[few])
    assert BEST[few].sum() >= 10


def test_rows_that_were_never_shown_are_not_looked_at() -> None:
    shown = np.where(np.arange(len(RATE)) == 0, 0, IMPRESSIONS)
    clicks = np.where(shown == 0, 0, CLICKS)
    with pytest.raises(SchemaError, match="picks the best"):
        check_inputs(pl.DataFrame({"x": RATE}), ["x"], shown, clicks, TEST)
