"""Two towers and HCN by their defaults, from a task to a saved model."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError, ResourceError
from adwright.data.sequences.datasets import NextLog, log_of_sequences, log_of_task
from adwright.metrics.ranking import ndcg
from adwright.metrics.reports.report import RankingComparison
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.rules import TITLES, NextRule
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.retrieval import rules as module
from adwright.training.retrieval.fit import RetrievalConfig, RetrieverArtifact
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
from tests.support.store.small_world import ITEMS, START, before, events

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
        *("item_id", "department", "type", "weekday", "hour"),
    }
    other = joined_task(events(), written().head(5), ITEMS, start=START, end=END)
    assert other.data_hash != task.data_hash


def test_a_log_that_ends_before_leaves_nothing_to_measure() -> None:
    found = retrain_two_tower(before(), written(), ITEMS, start=START, end=END, config=SMALL)
    assert (found.visits, found.recall, found.popular) == (0, None, None)


def test_nothing_before_the_start() -> None:
    with pytest.raises(DataError, match="no purchase before"):
        retrain_two_tower(written(), written(), ITEMS, start=START, end=END, config=SMALL)
