from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import DataError
from adwright.metrics.text.rouge import common_subsequence, rouge_l
from benchmarks.common.text_measures import rouge_l_per_text

words = st.lists(st.sampled_from("abcde"), max_size=90)


def literal(one: list[str], other: list[str]) -> int:
    """The textbook table of lengths."""
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    for i, mine in enumerate(one):
        for j, theirs in enumerate(other):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if mine == theirs else max(table[i, j + 1], table[i + 1, j])
            )
    return int(table[-1, -1])


@given(words, words)
def test_the_subsequence_is_that_of_the_table(one: list[str], other: list[str]) -> None:
    assert common_subsequence(one, other) == literal(one, other)


@given(words, words)
def test_f1_is_that_of_precision_and_recall(one: list[str], other: list[str]) -> None:
    length = literal(one, other)
    wanted = 0.0
    if length:
        p, r = length / len(one), length / len(other)
        wanted = 2 * p * r / (p + r)
    assert rouge_l(" ".join(one), " ".join(other)) == pytest.approx(wanted)


def test_known_values() -> None:
    # Lin 2004, section 3.1: "police killed the gunman" and its two candidates.
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", reference) == 0.75
    assert rouge_l("the gunman kill police", reference) == 0.5
    found = rouge_l_per_text(["Red, shirt!", ""], ["red shirt", "a"])
    assert found.tolist() == [1.0, 0.0]


def test_bad_rows_are_named() -> None:
    with pytest.raises(DataError, match="row 0"):
        rouge_l_per_text([3], ["a"])  # type: ignore[list-item]
    with pytest.raises(DataError, match="references"):
        rouge_l_per_text(["a"], [])
