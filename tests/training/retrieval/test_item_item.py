"""Fitting and searching the item-item rule."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from adwright.data.sequences.next_log import NextLog, log_of_sequences, log_of_task
from adwright.metrics.ranking import ndcg, recall
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.neighbours import NeighbourConfig, count_neighbours
from adwright.training.retrieval import item_item as module
from adwright.training.retrieval.item_item import fit_item_item, listed_ranks, search_item_item
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences

WALKS = log_of_sequences(small_sequences(people=60))
BASKETS = log_of_task(small_task(people=30))


def test_the_table_is_counted_from_training_events() -> None:
    found = fit_item_item(WALKS)
    place, offsets = WALKS.training
    table = count_neighbours(
        WALKS.item[place], WALKS.moment[place], offsets, WALKS.items, NeighbourConfig()
    )
    assert np.array_equal(found.neighbours.codes, table.codes)
    assert np.array_equal(found.count, WALKS.count)
    whole = fit_item_item(WALKS.whole)
    assert whole.count.sum() == len(WALKS.item) > found.count.sum()
    assert not np.array_equal(whole.neighbours.score, found.neighbours.score)


def test_ranks_of_lists_by_hand() -> None:
    asked = BASKETS.test.some(np.array([0, 3]))
    own = [asked.targets[a:b].tolist() for a, b in zip(asked.offsets, asked.offsets[1:])]  # noqa: B905
    codes = np.array([[own[0][0], 99, own[0][-1]], [99, 98, own[1][0]]])
    found = listed_ranks(codes, asked)
    expected = []
    for targets, row in zip(own, codes.tolist(), strict=True):
        expected += sorted(row.index(t) + 1 if t in row else 4 for t in targets)
    assert found.ranks.tolist() == expected
    assert found.offsets.tolist() == asked.offsets.tolist()


@pytest.mark.parametrize("log", [WALKS, BASKETS], ids=["walks", "baskets"])
@pytest.mark.parametrize("repeats", [False, True])
def test_the_best_trial_is_kept(log: NextLog, repeats: bool) -> None:
    found = search_item_item(log, repeats=repeats)
    first, best = found.trials[0], max(found.trials, key=lambda t: t.ndcg)
    assert first.config == ItemItemConfig()
    assert found.config == best.config
    assert best.ndcg > first.ndcg
    assert len({t.config for t in found.trials}) == len(found.trials)
    # Where nothing comes again, own items are no answer and need no weight.
    assert any(t.config.own for t in found.trials) == repeats
    model = fit_item_item(log, found.config)
    pasts = log.pasts(log.valid)
    codes, _ = model.best(pasts, min(50, log.items), unseen=not repeats)
    ranks = listed_ranks(codes, log.valid)
    assert ndcg(ranks, 10) == pytest.approx(best.ndcg)
    assert recall(ranks, 50) == pytest.approx(best.recall)


def test_the_walk_is_found() -> None:
    """People go two items on: the search finds that only what comes after counts."""
    found = search_item_item(WALKS, repeats=True)
    codes, _ = fit_item_item(WALKS, found.config).best(WALKS.pasts(WALKS.test), 1)
    last = WALKS.item[WALKS.test.end - 1]
    assert (codes[:, 0] == (last + 1) % 15 + 1).mean() > 0.8
    assert found.config.recency < 0.8


def test_seed_and_sizes_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "adwright")
    few = search_item_item(WALKS, repeats=True, questions=10, events=100)
    assert (few.questions, few.events) == (10, few.events)
    assert 100 <= few.events < search_item_item(WALKS, repeats=True).events
    assert few.trials == search_item_item(WALKS, repeats=True, questions=10, events=100).trials
    other = search_item_item(WALKS, repeats=True, questions=10, events=100, seed=1)
    assert few.trials != other.trials
    assert caplog.messages[0] == few.text()
    assert "settings the best on 10 validation questions" in few.text()


def test_without_validation_the_defaults_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(WALKS, valid=WALKS.valid.some(np.zeros(0, np.int64)))
    found = search_item_item(bare, repeats=True)
    assert (found.config, found.trials) == (ItemItemConfig(), ())
    assert "nothing to validate on" in found.text()
    monkeypatch.setattr(module, "STEPS", ())
    assert search_item_item(WALKS, repeats=True).config == ItemItemConfig()
