from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.variants import alikeness, check_variants, diverse, diversity
from adwright.core.errors import ConfigError, DataError

TEXTS = ["Tea for you", "tea  for you", "A quiet cup", "And there is more of it"]


def test_known_values() -> None:
    pairs = alikeness(TEXTS)
    assert pairs[0, 1] == pairs[2, 2] == 1
    assert pairs[0, 2] == 0
    assert np.array_equal(pairs, pairs.T)
    assert diversity(["a b", "a c"]) == 0.5
    assert np.isnan(diversity(["a"]))


def test_findings() -> None:
    found = [[one.rule for one in row] for row in check_variants(TEXTS)]
    assert found == [["variants/alike"], ["variants/alike"], [], ["variants/order"]]
    assert check_variants(["a b", "a c"]) == ((), ())
    assert all(check_variants(["a b", "a c"], alike=0.5))


def test_a_diverse_choice() -> None:
    assert diverse(TEXTS, most=2) == (0, 2) or diverse(TEXTS, most=2) == (2, 3)
    assert len(diverse(TEXTS, most=9)) == 3
    assert len(diverse(["a b", "a c", "d"], most=9, alike=0.5)) == 2
    assert diverse([], most=3) == ()


texts = st.lists(st.text(st.sampled_from("ab cd"), max_size=9), max_size=6)


@given(texts, st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_order_given_does_not_matter(rows: list[str], random, most: int) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = [rows[at] for at in order]
    chosen = sorted(rows[at] for at in diverse(rows, most=most))
    assert sorted(shuffled[at] for at in diverse(shuffled, most=most)) == chosen
    assert diversity(shuffled) == pytest.approx(diversity(rows), nan_ok=True)


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="alike 0"):
        diverse(["a"], most=1, alike=0)
    with pytest.raises(ConfigError, match="alike 2"):
        check_variants(["a"], alike=2)
    with pytest.raises(ConfigError, match="most must be"):
        diverse(["a"], most=0)
    with pytest.raises(DataError, match="row 0"):
        diversity([1])  # type: ignore[list-item]
