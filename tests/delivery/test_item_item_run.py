"""From a log to a saved item-item rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ResourceError
from adwright.data.sequences.datasets import sequences_of_task
from adwright.delivery.counted import (
    ItemItemRecommender,
    ItemItemResult,
    load_item_item,
    sequence_histories,
    train_item_item,
)
from adwright.delivery.decision import Request
from adwright.metrics.ranking import ndcg
from adwright.metrics.reports.comparison import RankingComparison
from adwright.models.retrieval.rules import TITLES
from adwright.training.retrieval.item_item import fit_item_item
from adwright.training.retrieval.rules import fit_rules, rule_ranks
from adwright.training.sequential.run import next_log
from adwright.training.sequential.runfile import SequenceData
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.cascade_parts import LATER

TASK = small_task()
VISITS = SequenceData(sequences_of_task(TASK, split="task"), TASK, True)
WALKS = SequenceData(small_sequences(people=40), None, False)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ItemItemResult:
    return train_item_item(WALKS, tmp_path_factory.mktemp("run"), seed=2, draws=20)


def test_it_is_measured_beside_the_other_rules(result: ItemItemResult) -> None:
    told = RankingComparison.from_json((result.folder / "report.json").read_text())
    assert told == result.comparison
    assert set(told.reports) < {*TITLES.values()}
    assert next(iter(told.reports)) == told.subject == "Item-item"
    log = next_log(WALKS)
    rules = fit_rules(log, repeats=False, item_item=result.search.config)
    ranks = rule_ranks(rules, "item-item", log, log.test, unseen=True)
    report = told.reports["Item-item"]
    assert report.metrics["ndcg@10"].value == pytest.approx(ndcg(ranks, 10))
    assert (report.protocol.seen_items, report.seed, report.draws) == ("removed", 2, 20)
    assert set(result.stages) == {
        "search the settings",
        "measure",
        "calibrate what serves",
        "count all events and save",
    }


def test_what_is_saved_is_counted_from_all_events(result: ItemItemResult) -> None:
    artifact = load_artifact(result.folder / "model")
    assert (artifact.id, artifact.seed) == (result.id, 2)
    served = load_item_item(artifact)
    whole = fit_item_item(next_log(WALKS).whole, result.search.config)
    assert np.array_equal(served.model.count, whole.count)
    assert np.array_equal(served.model.neighbours.score, whole.neighbours.score)
    assert len(served.histories) == len(WALKS.sequences)
    # These walks come back to a place, as the log shows and the histories say.
    assert result.again["purchase"].usual
    assert served.repeats


def test_its_scores_are_chances_in_the_order_that_it_has_without(tmp_path: Path) -> None:
    found = train_item_item(VISITS, tmp_path, draws=20).artifact
    assert set(found.calibration) == {"fine", "popularity"}
    chances, scores = (
        ItemItemRecommender(one, sequence_histories(VISITS.sequences))
        for one in (found, replace(found, calibration={}))
    )
    for user in VISITS.sequences.users[:20]:
        asked = Request("r", user, LATER, k=5)
        mine, raw = chances.recommend(asked), scores.recommend(asked)
        assert mine.item_ids == raw.item_ids
        assert (mine.probability, raw.probability) == (True, False)


def test_visits_are_asked_where_there_are_any(tmp_path: Path) -> None:
    found = train_item_item(VISITS, tmp_path, draws=20)
    assert found.comparison.reports["Item-item"].rows == len(TASK.visits("test"))
    assert next(iter(found.comparison.reports)) == "Item-item"
    assert set(found.comparison.reports) == {*TITLES.values()}


def test_the_run_says_what_it_was_of(tmp_path: Path) -> None:
    people = WALKS.sequences.users[:2]
    events = pl.DataFrame(
        {
            "user_id": [people[0], people[1]],
            "item_id": list(WALKS.sequences.ids[:2]),
            "time": [1_700_000_000_000_007, 1_700_000_000_000_009],
        }
    )
    found = train_item_item(WALKS, tmp_path, log="mine.csv", events=events, seed=2, draws=20)
    kept = json.loads((tmp_path / "config.json").read_text())
    assert kept == {"log": "mine.csv", "seed": 2, "draws": 20}
    served = load_item_item(load_artifact(found.folder / "model"))
    _, item, time, _ = served.histories.arrays()
    assert item.tolist() == [1, 2]
    assert time.tolist() == events["time"].to_list()
    assert "click" in served.histories.kinds


def test_nothing_is_replaced_unasked(result: ItemItemResult) -> None:
    with pytest.raises(ResourceError, match="already holds a model"):
        train_item_item(WALKS, result.folder)
    again = train_item_item(WALKS, result.folder, seed=2, draws=20, overwrite=True)
    assert again.comparison == result.comparison


def test_histories_hold_what_was_done() -> None:
    for sequences in (WALKS.sequences, replace(WALKS.sequences, time=None)):
        found = sequence_histories(sequences)
        assert found.events == len(sequences.item)
        assert "click" in found.kinds
        assert "impression" not in found.kinds
        batch = found.batch([Request("r", "u3", LATER)])
        a, b = sequences.offsets[3:5]
        assert batch.item.tolist() == sequences.item[a:b].tolist()
