from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.editor.search.latent_cloud import LatentCloud

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shrink", [0.1, 0.7])
def test_distance_is_the_literal_formula(shrink: float) -> None:
    sample = RNG.normal(size=(40, 5)) @ RNG.normal(size=(5, 5)) + 3
    plus = RNG.normal(size=(3, 4, 5))
    found = LatentCloud.of(sample, shrink=shrink).distance(plus)
    mean = sample.mean(0)
    c = (sample - mean).T @ (sample - mean) / 39
    c = (1 - shrink) * c + shrink * np.trace(c) / 5 * np.eye(5)
    for at in range(3):
        total = sum((w - mean) @ np.linalg.solve(c, w - mean) for w in plus[at])
        assert found[at] == pytest.approx(total / (4 * 5))


def test_the_sample_lies_at_about_one_and_what_is_far_lies_far() -> None:
    sample = RNG.normal(size=(4000, 6)) * np.arange(1, 7)
    cloud = LatentCloud.of(sample, shrink=0.01)
    assert cloud.distance(sample[:, None]).mean() == pytest.approx(1, abs=0.1)
    assert cloud.distance(4 * sample[:, None]).mean() > 10


def test_fewer_latents_than_width_do() -> None:
    cloud = LatentCloud.of(RNG.normal(size=(5, 64)))
    assert np.isfinite(cloud.distance(RNG.normal(size=(2, 10, 64)))).all()


def test_what_is_no_sample_is_refused() -> None:
    for wrong in (np.zeros((1, 3)), np.zeros(3), np.full((4, 3), np.nan)):
        with pytest.raises(DataError, match="sample"):
            LatentCloud.of(wrong)
    with pytest.raises(DataError, match="same"):
        LatentCloud.of(np.ones((4, 3)))
    with pytest.raises(DataError, match="shrink"):
        LatentCloud.of(RNG.normal(size=(4, 3)), shrink=0)
    with pytest.raises(DataError, match="latents of shape"):
        LatentCloud.of(RNG.normal(size=(4, 3))).distance(np.zeros((2, 1, 4)))
