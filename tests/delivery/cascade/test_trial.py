"""What is served and what it is held against, compared with slow counts."""

from __future__ import annotations

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
    popular_best,
    serve_visits,
    stage_lists,
)
from adwright.delivery.decision import Candidates, Decision, Request
from adwright.delivery.policy.rules import GreedyConfig, SoftmaxConfig
from adwright.delivery.policy.slate_policy import build_policy
from adwright.delivery.stages.histories import visit_requests
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
