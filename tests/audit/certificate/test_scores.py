from __future__ import annotations

import numpy as np
import pytest

from adwright.audit.certificate.certificate import BoundedScores, checked_scores, require_eps
from adwright.core.errors import ConfigError, ValueInvalidError


def test_text_moves_a_score_by_eps_at_most() -> None:
    scores = BoundedScores(np.array([1.0, 2.0, 3.0]), np.array([9.0, -9.0, 0.25]), 0.5)
    assert scores.honest.tolist() == [1.5, 1.5, 3.25]
    assert scores.highest.tolist() == [1.5, 2.5, 3.5]
    assert scores.lowest.tolist() == [0.5, 1.5, 2.5]
    assert scores.ranks().tolist() == [2, 2, 1]


def test_without_a_bound_texts_say_nothing() -> None:
    scores = BoundedScores(np.array([1.0, 2.0]), np.array([9.0, -9.0]), 0)
    assert scores.ranks().tolist() == [2, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_named(value: float) -> None:
    with pytest.raises(ValueInvalidError, match="row 1, column texts"):
        BoundedScores(np.zeros(2), np.array([0.0, value]), 0.5)


def test_other_shapes_and_lengths_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="2 scores of facts and 1 of texts"):
        BoundedScores(np.zeros(2), np.zeros(1), 0.5)
    with pytest.raises(ValueInvalidError, match="shape"):
        checked_scores(np.zeros((2, 2)), "facts")
    with pytest.raises(ValueInvalidError, match="no numbers"):
        checked_scores(["good"], "facts")


@pytest.mark.parametrize("eps", [-0.1, np.nan, np.inf, "1", True, None])
def test_an_impossible_bound_is_refused(eps: object) -> None:
    with pytest.raises(ConfigError, match="eps"):
        require_eps(eps)  # type: ignore[arg-type]
