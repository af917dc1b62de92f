"""The item-item rule as a recommender."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ResourceError
from adwright.data.sequences.datasets import log_of_task, sequences_of_task
from adwright.data.tasks.next_basket import NextBasket, build_visits
from adwright.data.time import SECONDS_PER_DAY
from adwright.delivery.counted import (
    ItemItemRecommender,
    ItemItemResult,
    PopularityResult,
    load_item_item,
    sequence_histories,
    train_item_item,
    train_popularity,
    with_histories,
)
from adwright.delivery.decision import Deadline, Request
from adwright.delivery.popularity import load_popularity
from adwright.delivery.stages.sources import request_pasts
from adwright.metrics.ranking import ndcg
from adwright.metrics.reports.report import RankingComparison
from adwright.models.retrieval.item_item import ItemItemConfig, NeighbourConfig
from adwright.models.retrieval.rules import TITLES
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from adwright.training.retrieval.rules import decayed_counts, fit_rules, rule_ranks
from adwright.training.sequential.run import next_log
from adwright.training.sequential.runfile import SequenceData
from tests.support.data.small_next_basket import FEATURES, catalogue, events_of, small_task
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.cascade_parts import LATER, histories, request, task

LOG = log_of_task(task())
IDS = task().items.ids
#: So few neighbours that popular items have to fill the list.
FEW = ItemItemConfig(neighbours=NeighbourConfig(neighbours=1), recency=0.3)
RULE = ItemItemArtifact(fit_item_item(LOG, FEW), IDS, repeats=True)


def recommender(**changes: bool) -> ItemItemRecommender:
    return ItemItemRecommender(replace(RULE, **changes), histories())


def popular() -> list[str]:
    return [IDS[code - 1] for code in RULE.model.popular]


def test_neighbours_come_first_and_then_popular_items() -> None:
    one = recommender()
    found = one.recommend(request("u1", k=3))
    batch = one.histories.batch([request("u1")])
    codes, score = RULE.model.best(request_pasts(batch), 12)
    reached = [IDS[code - 1] for code in codes[0] if code]
    assert 0 < len(reached) < 12
    assert list(found.item_ids) == reached + [i for i in popular() if i not in reached]
    np.testing.assert_allclose(found.score[: len(reached)], score[0][: len(reached)])
    assert (found.score[len(reached) :] < 0).all()
    assert (found.stage, found.probability) == ("fine", False)


def test_where_nothing_comes_again_own_items_are_left_out() -> None:
    one = recommender(repeats=False)
    batch = one.histories.batch([request("u1")])
    had = {IDS[code - 1] for code in batch.item}
    found = one.recommend(request("u1"))
    assert {*found.item_ids} == {*IDS} - had
    # Unless they are asked for by name.
    named = one.recommend(request("u1", candidates=tuple(sorted(had))))
    assert {*named.item_ids} == had


def test_candidates_are_ordered_and_unknown_ones_come_last() -> None:
    one = recommender()
    asked = ("i3", "new", "i7", "i0", "other")
    found = one.recommend(request("u1", candidates=asked, exclude=frozenset(["other"])))
    order = [i for i in one.recommend(request("u1")).item_ids if i in asked]
    assert found.item_ids == (*order, "new")


def test_many_are_answered_as_each() -> None:
    one = recommender()
    asked = [
        request("u1"),
        request("u2", k=4, exclude=frozenset(["i1"])),
        request("u3", candidates=("i1", "i2")),
        request("nobody"),
    ]
    for found, single in zip(one.recommend_many(asked), asked, strict=True):
        alone = one.recommend(single)
        assert found.item_ids == alone.item_ids
        np.testing.assert_allclose(found.score, alone.score)
    assert one.recommend_many([]) == []


def test_without_time_popular_items_are_answered(clock: FixedClock) -> None:
    one = recommender()
    late = Deadline.after(0, clock)
    asked = [
        request("u1", k=2, exclude=frozenset(popular()[:1])),
        request("u1", candidates=("i3", "i7")),
    ]
    first, second = one.recommend_many(asked, late)
    assert list(first.item_ids) == popular()[1:]
    assert first.stage == second.stage == "popularity"
    assert list(second.item_ids) == [i for i in popular() if i in ("i3", "i7")]


def test_what_happens_counts_from_the_next_request_on() -> None:
    one = recommender()
    before = one.recommend(request("newcomer"))
    # One whose neighbour is not what stands first anyway.
    item = next(i for i in IDS if (one.similar(i, 1) or [("", 0)])[0][0] != popular()[0])
    one.histories.append("newcomer", [item], [LATER - timedelta(hours=1)])
    after = one.recommend(request("newcomer"))
    assert after.item_ids != before.item_ids
    (nearest, score), *_ = one.similar(item, 1) or []
    assert after.item_ids[0] == nearest
    assert after.score[0] == pytest.approx(score)
    assert one.similar("nothing", 3) is None


def test_a_saved_one_knows_its_users(tmp_path: Path) -> None:
    with_histories(RULE, histories()).save(tmp_path / "v1")
    RULE.save(tmp_path / "bare")
    loaded = load_item_item(load_artifact(tmp_path / "v1"))
    assert (
        loaded.recommend(request("u1")).item_ids == recommender().recommend(request("u1")).item_ids
    )
    bare = load_item_item(load_artifact(tmp_path / "bare"))
    assert list(bare.recommend(request("u1")).item_ids) == popular()


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


def test_histories_hold_what_was_done() -> None:
    for sequences in (WALKS.sequences, replace(WALKS.sequences, time=None)):
        found = sequence_histories(sequences)
        assert found.events == len(sequences.item)
        assert "click" in found.kinds
        assert "impression" not in found.kinds
        batch = found.batch([Request("r", "u3", LATER)])
        a, b = sequences.offsets[3:5]
        assert batch.item.tolist() == sequences.item[a:b].tolist()


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
def popularity_run_result(tmp_path_factory: pytest.TempPathFactory) -> PopularityResult:
    folder = tmp_path_factory.mktemp("run")
    return train_popularity(fashion(), folder, repeats=True, log="mine.csv", seed=3, draws=20)


def test_where_fashion_changes_late_events_count_more(
    popularity_run_result: PopularityResult,
) -> None:
    assert popularity_run_result.half_life == 7
    assert popularity_run_result.why.startswith("half-life 7 days: NDCG@10 on 6 validation visits")
    popular, identity, seed = load_popularity(popularity_run_result.folder / "model")
    assert (identity, seed) == (popularity_run_result.id, 3)
    assert set(popular.item_ids[:3]) == {"i6", "i7", "i8"}
    log = log_of_task(fashion())
    assert log.time is not None
    expected = decayed_counts(log.item, log.time, log.items, 7)
    weight = dict(zip(popular.item_ids, popular.weight.tolist(), strict=True))
    for code, item_id in enumerate(log.ids, start=1):
        assert weight[item_id] == pytest.approx(expected[code])


def test_popularity_run_it_is_measured_beside_the_other_rules(
    popularity_run_result: PopularityResult,
) -> None:
    told = RankingComparison.from_json((popularity_run_result.folder / "report.json").read_text())
    assert told == popularity_run_result.comparison
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
    kept = json.loads((popularity_run_result.folder / "config.json").read_text())
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
