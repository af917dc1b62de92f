from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.simulation.population import (
    Arrivals,
    Population,
    PopulationConfig,
    fit_arrivals,
    pair_features,
    visits_of,
)
from adwright.campaigns.simulation.purchase_model import Visits
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from tests.support.store.small_world import ITEMS, SMALL, START, before, events, population


def test_the_same_seed_gives_the_same_people() -> None:
    one, same, other = population(), population(), population(replace(SMALL, seed=1))
    assert np.array_equal(one.purchase_model.weights, same.purchase_model.weights)
    for a, b in zip(one.visits(14), same.visits(14), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(one.purchase_model.weights, other.purchase_model.weights)
    assert len(one.visits(14)[0]) != len(other.visits(14)[0])


def test_what_happened_from_the_start_on_is_not_looked_at() -> None:
    whole = population()
    past = Population.fit(before(), ITEMS, SMALL)
    assert np.array_equal(whole.purchase_model.weights, past.purchase_model.weights)
    assert np.array_equal(whole.arrivals.rate, past.arrivals.rate)
    assert whole.start == START


def test_without_a_start_it_is_the_midnight_after_the_log() -> None:
    last = events()["time"].max()
    assert isinstance(last, datetime)
    found = population(replace(SMALL, start=None)).start
    assert found.hour == 0
    assert timedelta(0) < found - last <= timedelta(days=1)


def test_people_answer_as_likely_as_the_model_says() -> None:
    people = population(replace(SMALL, position_decay=0.0))
    user = np.repeat(people.present, 20)
    item = np.arange(len(user))[:, None] % 40
    time = np.full(len(user), int(START.timestamp()) + 3600)
    answer = people.respond(user, item, time, np.random.default_rng(0))
    expected = people.chance(user, item[:, 0], time)
    assert np.array_equal(answer.chance[:, 0], expected)
    assert answer.taken.mean() == pytest.approx(expected.mean(), rel=0.1)
    assert not (answer.taken & ~answer.clicked).any()
    assert answer.clicked.sum() == pytest.approx(np.minimum(1, 3 * expected).sum(), rel=0.1)


def test_lower_places_are_looked_at_less() -> None:
    people = population(replace(SMALL, position_decay=1.0, clicks_per_purchase=1.0))
    assert people.looked_at(4) == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    user = np.repeat(people.present, 60)
    slate = np.tile((np.arange(len(user)) % 40)[:, None], 2)
    time = np.full(len(user), int(START.timestamp()))
    answer = people.respond(user, slate, time, np.random.default_rng(0))
    first, second = answer.taken.mean(0)
    assert second == pytest.approx(first / 2, rel=0.15)
    assert np.array_equal(answer.clicked, answer.taken)


def test_empty_places_are_left_alone() -> None:
    people = population()
    slate = np.array([[1, -1], [-1, -1]])
    time = np.full(2, int(START.timestamp()))
    answer = people.respond(np.array([0, 1]), slate, time, np.random.default_rng(0))
    assert answer.chance[slate < 0].tolist() == [0, 0, 0]
    assert not answer.clicked[slate < 0].any()


def test_what_was_taken_is_remembered() -> None:
    people = population()
    user, item = np.zeros(6, np.int64), np.full(6, 7)
    at = int(START.timestamp())
    asked = np.array([0]), np.array([7]), np.array([at + 50 * 86_400])
    unchanged = people.chance(*asked)
    people.remember(user, item, at + np.arange(6) * 86_400 * 7)
    assert people.chance(*asked)[0] > 2 * unchanged[0]


def test_a_share_of_the_people() -> None:
    some = population(replace(SMALL, people=0.4))
    assert len(some.present) == pytest.approx(60, abs=20)
    assert set(some.visits(7)[0].tolist()) <= set(some.present.tolist())
    other = replace(SMALL, people=0.4, seed=1)
    assert set(population(other).present.tolist()) != set(some.present.tolist())


def test_ids_and_money() -> None:
    people = population()
    assert people.codes(["i03", "i00"]).tolist() == [3, 0]
    assert people.value[people.codes(["i30"])] == pytest.approx(4.0)
    with pytest.raises(ValueInvalidError, match="neither the log nor the catalogue") as caught:
        people.codes(["i00", "cake"])
    assert caught.value.value == "cake"


def test_groups_that_the_catalogue_lacks_are_left_out() -> None:
    plain = Population.fit(events(), ITEMS.select("item_id"), SMALL)
    assert not any("affinity" in name for name in plain.history_features.names)
    assert "group (none known)" in " ".join(plain.assumptions())


def test_the_assumptions_name_the_numbers() -> None:
    config = replace(SMALL, position_decay=0.75, clicks_per_purchase=2.5, rate_weeks=9)
    people = population(config)
    text = " ".join(people.assumptions())
    for expected in (
        *("150 simulated people", "2024-05-20 00:00 UTC", "9 weeks", "j^-0.75", "2.5 times"),
        *(f"{people.purchase_model.visits:,} visits", "department, type", "creates no wish"),
    ):
        assert expected in text
    assert all(sentence.endswith(".") for sentence in population().assumptions())


def test_events_of_one_second_are_one_visit() -> None:
    time = datetime(2024, 1, 1, 12, tzinfo=UTC)
    table = pl.DataFrame(
        {
            "user_id": ["a", "a", "a", "a", "b"],
            "item_id": ["x", "y", "x", "x", "y"],
            "time": [time, time + timedelta(milliseconds=5), time, time + timedelta(hours=1), time],
        }
    )
    found = visits_of(table, pl.Series(["a", "b"]), pl.Series(["x", "y"]))
    assert found.user.tolist() == [0, 0, 1]
    assert [part.tolist() for part in np.split(found.item, found.offsets[1:-1])] == [
        [0, 1],
        [0],
        [1],
    ]
    assert found.some(np.array([2, 0])).item.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"people": 0.0}, "above 0"),
        ({"people": 1.5}, "at most 1"),
        ({"rate_weeks": 0}, "rate_weeks"),
        ({"other_negatives": 0}, "other_negatives"),
        ({"position_decay": -1.0}, "position_decay"),
        ({"clicks_per_purchase": 0.5}, "clicks_per_purchase"),
        ({"zone": "Mars/Olympus"}, "time zone"),
        ({"start": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, "UTC"),
    ],
)
def test_settings_that_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        replace(SMALL, **change)


