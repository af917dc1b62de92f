from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from adwright.metrics.text.rouge import distinct_n, distinct_n_per_text, self_overlap_per_text


def test_known_values() -> None:
    texts = ["red red red", "a red shirt", ""]
    assert distinct_n_per_text(texts, 1) == pytest.approx([1 / 3, 1, np.nan], nan_ok=True)
    assert distinct_n_per_text(texts, 2) == pytest.approx([1 / 2, 1, np.nan], nan_ok=True)
    assert distinct_n(texts, 1) == 3 / 6
    assert self_overlap_per_text(texts, 1) == pytest.approx([1, 1 / 3, np.nan], nan_ok=True)
    assert np.isnan(distinct_n([], 1))


@given(st.lists(st.text(st.sampled_from("ab "), max_size=12), max_size=6), st.randoms())
def test_overlap_does_not_depend_on_the_order(texts: list[str], random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(texts)))
    random.shuffle(order)
    found = self_overlap_per_text(texts, 1)
    shuffled = self_overlap_per_text([texts[at] for at in order], 1)
    assert shuffled == pytest.approx(found[order], nan_ok=True)


def test_equal_texts_overlap_wholly() -> None:
    assert self_overlap_per_text(["a red shirt", "A red shirt!"], 2).tolist() == [1, 1]
    assert self_overlap_per_text(["a red shirt", "blue hat"], 1).tolist() == [0, 0]


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="n must be at least 1"):
        distinct_n(["a"], 0)
    with pytest.raises(DataError, match="row 0"):
        self_overlap_per_text([1], 1)  # type: ignore[list-item]
