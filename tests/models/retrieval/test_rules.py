"""The simple rules against counting by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.data.sequences.datasets import log_of_sequences, log_of_task
from adwright.data.sequences.pasts import Pasts
from adwright.models.retrieval.item_item import (
    ItemItem,
    ItemItemConfig,
    NeighbourConfig,
    Neighbours,
)
from adwright.models.retrieval.rules import LATEST, TITLES, NextRule, NextRules, rule_lists
from adwright.training.retrieval.rules import fit_rules
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences

COUNT = np.array([0, 4, 4, 1, 9, 0, 2])
LATELY = np.array([0, 0.5, 3.0, 0.2, 1.0, 0.0, 2.5])
CATEGORY = np.array([0, 1, 1, 2, 2, 2, 0])
TABLE = Neighbours(
    np.array([[0, 0], [2, 3], [1, 0], [1, 6], [0, 0], [0, 0], [5, 0]], np.int32),
    np.array([[0, 0], [0.5, 0.25], [0.5, 0], [0.25, 0.1], [0, 0], [0, 0], [1, 0]], np.float32),
)
RULES = NextRules(
    ItemItem(ItemItemConfig(recency=0.5), TABLE, COUNT), lately=LATELY, category=CATEGORY
)
# Three users: one of four moments, one of one event, one of none.
PASTS = Pasts(np.array([3, 1, 3, 6, 2, 4]), np.array([6, 1, 1, 0, 0, 0]), np.array([0, 5, 6, 6]))


def pasts_of(person: int) -> list[tuple[int, int]]:
    a, b = PASTS.offsets[person : person + 2]
    return list(zip(PASTS.item[a:b].tolist(), PASTS.back[a:b].tolist(), strict=True))


def told(rule: NextRule, past: list[tuple[int, int]]) -> dict[int, float]:
    """What a rule says of an item; nothing where it says nothing."""
    match rule:
        case "popularity":
            return {}
        case "lately":
            return dict(enumerate(LATELY.tolist()))
        case "frequency":
            return dict(Counter(item for item, _ in past))
        case "again":
            return {item: 1 / (1 + min(b for i, b in past if i == item)) for item, _ in past}
        case "category":
            latest = [CATEGORY[i] for i, back in past if back < LATEST and CATEGORY[i]]
            whole = Counter({c: COUNT[c == CATEGORY].sum() for c in (1, 2)})
            share = Counter(latest)
            return {
                j: share[c] / len(latest) * COUNT[j] / whole[c]
                for j, c in enumerate(CATEGORY)
                if share[c] and COUNT[j]
            }
        case "item-item":
            score: Counter[int] = Counter()
            for item, back in past:
                for code, s in zip(TABLE.codes[item], TABLE.score[item], strict=True):
                    if code:
                        score[int(code)] += 0.5**back * float(s)
            return dict(score)


@pytest.mark.parametrize("rule", RULES.known)
def test_the_order_is_that_of_the_rule_then_of_popularity(rule: NextRule) -> None:
    scores = RULES.scores(rule, PASTS)
    assert (scores.shape, scores.dtype) == ((3, 7), np.float64)
    for person in range(3):
        said = told(rule, pasts_of(person))
        # Of two items of one count the later code is taken for the more popular.
        order = sorted(
            range(1, 7), key=lambda j: (round(said.get(j, 0), 6), COUNT[j], j), reverse=True
        )
        found = 1 + np.argsort(-scores[person, 1:], kind="stable")
        assert found.tolist() == order
        assert len({*scores[person, 1:].tolist()}) == 6


def test_a_rule_that_the_log_does_not_allow_is_not_known() -> None:
    assert RULES.known == tuple(TITLES)
    bare = replace(RULES, lately=None, category=None, repeats=False)
    # Of what may not come again, how often one had it orders nothing: popularity would stand twice.
    assert bare.known == ("popularity", "item-item")
    for rule in ("lately", "category"):
        with pytest.raises(ValueInvalidError, match="does not allow the rule"):
            bare.scores(rule, PASTS)  # type: ignore[arg-type]


def test_items_without_a_category_are_not_of_one() -> None:
    alone = Pasts(np.array([6]), np.array([0]), np.array([0, 1]))
    assert np.array_equal(RULES.scores("category", alone) < 0, np.ones((1, 7), bool))


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
