from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.search.picture_judge import (
    BoundedJudge,
    EnsembleJudge,
    SlopedJudge,
    checked_answers,
)
from tests.support.creative.searches import ColourJudge, SlopedColour

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3)).astype(np.uint8)


def test_the_bound_is_the_literal_formula() -> None:
    members = (ColourJudge(100), ColourJudge(150), ColourJudge(240))
    judge = EnsembleJudge("clicks", members, k=1.5)
    for at, picture in enumerate(PICTURES):
        said = [one.judge(picture[None])[0] for one in members]
        mean = sum(said) / 3
        deviation = (sum((one - mean) ** 2 for one in said) / 2) ** 0.5
        assert judge.judge(PICTURES)[at] == pytest.approx(mean)
        assert judge.lower(PICTURES)[at] == pytest.approx(mean - 1.5 * deviation)
    np.testing.assert_array_equal(
        EnsembleJudge("c", members, k=0).lower(PICTURES), judge.judge(PICTURES)
    )


def test_what_a_judge_offers_is_seen() -> None:
    assert isinstance(EnsembleJudge("c", (ColourJudge(), ColourJudge(9))), BoundedJudge)
    assert not isinstance(ColourJudge(), BoundedJudge)
    assert isinstance(SlopedColour(), SlopedJudge)


def test_judges_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="no ensemble"):
        EnsembleJudge("c", (ColourJudge(),))
    with pytest.raises(ConfigError, match="k is"):
        EnsembleJudge("c", (ColourJudge(), ColourJudge()), k=-1)
    with pytest.raises(DataError, match="no finite number"):
        checked_answers(ColourJudge(shift=float("nan")), PICTURES)

    class Odd(ColourJudge):
        def judge(self, pictures: np.ndarray) -> np.ndarray:
            return np.zeros((len(pictures), 2))

    with pytest.raises(DataError, match="one number a picture"):
        checked_answers(Odd(), PICTURES)
