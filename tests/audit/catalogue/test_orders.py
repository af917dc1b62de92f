from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.catalogue import OrderPurpose, draw_orders
from adwright.core.errors import ConfigError


@given(n=st.integers(2, 12), count=st.integers(1, 24), seed=st.integers(0, 9), even=st.booleans())
def test_orders_are_permutations_and_differ(n: int, count: int, seed: int, even: bool) -> None:
    count = min(count, math.factorial(n))
    found = draw_orders(n, count, seed=seed, balanced=even)
    assert len(set(found)) == count
    assert all(sorted(order) == list(range(n)) for order in found)
    assert found == draw_orders(n, count, seed=seed, balanced=even)


def test_seed_and_purpose_choose_the_stream() -> None:
    def of(seed: int, purpose: OrderPurpose) -> object:
        return draw_orders(10, 5, seed=seed, purpose=purpose)

    drawn = [of(seed, purpose) for seed in (0, 1) for purpose in ("choose", "score", "average")]
    assert len(set(map(str, drawn))) == 6


def test_fresh_orders_avoid_those_that_were_chosen_on() -> None:
    chosen = draw_orders(3, 3, seed=0, purpose="choose")
    fresh = draw_orders(3, 3, seed=0, avoid=chosen)
    assert set(chosen) | set(fresh) == set(draw_orders(3, 6, seed=1))
    with pytest.raises(ConfigError, match="do not have 4 orders more"):
        draw_orders(3, 4, seed=0, avoid=chosen)


def test_balanced_orders_put_every_product_in_every_place() -> None:
    found = draw_orders(5, 10, seed=3, balanced=True)
    for run in (found[:5], found[5:]):
        assert all(sorted(order[place] for order in run) == list(range(5)) for place in range(5))


@pytest.mark.parametrize(("n", "count"), [(1, 1), (5, 0), (3, 7)])
def test_numbers_that_cannot_be(n: int, count: int) -> None:
    with pytest.raises(ConfigError):
        draw_orders(n, count, seed=0)
    with pytest.raises(ConfigError, match="unknown purpose"):
        draw_orders(5, 1, seed=0, purpose="guess")  # type: ignore[arg-type]
