"""Frequency caps against a literal count, and budgets that last and are never overdrawn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.delivery.decision import Decision
from adwright.delivery.policy.pacing import (
    BudgetPacer,
    BudgetPacingConfig,
    FrequencyCap,
    FrequencyCapConfig,
    Limit,
)
from adwright.delivery.policy.rules import GreedyConfig, SoftmaxConfig
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


@pytest.mark.parametrize(
    ("change", "value"),
    [("budget", {"one": 50.0}), ("cost", 2.0), ("gain", 5.0), ("start", NOON - DAY)],
)
def test_every_setting_changes_what_is_spent(change: str, value: object) -> None:
    plain = spend_over_a_day(pacer(), requests=200)
    assert spend_over_a_day(pacer(**{change: value}), requests=200) != plain


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


def test_a_price_moves_the_choice_and_says_so() -> None:
    paced = pacer()
    paced.charge("one", 50.0, NOON)
    policy = build_policy(GreedyConfig(scale="log_odds"), adjustments=[paced])
    decision = policy.decide(request(k=4), candidates(), np.random.default_rng(0))
    assert decision.item_ids == ("c", "d", "a", "b")
    assert decision.reasons[2] == "best of those left, moved by budget pacing"


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
        lambda: FrequencyCapConfig(limit=0),
        lambda: FrequencyCapConfig(hours=0),
        lambda: pacer(budget={"one": 0.0}),
        lambda: pacer(budget={"one": float("inf")}),
        lambda: pacer(end=NOON),
        lambda: pacer(end=None),
        lambda: pacer(start=NOON.replace(tzinfo=None)),
        lambda: pacer(cost=-1.0),
        lambda: pacer(gain=float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        build()


def test_charges_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="without a budget"):
        pacer().charge("two", 1.0, NOON)
    with pytest.raises(ValueInvalidError, match="0 or above"):
        pacer().charge("one", -1.0, NOON)
