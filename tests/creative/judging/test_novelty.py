"""Distances to the nearest against a loop, and thresholds of ads that were held out."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.judging.novelty import Novelty

RNG = np.random.default_rng(0)
ADS = RNG.normal(size=(400, 6)).astype(np.float32)
STORIES = np.arange(400) // 4


def test_distances_are_those_of_a_loop() -> None:
    made = Novelty.fit(ADS, STORIES, k=3)
    asked = RNG.normal(size=(5, 6)).astype(np.float32)
    for row, found in zip(asked, made.distance(asked), strict=True):
        each = sorted(float(np.linalg.norm(row - one)) for one in made.kept.astype(np.float32))
        assert found == pytest.approx(each[2], abs=1e-3)
    places, distances = made.nearest(asked, 2)
    assert places.shape == distances.shape == (5, 2)
    first = made.kept[places[0, 0]].astype(np.float32)
    assert np.linalg.norm(asked[0] - first) == pytest.approx(distances[0, 0], abs=1e-3)


def test_new_ads_of_the_same_kind_are_seldom_unlike() -> None:
    made = Novelty.fit(ADS, STORIES, quantile=0.95)
    new = RNG.normal(size=(1000, 6)).astype(np.float32)
    assert 0.01 < made.unlike(new).mean() < 0.12
    assert made.unlike(new + 10).all()


def test_variants_of_one_story_do_not_make_new_stories_unlike() -> None:
    centres = RNG.normal(size=(60, 6))
    ads = (np.repeat(centres, 8, axis=0) + RNG.normal(size=(480, 6)) * 0.01).astype(np.float32)
    new = RNG.normal(size=(300, 6)).astype(np.float32)
    blind = Novelty.fit(ads, k=5).unlike(new).mean()
    told = Novelty.fit(ads, np.arange(480) // 8, k=5).unlike(new).mean()
    assert blind > 0.95
    assert told < 0.2


def test_settings_are_used_and_checked() -> None:
    few = Novelty.fit(ADS, most=50, seed=1)
    assert few.kept.shape == (50, 6)
    np.testing.assert_allclose(few.kept, ADS[few.rows], atol=1e-2)
    assert (few.rows != Novelty.fit(ADS, most=50, seed=2).rows).any()
    assert Novelty.fit(ADS, k=1).threshold < Novelty.fit(ADS, k=20).threshold
    for bad in ({"k": 0}, {"most": 0}, {"quantile": 0.0}):
        with pytest.raises(ConfigError):
            Novelty.fit(ADS, **bad)
    with pytest.raises(DataError, match="of other stories"):
        Novelty.fit(ADS, np.zeros(400, np.int64))
    with pytest.raises(DataError, match="group of each"):
        Novelty.fit(ADS, np.zeros(3, np.int64))
