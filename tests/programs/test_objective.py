"""Objectives: what is admitted, which is stricter, and what they ask of producers."""

from __future__ import annotations

from itertools import combinations

import pytest

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.programs.program import LATENCY, THROUGHPUT, Objective, strictest

STRICTEST_FIRST = [
    Objective("deadline", 1.0),
    Objective("deadline", 2.0),
    Objective("ttft", 0.5),
    Objective("tpot", 0.1),
    LATENCY,
    THROUGHPUT,
]


def test_the_strictest_wins_whichever_comes_first() -> None:
    for one, other in combinations(STRICTEST_FIRST, 2):
        assert strictest([one, other]) == strictest([other, one]) == one


def test_parrot_fault_2_every_kind_is_real_and_goes_through_json() -> None:
    """The code of Parrot parses times to and between tokens, and raises on them later."""
    for one in STRICTEST_FIRST:
        assert from_jsonable(Objective, to_jsonable(one)) == one
        assert isinstance(one.of_producers(0.5), Objective)


@pytest.mark.parametrize("kind", ["deadline", "ttft", "tpot"])
@pytest.mark.parametrize("seconds", [None, 0.0, -1.0, float("inf"), float("nan")])
def test_times_are_times(kind: str, seconds: float | None) -> None:
    with pytest.raises(ConfigError, match="needs seconds above 0"):
        Objective(kind, seconds)  # type: ignore[arg-type]


def test_what_has_no_time_is_given_none() -> None:
    with pytest.raises(ConfigError, match="has no seconds"):
        Objective("latency", 1.0)
    with pytest.raises(ConfigError, match="'fast'"):
        Objective("fast")  # type: ignore[arg-type]


def test_what_feeds_an_output_is_asked_for_in_its_own_words() -> None:
    assert Objective("deadline", 8.0).of_producers(0.25) == Objective("deadline", 2.0)
    assert Objective("ttft", 1.0).of_producers(0.5) == Objective("deadline", 0.5)
    assert Objective("tpot", 0.1).of_producers(0.5) == LATENCY
    assert LATENCY.of_producers(0.1) == LATENCY
    assert THROUGHPUT.of_producers(0.1) == THROUGHPUT


def test_an_objective_in_words() -> None:
    assert [str(one) for one in (Objective("ttft", 0.5), LATENCY)] == ["ttft 0.5 s", "latency"]
