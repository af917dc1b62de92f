from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from adwright.core.errors import DataError
from adwright.metrics.two_level import two_level_ratio
from benchmarks.common.text_measures import (
    label_score,
    pair_counts,
    pair_f1,
    pair_f1_per_text,
    right_per_text,
)


def test_an_invalid_answer_stays_in_the_denominator() -> None:
    found = label_score(["a", None, None, "a"], ["a", "a", "b", "a"])
    assert (found.accuracy, found.n_invalid, found.n) == (0.5, 2, 4)
    assert found.macro_f1 == pytest.approx((2 * 2 / (2 + 3) + 0) / 2)
    assert right_per_text(["a", None], ["a", "b"]).tolist() == [1, 0]


labels = st.sampled_from("abc")


@given(st.lists(st.tuples(st.none() | st.sampled_from("abcd"), labels), min_size=1))
def test_macro_f1_is_that_of_scikit_learn(rows: list[tuple[str | None, str]]) -> None:
    given_, wanted = [one or "none" for one, _ in rows], [other for _, other in rows]
    classes = sorted(set(wanted))
    peer = f1_score(wanted, given_, labels=classes, average="macro", zero_division=0)
    assert label_score([one for one, _ in rows], wanted).macro_f1 == pytest.approx(peer)


def test_pairs() -> None:
    wanted = [[("Colour", "Red"), ("Size", "M")], [], [], [("a", "b")]]
    given_ = [[("colour ", "red"), ("colour", "red"), ("Size", "L")], [], None, None]
    assert pair_counts(given_, wanted).tolist() == [[1, 2, 2], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert pair_f1_per_text(given_, wanted).tolist() == [0.5, 1, 0, 0]
    assert pair_f1(given_, wanted) == pytest.approx(2 / 5)
    assert np.isnan(pair_f1([], []))


def test_bad_rows() -> None:
    with pytest.raises(DataError, match="1 answers and 0"):
        right_per_text(["a"], [])
    with pytest.raises(DataError, match="no row"):
        label_score([], [])
    with pytest.raises(DataError, match="row 0, column given"):
        pair_counts([["abc"]], [[]])  # type: ignore[list-item]


def test_the_counts_of_pairs_carry_an_interval() -> None:
    rng = np.random.default_rng(1)
    wanted = [[("a", str(row % 3)), ("b", "x")] for row in range(40)]
    given_ = [[("a", str(int(rng.integers(3)))), ("b", "x")] for _ in wanted]
    right, mine, theirs = pair_counts(given_, wanted).T
    found = two_level_ratio(2 * right, mine + theirs, rng, draws=200)
    assert found.value == pytest.approx(pair_f1(given_, wanted))
    assert found.low < found.value < found.high
