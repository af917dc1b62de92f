from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.clock import FixedClock
from adwright.delivery.cascade.cascade import Pace
from adwright.delivery.decision import Deadline


def run(pace: Pace, clock: FixedClock, requests: int, seconds: float) -> None:
    with pace.measured("fine", requests):
        clock.advance(seconds)


def test_a_fixed_part_and_a_part_for_each_request_are_told_apart(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    assert pace.expected("fine", 8) == 0
    for requests in (1, 2, 4, 8, 2, 1):
        run(pace, clock, requests, 0.007 + 0.0025 * requests)
    for requests in (1, 3, 8, 32):
        assert pace.expected("fine", requests) == pytest.approx(0.007 + 0.0025 * requests)
    assert pace.expected("coarse", 8) == 0


def test_of_one_size_alone_the_duration_is_in_proportion(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    for _ in range(3):
        run(pace, clock, 2, 0.01)
    assert pace.expected("fine", 1) == pytest.approx(0.005)
    assert pace.expected("fine", 8) == pytest.approx(0.04)


def test_the_latest_durations_count_most(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    for _ in range(100):
        run(pace, clock, 1, 0.01)
    for _ in range(20):
        run(pace, clock, 1, 0.02)
    assert 0.018 < pace.expected("fine", 1) < 0.02


def fitted(points: list[tuple[int, float]], asked: int) -> float:
    """The line by hand, at `asked`."""
    n, t = np.array(points, dtype=np.float64).T
    weight = 0.9 ** np.arange(len(n))[::-1]
    mean_n, mean_t = np.average(n, weights=weight), np.average(t, weights=weight)
    variance = np.average((n - mean_n) ** 2, weights=weight)
    slope = mean_t / mean_n
    if variance > 1e-3 * mean_n**2:
        covariance = np.average((n - mean_n) * (t - mean_t), weights=weight)
        slope = min(slope, max(0.0, covariance / variance))
    return float(mean_t + slope * (asked - mean_n))


@given(
    st.lists(st.tuples(st.integers(1, 64), st.floats(1e-3, 1)), min_size=1, max_size=20),
    st.integers(1, 64),
)
def test_it_is_the_weighted_least_squares_line_within_its_bounds(
    points: list[tuple[int, float]], asked: int
) -> None:
    clock = FixedClock()
    pace = Pace(clock, 1.0)
    seen: list[tuple[int, float]] = []
    for requests, seconds in points:
        expected = fitted(seen, requests) if seen else 0.0
        if seconds < expected / 2:
            seen = [(n, t * seconds / expected) for n, t in seen]
        seen.append((requests, seconds))
        run(pace, clock, requests, seconds)
    assert pace.expected("fine", asked) == pytest.approx(fitted(seen, asked), rel=1e-4, abs=1e-6)
    assert pace.expected("fine", asked) >= 0


def test_what_took_much_less_than_expected_is_believed_at_once(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    for requests in (1, 2, 4, 8):
        run(pace, clock, requests, 0.07 + 0.025 * requests)
    run(pace, clock, 2, 0.012)
    for requests in (1, 2, 8):
        expected = 0.007 + 0.0025 * requests
        assert pace.expected("fine", requests) == pytest.approx(expected)


def test_a_stage_fits_where_its_duration_is_left_with_safety(clock: FixedClock) -> None:
    pace = Pace(clock, 2.0)
    assert pace.fits("fine", 4, Deadline.after(0.001, clock)), "it never ran"
    assert not pace.fits("fine", 4, Deadline.after(0, clock))
    run(pace, clock, 4, 0.01)
    assert pace.fits("fine", 4, None)
    assert pace.fits("fine", 4, Deadline.after(0.021, clock))
    assert not pace.fits("fine", 4, Deadline.after(0.019, clock))


def test_one_slow_moment_does_not_rule_a_stage_out_for_good(clock: FixedClock) -> None:
    pace = Pace(clock, 1.5)
    run(pace, clock, 1, 10.0)
    tries = 0
    for _ in range(2000):
        if pace.fits("fine", 1, Deadline.after(0.04, clock)):
            tries += 1
            run(pace, clock, 1, 0.01)
    assert tries > 1500

    slow = Pace(clock, 1.5)
    run(slow, clock, 1, 0.2)
    tries = 0
    for _ in range(1000):
        if slow.fits("fine", 1, Deadline.after(0.04, clock)):
            tries += 1
            run(slow, clock, 1, 0.2)
    assert 10 < tries < 60, "what stays slow is tried now and then"


def test_a_deadline_that_has_passed_teaches_nothing(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    run(pace, clock, 1, 1.0)
    for _ in range(1000):
        assert not pace.fits("fine", 1, Deadline.after(-1, clock))
    assert not pace.fits("fine", 1, Deadline.after(0.9, clock))


def test_a_stage_that_fails_is_not_measured(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    with pytest.raises(ZeroDivisionError), pace.measured("fine", 1):
        raise ZeroDivisionError
    assert pace.expected("fine", 1) == 0


def test_durations_on_a_line_are_foretold(clock: FixedClock) -> None:
    """seconds = a + b n, exactly, once two sizes were seen."""
    pace = Pace(clock, 1.0)
    for requests in (4, 1, 9, 2):
        with pace.measured("fine", requests):
            clock.advance(0.2 + 0.05 * requests)
    for requests in (1, 5, 40):
        assert pace.expected("fine", requests) == pytest.approx(0.2 + 0.05 * requests, rel=1e-6)


def test_one_stage_says_nothing_of_another(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)
    with pace.measured("fine", 1):
        clock.advance(5.0)
    assert pace.expected("coarse", 1) == 0.0
    soon = Deadline.after(1.0, clock)
    assert pace.fits("coarse", 1, soon)
    assert not pace.fits("fine", 1, soon)
    assert pace.fits("fine", 1, None)


def test_a_stage_that_fails_teaches_nothing(clock: FixedClock) -> None:
    pace = Pace(clock, 1.0)

    def fail() -> None:
        with pace.measured("fine", 1):
            clock.advance(5.0)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert pace.expected("fine", 1) == 0.0
