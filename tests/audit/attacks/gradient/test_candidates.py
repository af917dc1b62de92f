from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.attacks.gradient import best_tokens, draw_candidates, merged_candidates

L, V = 5, 40


def anything(suffix: object) -> bool:
    return True


@given(st.integers(0, 50), st.integers(1, 12))
def test_the_best_tokens_have_the_lowest_gradients_of_those_allowed(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    gradient = rng.normal(size=(L, V)).astype(np.float32)
    allowed = rng.random(V) < 0.6
    allowed[:3] = True
    found = best_tokens(gradient, allowed, k)
    for row, tokens in zip(gradient, found, strict=True):
        usable = sorted(np.flatnonzero(allowed), key=lambda token: (row[token], token))
        assert tokens.tolist() == [int(one) for one in usable[:k]]


def test_positions_may_have_tokens_of_their_own() -> None:
    gradient = np.zeros((2, V), np.float32)
    allowed = np.zeros((2, V), np.bool_)
    allowed[0, 3], allowed[1, 7] = True, True
    assert best_tokens(gradient, allowed, 9).tolist() == [[3], [7]]


@given(st.integers(0, 50), st.integers(1, 3), st.integers(1, 30))
def test_candidates_differ_in_so_many_places_and_from_each_other(
    seed: int, swaps: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    best = rng.integers(10, V, size=(L, 8))
    found = draw_candidates((0,) * L, best, count, rng, swaps=swaps, keeps=anything)
    assert 0 < len(found) <= count
    assert ((found != 0).sum(1) == swaps).all()
    assert len({tuple(row) for row in found.tolist()}) == len(found)
    rows, places = np.nonzero(found)
    assert all(found[row, at] in best[at] for row, at in zip(rows, places, strict=True))


def test_those_that_do_not_survive_are_drawn_again() -> None:
    best = np.arange(20).repeat(L).reshape(20, L).T + 10
    even = draw_candidates(
        (0,) * L, best, 20, np.random.default_rng(0), keeps=lambda one: sum(one) % 2 == 0
    )
    assert len(even) == 20
    assert (even.sum(1) % 2 == 0).all()
    none = draw_candidates((0,) * L, best, 20, np.random.default_rng(0), keeps=lambda one: False)
    assert none.shape == (0, L)


def test_changes_are_put_together_from_the_best_on() -> None:
    best = np.array([[1, 0, 0, 0], [2, 0, 0, 0], [0, 0, 3, 0], [0, 4, 0, 0]])
    found = merged_candidates((0, 0, 0, 0), best, anything)
    assert found.tolist() == [[1, 0, 3, 0], [1, 4, 3, 0]]
    assert merged_candidates((0, 0, 0, 0), best[:1], anything).shape == (0, 4)
    kept = merged_candidates((0, 0, 0, 0), best, lambda one: one[1] == 4)
    assert kept.tolist() == [[1, 4, 3, 0]]
