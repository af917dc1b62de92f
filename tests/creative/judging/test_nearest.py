"""The nearest past ads, with what became of them."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.judging.nearest import PastAds
from adwright.creative.judging.novelty import Novelty

PLACES = np.arange(12, dtype=np.float32)[:, None]
NOVELTY = Novelty.fit(PLACES, k=2)
TITLES = tuple(f"ad {n // 2}" for n in range(12))
PAST = PastAds(NOVELTY, tuple("abcdefghijkl"), TITLES, np.linspace(0, 1, 12), np.full(12, 100.0))


def test_the_nearest_come_first_and_a_title_once() -> None:
    (found,) = PAST.nearest(np.array([[4.1]], np.float32), 3)
    assert [one.id for one in found] == ["e", "d", "g"]
    assert found[0].title == "ad 2"
    assert found[0].value == pytest.approx(4 / 11)
    assert found[0].weight == 100
    assert found[0].distance == pytest.approx(0.1, abs=1e-2)
    assert len(PAST.nearest(PLACES, 99)[0]) == 6


def test_each_kept_ad_needs_its_outcome() -> None:
    with pytest.raises(DataError, match="that are kept"):
        PastAds(NOVELTY, ("a",), TITLES, np.zeros(12), np.zeros(12))
