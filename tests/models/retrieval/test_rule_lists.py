"""The lists of the rules against sorting the scores of the whole catalogue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.data.sequences.next_log import log_of_sequences, log_of_task
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.neighbours import NeighbourConfig
from adwright.models.retrieval.rules import TITLES, NextRule, rule_lists
from adwright.training.retrieval.rules import fit_rules
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences

#: So few neighbours that popular items have to fill the lists.
FEW = ItemItemConfig(neighbours=NeighbourConfig(neighbours=2, window=1), recency=0.4, own=0.1)
BASKETS = log_of_task(small_task(people=20))
WALKS = log_of_sequences(small_sequences(), {"third": np.arange(16) % 4})
LOGS = [BASKETS, WALKS]


@pytest.mark.parametrize("rule", list(TITLES))
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("log", LOGS, ids=["baskets", "walks"])
def test_the_first_are_those_of_the_scores(
    rule: NextRule, unseen: bool, k: int, log: object
) -> None:
    source = BASKETS if log is BASKETS else WALKS
    rules = fit_rules(source, repeats=True, item_item=FEW)
    pasts = source.pasts(source.test)
    # And a user of whom nothing is known.
    pasts = replace(pasts, offsets=np.append(pasts.offsets, pasts.offsets[-1]))
    scores = rules.scores(rule, pasts)
    scores[:, 0] = -np.inf
    if unseen:
        scores[pasts.owner, pasts.item] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")
    ordered = np.where(np.isfinite(np.take_along_axis(scores, order, 1)), order, 0)
    wide = np.zeros((len(pasts), max(k, ordered.shape[1])), np.int64)
    wide[:, : ordered.shape[1]] = ordered
    found = rule_lists(rules, rule, pasts, k, unseen=unseen)
    assert np.array_equal(found, wide[:, :k])


def test_a_rule_that_the_log_does_not_allow_is_refused() -> None:
    rules = fit_rules(replace(WALKS, categories={}), repeats=True, item_item=FEW)
    with pytest.raises(ValueInvalidError, match="does not allow"):
        rule_lists(rules, "category", WALKS.pasts(WALKS.test), 3)
