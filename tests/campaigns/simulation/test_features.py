from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.campaigns.simulation.purchase_model import UserItemFeatures

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


def test_the_season_by_hand() -> None:
    season = habits(ROWS).season(DAY, 9 * DAY)
    # Four takings in three visits: both of person 0, and one of person 1; day 9 is too late.
    assert season.popular == pytest.approx(np.log(np.array([2.3, 1.3, 1.3, 0.3, 0.3]) / 3))
    assert season.basket == 4 / 3
    wide, narrow = season.group
    assert np.exp(wide) == pytest.approx([4 / 6, 2 / 6])
    assert np.exp(narrow) == pytest.approx(np.array([3, 2, 2, 1, 1]) / 9)


@given(EVENTS)
def test_shares_of_the_groups_sum_to_1(rows: list[tuple[int, int, int]]) -> None:
    season = habits(sorted(set(rows))).season(0, 5 * DAY)
    for shares in season.group:
        assert np.exp(shares).sum() == pytest.approx(1)
    assert season.basket > 0
    assert np.isfinite(season.popular).all()


@given(EVENTS, st.integers(0, 9), st.integers(0, 9))
def test_activity_is_what_a_count_by_hand_gives(
    rows: list[tuple[int, int, int]], since: int, until: int
) -> None:
    since, until = sorted((since, until))
    distinct = sorted(set(rows))
    people = np.arange(4)
    visits, takings = habits(distinct).activity(people, since * DAY, until * DAY)
    for person in people.tolist():
        days = [day for user, _, day in distinct if user == person and since <= day < until]
        assert takings[person] == len(days)
        assert visits[person] == len(set(days))


@given(EVENTS)
def test_every_feature_is_a_number_and_what_is_of_the_past_is_0_for_what_was_not_had(
    rows: list[tuple[int, int, int]],
) -> None:
    distinct = sorted(set(rows))
    made = habits(distinct)
    pairs = np.array([(u, i, d) for u in range(4) for i in range(5) for d in (0, 4, 30)])
    user, item, day = pairs.T
    found = made.features(user, item, day * DAY, made.season(0, 10 * DAY))
    assert found.shape == (len(pairs), len(made.names))
    assert np.isfinite(found).all()
    had = [any(u == a and i == b and d < c for u, i, d in distinct) for a, b, c in pairs.tolist()]
    of = {name: found[:, place] for place, name in enumerate(made.names)}
    assert of["had"].tolist() == [float(one) for one in had]
    for name in ("rate", "age", "recent", "had x popular", "had x basket", "had x visits"):
        assert not of[name][of["had"] == 0].any()
    assert np.array_equal(of["one"], np.ones(len(pairs)))
    for name in ("rate", "age", "recent"):
        assert of[f"{name}^2"] == pytest.approx(of[name] ** 2)
    assert of["age x rate"] == pytest.approx(of["age"] * of["rate"])
    assert of["had x basket"] == pytest.approx(of["had"] * of["basket"])


def test_names_follow_the_groups_and_only_the_narrowest_counts_twice() -> None:
    names = habits(ROWS).names
    assert names[-3:] == (
        "affinity to its wide",
        "affinity to its narrow",
        "had x affinity to its narrow",
    )
    assert len(set(names)) == len(names)
    assert habits(ROWS).group_names == ("wide", "narrow")


def test_more_events_leave_the_first_features_as_they_are() -> None:
    made = habits(ROWS)
    season = made.season(0, 10 * DAY)
    at = np.array([0]), np.array([3]), np.array([20 * DAY])
    unchanged = made.features(*at, season)
    user, item, day = columns([(0, 3, 12)])
    more = made.with_events(user, item, day * DAY)
    assert np.array_equal(made.features(*at, season), unchanged)
    assert not np.array_equal(more.features(*at, season), unchanged)
    assert (made.added, more.added) == (0, 0)
    made.add(user, item, day * DAY)
    assert made.added == 1
    assert np.array_equal(made.features(*at, season), more.features(*at, season))
    # What was added goes along as well.
    again = made.with_events(user[:0], item[:0], day[:0])
    assert np.array_equal(again.features(*at, season), more.features(*at, season))