def test_a_log_that_says_nothing() -> None:
    early = datetime(2020, 1, 1, tzinfo=UTC)
    with pytest.raises(DataError, match="nothing before the start"):
        population(replace(SMALL, start=early))
    with pytest.raises(DataError, match="no event of these kinds"):
        Population.fit(events(), ITEMS, PopulationConfig(kinds=("click",)))


def test_visits_lie_in_the_days_asked_for_and_come_in_order() -> None:
    people = population()
    at = int(START.timestamp())
    for days in (1, 0.5, 10):
        user, time = people.visits(days)
        assert len(user) == len(time)
        assert (np.diff(time) >= 0).all()
        assert ((time >= at) & (time < at + days * 86_400)).all()
        assert ((user >= 0) & (user < len(people.users))).all()


def test_each_chance_is_that_of_the_model_on_the_features() -> None:
    people = population()
    user, item = np.divmod(np.arange(80), 40)
    time = np.full(80, int(START.timestamp()))
    features = people.history_features.features(user, item, time, people.season)
    expected = 1 / (1 + np.exp(-features @ people.purchase_model.weights))
    found = people.chance(user, item, time)
    assert found == pytest.approx(expected)
    assert ((found > 0) & (found < 1)).all()
    assert len(people.chance(user[:0], item[:0], time[:0])) == 0


