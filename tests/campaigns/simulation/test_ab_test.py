from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.simulation.ab_test import (
    SimulationRunConfig,
    VerdictConfig,
    asked_again,
    assigned_arm,
    compare_arms,
    counts_per_user,
    judge_from_log,
    policy_config,
    policy_text,
)
from adwright.campaigns.simulation.run import SimulationConfig
from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log, save_log
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.rules import (
    EpsilonGreedyConfig,
    GreedyConfig,
    PolicyConfig,
    SoftmaxConfig,
    ThompsonConfig,
)
from adwright.delivery.policy.slate_policy import ABSplit, build_policy
from tests.support.store.small_world import ITEMS, START, Round, events, played

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


EXPLORES, BETTER = SoftmaxConfig(temperature=1.0), SoftmaxConfig(temperature=0.6)


@pytest.fixture(scope="module")
def played_round(tmp_path_factory: pytest.TempPathFactory) -> Round:
    config = SimulationConfig(days=21, places=3)
    with played(tmp_path_factory.mktemp("r"), EXPLORES, BETTER, config) as one:
        return one


def test_b_from_the_log_of_a_is_near_what_b_did(played_round: Round) -> None:
    one = played_round
    odds = asked_again(one.recommender, *one.policies)
    found = judge_from_log(one.read.events, one.plan.config.split, odds)
    assert found is not None
    assert found.recomputed == 1.0
    assert set(found.estimates) == {"IPS", "self-normalised IPS", "IPS, weights cut at 10"}
    for estimate in found.estimates.values():
        assert estimate.low < found.own.high
        assert found.own.low < estimate.high
    assert 0 < found.effective < 3 * found.visits
    assert found.unseen == 0


def test_a_policy_judges_itself_as_its_log_does(played_round: Round) -> None:
    one = played_round
    odds = asked_again(one.recommender, one.policies[0], one.policies[0])
    found = judge_from_log(one.read.events, one.plan.config.split, odds)
    assert found is not None
    arm = one.read.events.filter(pl.col("policy_id") == "A it")
    taken = arm.filter(pl.col("kind") == "purchase").height
    visits = arm["request_id"].n_unique()
    assert found.visits == visits
    for estimate in found.estimates.values():
        assert estimate.value == pytest.approx(taken / visits)
    assert found.effective == pytest.approx(3 * visits)


