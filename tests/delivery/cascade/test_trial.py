"""What is served and what it is held against, compared with slow counts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig, Meter
from adwright.delivery.cascade.trial import (
    Served,
    exhaustive_best,
    frequency_best,
    judge_orders,
    judge_stages,
    popular_best,
    ranks_in,
    serve_visits,
    stage_lists,
)
from adwright.delivery.decision import Candidates, Decision, Request
from adwright.delivery.policy.rules import GreedyConfig, SoftmaxConfig
from adwright.delivery.policy.slate_policy import build_policy
from adwright.delivery.stages.histories import visit_requests
from adwright.metrics.bootstrap import bootstrap_difference, bootstrap_ratio
from tests.support.delivery.cascade_parts import deployment, task

TASK = task()
VISITS = TASK.visits("test")
SIZES = CascadeConfig(retrieve=4, past=3, coarse=5)


def cascade() -> Cascade:
    return replace(deployment(), config=SIZES).cascade()


def served(*, temperature: float = 1.0, k: int = 3, seed: int = 0) -> Served:
    policy = build_policy(SoftmaxConfig(temperature=temperature))
    return serve_visits(cascade(), policy, TASK, VISITS, k=k, seed=seed)


def test_each_visit_is_answered_and_decided() -> None:
    found = served()
    requests = visit_requests(TASK, VISITS, k=3)
    assert [decision.request for decision in found.decisions] == requests
    alone = cascade()
    rng = np.random.default_rng(0)
    policy = build_policy(SoftmaxConfig(temperature=1.0))
    for request, candidates, decision in zip(
        requests, found.candidates, found.decisions, strict=True
    ):
        assert alone.recommend(request).item_ids == candidates.item_ids
        again = policy.decide(request, candidates, rng)
        assert again.item_ids == decision.item_ids
        assert (again.propensity == decision.propensity).all()
    assert [cost.stage for cost in found.costs] == ["retrieve", "coarse", "fine", "policy"]
    assert all(cost.requests == len(VISITS) for cost in found.costs)
    assert (found.milliseconds > 0).all()


def test_arguments_of_serving_matter() -> None:
    def slates(**more: float) -> list[tuple[str, ...]]:
        return [decision.item_ids for decision in served(**more).decisions]  # type: ignore[arg-type]

    assert slates() == slates()
    assert slates() != slates(seed=1)
    assert {len(slate) for slate in slates(k=2)} == {2}


def test_the_clock_measures_a_decision() -> None:
    clock = FixedClock()

    class Slow:
        policy_id = "slow"

        def decide(
            self, request: Request, candidates: Candidates, rng: np.random.Generator
        ) -> Decision:
            clock.advance(0.25)
            return build_policy(GreedyConfig()).decide(request, candidates, rng)

    found = serve_visits(cascade(), Slow(), TASK, VISITS[:2], clock=clock)
    assert found.milliseconds.tolist() == [250.0, 250.0]


def test_lists_of_the_stages() -> None:
    found = served()
    lists = stage_lists(cascade(), TASK, found, k=2)
    assert list(lists) == ["retrieve", "coarse", "fine", "policy"]
    for n, visit in enumerate(VISITS.tolist()):
        batch = cascade().histories.batch(visit_requests(TASK, np.array([visit])))
        assert lists["retrieve"][n].tolist() == cascade().retrieve(batch).codes.tolist()
        ids = [TASK.items.ids[code - 1] for code in lists["coarse"][n].tolist()]
        assert ids == list(found.candidates[n].item_ids)
        assert lists["fine"][n].tolist() == lists["coarse"][n][:2].tolist()
        shown = [TASK.items.ids[code - 1] for code in lists["policy"][n].tolist()]
        assert shown == list(found.decisions[n].item_ids)
        assert set(lists["coarse"][n].tolist()) <= set(lists["retrieve"][n].tolist())


def test_the_whole_catalogue_is_ranked() -> None:
    everything = replace(deployment(), config=CascadeConfig(retrieve=12, coarse=12)).cascade()
    meter = Meter()
    best = exhaustive_best(cascade(), TASK, VISITS, k=4, block=5, meter=meter)
    for request, codes in zip(visit_requests(TASK, VISITS), best, strict=True):
        ids = [TASK.items.ids[code - 1] for code in codes.tolist()]
        assert ids == list(everything.recommend(request).item_ids[:4])
    (line,) = meter.report()
    assert (line.stage, line.requests, line.items) == ("exhaustive", len(VISITS), 12)
    same = exhaustive_best(cascade(), TASK, VISITS, k=4)
    assert [codes.tolist() for codes in same] == [codes.tolist() for codes in best]
    with pytest.raises(ConfigError, match="only a fine stage"):
        exhaustive_best(replace(deployment(), fine=None).cascade(), TASK, VISITS)


def test_personal_frequency_counts() -> None:
    found = frequency_best(cascade(), TASK, VISITS, k=5)
    for visit, codes in zip(VISITS.tolist(), found, strict=True):
        user = TASK.visit_user[visit]
        past = TASK.item[TASK.user_offsets[user] : TASK.visit_end[visit]].tolist()
        expected = sorted(
            range(1, len(TASK.items)), key=lambda c: (-past.count(c), -TASK.count[c], c)
        )
        assert codes.tolist() == expected[:5]


def test_popularity_counts_training_events() -> None:
    expected = sorted(range(1, len(TASK.items)), key=lambda c: (-TASK.count[c], c))
    assert popular_best(TASK, k=4).tolist() == expected[:4]


def codes(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


BOUGHT = [codes(1, 2), codes(3), codes(4, 5, 6), codes(7)]
PERSON = codes(0, 0, 1, 4)
WIDE = [codes(2, 1, 9), codes(8, 9), codes(6, 5), codes(7)]
NARROW = [codes(9, 1), codes(3), codes(8), codes(9)]
OWN = [codes(9, 2), codes(6, 3)]
SAMPLE = codes(0, 2)


def test_ranks_count_from_one_and_end_in_infinity() -> None:
    ranks = ranks_in(WIDE, BOUGHT)
    assert ranks.ranks.tolist() == [1, 2, math.inf, 1, 2, math.inf, 1]
    assert ranks.offsets.tolist() == [0, 2, 3, 6, 7]


def test_a_stage_keeps_shares() -> None:
    wide, narrow = judge_stages(
        {"wide": WIDE, "narrow": NARROW}, BOUGHT, PERSON, own=OWN, sample=SAMPLE, draws=50
    )
    assert (wide.stage, wide.items) == ("wide", 2.0)
    assert (narrow.stage, narrow.items) == ("narrow", 1.25)
    assert wide.bought.value == pytest.approx((1 + 0 + 2 / 3 + 1) / 4)
    assert narrow.bought.value == pytest.approx((1 / 2 + 1 + 0 + 0) / 4)
    assert wide.own.value == pytest.approx((1 + 1 / 2) / 2)
    assert narrow.own.value == pytest.approx((1 / 2 + 0) / 2)


def test_intervals_are_over_people() -> None:
    (found,) = judge_stages(
        {"wide": WIDE}, BOUGHT, PERSON, own=OWN, sample=SAMPLE, draws=50, seed=3
    )
    by_person = [1 + 0, 2 / 3, 1]
    expected = bootstrap_ratio(by_person, [2, 1, 1], np.random.default_rng(3), 50)
    assert found.bought == expected
    sampled = bootstrap_ratio([1, 1 / 2], [1, 1], np.random.default_rng(3), 50)
    assert found.own == sampled


def test_draws_and_seed_decide_the_interval() -> None:
    def low(**more: int) -> float:
        arguments = {"draws": 40, "seed": 0} | more
        (found,) = judge_orders({"a": WIDE}, BOUGHT, PERSON, **arguments)
        return found.ndcg.low

    assert low() == low()
    assert len({low(seed=seed) for seed in range(8)} | {low(draws=3)}) > 1


def gain(*places: int) -> float:
    return sum(1 / math.log2(place + 1) for place in places)


def test_orders_are_compared_with_the_first() -> None:
    wide, narrow = judge_orders(
        {"wide": WIDE, "narrow": NARROW}, BOUGHT, PERSON, k=2, draws=50, seed=1
    )
    mine = [1.0, 0.0, gain(1, 2) / gain(1, 2), 1.0]
    theirs = [gain(2) / gain(1, 2), 1.0, 0.0, 0.0]
    assert wide.ahead is None
    assert wide.ndcg.value == pytest.approx(np.mean(mine))
    assert narrow.ndcg.value == pytest.approx(np.mean(theirs))
    assert wide.recall.value == pytest.approx((1 + 0 + 2 / 3 + 1) / 4)
    expected = bootstrap_difference(
        [mine[0] + mine[1], mine[2], mine[3]],
        [theirs[0] + theirs[1], theirs[2], theirs[3]],
        [2, 1, 1],
        np.random.default_rng(1),
        50,
    )
    assert narrow.ahead is not None
    assert narrow.ahead.value == pytest.approx(expected.value)
    assert narrow.ahead.low == pytest.approx(expected.low)
    (short,) = judge_orders({"wide": WIDE}, BOUGHT, PERSON, k=1, draws=5)
    assert short.recall.value == pytest.approx((1 / 2 + 0 + 1 / 3 + 1) / 4)


def test_nothing_cannot_be_judged() -> None:
    with pytest.raises(ConfigError, match="no order"):
        judge_orders({}, BOUGHT, PERSON)


def test_a_wider_stage_keeps_at_least_as_much() -> None:
    """Shares never fall where a list only grows, whatever is bought."""
    rng = np.random.default_rng(4)
    bought = [np.unique(rng.integers(1, 30, 4)) for _ in range(40)]
    user, sample = np.sort(rng.integers(0, 9, 40)), np.arange(0, 40, 3)
    lists = [rng.permutation(np.arange(1, 30))[:12] for _ in range(40)]
    stages = {f"{n}": [one[:n] for one in lists] for n in (2, 5, 12)}
    found = judge_stages(
        stages, bought, user, own=[lists[n] for n in sample], sample=sample, draws=20
    )
    assert [one.items for one in found] == [2.0, 5.0, 12.0]
    assert sorted(one.bought.value for one in found) == [one.bought.value for one in found]
    assert found[-1].own.value == 1.0


def test_an_order_is_not_ahead_of_itself() -> None:
    first, again = judge_orders({"a": WIDE, "b": WIDE}, BOUGHT, PERSON, k=2, draws=30)
    assert again.ahead is not None
    assert (again.ahead.low, again.ahead.value, again.ahead.high) == (0.0, 0.0, 0.0)
    assert first.ndcg == again.ndcg
    assert first.recall == again.recall
