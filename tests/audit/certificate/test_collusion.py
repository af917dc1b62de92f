from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.audit.certificate.certificate import BoundedScores, colluding_bounds, rank_bounds
from adwright.core.errors import ConfigError
from tests.audit.certificate.test_bounds import choices, rank, small


def reached(scores: BoundedScores, free: set[int], row: int) -> tuple[int, int]:
    """Best and worst rank of a product over all scores of those who are free."""
    each = [
        choices(scores, at) if at in free else [float(one)] for at, one in enumerate(scores.honest)
    ]
    tries = [list(values) for values in itertools.product(*each)]
    return (
        min(rank(values, row, worst=False) for values in tries),
        max(rank(values, row, worst=True) for values in tries),
    )


@settings(max_examples=60)
@given(small(), st.integers(1, 4))
def test_collusion_is_what_trying_everything_finds(scores: BoundedScores, m: int) -> None:
    found = colluding_bounds(scores, m)
    for row in range(len(scores)):
        others = [at for at in range(len(scores)) if at != row]
        with_me = itertools.combinations(others, min(m - 1, len(others)))
        against = itertools.combinations(others, min(m, len(others)))
        assert found.best[row] == min(reached(scores, {row, *some}, row)[0] for some in with_me)
        assert found.worst[row] == max(reached(scores, set(some), row)[1] for some in against)


def test_one_alone_and_all_together_are_the_plain_bounds() -> None:
    rng = np.random.default_rng(0)
    scores = BoundedScores(*rng.normal(size=(2, 200)), 0.3)
    plain = rank_bounds(scores)
    assert colluding_bounds(scores, 1).best.tolist() == plain.best.tolist()
    assert colluding_bounds(scores, 199).worst.tolist() == plain.worst.tolist()


def test_each_helper_brings_one_rank_until_the_rest_cannot_step_aside() -> None:
    # Three that can step aside, then one far above whom no text brings down.
    scores = BoundedScores(np.array([0.0, 0.375, 0.4375, 0.5, 9.0]), np.full(5, 0.125), 0.25)
    assert [int(colluding_bounds(scores, m).best[0]) for m in (1, 2, 3, 4, 9)] == [5, 4, 3, 2, 2]


def test_bad_arguments_are_named() -> None:
    scores = BoundedScores(np.zeros(3), np.zeros(3), 0.1)
    with pytest.raises(ConfigError, match="m must be at least 1"):
        colluding_bounds(scores, 0)
