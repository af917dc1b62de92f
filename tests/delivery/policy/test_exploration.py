"""Exploration by the share of the expected value that it gives up."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError
from adwright.delivery.decision import Candidates
from adwright.delivery.policy.rules import GreedyConfig
from adwright.delivery.policy.settings import PolicySettings
from adwright.delivery.policy.slate_policy import build_policy, kept_by, solve_exploration
from adwright.delivery.popularity import Popularity
from adwright.models.calibration import ListCalibrator
from adwright.service.registry.loading import sample_of
from tests.support.delivery.policy_requests import candidates, request

RNG = np.random.default_rng(3)
SAMPLE = [
    candidates((0.2 / np.arange(1, 27) ** power).tolist()) for power in RNG.uniform(0.2, 1.5, 200)
]


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("places", [1, 4, 10])
def test_the_stated_share_is_given_up(share: float, places: int) -> None:
    policy = build_policy(solve_exploration(share, {1: SAMPLE, 4: SAMPLE, 10: SAMPLE}))
    assert policy.policy_id == f"explore-{share}"
    asked = [request(k=places)] * len(SAMPLE) * 10
    kept = kept_by(policy, asked, SAMPLE * 10, np.random.default_rng(0))
    assert 1 - kept.value == pytest.approx(share, rel=0.2)
    assert (kept.requests, kept.places) == (2_000, places)


def test_slates_of_any_length_give_up_as_much_of_what_is_offered_to_them() -> None:
    calibration = {"popularity": ListCalibrator(-2.0, 0.5, 0.3)}
    popular = Popularity([f"i{n}" for n in range(300)], np.arange(300.0) ** 3, calibration)
    sample = sample_of(popular, [request()], FixedClock())
    policy, _ = PolicySettings(explore=0.02).build(sample=sample)
    for places in (1, 5, 10, 20, 50):
        asked = [request(k=places)] * 2_000
        answers = popular.recommend_many(asked, None)
        kept = kept_by(policy, asked, answers, np.random.default_rng(0))
        assert 0.976 <= kept.value <= 0.984, places


def test_what_is_kept_of_greedy_slates_is_all_of_it() -> None:
    asked = [request(k=4)] * len(SAMPLE)
    kept = kept_by(build_policy(GreedyConfig()), asked, SAMPLE, np.random.default_rng(0))
    assert (kept.value, kept.best, kept.first, kept.effective) == (1, 1, 1, 0)
    assert "keeps 100.0% of the expected value and 100% of the 4 best items" in kept.text()


def test_a_challenger_counts_the_decisions_that_it_would_have_made() -> None:
    sample = [candidates((0.5, 0.5))] * 20
    policy = build_policy(solve_exploration(0.001, {1: [candidates((0.5, 0.2))]}))
    kept = kept_by(policy, [request(k=1)] * 20, sample, np.random.default_rng(0))
    # Of two alike either comes first half of the time.
    assert kept.effective == pytest.approx(500)


@pytest.mark.parametrize(
    ("sample", "share", "words"),
    [
        ([candidates((0.3, 0.3, 0.3))], 0.02, "give up less: 0.0%"),
        (SAMPLE, 0.9, "smaller share"),
        ([], 0.02, "nothing to explore"),
        ([candidates((0.0, 0.0))], 0.02, "nothing to explore"),
    ],
)
def test_what_cannot_be_given_up_is_refused(
    sample: list[Candidates], share: float, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        solve_exploration(share, {1: sample})
