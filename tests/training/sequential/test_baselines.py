"""Popularity and personal frequency against counting by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from adwright.data.sequences.item_sequences import Held
from adwright.training.retrieval.ranks import retrieved_ranks
from adwright.training.sequential.baselines import Rule, rank_by_rule, visit_rule
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences

RULES: list[Rule] = ["popularity", "frequency"]
SEQUENCES = small_sequences()
TASK = small_task()


def best_first(rule: Rule, past: list[int], count: list[int]) -> list[int]:
    """Item codes in the order of the rule, the unknown item left out."""
    often = Counter(past) if rule == "frequency" else Counter()
    # Of two items of one count the later code is taken for the more popular.
    codes = range(1, len(count))
    return sorted(codes, key=lambda c: (often[c], count[c], c), reverse=True)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("unseen", [False, True])
def test_held_events_by_hand(rule: Rule, split: Held, unseen: bool) -> None:
    people = SEQUENCES.people(split)
    target, end = SEQUENCES.held(split)
    pasts = [SEQUENCES.item[SEQUENCES.offsets[u] : end[u]].tolist() for u in people]
    wanted = SEQUENCES.item[target[people]].tolist()
    if unseen:
        new = [w not in past for w, past in zip(wanted, pasts, strict=True)]
        people = people[np.array(new)]
    found = rank_by_rule(rule, SEQUENCES, split, people, unseen=unseen)
    assert not found.tied.any()
    ranks = []
    for past, item in zip(pasts, wanted, strict=True):
        order = best_first(rule, past, SEQUENCES.count.tolist())
        kept = [code for code in order if not (unseen and code in past)]
        if not (unseen and item in past):
            ranks.append(kept.index(item) + 1)
    assert found.ranks.tolist() == ranks
    assert found.offsets.tolist() == list(range(len(people) + 1))


@pytest.mark.parametrize("rule", RULES)
def test_visits_by_hand(rule: Rule) -> None:
    visits = TASK.visits("test")
    found = retrieved_ranks(visit_rule(rule, TASK), TASK, visits, depth=12)
    ranks = []
    for visit in visits:
        first = TASK.user_offsets[TASK.visit_user[visit]]
        past = TASK.item[first : TASK.visit_end[visit]].tolist()
        order = best_first(rule, past, TASK.count.tolist())
        start, end = TASK.target_offsets[visit : visit + 2]
        ranks += [order.index(code) + 1 for code in TASK.targets[start:end].tolist()]
    assert found.rank.tolist() == ranks


def test_the_rules_differ() -> None:
    visits = TASK.visits("test")
    one, other = (
        retrieved_ranks(visit_rule(rule, TASK), TASK, visits, depth=12).rank for rule in RULES
    )
    assert not np.array_equal(one, other)
