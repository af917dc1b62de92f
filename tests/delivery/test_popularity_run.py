"""From a task to saved popularity."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ResourceError
from adwright.data.sequences.next_log import log_of_task
from adwright.data.tasks.next_basket import NextBasket, build_visits
from adwright.data.time import SECONDS_PER_DAY
from adwright.delivery.counted import PopularityResult, train_popularity
from adwright.delivery.popularity import load_popularity
from adwright.metrics.ranking import ndcg
from adwright.metrics.reports.comparison import RankingComparison
from adwright.models.retrieval.rules import TITLES
from adwright.training.retrieval.rules import decayed_counts, fit_rules, rule_ranks
from tests.support.data.small_next_basket import FEATURES, catalogue, events_of, small_task


def fashion(days: int = 90) -> NextBasket:
    """Each month another three items are in fashion; the last two days validate and test."""
    rng = np.random.default_rng(0)
    visits = []
    for day in range(days):
        split = "test" if day == days - 1 else "valid" if day == days - 2 else "train"
        for person in range(6):
            item = 3 * (day // 30) + int(rng.integers(3))
            visits.append((f"u{person}", day, [f"i{item}"], split))
    return build_visits(
        events_of(visits),
        catalogue(),
        name="fashion",
        protocol="by hand",
        data_hash="fashion",
        features=FEATURES,
    )


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> PopularityResult:
    folder = tmp_path_factory.mktemp("run")
    return train_popularity(fashion(), folder, repeats=True, log="mine.csv", seed=3, draws=20)


def test_where_fashion_changes_late_events_count_more(result: PopularityResult) -> None:
    assert result.half_life == 7
    assert result.why.startswith("half-life 7 days: NDCG@10 on 6 validation visits")
    popular, identity, seed = load_popularity(result.folder / "model")
    assert (identity, seed) == (result.id, 3)
    assert set(popular.item_ids[:3]) == {"i6", "i7", "i8"}
    log = log_of_task(fashion())
    assert log.time is not None
    expected = decayed_counts(log.item, log.time, log.items, 7)
    weight = dict(zip(popular.item_ids, popular.weight.tolist(), strict=True))
    for code, item_id in enumerate(log.ids, start=1):
        assert weight[item_id] == pytest.approx(expected[code])


def test_it_is_measured_beside_the_other_rules(result: PopularityResult) -> None:
    told = RankingComparison.from_json((result.folder / "report.json").read_text())
    assert told == result.comparison
    mine = TITLES["lately"]
    assert next(iter(told.reports)) == told.subject == mine
    assert set(told.reports) == {*TITLES.values()}
    log = log_of_task(fashion())
    assert log.time is not None
    place, _ = log.training
    counts = decayed_counts(log.item[place], log.time[place], log.items, 7)
    rules = replace(fit_rules(log, repeats=True), lately=counts)
    ranks = rule_ranks(rules, "lately", log, log.test, unseen=False)
    assert told.reports[mine].metrics["ndcg@10"].value == pytest.approx(ndcg(ranks, 10))
    kept = json.loads((result.folder / "config.json").read_text())
    assert kept == {"log": "mine.csv", "half_life": 7, "seed": 3, "draws": 20}


def test_where_nothing_changes_all_events_count_alike(tmp_path: Path) -> None:
    found = train_popularity(small_task(), tmp_path, repeats=False, draws=20)
    if found.half_life is None:
        popular, _, _ = load_popularity(tmp_path / "model")
        assert popular.weight.sum() == len(small_task().item)
    assert set(found.stages) == {
        "choose and measure",
        "calibrate what serves",
        "count all events and save",
    }
    assert found.comparison.reports[found.comparison.subject].protocol.seen_items == "removed"
    with pytest.raises(ResourceError, match="already holds a model"):
        train_popularity(small_task(), tmp_path, repeats=False)
    again = train_popularity(small_task(), tmp_path, repeats=False, draws=20, overwrite=True)
    assert again.comparison == found.comparison
    assert load_artifact(tmp_path / "model").kind == "popularity"


def test_positions_are_no_times(tmp_path: Path) -> None:
    source = fashion()
    first = int(source.time.min())
    days = replace(
        source, time=source.time - first, visit_time=source.visit_time - first, data_hash="days"
    )
    found = train_popularity(days, tmp_path, repeats=True, draws=20)
    assert found.half_life is None
    assert "no times" in found.why


def test_events_of_half_a_life_ago_count_half() -> None:
    item, time = np.array([1, 1, 2]), np.array([0, 7, 14]) * SECONDS_PER_DAY
    found = decayed_counts(item, time, 3, 7)
    assert found.tolist() == pytest.approx([0, 0.75, 1, 0])
