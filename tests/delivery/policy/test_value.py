"""Policies valued from the log of another, against a world whose values are known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.data.schema import validate_events
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.rules import (
    EpsilonGreedyConfig,
    GreedyConfig,
    PolicyConfig,
    SoftmaxConfig,
)
from adwright.delivery.policy.slate_policy import SlatePolicy, build_policy
from adwright.delivery.policy.value import (
    LoggedSlates,
    LogTarget,
    ModelTarget,
    PolicyValue,
    PolicyValueConfig,
    RewardModel,
    logged_slates,
    value_from_log,
)
from adwright.delivery.popularity import Popularity

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
RATE = {"a": 0.5, "b": 0.2, "c": 0.4, "d": 0.1}
MODEL = Popularity(list(RATE), np.array([4.0, 3.0, 2.0, 1.0]))
LOGGED = SoftmaxConfig(temperature=2.0, scale="score")


def policy(config: PolicyConfig, name: str = "new") -> SlatePolicy:
    return build_policy(config, policy_id=name)


def events_of(
    config: PolicyConfig, visits: int, *, places: int = 2, seed: int = 0, users: int = 100
) -> pl.DataFrame:
    """What a policy showed, and what was clicked: at the second place half as often."""
    rng, made = np.random.default_rng(seed), policy(config, "old")
    rows: list[dict[str, Any]] = []
    for n in range(visits):
        time = NOON + timedelta(minutes=n)
        request = Request(f"r{n}", f"u{n % users}", time, k=places, context={"page": "start"})
        decision = made.decide(request, MODEL.recommend(request), rng)
        shown = decision.impressions()
        rows += shown
        for place in shown:
            if rng.random() < RATE[place["item_id"]] / place["position"]:
                changes = {"kind": "click", "propensity": None}
                rows.append({**place, "event_id": f"c-{place['event_id']}", **changes})
    return validate_events(pl.DataFrame(rows, infer_schema_length=None).lazy().collect())


def true_value(config: PolicyConfig, places: int = 2) -> float:
    """Clicks a request, over all slates."""
    made, asked = policy(config), Request("r", "u", NOON, k=places)
    offered = MODEL.recommend(asked)
    return sum(
        float(np.prod(made.propensity(asked, offered, slate)))
        * sum(RATE[item] / (k + 1) for k, item in enumerate(slate))
        for slate in permutations(RATE, places)
    )


def valued(events: pl.DataFrame, config: PolicyConfig, **changes: Any) -> PolicyValue:
    target = ModelTarget(MODEL, policy(config))
    return value_from_log(logged_slates(events), target, config=PolicyValueConfig(**changes))


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return events_of(LOGGED, 900)


@pytest.mark.parametrize(
    "config", [SoftmaxConfig(temperature=1.0, scale="score"), EpsilonGreedyConfig(epsilon=0.5)]
)
def test_the_value_of_another_policy_is_found(events: pl.DataFrame, config: PolicyConfig) -> None:
    found, truth = valued(events, config), true_value(config)
    assert found.tells
    for one in found.estimates.values():
        assert not one.excludes(truth)
    assert found.value is not None
    assert found.value.width < found.estimates["whole slates (IPS)"].width
    assert found.lead is not None
    assert found.lead.value == pytest.approx(found.value.value - found.logged)
    assert (found.requests, found.places) == (900, 1800)


def test_of_itself_a_policy_earns_what_it_earned(events: pl.DataFrame) -> None:
    found = valued(events, LOGGED)
    assert found.logged == found.estimates["IPS"].value
    assert found.weights.effective == pytest.approx(900)
    assert found.weights.mean == pytest.approx(1)
    assert "cannot be told from" in found.verdict()
    assert found.no_worse(0.5)
    assert not found.no_worse(0.0)


def test_what_the_log_never_did_cannot_be_told() -> None:
    found = valued(events_of(GreedyConfig(), 300), EpsilonGreedyConfig(epsilon=1.0))
    assert not found.tells
    assert "% of what the new policy does was never done" in found.verdict()
    assert not found.no_worse(1.0)


def test_too_few_count_and_how_many_would_is_said() -> None:
    events = events_of(LOGGED, 200)
    config = SoftmaxConfig(temperature=0.4, scale="score")
    found = valued(events, config)
    assert not found.tells
    assert found.needed == pytest.approx(200 * 100 / found.weights.effective, abs=1)
    assert f"{found.needed:,} requests such as these would tell" in found.verdict()
    assert valued(events, config, fewest=10.0).tells


def test_nobody_who_ever_clicks_tells_nothing(events: pl.DataFrame) -> None:
    with pytest.raises(ConfigError, match="nobody did this in the log: purchase"):
        logged_slates(events, response="purchase")
    slates = logged_slates(events)
    none = LoggedSlates(slates.places.with_columns(reward=pl.lit(0)), 0)
    found = value_from_log(none, ModelTarget(MODEL, policy(LOGGED)))
    assert "cannot tell: nobody did this" in found.verdict()


def test_slates_are_read_from_the_log_as_they_were() -> None:
    events = events_of(LOGGED, 50)
    slates = logged_slates(events)
    assert slates.slates == 50
    assert slates.left_out == 0
    asked = slates.requests()
    assert [request.request_id for request, _ in asked] == [f"r{n}" for n in range(50)]
    assert asked[0][0].context == {"page": "start"}
    assert asked[0][0].k == 2
    clicked = events.filter(kind="click").select("request_id", "item_id").rows()
    there = slates.places.filter(pl.col("reward") == 1)
    assert sorted(there.select("request_id", "item_id").rows()) == sorted(clicked)
    later = logged_slates(events, since=NOON + timedelta(minutes=40))
    assert next(request.request_id for request, _ in later.requests()) == "r40"


def test_the_chance_of_an_ad_is_taken_out(events: pl.DataFrame) -> None:
    shown = pl.col("kind") == "impression"
    halved = events.with_columns(
        propensity=pl.when(shown).then(pl.col("propensity") / 2).otherwise("propensity"),
        context=pl.when(shown).then(pl.lit('{"creative_propensity": 0.5}')).otherwise("context"),
    )
    plain, found = valued(events, LOGGED), valued(halved, LOGGED)
    assert found.value == plain.value
    assert found.weights == plain.weights


def test_what_tells_no_chance_is_left_out() -> None:
    events = events_of(LOGGED, 50)
    first, second = (pl.col("request_id") == f"r{n}" for n in (0, 1))
    shown = pl.col("kind") == "impression"
    propensity = pl.when(shown & first).then(None).otherwise(pl.col("propensity"))
    item = pl.when(shown & second).then(pl.lit("a")).otherwise(pl.col("item_id"))
    odd = logged_slates(events.with_columns(propensity.alias("propensity"), item.alias("item_id")))
    assert odd.left_out == 4
    assert odd.slates == 48
    assert (
        "4 impressions"
        in value_from_log(odd, ModelTarget(MODEL, policy(LOGGED))).facts()["left out"]
    )
    with pytest.raises(DataError, match="with which chance"):
        logged_slates(events.with_columns(propensity=pl.lit(None, pl.Float64)))


def test_no_model_of_a_row_was_fitted_to_its_user(events: pl.DataFrame) -> None:
    slates, config = logged_slates(events), PolicyValueConfig(folds=3)
    model = RewardModel.fit(slates, config)
    places = slates.places.with_columns(fold=pl.Series(model.fold))
    assert (places.group_by("user_id").agg(pl.col("fold").n_unique())["fold"] == 1).all()
    for fold in range(3):
        others = places.filter(pl.col("fold") != fold)
        mean = others["reward"].mean()
        mine = others.filter(item_id="c")
        rate = (mine["reward"].sum() + 2) / (mine.height + 2 / mean)  # type: ignore[operator]
        assert model.rate[fold, model.items["c"]] == pytest.approx(rate)
        assert model.rate[fold, -1] == pytest.approx(mean)
        assert model.factor[fold, 0] > model.factor[fold, 1]


class TestLogTarget:
    """The policy of another log."""

    def test_shares_and_chances_by_position(self) -> None:
        uniform = logged_slates(events_of(EpsilonGreedyConfig(epsilon=1.0), 300, places=1))
        exact = LogTarget.of(uniform)
        assert exact.exact
        assert exact.chance == {1: dict.fromkeys(RATE, 0.25)}
        places = uniform.places.with_columns(
            propensity=pl.Series(np.random.default_rng(0).uniform(0.2, 0.3, 300))
        )
        shares = LogTarget.of(LoggedSlates(places, 0))
        assert not shares.exact
        assert sum(shares.chance[1].values()) == pytest.approx(1)

    def test_is_valued_as_the_policy_itself(self) -> None:
        new = EpsilonGreedyConfig(epsilon=1.0)
        other = LogTarget.of(logged_slates(events_of(new, 300, places=1, seed=1)))
        log = logged_slates(events_of(LOGGED, 600, places=1))
        by_log = value_from_log(log, other)
        by_model = value_from_log(log, ModelTarget(MODEL, policy(new)))
        assert by_log.value is not None
        assert by_model.value is not None
        assert by_log.value.value == pytest.approx(by_model.value.value, rel=1e-6)
        assert not by_log.value.excludes(true_value(new, 1))
        assert "whole slates (IPS)" not in by_log.estimates

    def test_of_several_places_nothing_can_be_told(self, events: pl.DataFrame) -> None:
        one = logged_slates(events_of(LOGGED, 50, places=1))
        with pytest.raises(ConfigError, match="the log of the new policy has several places"):
            LogTarget.of(logged_slates(events))
        with pytest.raises(ConfigError, match="the log has several places"):
            value_from_log(logged_slates(events), LogTarget.of(one))


class Forgetful:
    """Offers only some items."""

    def __init__(self, offered: Mapping[str, float]) -> None:
        self.offered = offered

    def recommend_many(self, requests: list[Request], deadline: None) -> list[Candidates]:
        score = np.array(list(self.offered.values()))
        return [Candidates(tuple(self.offered), score, False, "fine") for _ in requests]


def test_an_item_that_the_new_model_does_not_offer_has_no_chance(events: pl.DataFrame) -> None:
    target = ModelTarget(Forgetful({"a": 2.0, "c": 1.0}), policy(SoftmaxConfig(scale="score")))
    slates = logged_slates(events)
    chance, expected = target.judge(slates, RewardModel.fit(slates, PolicyValueConfig()))
    item = slates.places["item_id"].to_numpy()
    assert (chance[(item == "b") | (item == "d")] == 0).all()
    first = slates.places["position"].to_numpy() == 1
    assert chance[first & (item == "a")] == pytest.approx(np.exp(2) / (np.exp(2) + np.exp(1)))
    assert (expected[first] > 0).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"folds": 1}, "folds"),
        ({"prior": 0.0}, "prior"),
        ({"fewest": 0.0}, "fewest"),
        ({"confidence": 1.0}, "confidence"),
        ({"response": "liked"}, "response"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PolicyValueConfig(**changes)
