from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.attacks.search import halved


def test_candidates_are_given_up_from_order_to_order() -> None:
    table = np.random.default_rng(0).random((3, 64))
    asked: list[int] = []

    def look(order: int, rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return table[order, rows]

    found = halved(64, 3, look, share=0.25)
    assert asked == [64, 16, 4]
    assert found.tried == 84
    assert len(found.rows) == 4
    np.testing.assert_allclose(found.means, table[:, found.rows].mean(0))
    assert (np.diff(found.means) >= 0).all()


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))
def test_without_giving_up_the_best_mean_wins(count: int, orders: int, seed: int) -> None:
    table = np.random.default_rng(seed).random((orders, count))
    found = halved(count, orders, lambda order, rows: table[order, rows], share=1.0)
    assert found.tried == count * orders
    assert int(found.rows[0]) == int(table.mean(0).argmin())


def test_at_least_so_many_go_on() -> None:
    table = np.random.default_rng(1).random((2, 10))
    found = halved(10, 2, lambda order, rows: table[order, rows], share=0.01, least=5)
    assert len(found.rows) == 5
    assert len(halved(3, 2, lambda order, rows: table[order, rows], share=0.01, least=5).rows) == 3