def test_decisions_that_cannot_be_asked_again_are_left_out(played_round: Round) -> None:
    one = played_round
    again = asked_again(one.recommender, *one.policies)

    def half(
        requests: Sequence[Request], slates: Sequence[Sequence[str]]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        of_a, of_b = again(requests, slates)
        return [a * (0.5 if n % 2 else 1.0) for n, a in enumerate(of_a)], list(of_b)

    found = judge_from_log(one.read.events, one.plan.config.split, half)
    assert found is not None
    assert found.recomputed == pytest.approx(0.5, abs=0.01)


SPLIT = ABSplit("hand")
A, B = (next(u for u in map(str, range(99)) if SPLIT.arm(u) == arm) for arm in "AB")
TIME = datetime(2024, 1, 1, tzinfo=UTC)


def by_hand() -> pl.DataFrame:
    """A saw two slates of two places, and took at the second place of one; B took one of one."""
    rows = [
        ("s1", A, "impression", "tea", 1, 0.5),
        ("s1", A, "impression", "jam", 2, 0.8),
        ("s1", A, "purchase", "jam", 2, None),
        ("s2", A, "impression", "jam", 1, 0.5),
        ("s2", A, "impression", "tea", 2, 0.4),
        ("s2", A, "purchase", "jam", 1, None),
        ("s3", B, "impression", "tea", 1, 1.0),
        ("s3", B, "purchase", "tea", 1, None),
        ("s4", B, "impression", "tea", 1, 1.0),
    ]
    request, user, kind, item, position, propensity = zip(*rows, strict=True)
    frame = pl.DataFrame(
        {
            "request_id": request,
            "user_id": user,
            "kind": kind,
            "item_id": item,
            "position": pl.Series(position, dtype=pl.Int32),
            "propensity": propensity,
            "time": [TIME] * len(rows),
        }
    )
    return validate_events(
        frame.with_columns(event_id=pl.format("{}-{}-{}", "request_id", "position", "kind"))
    )


def test_weights_by_hand() -> None:
    asked = []

    def odds(
        requests: Sequence[Request], slates: Sequence[Sequence[str]]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        asked.extend(zip(requests, slates, strict=True))
        a = [np.array([0.5, 0.8]), np.array([0.5, 0.4])]
        return a, [np.array([0.9, 0.6]), np.array([0.1, 0.2])]

    found = judge_from_log(by_hand(), SPLIT, odds)
    # Only one person in the arm: the estimate is a number, its interval none.
    assert found is None
    assert [(r.request_id, r.user_id, r.k, list(s)) for r, s in asked] == [
        ("s1", A, 2, ["tea", "jam"]),
        ("s2", A, 2, ["jam", "tea"]),
    ]
    people = by_hand().with_columns(user_id=pl.col("user_id") + pl.col("request_id"))
    deal = Deal({A + "s1": "A", A + "s2": "A", B + "s3": "B", B + "s4": "B"})
    found = judge_from_log(people, deal, odds)
    assert found is not None
    first, second = 0.9 * 0.6 / (0.5 * 0.8), 0.1 / 0.5
    assert found.estimates["IPS"].value == pytest.approx((first + second) / 2)
    weights = 0.9 / 0.5 + first + second + 0.1 * 0.2 / (0.5 * 0.4)
    assert found.estimates["self-normalised IPS"].value == pytest.approx(
        2 * (first + second) / weights
    )
    assert found.own.value == 0.5


class Deal(ABSplit):
    """People dealt by a table."""

    def __init__(self, table: dict[str, str]) -> None:
        object.__setattr__(self, "table", table)

    def arm(self, user_id: str) -> str:
        return self.table[user_id]


def test_asked_again_gives_both_policies_propensities() -> None:
    class Fixed:
        def __init__(self) -> None:
            self.sizes: list[int] = []

        def recommend_many(self, requests: Sequence[Request], deadline: None) -> list[Candidates]:
            self.sizes.append(len(requests))
            score = np.array([0.5, 0.2])
            return [Candidates(("tea", "jam"), score, True, "fine")] * len(requests)

    fixed = Fixed()
    a, b = build_policy(EpsilonGreedyConfig(epsilon=0.4)), build_policy(GreedyConfig())
    requests = [Request(f"r{n}", "u", TIME, k=2) for n in range(70)]
    slates = [("tea", "jam") if n % 2 else ("jam", "tea") for n in range(70)]
    of_a, of_b = asked_again(fixed, a, b)(requests, slates)
    assert fixed.sizes == [64, 6]
    assert [one.tolist() for one in of_a[:2]] == [[0.2, 1.0], [0.8, 1.0]]
    assert [one.tolist() for one in of_b[68:]] == [[0.0, 1.0], [1.0, 1.0]]


def test_nothing_to_judge(played_round: Round) -> None:
    one = played_round
    odds = asked_again(one.recommender, *one.policies)
    split = one.plan.config.split
    nobody = one.read.events.filter(pl.col("policy_id") == "B it")
    assert judge_from_log(nobody, split, odds) is None
    shown = one.read.events.filter(pl.col("kind") == "impression")
    assert judge_from_log(shown, split, odds) is None
    wrong = asked_again(one.recommender, one.policies[1], one.policies[1])
    assert judge_from_log(one.read.events, split, wrong) is None


RUN = """log = "world"
retrain = false
[b]
kind = "epsilon_greedy"
epsilon = 0.3
[population]
start = "2024-05-20T00:00:00Z"
[simulation]
days = 3.0
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "world"
    save_log(folder, Log(events().lazy(), Catalogue.checked(ITEMS)))
    return folder


def test_a_run_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN)
    found = load_toml(tmp_path / "run.toml", SimulationRunConfig)
    assert found.b == EpsilonGreedyConfig(epsilon=0.3)
    assert found.a == SoftmaxConfig(temperature=1.0)
    assert found.population.start == START
    assert (found.simulation.days, found.retrain, found.log) == (3.0, False, "world")
    assert from_jsonable(SimulationRunConfig, to_jsonable(found)) == found


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("greedy", GreedyConfig()),
        ("epsilon_greedy:0.25", EpsilonGreedyConfig(epsilon=0.25)),
        ("softmax:0.5", SoftmaxConfig(temperature=0.5)),
        ("thompson:20", ThompsonConfig(strength=20.0)),
    ],
)
def test_policies_as_text(text: str, config: PolicyConfig) -> None:
    assert policy_config(text) == config
    assert policy_text(config) == text


@pytest.mark.parametrize("text", ["", "best", "greedy:2", "softmax:warm", "softmax:0"])
def test_texts_that_are_no_policy(text: str) -> None:
    with pytest.raises(ConfigError):
        policy_config(text)