def test_answers_come_from_the_generator_alone() -> None:
    people = population(replace(SMALL, clicks_per_purchase=10.0))
    user = people.present
    slate = np.tile(np.arange(5), (len(user), 1))
    time = np.full(len(user), int(START.timestamp()))
    first, same, other = (
        people.respond(user, slate, time, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.clicked, same.clicked)
    assert np.array_equal(first.taken, same.taken)
    assert not np.array_equal(first.clicked, other.clicked)
    # To be asked changes nobody.
    assert np.array_equal(first.chance, other.chance)
    assert people.history_features.added == 0


def test_nobody_answers_nothing() -> None:
    none = np.zeros(0, np.int64)
    answer = population().respond(none, np.zeros((0, 3), np.int64), none, np.random.default_rng(0))
    for part in (answer.chance, answer.clicked, answer.taken):
        assert part.shape == (0, 3)


def test_everyone_is_present_unless_a_share_is_asked_for() -> None:
    people = population()
    assert people.present.tolist() == list(range(len(people.users)))
    assert list(people.users) == sorted(set(people.users))
    # The people of a smaller share are among those of a larger one.
    few, more = (set(population(replace(SMALL, people=p)).present.tolist()) for p in (0.2, 0.6))
    assert few < more


def test_pairs_come_with_the_features_of_their_visits() -> None:
    people = population()
    at = int(START.timestamp())
    visits = Visits(
        np.array([0, 1]), np.array([at, at + 60]), np.array([3, 4, 3]), np.array([0, 2, 3])
    )
    config = replace(SMALL, past_negatives=2, other_negatives=5)
    history, rng = people.history_features, np.random.default_rng(0)
    pairs, features = pair_features(history, people.season, visits, rng, config)
    assert features.shape == (len(pairs.item), len(history.names))
    user, time = visits.user[pairs.visit], visits.time[pairs.visit]
    assert np.array_equal(features, history.features(user, pairs.item, time, people.season))
    taken = pairs.taken == 1
    of_visits = zip(pairs.visit[taken].tolist(), pairs.item[taken].tolist(), strict=True)
    assert sorted(of_visits) == [(0, 3), (0, 4), (1, 3)]


def test_no_codes_and_no_places() -> None:
    people = population()
    assert people.codes([]).tolist() == []
    assert people.looked_at(0).tolist() == []
    assert population(replace(SMALL, position_decay=0.0)).looked_at(3).tolist() == [1, 1, 1]


WEEK = 7 * 86_400
MONDAY = datetime(2024, 5, 6, tzinfo=UTC)
AT = int(MONDAY.timestamp())


def fitted(zone: str = "UTC", people: int = 300) -> tuple[Arrivals, np.ndarray]:
    """Ten weeks; half of the people come on Tuesday mornings, half on Saturday evenings."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(3.0, 0.5, people)
    count = rng.poisson(rate * 10)
    user = np.repeat(np.arange(people), count)
    hour = np.where(user % 2, 24 + 9, 5 * 24 + 20)
    time = AT - WEEK * rng.integers(1, 11, len(user)) + hour * 3600 + rng.integers(0, 3600)
    found = fit_arrivals(user, time, people=people, until=AT, weeks=10, zone=zone)
    return found, count


def test_rates_keep_the_sum_and_are_drawn_together() -> None:
    found, count = fitted()
    assert found.rate.sum() == pytest.approx(count.sum() / 10)
    assert (found.rate > 0).all()
    plain = count / 10
    assert np.std(found.rate) < np.std(plain)
    order = np.argsort(plain, kind="stable")
    assert (np.diff(found.rate[order]) >= -1e-12).all()


def test_equal_counts_give_one_rate() -> None:
    user = np.repeat(np.arange(5), 4)
    found = fit_arrivals(user, AT - WEEK + user, people=6, until=AT, weeks=4, zone="UTC")
    assert found.rate.sum() == pytest.approx(20 / 4)
    assert found.rate[5] > 0


@pytest.mark.parametrize("days", [7, 10, 21])
def test_visits_come_at_the_rate_and_in_time(days: int) -> None:
    found, _ = fitted()
    rng = np.random.default_rng(1)
    everybody = np.arange(300)
    user, time = found.draw(everybody, MONDAY, days, rng)
    assert (np.diff(time) >= 0).all()
    assert time.min() >= AT
    assert time.max() < AT + days * 86_400
    if days % 7 == 0:
        expected = found.rate.sum() * days / 7
        assert len(user) == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_days_and_hours_are_those_of_the_person() -> None:
    found, _ = fitted()
    user, time = found.draw(np.arange(300), MONDAY, 28, np.random.default_rng(2))
    hour = time // 3600 % 24
    own = np.where(user % 2, hour == 9, hour == 20)
    assert set(hour.tolist()) == {9, 20}
    # 15 visits a person, five of which count for everyone's hours: a quarter, half of them alike.
    assert 0.8 < own.mean() < 0.95
    weekday = (time - AT) // 86_400 % 7
    assert set(weekday[hour == 9].tolist()) == {1}
    assert set(weekday[hour == 20].tolist()) == {5}


def test_hours_are_local() -> None:
    zone = "America/New_York"
    rng = np.random.default_rng(0)
    winter = datetime(2024, 2, 5, 5, tzinfo=UTC)  # midnight in New York
    at = int(winter.timestamp())
    user = np.repeat(np.arange(20), 10)
    time = at - WEEK * rng.integers(1, 5, 200) + 18 * 3600
    found = fit_arrivals(user, time, people=20, until=at, weeks=4, zone=zone)
    summer = datetime(2024, 7, 1, 4, tzinfo=UTC)
    _, drawn = found.draw(np.arange(20), summer, 14, rng)
    local = pl.from_epoch(pl.Series(drawn), "s").dt.replace_time_zone("UTC")
    assert set(local.dt.convert_time_zone(zone).dt.hour().to_list()) == {18}


def test_only_the_people_asked_for_come() -> None:
    found, _ = fitted()
    user, _ = found.draw(np.array([3, 8]), MONDAY, 70, np.random.default_rng(0))
    assert set(user.tolist()) == {3, 8}


def test_nobody_lately() -> None:
    time = np.array([AT - 20 * WEEK])
    with pytest.raises(DataError, match="nobody came in the 4 weeks"):
        fit_arrivals(np.array([0]), time, people=1, until=AT, weeks=4, zone="UTC")


def test_a_period_that_begins_in_the_middle_of_a_week() -> None:
    found, _ = fitted()
    start = MONDAY + timedelta(days=3, hours=12)
    _, time = found.draw(np.arange(300), start, 4, np.random.default_rng(0))
    assert set(((time - AT) // 86_400).tolist()) == {5}
