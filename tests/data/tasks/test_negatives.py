from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.data.tasks.negatives import Draws, draw_negatives, popular_share

COUNT = np.array([0, 100, 10, 1, 0, 5])
PAST, OFFSETS = np.array([2, 4, 3]), np.array([0, 2, 2, 3])


def test_shares_of_popularity_follow_its_power_and_leave_out_the_unknown_item() -> None:
    share = popular_share(np.array([999, 16, 1, 0]))
    np.testing.assert_allclose(share, [0, 8 / 9, 1 / 9, 0])
    assert popular_share(np.zeros(3, np.int64)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "draws", [Draws(), Draws(own=0, popular=0), Draws(number=8, own=0.2, popular=0.7)]
)
def test_items_come_as_often_as_the_formula_expects(draws: Draws) -> None:
    share, trials = popular_share(COUNT), 4000
    past, offsets = np.tile(PAST, trials), np.arange(trials + 1) * len(PAST)
    # Three people a trial, of 2, 0 and 1 past items.
    bounds = np.append((offsets[:-1, None] + OFFSETS[:-1]).ravel(), offsets[-1])
    item, basket = draw_negatives(draws, past, bounds, share, np.random.default_rng(0))
    person = basket % 3
    for number in range(3):
        mine = PAST[OFFSETS[number] : OFFSETS[number + 1]]
        codes = np.arange(1, len(COUNT))
        expected = np.exp(
            draws.log_expected(
                share[codes],
                items=len(codes),
                had=np.isin(codes, mine),
                distinct=np.full(len(codes), len(mine)),
            )
        )
        found = np.bincount(item[person == number], minlength=len(COUNT))[1:] / trials
        np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(expected / trials).max())


def test_the_unknown_item_is_never_drawn_and_the_seed_decides() -> None:
    share = popular_share(COUNT)
    runs = [
        draw_negatives(Draws(), PAST, OFFSETS, share, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert all(item.min() >= 1 for item, _ in runs)
    assert runs[0][0].tolist() == runs[1][0].tolist() != runs[2][0].tolist()
    # The second person has no past, so fewer negatives.
    sizes = np.bincount(runs[0][1])
    assert sizes[0] == sizes[2] == 40 > sizes[1]


def test_undoing_the_draws_gives_the_odds_of_the_catalogue() -> None:
    """Odds learned from rows, times the expected draws, are those of the items themselves."""
    draws, probability = Draws(number=30, own=0.5, popular=0.2), 0.2
    share = popular_share(COUNT)
    had, distinct = np.array([True, False]), np.array([2, 2])
    expected = np.exp(draws.log_expected(share[[2, 5]], items=5, had=had, distinct=distinct))
    rows_positive, rows_negative = probability, (1 - probability) * expected
    learned = np.log(rows_positive / rows_negative)
    undone = learned + np.log(expected)
    np.testing.assert_allclose(1 / (1 + np.exp(-undone)), probability)


@pytest.mark.parametrize(
    "wrong", [{"number": 0}, {"own": -0.1}, {"popular": -0.1}, {"own": 0.5, "popular": 0.5}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Draws(**wrong)  # type: ignore[arg-type]
