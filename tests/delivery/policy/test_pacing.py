"""Frequency caps against a literal count, and budgets that last and are never overdrawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.delivery.decision import Candidates, Decision
from adwright.delivery.policy.pacing import (
    BudgetPacer,
    BudgetPacingConfig,
    CategoryLimit,
    CategorySimilarity,
    Diversity,
    DiversityConfig,
    FrequencyCap,
    FrequencyCapConfig,
    Limit,
    PolicyRecords,
    Similarity,
    VectorSimilarity,
)
from adwright.delivery.policy.rules import GreedyConfig, ItemCounts, SoftmaxConfig
from adwright.delivery.policy.slate_policy import build_policy
from tests.support.delivery.policy_requests import NOON, candidates, request

DAY = timedelta(days=1)


def shown(*item_ids: str, **changes: Any) -> Decision:
    """A decision as it stands in the log."""
    places = len(item_ids)
    asked = request(k=max(places, 1), **changes)
    ones = np.ones(places)
    return Decision(asked, "p", item_ids, ones, ones, ("",) * places, "fine")


def record(limit: Limit, decision: Decision) -> None:
    """Let the limit count what a decision shows."""
    for item_id in decision.item_ids:
        limit.add(decision.request.user_id, item_id, decision.request.time)


def first_of(cap: FrequencyCap, **changes: Any) -> tuple[str, ...]:
    policy = build_policy(GreedyConfig(), adjustments=[cap])
    return policy.decide(request(**changes), candidates(), np.random.default_rng(0)).item_ids


def test_a_person_sees_an_item_so_often_and_no_more() -> None:
    cap = FrequencyCap(FrequencyCapConfig(limit=2, hours=24))
    assert first_of(cap) == ("a", "b", "c")
    record(cap, shown("a"))
    assert first_of(cap) == ("a", "b", "c")
    record(cap, shown("a"))
    assert first_of(cap) == ("b", "c", "d")
    assert first_of(cap, user_id="bob") == ("a", "b", "c")
    assert first_of(cap, time=NOON + DAY - timedelta(seconds=1)) == ("b", "c", "d")
    assert first_of(cap, time=NOON + DAY) == ("a", "b", "c")


def test_a_cap_on_campaigns_counts_the_places_above() -> None:
    campaign = {"a": "one", "b": "one", "c": "one"}
    cap = FrequencyCap(FrequencyCapConfig(limit=2), of=campaign)
    assert first_of(cap, k=4) == ("a", "b", "d")
    record(cap, shown("c", "d"))
    assert first_of(cap, k=4) == ("a", "d")
    assert cap.count("ann", "one", NOON) == 1
    assert cap.count("ann", "d", NOON) == 0


@pytest.mark.parametrize("hours", [1.0, 5.0])
def test_counts_equal_a_literal_count_in_any_order(hours: float) -> None:
    rng = np.random.default_rng(0)
    cap = FrequencyCap(FrequencyCapConfig(hours=hours))
    times = [NOON + timedelta(minutes=int(m)) for m in rng.integers(0, 600, 40)]
    for time in times:
        record(cap, shown("a", time=time))
    for minutes in range(0, 700, 50):
        now = NOON + timedelta(minutes=minutes)
        literal = sum(now - timedelta(hours=hours) < time for time in times)
        assert cap.count("ann", "a", now) == literal
    moment = NOON + timedelta(hours=8)
    before = [cap.count("ann", "a", moment + timedelta(minutes=m)) for m in range(0, 200, 20)]
    cap.forget(moment)
    assert [
        cap.count("ann", "a", moment + timedelta(minutes=m)) for m in range(0, 200, 20)
    ] == before
    cap.forget(NOON + DAY)
    assert cap.count("ann", "a", NOON) == 0


def pacer(**changes: Any) -> BudgetPacer:
    fields: dict[str, Any] = {
        "budget": {"one": 100.0},
        "start": NOON,
        "end": NOON + DAY,
        "cost": 1.0,
        "gain": 200.0,
    }
    return BudgetPacer(BudgetPacingConfig(**fields | changes), campaign={"a": "one", "b": "one"})


def spend_over_a_day(paced: BudgetPacer, *, requests: int = 1000) -> list[float]:
    """Money spent at each tenth of the day, by a softmax policy that records what it shows."""
    policy = build_policy(SoftmaxConfig(), adjustments=[paced])
    rng = np.random.default_rng(0)
    spent = []
    for number in range(requests):
        asked = request(time=NOON + DAY * number / requests, k=2)
        record(paced, policy.decide(asked, candidates((0.6, 0.5, 0.2, 0.1)), rng))
        if (number + 1) % (requests // 10) == 0:
            spent.append(paced.spent("one", asked.time))
    return spent


def test_a_budget_is_spent_evenly_and_never_overdrawn() -> None:
    spent = spend_over_a_day(pacer())
    even = [10.0 * tenth for tenth in range(1, 11)]
    assert all(abs(found - line) <= 5 for found, line in zip(spent, even, strict=True))
    assert spent[-2] < 95
    assert spent[-1] <= 100
    unpaced = spend_over_a_day(pacer(gain=0.0))
    assert unpaced[0] >= 99
    assert unpaced[-1] == 100


def test_price_by_hand() -> None:
    paced = pacer()
    assert paced.price("one", NOON) == 0
    paced.charge("one", 40.0, NOON)
    assert paced.price("one", NOON + DAY / 4) == pytest.approx(200 * (0.4 - 0.25))
    assert paced.price("one", NOON + DAY / 2) == 0
    assert paced.price("one", NOON - timedelta(seconds=1)) == np.inf
    assert paced.price("one", NOON + DAY) == np.inf


def test_the_end_of_the_budget_holds_within_a_slate() -> None:
    paced = pacer(budget={"one": 1.5}, gain=0.0)
    policy = build_policy(GreedyConfig(), adjustments=[paced])
    decision = policy.decide(request(k=4), candidates(), np.random.default_rng(0))
    assert decision.item_ids == ("a", "c", "d")
    record(paced, decision)
    assert paced.spent("one", NOON) == 1
    decision = policy.decide(request(k=4), candidates(), np.random.default_rng(0))
    assert decision.item_ids == ("c", "d")


def test_budgets_charged_by_the_response() -> None:
    paced = pacer(cost=0.0, gain=0.0)
    policy = build_policy(GreedyConfig(), adjustments=[paced])
    asked, rng = request(k=1), np.random.default_rng(0)
    record(paced, policy.decide(asked, candidates(), rng))
    assert paced.spent("one", NOON) == 0
    paced.charge("one", 99.0, NOON)
    assert policy.decide(asked, candidates(), rng).item_ids == ("a",)
    paced.charge("one", 1.0, NOON)
    assert policy.decide(asked, candidates(), rng).item_ids == ("c",)


def test_outside_its_time_a_campaign_is_not_shown() -> None:
    policy = build_policy(GreedyConfig(), adjustments=[pacer()])
    for time in (NOON - timedelta(seconds=1), NOON + DAY):
        decision = policy.decide(request(time=time), candidates(), np.random.default_rng(0))
        assert decision.item_ids == ("c", "d")


def test_what_is_taken_back_was_never_shown() -> None:
    cap, paced = FrequencyCap(FrequencyCapConfig(limit=1)), pacer()
    for limit in (cap, paced):
        record(limit, shown("a", "c"))
        limit.remove("ann", "a", NOON)
        limit.forget(NOON + 10 * DAY)
        limit.remove("ann", "c", NOON)
    assert first_of(cap) == ("a", "b", "c")
    assert paced.spent("one", NOON) == 0


def test_a_daily_budget_begins_anew_at_midnight() -> None:
    paced = pacer(start=None, end=None, budget={"one": 2.0}, gain=0.0)
    policy = build_policy(GreedyConfig(), adjustments=[paced])

    def items(hours: float) -> tuple[str, ...]:
        asked = request(k=4, time=NOON + timedelta(hours=hours))
        return policy.decide(asked, candidates(), np.random.default_rng(0)).item_ids

    record(paced, shown("a", "b", time=NOON))
    assert items(0) == items(11.9) == ("c", "d")
    assert items(12) == items(-12.1) == ("a", "b", "c", "d")
    assert paced.needs(NOON) == NOON - DAY / 2
    priced = pacer(start=None, end=None, budget={"one": 100.0})
    priced.charge("one", 60.0, NOON)
    assert priced.price("one", NOON) == pytest.approx(200 * 0.1)
    assert priced.price("one", NOON + DAY) == 0
    priced.forget(NOON)
    assert priced.spent("one", NOON) == 60
    priced.forget(NOON + DAY)
    assert priced.spent("one", NOON) == 0


@pytest.mark.parametrize(
    "build",
    [
        lambda: pacer(budget={"one": 0.0}),
        lambda: pacer(budget={"one": float("inf")}),
        lambda: pacer(end=NOON),
        lambda: pacer(end=None),
        lambda: pacer(start=NOON.replace(tzinfo=None)),
    ],
)
def test_settings_out_of_range_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        build()


NAMES = tuple("abcdefgh")


def shelf(seed: int) -> tuple[Candidates, Similarity, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(8, 4)) + 0.5
    similarity = VectorSimilarity(NAMES, vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return candidates(-np.sort(rng.normal(size=8)), probability=False), similarity, unit @ unit.T


def greedy_slate(
    offered: Candidates, similarity: Similarity, method: Literal["mmr", "dpp"], weight: float
) -> tuple[str, ...]:
    variety = Diversity(DiversityConfig(method, weight), similarity)
    policy = build_policy(GreedyConfig(), adjustments=[variety])
    return policy.decide(request(k=5), offered, np.random.default_rng(0)).item_ids


def literal_mmr(score: np.ndarray, alike: np.ndarray, weight: float) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < 5:
        left = [row for row in range(len(score)) if row not in chosen]
        value = {
            row: score[row] - weight * max((alike[row, above] for above in chosen), default=0)
            for row in left
        }
        chosen.append(max(left, key=value.__getitem__))
    return chosen


def literal_dpp(score: np.ndarray, alike: np.ndarray, weight: float) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < 5:
        left = [row for row in range(len(score)) if row not in chosen]

        def value(row: int) -> float:
            rows = [*chosen, row]
            return float(
                score[rows].sum()
                + weight / 2 * np.log(np.linalg.det(alike[np.ix_(rows, rows)]) + 1e-300)
            )

        chosen.append(max(left, key=value))
        if len(chosen) == 4:  # four vectors span the space; determinants are 0 from here on
            break
    return chosen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weight", [0.2, 1.0, 5.0])
def test_greedy_equals_the_algorithms_written_out(seed: int, weight: float) -> None:
    offered, similarity, alike = shelf(seed)
    found = greedy_slate(offered, similarity, "mmr", weight)
    assert found == tuple(NAMES[row] for row in literal_mmr(offered.score, alike, weight))
    found = greedy_slate(offered, similarity, "dpp", weight)
    assert found[:4] == tuple(NAMES[row] for row in literal_dpp(offered.score, alike, weight))


def test_diversity_begins_anew_with_each_slate() -> None:
    offered, similarity, _ = shelf(1)
    variety = Diversity(DiversityConfig("dpp", 2.0), similarity, name="variety")
    policy = build_policy(GreedyConfig(), adjustments=[variety])
    slates = {policy.decide(request(), offered, np.random.default_rng(0)).item_ids for _ in "12"}
    assert len(slates) == 1
    decision = policy.decide(request(), offered, np.random.default_rng(0))
    assert decision.reasons[0] == "best of those left"
    assert decision.reasons[1].endswith("moved by variety")
    other = build_policy(GreedyConfig(), adjustments=[replace(variety, similarity=similarity)])
    assert other.decide(request(), offered, np.random.default_rng(0)).item_ids in slates


def test_categories() -> None:
    kinds = CategorySimilarity({"a": "x", "b": "x", "c": "y"})
    assert kinds.matrix(["a", "b", "c", "z", "w"]).tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_cosines() -> None:
    vectors = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 0.0]], np.float32)
    cosine = VectorSimilarity(["a", "b", "zero"], vectors)
    half = np.sqrt(0.5)
    expected = [[1, half, 0, 0], [half, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert cosine.matrix(["a", "b", "zero", "unknown"]) == pytest.approx(np.array(expected))
    assert np.linalg.eigvalsh(cosine.matrix(["b", "a", "unknown"])).min() > -1e-12


def test_errors() -> None:
    with pytest.raises(DataError, match=r"expected 2 vectors and found shape \(3, 2\)"):
        VectorSimilarity(["a", "b"], np.ones((3, 2)))
    with pytest.raises(ValueInvalidError, match="row 1, column vectors"):
        VectorSimilarity(["a", "b"], np.array([[1.0, 2.0], [np.nan, 1.0]]))


def test_a_category_fills_so_many_places_and_no_more() -> None:
    category = {"a": "x", "b": "x", "d": "x"}
    for most, slate in ((1, ("a", "c")), (2, ("a", "b", "c")), (3, ("a", "b", "c", "d"))):
        policy = build_policy(GreedyConfig(), adjustments=[CategoryLimit(most, category)])
        decision = policy.decide(request(k=4), candidates(), np.random.default_rng(0))
        assert decision.item_ids == slate
        assert decision.propensity.tolist() == [1.0] * len(slate)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


def records_shown(*item_ids: str, request_id: str = "r1", **changes: Any) -> Decision:
    places, ones = len(item_ids), np.ones(len(item_ids))
    asked = request(k=places, request_id=request_id, **changes)
    return Decision(asked, "p", item_ids, ones, ones, ("",) * places, "fine")


def reserve(records: PolicyRecords, decision: Decision) -> None:
    records.reserve(decision.request, decision.item_ids)


def cap() -> FrequencyCap:
    return FrequencyCap(FrequencyCapConfig(limit=3))


def seen(limit: FrequencyCap, item_id: str = "a") -> int:
    return limit.count("ann", item_id, NOON)


def test_a_decision_counts_at_once_and_only_once_when_it_is_stored(clock: FixedClock) -> None:
    limit = cap()
    records = PolicyRecords([limit], clock=clock)
    decision = records_shown("a", "b")
    reserve(records, decision)
    assert (seen(limit), seen(limit, "b")) == (1, 1)
    records.observe(decision.impressions())
    assert (seen(limit), seen(limit, "b")) == (1, 1)
    records.observe([{**decision.impressions()[0], "event_id": "elsewhere", "request_id": "r9"}])
    assert seen(limit) == 2
    records.settle("r1")
    assert seen(limit) == 2


def test_what_other_clocks_date_ahead_counts_now(clock: FixedClock) -> None:
    limit = cap()
    event = records_shown("a").impressions()[0]
    PolicyRecords([limit], clock=clock).observe([{**event, "time": NOON + timedelta(days=400)}])
    assert seen(limit) == 1
    assert limit.count("ann", "a", NOON + timedelta(days=2)) == 0


def test_a_decision_that_is_not_stored_is_taken_back(clock: FixedClock) -> None:
    limit = cap()
    records = PolicyRecords([limit], clock=clock)
    reserve(records, records_shown("a"))
    reserve(records, records_shown("a"))
    assert seen(limit) == 1, "of decisions about one request one is stored"
    reserve(records, records_shown("a", request_id="r2"))
    records.settle("r1")
    assert seen(limit) == 1
    records.settle("unheard of")
    records.settle("r2")
    assert seen(limit) == 0


def test_what_was_stored_takes_the_place_of_what_was_reserved(clock: FixedClock) -> None:
    limit = cap()
    records = PolicyRecords([limit], clock=clock)
    reserve(records, records_shown("a"))
    records.observe(records_shown("b").impressions())
    assert (seen(limit), seen(limit, "b")) == (0, 1)


def test_evidence_counts_what_is_stored_alone(clock: FixedClock) -> None:
    counts = ItemCounts()
    records = PolicyRecords([], counts, clock=clock)
    decision = records_shown("a")
    reserve(records, decision)
    assert counts.counts(["a"])[0].tolist() == [0]
    (impression,) = decision.impressions()
    records.observe([impression, {**impression, "kind": "click", "policy_id": None}])
    assert [each.tolist() for each in counts.counts(["a"])] == [[1], [1]]


def test_it_says_which_events_it_needs(clock: FixedClock) -> None:
    day = FrequencyCap(FrequencyCapConfig(hours=3))
    budget = BudgetPacer(BudgetPacingConfig({"one": 1.0}), campaign={"a": "one"})
    assert PolicyRecords(clock=clock).kinds == frozenset()
    assert PolicyRecords([day], clock=clock).kinds == {"impression"}
    assert PolicyRecords([day], clock=clock).since == NOON - timedelta(hours=3)
    assert PolicyRecords([day, budget], clock=clock).since == NOON - timedelta(hours=12)
    late = ItemCounts(response="purchase", since=NOON - timedelta(days=9))
    assert PolicyRecords([day], late, clock=clock).since == NOON - timedelta(days=9)
    assert PolicyRecords([day], late, clock=clock).kinds == {"impression", "purchase"}
    assert PolicyRecords([day], ItemCounts(), clock=clock).since is None


def test_old_impressions_are_forgotten(clock: FixedClock) -> None:
    limit = cap()
    records = PolicyRecords([limit], clock=clock)
    records.observe(records_shown("a").impressions())
    clock.advance(3 * 86_400)
    assert seen(limit) == 1
    records.observe(records_shown("b", request_id="r2").impressions())
    assert seen(limit) == 0
