from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adwright.delivery.stages.protocols import Shortlist, best_of

LISTS = [np.array([4, 2]), np.array([], np.int64), np.array([9])]


def test_lists_lie_end_to_end() -> None:
    short = Shortlist.of(LISTS)
    assert len(short) == 3
    assert short.codes.tolist() == [4, 2, 9]
    assert short.owner.tolist() == [0, 0, 2]
    assert short.bounds() == [(0, 2), (2, 2), (2, 3)]
    assert [one.tolist() for one in short.lists()] == [[4, 2], [], [9]]
    assert [one.tolist() for one in short.some([2, 0]).lists()] == [[9], [4, 2]]
    assert Shortlist.of([]).lists() == []


@given(st.data())
def test_the_best_come_first_and_ties_by_code(data: st.DataObject) -> None:
    code = st.lists(st.integers(1, 20), max_size=8, unique=True)
    lists = data.draw(st.lists(code, max_size=4))
    score = [
        data.draw(st.lists(st.integers(0, 3), min_size=len(x), max_size=len(x))) for x in lists
    ]
    k = [data.draw(st.integers(0, 9)) for _ in lists]
    flat = np.array([s for one in score for s in one], np.float64)
    best, kept = best_of(
        Shortlist.of([np.array(one, np.int64) for one in lists]), flat, np.array(k, np.int64)
    )
    wanted = [
        sorted(zip((-s for s in one), codes, strict=True))[:places]
        for one, codes, places in zip(score, lists, k, strict=True)
    ]
    assert [one.tolist() for one in best.lists()] == [[c for _, c in one] for one in wanted]
    assert kept.tolist() == [-s for one in wanted for s, _ in one]
