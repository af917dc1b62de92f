from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.simulation.population import Arrivals, fit_arrivals
from adwright.core.errors import DataError

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
