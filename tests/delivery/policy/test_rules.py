"""The rules of one place: closed forms, the unit of the utility, and every setting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.delivery.decision import Candidates, Policy, Request
from adwright.delivery.policy import rules as r
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
    beta_chances,
    normal_chances,
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
from adwright.service.registry.publishing import sample_of
from tests.support.delivery.policy_requests import (
    NOON,
    SCORES,
    all_slates,
    candidates,
    drawn_slates,
    request,
)

S = np.array(SCORES)
LOG_ODDS = np.log(S / (1 - S))
CONFIGS: list[r.PolicyConfig] = [
    r.GreedyConfig(),
    r.EpsilonGreedyConfig(),
    r.SoftmaxConfig(),
    r.ThompsonConfig(),
    r.ThompsonConfig(family="normal"),
]


def chances(config: r.PolicyConfig, *, probability: bool = True) -> np.ndarray:
    choice = r.build_rule(config).begin(candidates(probability=probability))
    return choice.chances(choice.utility, np.arange(len(SCORES)))


def test_closed_forms() -> None:
    assert chances(r.GreedyConfig()).tolist() == [1, 0, 0, 0]
    assert chances(r.EpsilonGreedyConfig(epsilon=0.2)) == pytest.approx([0.85, 0.05, 0.05, 0.05])
    odds = S / (1 - S)
    assert chances(r.SoftmaxConfig()) == pytest.approx(odds / odds.sum())
    scores = r.SoftmaxConfig(temperature=0.1, scale="score")
    assert chances(scores) == pytest.approx(np.exp(10 * S) / np.exp(10 * S).sum())
    assert chances(r.ThompsonConfig(strength=50)) == pytest.approx(
        beta_chances(50 * S, 50 * (1 - S), np.zeros(4))
    )
    normal = r.ThompsonConfig(family="normal", spread=0.2)
    assert chances(normal) == pytest.approx(normal_chances(S, np.full(4, 0.2)))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_higher_utility_raises_the_chance_and_a_lower_one_cuts_it(config: r.PolicyConfig) -> None:
    choice = r.build_rule(config).begin(candidates())
    rows = np.arange(4)
    before = choice.chances(choice.utility, rows)[1]
    for step, direction in ((2.0, 1), (-2.0, -1)):
        moved = choice.utility.copy()
        moved[1] += step
        change = choice.chances(moved, rows)[1] - before
        assert change * direction >= 0
    assert choice.chances(choice.utility + np.array([0, 2.0, 0, 0]), rows)[1] > before


def test_certain_scores_have_finite_log_odds() -> None:
    offered = candidates((1.0, 0.5, 0.0))
    for config in (r.SoftmaxConfig(), r.ThompsonConfig()):
        choice = r.build_rule(config).begin(offered)
        assert np.isfinite(choice.utility).all()
        found = choice.chances(choice.utility, np.arange(3))
        assert found.argmax() == 0
        assert found[2] < 1e-6


def test_thompson_learns_from_evidence() -> None:
    counts = ItemCounts()
    counts.record({"kind": "impression", "item_id": "d"} for _ in range(500))
    counts.record({"kind": "click", "item_id": "d"} for _ in range(300))
    rule = r.build_rule(r.ThompsonConfig(), evidence=counts)
    choice = rule.begin(candidates())
    found = choice.chances(choice.utility, np.arange(4))
    shown, clicked = np.array([0, 0, 0, 500]), np.array([0, 0, 0, 300])
    expected = beta_chances(100 * S + clicked, 100 * (1 - S) + shown - clicked, np.zeros(4))
    assert found == pytest.approx(expected)
    assert found[3] > 0.9
    assert chances(r.ThompsonConfig())[3] < 0.01


def test_evidence_narrows_a_normal_belief() -> None:
    counts = ItemCounts()
    counts.record({"kind": "impression", "item_id": "d"} for _ in range(300))
    config = r.ThompsonConfig(family="normal", spread=0.4)
    choice = r.build_rule(config, evidence=counts).begin(candidates())
    found = choice.chances(choice.utility, np.arange(4))
    expected = normal_chances(S, np.array([0.4, 0.4, 0.4, 0.2]))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    "config", [r.ThompsonConfig(), r.SoftmaxConfig(), r.Exploration(0.02, (0.5, 0.4))]
)
def test_what_reads_probabilities_refuses_other_scores(
    config: r.PolicyConfig | r.Exploration,
) -> None:
    with pytest.raises(ValueInvalidError, match="reads scores as probabilities"):
        r.build_rule(config).begin(candidates(probability=False))
    assert r.build_rule(config).begin(Candidates((), np.empty(0), False, "fine"))
    assert r.reads_probabilities(config)


def test_exploration_is_softmax_at_the_temperature_of_the_places() -> None:
    rule = r.build_rule(r.Exploration(0.02, (0.5, 0.4)))
    for places, temperature in ((1, 0.5), (2, 0.4), (9, 0.4)):
        choice = rule.begin(candidates(), places)
        powers = np.exp(LOG_ODDS / temperature)
        found = choice.chances(choice.utility, np.arange(4))
        assert found == pytest.approx(powers / powers.sum())
    assert rule.name == "explore-0.02"


@pytest.mark.parametrize("config", CONFIGS)
def test_a_choice_of_some_rows_is_the_choice_among_those_alone(config: r.PolicyConfig) -> None:
    """Rows that are ruled out leave nothing behind: neither beliefs nor utilities of others."""
    offered = candidates()
    choice = r.build_rule(config).begin(offered)
    rows = np.array([1, 3])
    kept = Candidates(
        tuple(offered.item_ids[row] for row in rows), offered.score[rows], True, "fine"
    )
    alone = r.build_rule(config).begin(kept)
    np.testing.assert_allclose(
        choice.chances(choice.utility[rows], rows),
        alone.chances(alone.utility, np.arange(2)),
        atol=1e-9,
    )


def test_a_rule_is_named_by_its_kind_and_main_settings() -> None:
    names = {
        r.build_rule(config).name: config
        for config in (
            r.GreedyConfig(),
            r.EpsilonGreedyConfig(epsilon=0.2),
            r.SoftmaxConfig(temperature=0.5),
            r.ThompsonConfig(family="normal", strength=30.0),
        )
    }
    assert list(names) == ["greedy", "epsilon_greedy-0.2", "softmax-0.5", "thompson-normal-30.0"]


def literal_chances(beliefs: list[object], low: float, high: float) -> np.ndarray:
    """The integral as it stands, one item at a time, on scipy's distributions."""

    def chance(a: int) -> float:
        def integrand(x: float) -> float:
            others = [each.cdf(x) for b, each in enumerate(beliefs) if b != a]
            return float(beliefs[a].pdf(x) * np.prod(others))

        return float(integrate.quad(integrand, low, high, limit=400, epsabs=1e-11)[0])

    return np.array([chance(a) for a in range(len(beliefs))])


