from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.simulation.ab_test import (
    VerdictConfig,
    assigned_arm,
    compare_arms,
    counts_per_user,
)
from adwright.campaigns.simulation.run import SimulationConfig
from adwright.core.errors import ConfigError, DataError
from adwright.delivery.policy.rules import GreedyConfig, SoftmaxConfig
from tests.support.store.small_world import Round, played

TWO_WEEKS = SimulationConfig(days=14, places=3)
FAST = VerdictConfig(draws=200)
RANDOM = SoftmaxConfig(temperature=1000.0)


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Round:
    """A shows anything, B what people like."""
    with played(tmp_path_factory.mktemp("v"), RANDOM, GreedyConfig(), TWO_WEEKS) as one:
        return one


def test_a_better_policy_is_found(unlike: Round) -> None:
    found = compare_arms(unlike.people, unlike.plan, unlike.read.events, FAST)
    assert found.difference.low > 0
    assert found.adjusted.low > 0
    assert found.lift.value > 0.5
    assert found.stopped is not None
    assert found.looks[-1].difference.low > 0
    assert found.looks[-1].p_value < 0.01
    assert 0 <= found.variance_reduction < 1
    assert found.adjusted.width < found.difference.width
    assert found.sample_ratio > 0.001
    assert found.a.policy_id == "A it"
    assert found.b.stages == {"fine": 1.0}


def test_the_counts_are_those_of_the_log(unlike: Round) -> None:
    events = unlike.read.events
    found = compare_arms(unlike.people, unlike.plan, events, FAST)
    arm = assigned_arm(events, unlike.plan.config.split)
    for one in (found.a, found.b):
        mine = events.filter(arm == one.arm)
        assert one.people == sum(
            unlike.plan.config.split.arm(user) == one.arm for user in unlike.people.users
        )
        assert one.responses == mine.filter(pl.col("kind") == "purchase").height
        assert one.clicks == mine.filter(pl.col("kind") == "click").height
        assert one.visits == mine["request_id"].n_unique()
        assert one.visitors == mine["user_id"].n_unique() <= one.people
        assert one.per_person.value == pytest.approx(one.responses / one.people)
        assert one.per_visit.value == pytest.approx(one.responses / one.visits)
        assert one.per_person.low < one.per_person.value < one.per_person.high
    plain = found.b.per_person.value - found.a.per_person.value
    assert found.difference.value == pytest.approx(plain)
    # The last look is the whole, a week.
    assert found.looks[-1].day == 14
    assert found.looks[-1].difference.value == pytest.approx(found.adjusted.value / 2)


def test_a_policy_against_itself(tmp_path: Path) -> None:
    covered, decided = 0, 0
    for seed in range(4):
        config = replace(TWO_WEEKS, seed=seed, salt=f"deal {seed}")
        one = played(tmp_path / str(seed), GreedyConfig(), GreedyConfig(), config, seed=seed)
        with one as it:
            found = compare_arms(it.people, it.plan, it.read.events, FAST)
        covered += not found.adjusted.excludes(0)
        decided += found.stopped is not None
    assert covered >= 3
    assert decided == 0


def test_looks_can_only_sharpen(unlike: Round) -> None:
    looks = compare_arms(unlike.people, unlike.plan, unlike.read.events, FAST).looks
    low = [look.difference.low for look in looks]
    assert low == sorted(low)
    p_values = [look.p_value for look in looks]
    assert p_values == sorted(p_values, reverse=True)


def test_settings_change_what_they_should(unlike: Round) -> None:
    events = unlike.read.events
    base = compare_arms(unlike.people, unlike.plan, events, FAST)

    def with_(**change: object) -> object:
        return compare_arms(unlike.people, unlike.plan, events, replace(FAST, **change))

    assert with_(before_weeks=1).adjusted != base.adjusted
    assert with_(planned=5.0).looks != base.looks
    assert with_(confidence=0.8).difference.width < base.difference.width
    assert with_(seed=1).a.per_person != base.a.per_person
    assert with_(draws=50).a.per_person != base.a.per_person


def test_people_who_met_both_policies_are_noticed(unlike: Round) -> None:
    other = replace(unlike.plan, config=replace(TWO_WEEKS, salt="another deal"))
    with pytest.raises(DataError, match="met several policies") as caught:
        compare_arms(unlike.people, other, unlike.read.events, FAST)
    assert "salt" in caught.value.hint


def test_an_arm_that_nobody_is_dealt_to(unlike: Round) -> None:
    alone = replace(unlike.plan, config=replace(TWO_WEEKS, share=0.0))
    mine = unlike.read.events.filter(pl.col("policy_id") == "A it")
    with pytest.raises(DataError, match="too few people"):
        compare_arms(unlike.people, alone, mine, FAST)


def test_nothing_was_taken(unlike: Round) -> None:
    shown = unlike.read.events.filter(pl.col("kind") == "impression")
    found = compare_arms(unlike.people, unlike.plan, shown, FAST)
    assert found.looks == ()
    assert found.stopped is None
    assert np.isnan(found.lift.value)


@pytest.mark.parametrize(
    "change", [{"before_weeks": 0}, {"draws": 0}, {"planned": 0.0}, {"confidence": 1.0}]
)
def test_settings_that_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        VerdictConfig(**change)


def test_counts_per_user_tell_visits_from_impressions() -> None:
    rows = [
        ("u1", "r1", "impression"),
        ("u1", "r1", "impression"),
        ("u0", "r2", "impression"),
        ("u1", "r3", "impression"),
        ("u1", "r3", "click"),
        ("u1", "r3", "purchase"),
        ("u2", "r9", "purchase"),
    ]
    schema = ["user_id", "request_id", "kind"]
    counts = counts_per_user(pl.DataFrame(rows, schema=schema, orient="row"))
    assert counts.rows() == [("u1", 2, 3, 1, 1), ("u0", 1, 1, 0, 0), ("u2", 0, 0, 0, 1)]
    assert counts_per_user(pl.DataFrame(rows, schema=schema, orient="row").clear()).height == 0
