from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from adwright.campaigns.simulation.features import UserItemFeatures

DAY = 86_400
EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 9)), max_size=30)


def columns(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
    return tuple(np.array([row[n] for row in rows], np.int64) for n in range(3))


def habits(rows: list[tuple[int, int, int]]) -> UserItemFeatures:
    user, item, day = columns(rows)
    groups = {"wide": np.array([0, 0, 1, 1, 1]), "narrow": np.arange(5)}
    return UserItemFeatures(user, item, day * DAY, items=5, groups=groups)


ROWS = [(0, 0, 1), (0, 1, 1), (0, 0, 8), (1, 2, 3), (1, 0, 9)]


def feature(of: UserItemFeatures, name: str, user: int, item: int, day: int) -> float:
    season = of.season(0, 10 * DAY)
    at = np.array([user]), np.array([item]), np.array([day * DAY])
    return float(of.features(*at, season)[0, of.names.index(name)])


def test_features_by_hand() -> None:
    made = habits(ROWS)
    assert made.season(0, 10 * DAY).basket == 5 / 4
    assert feature(made, "popular", 0, 0, 9) == pytest.approx(np.log(3.3 / 4))
    assert feature(made, "had", 0, 0, 9) == 1
    assert feature(made, "had", 0, 2, 9) == 0
    assert feature(made, "rate", 0, 0, 9) == pytest.approx(np.log(2.5 / 5))
    assert feature(made, "rate", 0, 0, 8) == pytest.approx(np.log(1.5 / 4))
    assert feature(made, "rate", 0, 2, 9) == 0
    assert feature(made, "age", 0, 1, 15) == pytest.approx(np.log1p(2))
    assert feature(made, "recent", 0, 0, 60) == pytest.approx(np.log(1.5 / 4))
    assert feature(made, "basket", 0, 2, 9) == pytest.approx(np.log((3 + 3.75) / 5 / 1.25))
    # Three of this person's takings and all but one of everyone's are of group 0.
    usual = 5 / 7
    expected = np.log((3 + 20 * usual) / 23 / usual)
    assert feature(made, "affinity to its wide", 0, 1, 9) == pytest.approx(expected)


def test_only_the_past_counts() -> None:
    made, more = habits(ROWS), habits([*ROWS, (0, 0, 12), (0, 3, 12)])
    season = made.season(0, 10 * DAY)
    at = np.zeros(5, np.int64), np.arange(5), np.full(5, 12 * DAY)
    assert np.array_equal(made.features(*at, season), more.features(*at, season))
    later = np.full(5, 13 * DAY)
    assert not np.array_equal(
        made.features(*at[:2], later, season), more.features(*at[:2], later, season)
    )


def test_added_events_count_like_those_of_the_start() -> None:
    whole, grown = habits(ROWS), habits(ROWS[:2])
    for row in ROWS[2:]:
        user, item, day = columns([row])
        grown.add(user, item, day * DAY)
    assert grown.added == 3
    season = whole.season(0, 10 * DAY)
    pairs = np.array([(u, i, d) for u in (0, 1) for i in range(5) for d in (2, 9, 20)])
    at = pairs[:, 0], pairs[:, 1], pairs[:, 2] * DAY
    assert np.array_equal(whole.features(*at, season), grown.features(*at, season))
    user, item, day = columns(ROWS[2:])
    other = habits(ROWS[:2]).with_events(user, item, day * DAY)
    assert np.array_equal(whole.features(*at, season), other.features(*at, season))


def test_without_groups_and_without_events() -> None:
    none = np.zeros(0, np.int64)
    made = UserItemFeatures(none, none, none, items=3, groups={})
    season = made.season(0, DAY)
    found = made.features(np.array([0]), np.array([2]), np.array([DAY]), season)
    assert found.shape == (1, len(made.names))
    assert np.isfinite(found).all()
