"""Fitting and searching the item-item rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ValueInvalidError
from adwright.data.sequences.datasets import NextLog, log_of_sequences, log_of_task
from adwright.metrics.ranking import ndcg, recall
from adwright.models.retrieval.item_item import (
    ItemItemConfig,
    NeighbourConfig,
    count_linear,
    count_neighbours,
    linear_neighbours,
    regression,
)
from adwright.training.retrieval import item_item as linear
from adwright.training.retrieval import item_item as module
from adwright.training.retrieval.item_item import (
    KIND,
    ItemItemArtifact,
    fit_item_item,
    fit_linear,
    listed_ranks,
    refit_linear,
    search_item_item,
)
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.funnel_parts import log

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


def test_without_validation_the_defaults_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(WALKS, valid=WALKS.valid.some(np.zeros(0, np.int64)))
    found = search_item_item(bare, repeats=True)
    assert (found.config, found.trials) == (ItemItemConfig(), ())
    assert "nothing to validate on" in found.text()
    monkeypatch.setattr(module, "STEPS", ())
    assert search_item_item(WALKS, repeats=True).config == ItemItemConfig()


LOG = log_of_sequences(small_sequences())
RULE = ItemItemArtifact(
    fit_item_item(LOG, ItemItemConfig(recency=0.9, own=0.5)),
    LOG.ids,
    repeats=True,
    name="walks",
    data_hash="h",
    seed=4,
    files={"note.txt": b"kept"},
)


def test_a_saved_one_comes_back(tmp_path: Path) -> None:
    identity = RULE.save(tmp_path / "model")
    for source in (tmp_path / "model", load_artifact(tmp_path / "model")):
        found = ItemItemArtifact.load(source)
        assert (found.ids, found.repeats, found.name) == (LOG.ids, True, "walks")
        assert (found.data_hash, found.seed, found.files) == ("h", 4, RULE.files)
        assert found.model.config == RULE.model.config
        pasts = LOG.pasts(LOG.test)
        assert np.array_equal(found.model.scores(pasts), RULE.model.scores(pasts))
    assert RULE.save(tmp_path / "again") != replace(RULE, seed=5).save(tmp_path / "other")
    assert len(identity) == 64


def test_ids_must_be_of_the_catalogue() -> None:
    for ids in (LOG.ids[1:], (LOG.ids[0], *LOG.ids[:-1])):
        with pytest.raises(ValueInvalidError, match="different id of each"):
            replace(RULE, ids=ids)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    RULE.save(tmp_path / "model")
    whole = load_artifact(tmp_path / "model")
    for change in (
        {"codes": whole.tensors["codes"][1:]},
        {"codes": whole.tensors["codes"] + 100},
        {"score": whole.tensors["score"][:, 1:]},
    ):
        folder = tmp_path / f"wrong-{len(list(tmp_path.iterdir()))}"
        save_artifact(
            folder,
            kind=KIND,
            config=whole.config,
            tensors=whole.tensors | change,
            files=whole.files,
        )
        with pytest.raises(ArtifactError, match="item-item rule does not fit"):
            ItemItemArtifact.load(folder)


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
