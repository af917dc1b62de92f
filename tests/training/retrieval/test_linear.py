"""The linear model of a log: its search, and that it learns what is taken together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.data.sequences.next_log import NextLog
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.linear import count_linear, linear_neighbours, regression
from adwright.training.retrieval import item_item as linear
from adwright.training.retrieval.item_item import fit_linear, listed_ranks, refit_linear
from tests.support.delivery.funnel_parts import log

CONFIG = ItemItemConfig(recency=0.7)


def ndcg_of(known: NextLog, config: ItemItemConfig, *, repeats: bool) -> float:
    """NDCG@10 on the validation questions, every step by hand."""
    place, offsets = known.training
    counts = count_linear(
        known.item[place],
        known.moment[place],
        offsets,
        known.items,
        config.neighbours,
        memory=CONFIG.recency,
    )
    weights = regression(counts, config.neighbours.shrink)
    table = linear_neighbours(
        counts, weights, config.neighbours.neighbours, target=config.neighbours.target
    )
    model = linear.ItemItem(config, table, counts.count)
    codes, _ = model.best(known.pasts(known.valid), known.items, unseen=not repeats)
    ranks = listed_ranks(codes, known.valid)
    gains = np.where(ranks.ranks <= 10, 1 / np.log2(1 + ranks.ranks), 0)
    number = np.diff(ranks.offsets)
    best = [(1 / np.log2(np.arange(2, 2 + min(n, 10)))).sum() if n else 1.0 for n in number]
    owner = np.repeat(np.arange(len(number)), number)
    return float((np.bincount(owner, gains, len(number)) / best)[number > 0].mean())


@pytest.mark.parametrize("repeats", [True, False])
def test_the_best_settings_on_validation_are_kept(repeats: bool) -> None:
    found = fit_linear(log(), CONFIG, repeats=repeats)
    config = found.model.config
    assert found.ndcg == pytest.approx(ndcg_of(log(), config, repeats=repeats))
    for shrink in linear.SHRINKS:
        other = replace(config, neighbours=replace(config.neighbours, shrink=shrink))
        assert ndcg_of(log(), other, repeats=repeats) <= found.ndcg + 1e-9
    assert config.neighbours.window == CONFIG.neighbours.window
    assert found.trials >= len(linear.SHRINKS) + len(linear.TARGETS) - 1 + len(linear.RECENCIES)
    assert f"shrink {config.neighbours.shrink:g}" in found.text()
    assert repeats or config.own == 0


def test_a_search_ends_when_it_is_enough_and_says_so() -> None:
    found = fit_linear(log(), CONFIG, repeats=True, enough=lambda: True)
    assert found.trials == 1
    assert found.model.config.neighbours.shrink == linear.SHRINKS[0]
    assert f"its share of the time; {found.planned} were planned" in found.text()
    assert "planned" not in fit_linear(log(), CONFIG, repeats=True).text()


def test_the_settings_found_are_fitted_to_all_events() -> None:
    known = log()
    found = fit_linear(known, CONFIG, repeats=True).model
    again = refit_linear(known, found.config, memory=CONFIG.recency)
    assert again.count.sum() == len(known.item) > found.count.sum()
    alone = refit_linear(known.whole, found.config, memory=CONFIG.recency)
    assert np.array_equal(alone.neighbours.score, again.neighbours.score)
    assert not np.array_equal(found.neighbours.score, again.neighbours.score)


def test_without_questions_the_first_settings_stand() -> None:
    none = np.zeros(0, np.int64)
    known = replace(log(), valid=log().valid.some(none))
    found = fit_linear(known, CONFIG, repeats=False)
    assert found.model.config.neighbours.shrink == linear.SHRINKS[0]
    assert found.ndcg == 0


def test_the_same_seed_gives_the_same_table() -> None:
    one, two = (fit_linear(log(), CONFIG, repeats=True, seed=3).model for _ in range(2))
    np.testing.assert_array_equal(one.neighbours.codes, two.neighbours.codes)
    np.testing.assert_array_equal(one.neighbours.score, two.neighbours.score)
