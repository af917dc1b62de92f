"""Stochastic length: the paper's threshold and probability, and each way to choose."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.data.sequences.stochastic_length import (
    StochasticLength,
    chance_of_cut,
    shorten,
    threshold,
)

LENGTHS = np.array([0, 3, 40, 100, 100, 17])


@pytest.mark.parametrize(
    ("longest", "alpha", "expected"), [(100, 1.0, 10), (100, 2.0, 100), (1000, 1.5, 177), (1, 1, 1)]
)
def test_threshold_and_probability_are_the_papers(
    longest: int, alpha: float, expected: int
) -> None:
    th = threshold(longest, alpha)
    assert th == expected
    lengths = np.arange(longest + 1)
    literal = [0.0 if n <= th else min(max(1 - longest**alpha / n**2, 0), 1) for n in lengths]
    np.testing.assert_allclose(chance_of_cut(lengths, longest, alpha), literal)


@pytest.mark.parametrize("choice", ["recency", "random", "weighted", "steep"])
def test_sequences_are_whole_or_have_the_threshold_and_keep_their_order(choice: str) -> None:
    config = StochasticLength(1.0, choice)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    cut = np.zeros(len(LENGTHS))
    starts = np.cumsum(LENGTHS) - LENGTHS
    for _ in range(400):
        places, offsets = shorten(LENGTHS, 100, config, rng)
        kept = np.diff(offsets)
        assert ((kept == LENGTHS) | (kept == 10)).all()
        assert (np.diff(places) > 0).all()
        for u, start in enumerate(starts):
            mine = places[offsets[u] : offsets[u + 1]]
            assert ((mine >= start) & (mine < start + LENGTHS[u])).all()
        cut += kept < LENGTHS
    np.testing.assert_allclose(cut / 400, chance_of_cut(LENGTHS, 100, 1.0), atol=0.07)


def test_recency_keeps_the_latest_and_the_others_anything() -> None:
    long = np.array([100])
    places, _ = shorten(long, 100, StochasticLength(0.5, "recency"), np.random.default_rng(0))
    assert places.tolist() == [97, 98, 99]
    drawn = [
        shorten(long, 100, StochasticLength(0.5, "random"), np.random.default_rng(n))[0]
        for n in range(300)
    ]
    assert np.concatenate(drawn).mean() == pytest.approx(49.5, abs=4)


def test_weights_fall_with_age() -> None:
    lengths, age = np.array([4]), np.array([60.0, 30.0, 10.0, 0.0])
    config, rng = StochasticLength(1.0, "weighted"), np.random.default_rng(0)
    # A threshold of one event: the share of each is its weight's share of all weights.
    assert threshold(1, 1.0) == 1
    first = np.zeros(4)
    for _ in range(3000):
        places, _ = shorten(lengths, 1, config, rng, age=age)
        if len(places) == 1:
            first[places[0]] += 1
    weights = 1 - age / age.sum()
    np.testing.assert_allclose(first / first.sum(), weights / weights.sum(), atol=0.03)
    # Without ages, places stand for them; with all of one instant, chances are the same.
    counts = np.zeros(4)
    for _ in range(3000):
        counts[shorten(lengths, 1, config, rng, age=np.zeros(4))[0]] += 1
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.03)
    by_place = np.zeros(4)
    for _ in range(2000):
        by_place[shorten(lengths, 1, config, rng)[0]] += 1
    assert by_place[3] > 1.5 * by_place[0]


def test_steep_weights_are_the_square_of_what_is_left_of_the_longest_age() -> None:
    # A threshold of one event: the share of each is its weight's share of all weights.
    lengths, age = np.array([4]), np.array([60.0, 30.0, 15.0, 0.0])
    config, rng = StochasticLength(1.0, "steep"), np.random.default_rng(0)
    first = np.zeros(4)
    for _ in range(3000):
        places, _ = shorten(lengths, 1, config, rng, age=age)
        if len(places) == 1:
            first[places[0]] += 1
    weights = (1 - age / 60) ** 2
    np.testing.assert_allclose(first / first.sum(), weights / weights.sum(), atol=0.03)
    same = np.zeros(4)
    for _ in range(3000):
        same[shorten(lengths, 1, config, rng, age=np.zeros(4))[0]] += 1
    np.testing.assert_allclose(same / same.sum(), 0.25, atol=0.03)


def test_the_papers_weights_of_many_events_are_nearly_equal() -> None:
    """What the module's docstring says of 200 events: the mean place of what stays."""
    lengths, rng = np.array([200]), np.random.default_rng(0)
    mean = {}
    for choice in ("random", "weighted", "steep"):
        config = StochasticLength(0.5, choice)  # type: ignore[arg-type]
        drawn = [shorten(lengths, 200, config, rng)[0] for _ in range(1500)]
        mean[choice] = float(np.concatenate([one for one in drawn if len(one) < 200]).mean())
    assert mean["weighted"] == pytest.approx(mean["random"], abs=3)
    assert mean["steep"] > mean["random"] + 30


def test_the_generator_alone_decides() -> None:
    config = StochasticLength(1.2)
    runs = [shorten(LENGTHS, 100, config, np.random.default_rng(s)) for s in (5, 5, 6)]
    assert np.array_equal(runs[0][0], runs[1][0])
    assert not np.array_equal(runs[0][0], runs[2][0])


def test_two_cuts_nothing() -> None:
    places, offsets = shorten(LENGTHS, 100, StochasticLength(2.0), np.random.default_rng(0))
    assert places.tolist() == list(range(260))
    assert np.diff(offsets).tolist() == LENGTHS.tolist()


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 2.1}, {"choice": "best"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        StochasticLength(**wrong)  # type: ignore[arg-type]
