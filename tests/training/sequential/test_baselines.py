"""The rules beside a sequence model: which they are, and on which questions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.data.sequences.datasets import sequences_of_task
from adwright.models.retrieval.rules import TITLES
from adwright.training.retrieval.rules import fit_rules, rules_ranks
from adwright.training.sequential.run import baseline_ranks, next_log
from adwright.training.sequential.runfile import SequenceData
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences

TASK = small_task()
VISITS = SequenceData(sequences_of_task(TASK, split="task"), TASK, True)
WALKS = SequenceData(small_sequences(), None, True)


def test_a_task_asks_all_visits_of_its_test() -> None:
    visits = TASK.visits("test")
    found = baseline_ranks(VISITS, TASK.visit_user[visits], depth=10)
    assert list(found) == list(TITLES.values())
    log = next_log(VISITS)
    expected = rules_ranks(fit_rules(log, repeats=True), log, log.test, unseen=False, depth=10)
    for name, ranks in found.items():
        assert np.array_equal(ranks.ranks, expected[name].ranks)
        assert ranks.users == len(visits)


@pytest.mark.parametrize("repeats", [False, True])
def test_sequences_ask_those_whom_the_model_was_asked_for(repeats: bool) -> None:
    data = replace(WALKS, allow_repeats=repeats)
    sequences = data.sequences
    people = sequences.people("test")
    if not repeats:
        had = [
            sequences.item[sequences.offsets[u + 1] - 1]
            in sequences.item[sequences.offsets[u] : sequences.offsets[u + 1] - 1]
            for u in people
        ]
        people = people[~np.array(had)]
    found = baseline_ranks(data, people, depth=15)
    assert ("Last items again" in found) == repeats
    assert "Popularity by category" not in found
    for ranks in found.values():
        # One target each, and none that the user had where it is left out.
        assert ranks.offsets.tolist() == list(range(len(people) + 1))


def test_categories_are_passed_on() -> None:
    parity = np.arange(16) % 2 + 1
    people = WALKS.sequences.people("test")
    found = baseline_ranks(replace(WALKS, categories={"parity": parity}), people, depth=15)
    assert "Popularity by category" in found
