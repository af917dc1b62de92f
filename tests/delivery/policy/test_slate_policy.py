"""Slates: propensities that are exact by enumeration, and equal to how often slates come out."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations

import numpy as np
import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.delivery.decision import Candidates, Policy, Request
from adwright.delivery.policy.pacing import (
    CategorySimilarity,
    Diversity,
    DiversityConfig,
    FrequencyCap,
    FrequencyCapConfig,
)
from adwright.delivery.policy.rules import (
    EpsilonGreedyConfig,
    GreedyConfig,
    ItemCounts,
    PolicyConfig,
    SoftmaxConfig,
    ThompsonConfig,
)
from adwright.delivery.policy.settings import PolicySettings
from adwright.delivery.policy.slate_policy import (
    ABSplit,
    Adjustment,
    Running,
    SplitPolicy,
    build_policy,
    kept_by,
    solve_exploration,
)
from adwright.delivery.popularity import Popularity
from adwright.models.calibration import ListCalibrator
from adwright.service.registry.loading import sample_of
from tests.support.delivery.policy_requests import (
    SCORES,
    all_slates,
    candidates,
    drawn_slates,
    request,
)

CONFIGS: list[PolicyConfig] = [
    GreedyConfig(),
    EpsilonGreedyConfig(epsilon=0.3),
    SoftmaxConfig(temperature=0.7),
    ThompsonConfig(strength=20),
    ThompsonConfig(family="normal"),
]
CATEGORY = {"a": "x", "b": "x", "c": "y"}


def adjustments() -> tuple[Adjustment, ...]:
    """A cap that two items share, and variety."""
    cap = FrequencyCap(FrequencyCapConfig(limit=1), of={"c": "one", "d": "one"})
    return cap, Diversity(DiversityConfig("mmr", 0.4), CategorySimilarity(CATEGORY))


def literal_plackett_luce(slate: tuple[str, ...], odds: dict[str, float]) -> float:
    left, chance = dict(odds), 1.0
    for item in slate:
        chance *= left[item] / sum(left.values())
        del left[item]
    return chance


def test_softmax_slates_are_plackett_luce() -> None:
    policy = build_policy(SoftmaxConfig())
    odds = {item: s / (1 - s) for item, s in zip("abcd", SCORES, strict=True)}
    for slate, chance in all_slates(policy, request(), candidates()).items():
        assert chance == pytest.approx(literal_plackett_luce(slate, odds))


def test_epsilon_greedy_slates_by_hand() -> None:
    policy = build_policy(EpsilonGreedyConfig(epsilon=0.3))
    found = policy.propensity(request(), candidates(), ["a", "c", "b"])
    assert found == pytest.approx([0.7 + 0.3 / 4, 0.3 / 3, 0.7 + 0.3 / 2])


@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
def test_slates_sum_to_one_and_come_out_as_often_as_they_say(
    config: PolicyConfig, adjusted: bool
) -> None:
    policy = build_policy(config, adjustments=adjustments() if adjusted else ())
    asked, offered = request(k=2), candidates()
    expected = all_slates(policy, asked, offered)
    assert sum(expected.values()) == pytest.approx(1)
    draws = 600
    found = drawn_slates(policy, asked, offered, draws)
    assert set(found) <= {slate for slate, chance in expected.items() if chance}
    for slate, chance in expected.items():
        error = np.sqrt(chance * (1 - chance) / draws)
        assert abs(found.get(slate, 0) - chance) <= 4.5 * error + 1e-9


@pytest.mark.parametrize("config", CONFIGS)
def test_a_decision_logs_the_propensities_that_the_policy_states(config: PolicyConfig) -> None:
    policy: Policy = build_policy(config, adjustments=adjustments())
    for seed in range(5):
        decision = policy.decide(request(), candidates(), np.random.default_rng(seed))
        stated = build_policy(config, adjustments=adjustments()).propensity(
            request(), candidates(), decision.item_ids
        )
        assert decision.propensity.tolist() == stated.tolist()
        assert decision.policy_id == policy.policy_id
        assert decision.stage == "fine"
        places = [candidates().item_ids.index(item) for item in decision.item_ids]
        assert decision.score.tolist() == [SCORES[row] for row in places]


def test_thompson_propensities_are_those_of_draws_made_anew_at_each_place() -> None:
    policy = build_policy(ThompsonConfig(strength=20))
    expected = all_slates(policy, request(k=2), candidates())
    rng = np.random.default_rng(0)
    s, draws = np.array(SCORES), 40_000
    first = rng.beta(20 * s, 20 * (1 - s), (draws, 4)).argmax(1)
    again = rng.beta(20 * s, 20 * (1 - s), (draws, 4))
    again[np.arange(draws), first] = -1
    second = again.argmax(1)
    for pair in permutations(range(4), 2):
        share = float(np.mean((first == pair[0]) & (second == pair[1])))
        slate = tuple("abcd"[row] for row in pair)
        error = np.sqrt(share * (1 - share) / draws)
        assert expected[slate] == pytest.approx(share, abs=4.5 * error + 1e-6)


@pytest.mark.parametrize("config", CONFIGS)
def test_equal_generators_decide_equally(config: PolicyConfig) -> None:
    policy = build_policy(config)
    first, second, other = (
        [policy.decide(request(), candidates(), rng).item_ids for _ in range(20)]
        for rng in map(np.random.default_rng, (0, 0, 1))
    )
    assert first == second
    assert (first != other) == (config.kind != "greedy")


def test_requests_limit_what_is_shown() -> None:
    policy = build_policy(SoftmaxConfig())
    rng = np.random.default_rng(0)
    only = request(candidates=("b", "d", "unknown"), exclude=frozenset({"d"}))
    decision = policy.decide(only, candidates(), rng)
    assert decision.item_ids == ("b",)
    assert decision.propensity.tolist() == [1.0]
    nothing = policy.decide(request(exclude=frozenset("abcd")), candidates(), rng)
    assert nothing.item_ids == ()
    assert nothing.propensity.shape == nothing.score.shape == (0,)
    none = Candidates((), np.empty(0), False, "popularity")
    assert policy.decide(request(), none, rng).item_ids == ()
    assert len(policy.decide(request(k=9), candidates(), rng).item_ids) == 4


def test_a_slate_that_the_policy_would_not_show_has_probability_zero() -> None:
    greedy = build_policy(GreedyConfig())
    assert greedy.propensity(request(), candidates(), ["b", "a"]).tolist() == [0, 1]
    excluded = request(exclude=frozenset("b"))
    assert greedy.propensity(excluded, candidates(), ["b", "a"]).tolist() == [0, 1]
    assert greedy.propensity(request(), candidates(), ["a", "zzz", "b"]).tolist() == [1, 0, 0]
    assert greedy.propensity(request(), candidates(), ["a", "a"]).tolist() == [1, 0]


def test_reasons_say_why() -> None:
    rng = np.random.default_rng(0)
    greedy = build_policy(GreedyConfig(), adjustments=adjustments())
    decision = greedy.decide(request(), candidates(), rng)
    assert decision.item_ids == ("a", "c", "b")
    assert decision.reasons == (
        "best of those left",
        "best of those left",
        "best of those left, moved by diversity",
    )
    explorer = build_policy(EpsilonGreedyConfig(epsilon=1))
    reasons = {
        reason for _ in range(9) for reason in explorer.decide(request(), candidates(), rng).reasons
    }
    assert reasons == {"best of those left", "explored at random"}


class Fixed:
    """An adjustment to one utility."""

    name = "fixed"

    def __init__(self, value: float) -> None:
        self.value = value

    def begin(self, request: Request, candidates: Candidates) -> Running:
        return self

    def adjust(self, utility: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(utility)) == 1, self.value, utility)

    def place(self, row: int) -> None:
        pass


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_adjustment_that_gives_no_number_is_an_error(value: float) -> None:
    policy = build_policy(GreedyConfig(), adjustments=[Fixed(value)])
    with pytest.raises(ValueInvalidError, match="row 1, column utility"):
        policy.decide(request(), candidates(), np.random.default_rng(0))


def test_adjustments_apply_in_their_order() -> None:
    up, out = Fixed(5.0), Fixed(-np.inf)
    for order, first in (((up, out), "a"), ((out, up), "b")):
        policy = build_policy(GreedyConfig(), adjustments=order)
        decision = policy.decide(request(k=1), candidates(), np.random.default_rng(0))
        assert decision.item_ids == (first,)


def test_scale_decides_what_a_price_means() -> None:
    # b at a price of 0.1: dear in scores, next to nothing in log-odds.
    class Price(Fixed):
        def adjust(self, utility: np.ndarray) -> np.ndarray:
            return utility - np.array([0.1, 0, 0, 0])

    for scale, first in (("score", "b"), ("log_odds", "a")):
        policy = build_policy(GreedyConfig(scale=scale), adjustments=[Price(0)])
        decision = policy.decide(request(k=1), candidates(), np.random.default_rng(0))
        assert decision.item_ids == (first,)


def test_names_and_evidence() -> None:
    assert build_policy(SoftmaxConfig(temperature=0.5)).policy_id == "softmax-0.5"
    assert build_policy(SoftmaxConfig(), policy_id="mine").policy_id == "mine"
    counts = ItemCounts()
    counts.record({"kind": kind, "item_id": "d"} for kind in ["impression", "click"] * 200)
    bandit = build_policy(ThompsonConfig(), evidence=counts)
    assert bandit.propensity(request(), candidates(), ["d"])[0] > 0.9
    with pytest.raises(ConfigError, match="only Thompson sampling learns"):
        build_policy(GreedyConfig(), evidence=counts)


A = build_policy(GreedyConfig(), policy_id="first")
B = build_policy(SoftmaxConfig(), policy_id="second")
PEOPLE = [f"u{n}" for n in range(4000)]


def arms(split: ABSplit) -> list[str]:
    return [split.arm(user) for user in PEOPLE]


def test_the_deal_is_stable_and_known() -> None:
    assert arms(ABSplit())[:6] == arms(ABSplit())[:6]
    # Pinned: an experiment that runs must not be dealt anew by a new version.
    assert "".join(ABSplit().arm(f"household-{n}") for n in range(12)) == "ABAAABBBBABB"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_b(share: float) -> None:
    found = np.mean([arm == "B" for arm in arms(ABSplit(share=share))])
    assert found == pytest.approx(share, abs=0.03)
    if share in (0.0, 1.0):
        assert found == share


def test_a_larger_share_moves_nobody_out_of_b() -> None:
    few, many = arms(ABSplit(share=0.2)), arms(ABSplit(share=0.6))
    assert all(after == "B" for before, after in zip(few, many, strict=True) if before == "B")


def test_another_salt_deals_anew() -> None:
    one, other = arms(ABSplit(salt="one")), arms(ABSplit(salt="other"))
    same = np.mean([a == b for a, b in zip(one, other, strict=True)])
    assert same == pytest.approx(0.5, abs=0.04)


def test_each_person_meets_one_policy() -> None:
    policy = SplitPolicy(A, B)
    candidates = Candidates(("tea", "jam"), np.array([0.5, 0.1]), True, "fine")
    rng = np.random.default_rng(0)
    met = {}
    for user in PEOPLE[:50]:
        request = Request("r", user, datetime(2024, 1, 1, tzinfo=UTC), k=1)
        ids = {policy.decide(request, candidates, rng).policy_id for _ in range(3)}
        assert ids == {policy.of(user).policy_id}
        met[user] = ids.pop()
    assert set(met.values()) == {"first", "second"}
    assert policy.policy_id == "split(first, second)"


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="the same id"):
        SplitPolicy(A, build_policy(GreedyConfig(), policy_id="first"))
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="share"):
            ABSplit(share=share)


RNG = np.random.default_rng(3)
SAMPLE = [
    candidates((0.2 / np.arange(1, 27) ** power).tolist()) for power in RNG.uniform(0.2, 1.5, 200)
]


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("places", [1, 4, 10])
def test_the_stated_share_is_given_up(share: float, places: int) -> None:
    policy = build_policy(solve_exploration(share, {1: SAMPLE, 4: SAMPLE, 10: SAMPLE}))
    assert policy.policy_id == f"explore-{share}"
    asked = [request(k=places)] * len(SAMPLE) * 10
    kept = kept_by(policy, asked, SAMPLE * 10, np.random.default_rng(0))
    assert 1 - kept.value == pytest.approx(share, rel=0.2)
    assert (kept.requests, kept.places) == (2_000, places)


def test_slates_of_any_length_give_up_as_much_of_what_is_offered_to_them() -> None:
    calibration = {"popularity": ListCalibrator(-2.0, 0.5, 0.3)}
    popular = Popularity([f"i{n}" for n in range(300)], np.arange(300.0) ** 3, calibration)
    sample = sample_of(popular, [request()], FixedClock())
    policy, _ = PolicySettings(explore=0.02).build(sample=sample)
    for places in (1, 5, 10, 20, 50):
        asked = [request(k=places)] * 2_000
        answers = popular.recommend_many(asked, None)
        kept = kept_by(policy, asked, answers, np.random.default_rng(0))
        assert 0.976 <= kept.value <= 0.984, places


def test_what_is_kept_of_greedy_slates_is_all_of_it() -> None:
    asked = [request(k=4)] * len(SAMPLE)
    kept = kept_by(build_policy(GreedyConfig()), asked, SAMPLE, np.random.default_rng(0))
    assert (kept.value, kept.best, kept.first, kept.effective) == (1, 1, 1, 0)
    assert "keeps 100.0% of the expected value and 100% of the 4 best items" in kept.text()


def test_a_challenger_counts_the_decisions_that_it_would_have_made() -> None:
    sample = [candidates((0.5, 0.5))] * 20
    policy = build_policy(solve_exploration(0.001, {1: [candidates((0.5, 0.2))]}))
    kept = kept_by(policy, [request(k=1)] * 20, sample, np.random.default_rng(0))
    # Of two alike either comes first half of the time.
    assert kept.effective == pytest.approx(500)


@pytest.mark.parametrize(
    ("sample", "share", "words"),
    [
        ([candidates((0.3, 0.3, 0.3))], 0.02, "give up less: 0.0%"),
        (SAMPLE, 0.9, "smaller share"),
        ([], 0.02, "nothing to explore"),
        ([candidates((0.0, 0.0))], 0.02, "nothing to explore"),
    ],
)
def test_what_cannot_be_given_up_is_refused(
    sample: list[Candidates], share: float, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        solve_exploration(share, {1: sample})