@pytest.mark.parametrize("ratio", [1.0, 4.0, 20.0])
def test_normals_equal_adaptive_quadrature(ratio: float) -> None:
    rng = np.random.default_rng(int(ratio))
    mean, spread = rng.normal(0, 1, 5), ratio ** rng.uniform(-1, 0, 5)
    exact = literal_chances([stats.norm(*pair) for pair in zip(mean, spread, strict=True)], -9, 9)
    assert normal_chances(mean, spread) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize(("clicks", "shown"), [(0.6, 2), (3, 60), (40, 3000)])
def test_betas_equal_adaptive_quadrature(clicks: float, shown: float) -> None:
    rng = np.random.default_rng(int(shown))
    a, b = rng.uniform(0.6, 2, 4) * clicks, rng.uniform(0.6, 2, 4) * (shown - clicks)
    top = float(stats.beta.ppf(1 - 1e-12, a, b).max())
    exact = literal_chances([stats.beta(*pair) for pair in zip(a, b, strict=True)], 0, top)
    assert beta_chances(a, b, np.zeros(4)) == pytest.approx(exact, abs=1e-6)


def test_two_normals_have_a_closed_form() -> None:
    chances = normal_chances(np.array([0.3, 0.1]), np.array([0.2, 0.4]))
    exact = stats.norm.cdf(0.2 / np.hypot(0.2, 0.4))
    assert chances == pytest.approx([exact, 1 - exact], abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(1e-3, 5)), min_size=1, max_size=8, unique=True),
    st.floats(-3, 3),
    st.floats(0.1, 10),
)
def test_chances_sum_to_one_and_only_differences_count(
    beliefs: list[tuple[float, float]], shift: float, scale: float
) -> None:
    mean, spread = np.array(beliefs).T
    chances = normal_chances(mean, spread)
    assert chances.sum() == pytest.approx(1)
    assert (chances >= 0).all()
    moved = normal_chances(scale * mean + shift, scale * spread)
    assert moved == pytest.approx(chances, abs=1e-5)
    order = np.random.default_rng(0).permutation(len(mean))
    assert normal_chances(mean[order], spread[order]) == pytest.approx(chances[order], abs=1e-6)


def test_beliefs_far_too_narrow_for_the_grid_stay_nearly_right() -> None:
    chances = normal_chances(np.array([0.0, 0.5]), np.array([1.0, 1e-9]))
    assert chances[1] == pytest.approx(stats.norm.cdf(0.5), abs=1e-4)
    known = beta_chances(np.array([1.0, 5e8]), np.array([99.0, 4e10]), np.zeros(2))
    assert known[1] == pytest.approx(stats.beta.cdf(5e8 / 4.05e10, 1, 99), abs=1e-3)


def event(kind: str, item_id: str) -> dict[str, Any]:
    return {"kind": kind, "item_id": item_id}


def test_counts_impressions_and_responses_of_items() -> None:
    counts = ItemCounts()
    counts.record([event("impression", "a"), event("impression", "a"), event("click", "a")])
    counts.record([event("purchase", "a"), event("impression", "b")])
    shown, answered = counts.counts(["b", "a", "z"])
    assert shown.tolist() == [1, 2, 0]
    assert answered.tolist() == [0, 1, 0]


def test_a_response_waits_for_its_impression() -> None:
    counts = ItemCounts()
    counts.record([event("click", "a")])
    assert [each.tolist() for each in counts.counts(["a"])] == [[0], [0]]
    counts.record([event("impression", "a")])
    assert [each.tolist() for each in counts.counts(["a"])] == [[1], [1]]


def test_what_the_scores_know_already_is_not_counted() -> None:
    counts = ItemCounts(since=NOON)
    for hours in (-1, 0, 1):
        counts.record([{**event("impression", "a"), "time": NOON + timedelta(hours=hours)}])
    assert counts.counts(["a"])[0].tolist() == [2]


def test_an_event_without_an_item_is_named() -> None:
    with pytest.raises(ValueInvalidError, match=r"row 1, column item_id"):
        ItemCounts().record([event("click", "a"), event("click", "")])


SLATE_POLICY_CONFIGS: list[PolicyConfig] = [
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


@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.parametrize("config", SLATE_POLICY_CONFIGS)
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


@pytest.mark.parametrize("config", SLATE_POLICY_CONFIGS)
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


@pytest.mark.parametrize("config", SLATE_POLICY_CONFIGS)
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
