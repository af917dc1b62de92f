"""The rules of a log, and their ranks against sorting the whole catalogue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.data.sequences.next_log import NextLog, log_of_sequences, log_of_task
from adwright.metrics.ranking import ndcg
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.rules import TITLES, NextRule
from adwright.training.retrieval import rules as module
from adwright.training.retrieval.rules import (
    HALF_LIVES,
    decayed_counts,
    fit_rules,
    new_targets,
    refit_rules,
    rule_ranks,
    rules_ranks,
)
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences

TASK = small_task(people=20)
BASKETS = log_of_task(TASK)
WALKS = log_of_sequences(small_sequences())
PLAIN = ItemItemConfig()


@pytest.mark.parametrize("rule", list(TITLES))
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("depth", [4, 50])
def test_ranks_are_places_in_the_whole_order(rule: NextRule, unseen: bool, depth: int) -> None:
    rules = fit_rules(BASKETS, repeats=True, item_item=PLAIN)
    asked = BASKETS.test
    pasts = BASKETS.pasts(asked)
    scores = rules.scores(rule, pasts)
    expected = []
    for n in range(len(asked)):
        past = set(pasts.item[pasts.offsets[n] : pasts.offsets[n + 1]].tolist())
        order = [c for c in np.argsort(-scores[n]).tolist() if c and not (unseen and c in past)]
        targets = asked.targets[asked.offsets[n] : asked.offsets[n + 1]].tolist()
        places = [order.index(t) + 1 for t in targets if t in order]
        expected.append(sorted(min(p, depth + 1) for p in places))
    found = rule_ranks(rules, rule, BASKETS, asked, unseen=unseen, depth=depth)
    assert found.ranks.tolist() == [p for places in expected for p in places]
    assert np.diff(found.offsets).tolist() == [len(places) for places in expected]


def test_parts_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = fit_rules(BASKETS, repeats=True, item_item=PLAIN)
    whole = rules_ranks(rules, BASKETS, BASKETS.test, unseen=False)
    assert list(whole) == list(TITLES.values())
    monkeypatch.setattr(module, "TOGETHER", 3)
    for name, ranks in rules_ranks(rules, BASKETS, BASKETS.test, unseen=False).items():
        assert np.array_equal(ranks.ranks, whole[name].ranks)


@pytest.mark.parametrize("log", [BASKETS, WALKS], ids=["baskets", "walks"])
def test_new_targets_are_those_that_nobody_had(log: NextLog) -> None:
    found = new_targets(log, log.test)
    pasts = log.pasts(log.test)
    for n in range(len(log.test)):
        past = pasts.item[pasts.offsets[n] : pasts.offsets[n + 1]].tolist()
        a, b = log.test.offsets[n : n + 2]
        c, d = found.offsets[n : n + 2]
        assert found.targets[c:d].tolist() == [t for t in log.test.targets[a:b] if t not in past]


@pytest.mark.parametrize("log", [BASKETS, WALKS], ids=["baskets", "walks"])
def test_what_is_fitted_again_knows_all_events(log: NextLog) -> None:
    rules = fit_rules(log, repeats=True, item_item=PLAIN)
    again, alone = refit_rules(rules, log), fit_rules(log.whole, repeats=True, item_item=PLAIN)
    assert np.array_equal(again.places, alone.places)
    assert np.array_equal(again.item_item.neighbours.score, alone.item_item.neighbours.score)
    assert again.item_item.count.sum() == len(log.item) > rules.item_item.count.sum()
    assert again.half_life == rules.half_life
    assert (again.lately is None) == (rules.lately is None)
    if again.lately is not None and rules.lately is not None and log.time is not None:
        assert rules.half_life in HALF_LIVES
        days = float(rules.half_life or 0)
        assert np.array_equal(again.lately, decayed_counts(log.item, log.time, log.items, days))
        assert not np.array_equal(again.lately, rules.lately)


def test_settings_are_searched_or_given() -> None:
    searched = fit_rules(BASKETS, repeats=True)
    assert fit_rules(BASKETS, repeats=True, item_item=PLAIN).item_item.config == PLAIN
    assert searched.item_item.config != PLAIN
    assert not fit_rules(BASKETS, repeats=False, item_item=PLAIN).repeats


def test_the_category_is_the_one_that_validates_best() -> None:
    rules = fit_rules(BASKETS, repeats=True, item_item=PLAIN)
    goals = {
        name: ndcg(
            rule_ranks(
                replace(rules, category=codes), "category", BASKETS, BASKETS.valid, unseen=False
            ),
            10,
        )
        for name, codes in BASKETS.categories.items()
    }
    best = max(goals, key=lambda name: goals[name])
    assert np.array_equal(rules.category, BASKETS.categories[best])
    assert len({*goals.values()}) > 1
    assert fit_rules(WALKS, repeats=True, item_item=PLAIN).category is None


def test_lately_decays_by_the_half_life_that_validates_best() -> None:
    rules = fit_rules(BASKETS, repeats=True, item_item=PLAIN)
    place, _ = BASKETS.training
    assert BASKETS.time is not None
    days = (BASKETS.time[place].max() - BASKETS.time[place]) / 86_400
    choices = [
        np.bincount(BASKETS.item[place], 0.5 ** (days / half), minlength=13)
        for half in module.HALF_LIVES
    ]
    assert any(np.allclose(rules.lately, choice) for choice in choices)
    untimed = replace(BASKETS, time=None)
    assert fit_rules(untimed, repeats=True, item_item=PLAIN).lately is None
