"""The item-item rule as a recommender."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactError,
    FileUnreadableError,
    ResourceError,
    ValueInvalidError,
)
from adwright.data.schema import validate_events
from adwright.data.sequences.datasets import log_of_task, sequences_of_task
from adwright.data.sources.log import Log, save_log
from adwright.data.tasks.next_basket import NextBasket, build_visits
from adwright.data.time import MICROSECONDS_PER_DAY, SECONDS_PER_DAY
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
from adwright.delivery.joined_log import join_logs
from adwright.delivery.popularity import load_popularity
from adwright.delivery.stages.sources import request_pasts
from adwright.delivery.training_log import model_folder, open_history, training_log
from adwright.metrics.ranking import ndcg
from adwright.metrics.reports.report import RankingComparison
from adwright.models.retrieval.item_item import ItemItemConfig, NeighbourConfig
from adwright.models.retrieval.rules import TITLES
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from adwright.training.retrieval.rules import decayed_counts, fit_rules, rule_ranks
from adwright.training.sequential.run import next_log
from adwright.training.sequential.runfile import SequenceData
from tests.support.data.event_rows import event_row
from tests.support.data.ranking_task import shop_task, small_log
from tests.support.data.small_next_basket import FEATURES, catalogue, events_of, small_task
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.cascade_parts import LATER as cascade_parts_LATER
from tests.support.delivery.cascade_parts import histories, request, task
from tests.support.delivery.single_models import log, past, run_folder

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
    one.histories.append("newcomer", [item], [cascade_parts_LATER - timedelta(hours=1)])
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
        asked = Request("r", user, cascade_parts_LATER, k=5)
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
        batch = found.batch([Request("r", "u3", cascade_parts_LATER)])
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


LATER = datetime(2026, 3, 1, tzinfo=UTC)


def written(*changes: dict[str, Any]) -> pl.DataFrame:
    rows = [
        {**event_row(f"new{n}", LATER + timedelta(hours=n), f"q{n}", "u1", "click", "i3"), **more}
        for n, more in enumerate(changes)
    ]
    return validate_events(pl.DataFrame(rows), unique=False)


def test_both_are_one_log_in_order_of_time() -> None:
    found = join_logs(log(), [written({}, {}), written({"event_id": "new9"})])
    events = found.log.events.collect()
    assert events.height == found.old + found.served == log().events.collect().height + 3
    assert events["time"].is_sorted()
    assert (found.repeated, found.notes, found.since) == (0, (), LATER)
    assert not found.shown
    assert found.log.catalogue.items.equals(log().catalogue.items)
    (sentence,) = found.sentences()
    assert "3 that the service wrote" in sentence


def test_an_event_counts_once_and_the_old_one_stands(caplog: pytest.LogCaptureFixture) -> None:
    again = written({"event_id": "e0", "item_id": "i5"}, {}, {"event_id": "new1"})
    found = join_logs(log(), [again])
    assert (found.served, found.repeated) == (1, 2)
    stands = found.log.events.filter(event_id="e0").collect()["item_id"].to_list()
    assert stands == log().events.filter(event_id="e0").collect()["item_id"].to_list()
    assert "2 events of the service were there already" in found.sentences()


@pytest.mark.parametrize("columns", [[], ["title"]])
def test_items_without_a_past_are_taken_in_and_said_once(
    caplog: pytest.LogCaptureFixture, columns: list[str]
) -> None:
    old = log()
    items = old.catalogue.items.select("item_id", *(pl.lit("x").alias(name) for name in columns))
    old = replace(old, catalogue=replace(old.catalogue, items=items))
    coupon = {"kind": "redemption", "item_id": "coupon"}
    found = join_logs(old, [written({}, {"item_id": "strange"}, {"item_id": "strange"}, coupon)])
    after = found.log.catalogue.items
    assert after.columns == items.columns
    assert after["item_id"].to_list() == [*items["item_id"], "strange"]
    assert found.served == 4
    (note,) = [line for line in found.sentences() if "'strange'" in line]
    assert "2 events are of 1 items that the old log has not" in note
    assert ("data import --items" in note) is bool(columns)
    assert not found.faults
    assert not caplog.records


def test_nothing_new_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="nothing that the old log has not"):
        join_logs(log(), [])
    with pytest.raises(ValueInvalidError, match="2 of them dated later than now"):
        join_logs(log(), [written({}, {})], LATER - timedelta(days=1))


def busy_log() -> Log:
    """A thousand purchases of fifty people, of ten items, over ten days."""
    rows = [
        {
            "event_id": f"b{n}",
            "time": LATER - timedelta(days=1 + n % 10, minutes=n),
            "user_id": f"u{n % 50}",
            "item_id": f"i{n % 7}",
        }
        for n in range(1000)
    ]
    return replace(log(), events=written(*rows).lazy())


def feed(**changes: Any) -> list[dict[str, Any]]:
    """Three hundred more, by the same people, in three days."""
    return [
        {
            "event_id": f"{changes.get('kind')}{n}",
            "time": LATER + timedelta(minutes=14 * n),
            "user_id": f"u{n % 50}",
            "item_id": f"i{n % 7}",
            **{name: change(n) if callable(change) else change for name, change in changes.items()},
        }
        for n in range(300)
    ]


@pytest.mark.parametrize(
    ("rows", "about"),
    [
        (feed(), ""),
        (feed(time=lambda n: LATER + timedelta(days=0 if n % 50 else 999)), "later than now"),
        (feed(kind="impression"), "nobody did anything"),
        (feed(user_id=lambda n: "bot" if n % 3 else f"u{n % 50}"), "did more than"),
        (feed(item_id=lambda n: "hit" if n % 9 == 0 else f"i{n % 7}"), ""),
        (
            feed(
                item_id=lambda n: "hot" if n % 9 == 0 else f"i{n % 7}",
                user_id=lambda n: f"bot{n}" if n % 9 == 0 else f"u{n % 50}",
            ),
            "of the item 'hot'",
        ),
        (feed(item_id=lambda n: f"other{n}"), "without a past"),
        (feed(time=lambda n: LATER + timedelta(minutes=144 * n))[::30], "does all of it arrive?"),
        ([*feed(kind="impression"), *feed()], ""),
        ([*feed(kind="impression"), *feed()[:240]], "of its last 60 impressions 0 things"),
    ],
)
def test_a_broken_feed_is_told(rows: list[dict[str, Any]], about: str) -> None:
    found = join_logs(busy_log(), [written(*rows)], LATER + timedelta(days=40))
    assert about in " ".join(found.faults)
    assert bool(found.faults) is bool(about)
    assert found.log.events.collect()["time"].max() < LATER + timedelta(days=40)  # type: ignore[operator]


def test_what_was_taken_from_slates_of_the_service_is_said() -> None:
    slate = {"kind": "impression", "request_id": "s", "item_id": "i5"}
    taken = {"request_id": "s", "item_id": "i5"}
    other = {"request_id": "s", "item_id": "i6"}
    found = join_logs(log(), [written(slate, taken, other)])
    assert found.slated == 0.5
    assert "50% of what users did there" in found.sentences()[1]
    assert join_logs(log(), [written({})]).slated == 0


def test_whether_the_old_log_says_what_was_shown_is_kept() -> None:
    old = log()
    shown = written({"event_id": "shown", "kind": "impression", "time": LATER - timedelta(days=1)})
    told = replace(old, events=pl.concat([old.events.collect(), shown]).lazy())
    assert join_logs(told, [written({})]).shown
    assert not join_logs(old, [shown, written({})]).shown


def test_a_return_that_the_service_heard_of_takes_back_its_purchase() -> None:
    bought, back = {"kind": "purchase"}, {"kind": "return"}
    found = join_logs(log(), [written(bought, {"kind": "purchase", "item_id": "i4"}, back)])
    since = found.log.events.filter(pl.col("time") >= LATER).collect()
    assert since["item_id"].to_list() == ["i4"]
    assert "1 returns: 1 took back a purchase, 0 had none and were left out" in found.sentences()


def configured(folder: Path, values: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    return folder / "model"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"data": {"kind": "journey"}}, "complete-journey"),
        ({"data": {"kind": "events", "path": "log"}}, "log"),
        ({"task": {"kind": "response"}}, "complete-journey"),
        ({"task": {"kind": "movielens"}}, "movielens"),
        ({"task": {"kind": "log", "folder": "mine"}}, "mine"),
        ({"task": {"kind": "folder", "folder": "there/task"}}, "there/task"),
        ({"log": "mine", "data": {"kind": "journey"}}, "mine"),
        ({"run": {"model": "hcn", "log": "mine"}, "model": {}}, "mine"),
        ({"run": {"log": ""}}, None),
        ({"log": "", "run": 3}, None),
        ({"other": 1}, None),
        ([], None),
    ],
)
def test_the_run_says_where_its_log_lies(
    tmp_path: Path, values: dict[str, Any], expected: str | None
) -> None:
    assert training_log(configured(tmp_path, values)) == expected


def test_a_task_of_an_imported_log_lies_in_that_log(tmp_path: Path) -> None:
    save_log(tmp_path / "log", small_log())
    shop_task(tmp_path / "log" / "task-1")
    task = {"kind": "folder", "folder": str(tmp_path / "log" / "task-1")}
    assert training_log(configured(tmp_path / "run", {"task": task})) == str(tmp_path / "log")


def test_the_model_of_a_run_is_found_and_two_are_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_artifact(run / "ranker", kind="x", config={})
    assert model_folder(run) == model_folder(run / "ranker") == run / "ranker"
    with pytest.raises(ArtifactError, match="no model here") as error:
        model_folder(tmp_path / "nowhere")
    assert "manifest.json" in error.value.hint
    save_artifact(run / "model", kind="x", config={})
    with pytest.raises(ArtifactError) as error:
        model_folder(run)
    assert str(run / "model") in error.value.hint
    assert str(run / "ranker") in error.value.hint


def test_a_log_gives_the_kinds_that_count_and_who_people_are(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    found = open_history(str(training_log(run / "model")), ("purchase",))
    wanted = past().events.sort("user_id", "time", "item_id")
    assert found.events.drop("kind").sort("user_id", "time", "item_id").equals(wanted)
    assert found.profiles is not None
    assert found.profiles.sort("user_id").equals(log().users.sort("user_id"))  # type: ignore[union-attr]
    clicks = open_history_of_small_log(tmp_path, ("click",))
    assert clicks.height == small_log().events.filter(kind="click").collect().height
    with pytest.raises(ValueInvalidError, match="the kinds that count are cart"):
        open_history_of_small_log(tmp_path, ("cart",))


def open_history_of_small_log(folder: Path, kinds: tuple[str, ...]) -> pl.DataFrame:
    if not (folder / "small").exists():
        save_log(folder / "small", small_log())
    return open_history(folder / "small", kinds).events


def test_sequences_stand_for_days_and_a_task_has_everybody_once(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("ann tea jam tea\nbob rye\n")
    (tmp_path / "item_attributes.json").write_text(json.dumps({"tea": [1], "jam": [1], "rye": [2]}))
    found = open_history(tmp_path, ("click",)).events
    assert found["user_id"].to_list() == ["ann", "ann", "ann", "bob"]
    assert (found["time"] // MICROSECONDS_PER_DAY).to_list() == [0, 1, 2, 0]
    task = shop_task(tmp_path / "task", users=6)
    events = open_history(task.folder, ("click",)).events
    every = pl.concat([pl.read_parquet(task.events_path(split)) for split in ("train", "test")])
    assert events.height == every.unique().height
    with pytest.raises(FileUnreadableError):
        open_history(tmp_path / "nowhere", ("click",))
