"""Two towers and HCN by their defaults, from a task to a saved model."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    ResourceError,
    ValueInvalidError,
)
from adwright.data.sequences.datasets import NextLog, log_of_sequences, log_of_task
from adwright.metrics.ranking import ndcg, recall
from adwright.metrics.reports.report import RankingComparison
from adwright.models.retrieval.item_item import (
    ItemItemConfig,
    NeighbourConfig,
    count_linear,
    count_neighbours,
    linear_neighbours,
    regression,
)
from adwright.models.retrieval.rules import TITLES, NextRule
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.retrieval import item_item as linear
from adwright.training.retrieval import item_item as module
from adwright.training.retrieval import rules as retrieval_module
from adwright.training.retrieval.fit import RetrievalConfig, RetrieverArtifact
from adwright.training.retrieval.item_item import (
    KIND,
    ItemItemArtifact,
    fit_item_item,
    fit_linear,
    listed_ranks,
    refit_linear,
    search_item_item,
)
from adwright.training.retrieval.rules import (
    HALF_LIVES,
    decayed_counts,
    fit_rules,
    new_targets,
    refit_rules,
    rule_ranks,
)
from adwright.training.retrieval.run import (
    RetrainConfig,
    RetrieverKind,
    RetrieverRun,
    joined_task,
    retrain_two_tower,
    run_retriever,
    settings_of,
)
from tests.support.data.small_next_basket import small_task, with_few_labels
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.funnel_parts import log
from tests.support.store.small_world import ITEMS, START, before, events

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


TASK = small_task(people=20)


@pytest.mark.parametrize(("kind", "title"), [("two-tower", "Two towers"), ("hcn", "HCN")])
def test_a_run_is_trained_measured_and_saved(
    tmp_path: Path, kind: RetrieverKind, title: str
) -> None:
    told: list[str] = []
    asked = RetrieverRun(model=kind, epochs=2, draws=20, out=tmp_path / "run", log="mine.csv")
    result = run_retriever(asked, TASK, repeats=True, tell=told.append)
    assert result.comparison.subject == title
    assert {"Popularity", "Item-item", "Personal frequency"} < set(result.comparison.reports)
    saved = RetrieverArtifact.load(tmp_path / "run" / "model")
    assert (saved.vectors == result.artifact.vectors).all()
    text = (tmp_path / "run" / "report.json").read_text("utf-8")
    assert RankingComparison.from_json(text) == result.comparison
    kept = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert (kept["run"]["log"], kept["fit"]["epochs"]) == ("mine.csv", 2)
    assert tuple(told) == result.why == settings_of(asked, TASK)
    with pytest.raises(ResourceError, match="already holds"):
        run_retriever(asked, TASK, repeats=True)
    again = run_retriever(replace(asked, seed=1), TASK, repeats=True, overwrite=True)
    assert (again.artifact.vectors != saved.vectors).any()


def test_what_users_had_counts_or_not(tmp_path: Path) -> None:
    asked = RetrieverRun(epochs=1, draws=20, out=tmp_path / "a")
    with_, without = (
        run_retriever(replace(asked, out=tmp_path / str(repeats)), TASK, repeats=repeats)
        for repeats in (True, False)
    )
    assert with_.comparison.reports != without.comparison.reports
    assert "Last items again" not in without.comparison.reports


def test_settings_are_searched(tmp_path: Path) -> None:
    asked = RetrieverRun(search=2, epochs=1, draws=20, out=tmp_path / "run")
    result = run_retriever(asked, TASK, repeats=True)
    assert result.search is not None
    assert len(result.why) == len(settings_of(asked, TASK)) + 1


def test_a_second_task_is_asked_for_or_tried(tmp_path: Path) -> None:
    asked = RetrieverRun(second_task=0.5, epochs=1, draws=20, out=tmp_path / "a")
    result = run_retriever(asked, TASK, repeats=True)
    model = result.artifact.model
    assert isinstance(model, TwoTower)
    assert (model.config.views, model.config.alpha) == ("correlated", 0.5)
    assert result.why == settings_of(asked, TASK)
    assert result.why[-1] == "a second task of weight 0.5, as asked"
    # Where labels are few it is tried, and the ids of items without one are chosen.
    few, told = with_few_labels(TASK), []
    asked = RetrieverRun(epochs=1, draws=20, out=tmp_path / "b")
    tried = run_retriever(asked, few, repeats=True, tell=told.append)
    assert tuple(told) == tried.why
    assert tried.why[: len(settings_of(asked, few))] == settings_of(asked, few)
    assert any("searched" in sentence for sentence in told)
    with pytest.raises(ConfigError, match="a weight of two towers"):
        RetrieverRun(model="hcn", second_task=1.0)
    with pytest.raises(ConfigError, match="not negative"):
        RetrieverRun(second_task=-1.0)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"draws": 0}, {"search": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        RetrieverRun(**wrong)  # type: ignore[arg-type]


RUN_BASKETS = log_of_task(TASK)
RUN_WALKS = log_of_sequences(small_sequences())
PLAIN = ItemItemConfig()


@pytest.mark.parametrize("rule", list(TITLES))
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("depth", [4, 50])
def test_ranks_are_places_in_the_whole_order(rule: NextRule, unseen: bool, depth: int) -> None:
    rules = fit_rules(RUN_BASKETS, repeats=True, item_item=PLAIN)
    asked = RUN_BASKETS.test
    pasts = RUN_BASKETS.pasts(asked)
    scores = rules.scores(rule, pasts)
    expected = []
    for n in range(len(asked)):
        past = set(pasts.item[pasts.offsets[n] : pasts.offsets[n + 1]].tolist())
        order = [c for c in np.argsort(-scores[n]).tolist() if c and not (unseen and c in past)]
        targets = asked.targets[asked.offsets[n] : asked.offsets[n + 1]].tolist()
        places = [order.index(t) + 1 for t in targets if t in order]
        expected.append(sorted(min(p, depth + 1) for p in places))
    found = rule_ranks(rules, rule, RUN_BASKETS, asked, unseen=unseen, depth=depth)
    assert found.ranks.tolist() == [p for places in expected for p in places]
    assert np.diff(found.offsets).tolist() == [len(places) for places in expected]


@pytest.mark.parametrize("log", [RUN_BASKETS, RUN_WALKS], ids=["baskets", "walks"])
def test_new_targets_are_those_that_nobody_had(log: NextLog) -> None:
    found = new_targets(log, log.test)
    pasts = log.pasts(log.test)
    for n in range(len(log.test)):
        past = pasts.item[pasts.offsets[n] : pasts.offsets[n + 1]].tolist()
        a, b = log.test.offsets[n : n + 2]
        c, d = found.offsets[n : n + 2]
        assert found.targets[c:d].tolist() == [t for t in log.test.targets[a:b] if t not in past]


@pytest.mark.parametrize("log", [RUN_BASKETS, RUN_WALKS], ids=["baskets", "walks"])
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


def test_the_category_is_the_one_that_validates_best() -> None:
    rules = fit_rules(RUN_BASKETS, repeats=True, item_item=PLAIN)
    goals = {
        name: ndcg(
            rule_ranks(
                replace(rules, category=codes),
                "category",
                RUN_BASKETS,
                RUN_BASKETS.valid,
                unseen=False,
            ),
            10,
        )
        for name, codes in RUN_BASKETS.categories.items()
    }
    best = max(goals, key=lambda name: goals[name])
    assert np.array_equal(rules.category, RUN_BASKETS.categories[best])
    assert len({*goals.values()}) > 1
    assert fit_rules(RUN_WALKS, repeats=True, item_item=PLAIN).category is None


def test_lately_decays_by_the_half_life_that_validates_best() -> None:
    rules = fit_rules(RUN_BASKETS, repeats=True, item_item=PLAIN)
    place, _ = RUN_BASKETS.training
    assert RUN_BASKETS.time is not None
    days = (RUN_BASKETS.time[place].max() - RUN_BASKETS.time[place]) / 86_400
    choices = [
        np.bincount(RUN_BASKETS.item[place], 0.5 ** (days / half), minlength=13)
        for half in retrieval_module.HALF_LIVES
    ]
    assert any(np.allclose(rules.lately, choice) for choice in choices)
    untimed = replace(RUN_BASKETS, time=None)
    assert fit_rules(untimed, repeats=True, item_item=PLAIN).lately is None


END = START + timedelta(weeks=2)
SMALL = RetrainConfig(
    model=TwoTowerConfig(views="none", width=16, hidden=16),
    fit=RetrievalConfig(epochs=1, visits_per_epoch=600, batch=64, validation_visits=0),
    test_visits=100,
    k=5,
)


def written() -> pl.DataFrame:
    """What a service might have logged in two weeks: the log's own events under other ids."""
    span = pl.col("time").is_between(START, END, closed="left")
    return events().filter(span).with_columns(request_id=pl.lit("w-") + pl.col("request_id"))


def test_the_task_holds_both_and_tests_on_what_neither_has() -> None:
    task = joined_task(events(), written(), ITEMS, start=START, end=END)
    train = task.visits("train")
    times = pl.from_epoch(pl.Series(task.visit_time), "us").dt.replace_time_zone("UTC")
    assert task.count.sum() == before().height + written().height
    later = events().filter(pl.col("time") >= END)
    assert len(task.visits("test")) == later["request_id"].n_unique()
    assert times.gather(train).max() < END
    assert times.gather(task.visits("test")).min() >= END
    assert {f.name for f in task.spec.features} == {
        *("item_id", "department", "type", "weekday", "hour")
    }
    other = joined_task(events(), written().head(5), ITEMS, start=START, end=END)
    assert other.data_hash != task.data_hash


def test_a_log_that_ends_before_leaves_nothing_to_measure() -> None:
    found = retrain_two_tower(before(), written(), ITEMS, start=START, end=END, config=SMALL)
    assert (found.visits, found.recall, found.popular) == (0, None, None)


def test_nothing_before_the_start() -> None:
    with pytest.raises(DataError, match="no purchase before"):
        retrain_two_tower(written(), written(), ITEMS, start=START, end=END, config=SMALL)
