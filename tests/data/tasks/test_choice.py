"""What is promised of these, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.batch import DRAW_OFFSET
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.log import Log
from adwright.data.tasks.choice import (
    ChoiceConfig,
    build_choice_task,
    choice_catalogue,
    choice_features,
)
from adwright.data.tasks.from_log import LogTaskConfig, build_task_of_log
from adwright.data.tasks.negatives import Draws, draw_negatives, popular_share
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.own.drawn import DrawnConfig, build_drawn_task, build_ranking_task
from adwright.data.tasks.own.drawn import drawn_task as drawn_drawn_task
from adwright.data.tasks.own.next_item import NextItemConfig, build_next_item
from adwright.data.tasks.response import SHELF, price_tags, promoted_on, weekly_sales
from adwright.data.tasks.split import SPLITS, Split
from adwright.data.tasks.task import Task
from tests.data.tasks.own.test_next_item import shop
from tests.support.data.small_journey import transactions, write_journey
from tests.support.data.small_next_basket import small_task

CONFIG = ChoiceConfig(train=0, valid=0, test=0, draws=Draws(number=10), min_count=2)


@pytest.fixture(scope="module")
def source() -> NextBasket:
    return small_task()


@pytest.fixture(scope="module")
def task(source: NextBasket, tmp_path_factory: pytest.TempPathFactory) -> Task:
    return build_choice_task(source, tmp_path_factory.mktemp("choice"), CONFIG)


def rows_of(task: Task) -> pl.DataFrame:
    return pl.concat(
        [task.rows(split).with_columns(split=pl.lit(split)) for split in SPLITS]
    ).collect()


def test_items_taken_are_the_positives_and_never_negatives(task: Task, source: NextBasket) -> None:
    rows = rows_of(task)
    for visit in range(len(source)):
        mine = rows.filter(pl.col("request_id") == str(visit))
        codes = source.items.rows(mine.to_arrow()["item_id"])
        taken = source.targets[source.target_offsets[visit] : source.target_offsets[visit + 1]]
        label = mine["label"].to_numpy()
        assert sorted(codes[label == 1]) == sorted(taken)
        assert not set(codes[label == 0]) & set(taken)
        assert mine["split"].unique().to_list() == [SPLITS[source.split[visit]]]
        assert mine["user_id"].unique().to_list() == [source.users[source.visit_user[visit]]]


def test_rows_know_only_what_came_before(task: Task, source: NextBasket) -> None:
    for row in rows_of(task).sample(60, seed=1).to_dicts():
        visit = int(row["request_id"])
        first = source.user_offsets[source.visit_user[visit]]
        seen = slice(first, source.visit_end[visit])
        code = source.items.rows(pl.Series([row["item_id"]]).to_arrow())[0]
        times = source.time[seen][source.item[seen] == code]
        assert row["visible"] == seen.stop - seen.start
        # The counts of the task writer and of `personal` agree.
        assert row["frequency"] == len(times) == row["recent"]
        if len(times):
            age = (source.visit_time[visit] - times[-1]) / 86_400_000_000
            assert row["recency"] == pytest.approx(age)
        else:
            assert row["recency"] is None


def test_popularity_leaves_out_the_rows_own_basket(task: Task, source: NextBasket) -> None:
    """Against a loop over the events."""
    user = np.repeat(np.arange(len(source.users)), np.diff(source.user_offsets))
    for row in rows_of(task).to_dicts():
        visit = int(row["request_id"])
        code = source.items.rows(pl.Series([row["item_id"]]).to_arrow())[0]
        own = (user == source.visit_user[visit]) & (source.time == source.visit_time[visit])
        less = int((source.item[own] == code).sum()) if row["split"] == "train" else 0
        assert row["popularity"] == source.count[code] - less
        assert (less > 0) == (row["label"] == 1 and row["split"] == "train")
    assert "have no training event" in task.protocol
    cold = [row for row in rows_of(task).to_dicts() if row["split"] == "test" and row["label"]]
    number = sum(row["popularity"] == 0 for row in cold)
    assert f"{number} of the {len(cold)} items taken" in task.protocol


def test_profile_and_moment_are_the_text_of_the_source(task: Task, source: NextBasket) -> None:
    row = rows_of(task).filter(pl.col("user_id") == "u7").row(0, named=True)
    visit = int(row["request_id"])
    for number, feature in enumerate(source.profile_features):
        code = source.profile[visit, number]
        assert row[feature.name] == (feature.vocabulary[code - 1] if code else None)
    assert row["town"] == "south"


def test_the_catalogue_gains_popularity(task: Task, source: NextBasket) -> None:
    assert task.items["popularity"].to_list() == source.count[1:].tolist()
    assert choice_catalogue(source)["item_id"].to_list() == list(source.items.ids)


def test_features_are_those_of_the_source_without_lists(source: NextBasket) -> None:
    features = {f.name: f for f in choice_features(source.spec, 3)}
    assert "words" not in features
    assert features["item_id"].min_count == 3
    assert features["item_id"].vocabulary == ()
    assert {"popularity", "visible", "frequency", "recent", "recency", "town"} <= set(features)


@pytest.mark.parametrize("split", SPLITS)
def test_baskets_are_drawn_by_the_seed(split: Split, source: NextBasket, tmp_path: Path) -> None:
    config = replace(CONFIG, train=7, valid=5, test=3)
    found = {
        seed: build_choice_task(source, tmp_path, replace(config, seed=seed))
        .rows(split)
        .select("request_id")
        .unique()
        .collect()["request_id"]
        .to_list()
        for seed in (0, 1)
    }
    assert len(found[0]) == len(found[1]) == config.baskets(split)
    assert set(found[0]) != set(found[1])
    assert build_choice_task(source, tmp_path, config).rows(split).collect().height > 0


def test_draws_change_the_rows_and_the_folder(task: Task, source: NextBasket) -> None:
    more = replace(CONFIG, draws=Draws(number=30, own=0.8, popular=0.1))
    other = build_choice_task(source, task.folder.parent, more)
    assert other.folder != task.folder
    past = [
        float(np.mean(rows_of(t).filter(label=0)["frequency"].to_numpy() > 0))
        for t in (task, other)
    ]
    assert past[1] > past[0]
    assert "30 negatives" in other.protocol


def test_the_same_settings_find_the_same_folder(source: NextBasket, tmp_path: Path) -> None:
    first = build_choice_task(source, tmp_path, CONFIG)
    stamp = (first.folder / "task.json").stat().st_mtime_ns
    again = build_choice_task(source, tmp_path, CONFIG)
    assert again.folder == first.folder
    assert (again.folder / "task.json").stat().st_mtime_ns == stamp


COUNT = np.array([0, 100, 10, 1, 0, 5])
PAST, OFFSETS = np.array([2, 4, 3]), np.array([0, 2, 2, 3])


@pytest.mark.parametrize(
    "draws", [Draws(), Draws(own=0, popular=0), Draws(number=8, own=0.2, popular=0.7)]
)
def test_items_come_as_often_as_the_formula_expects(draws: Draws) -> None:
    share, trials = popular_share(COUNT), 4000
    past, offsets = np.tile(PAST, trials), np.arange(trials + 1) * len(PAST)
    # Three people a trial, of 2, 0 and 1 past items.
    bounds = np.append((offsets[:-1, None] + OFFSETS[:-1]).ravel(), offsets[-1])
    item, basket = draw_negatives(draws, past, bounds, share, np.random.default_rng(0))
    person = basket % 3
    for number in range(3):
        mine = PAST[OFFSETS[number] : OFFSETS[number + 1]]
        codes = np.arange(1, len(COUNT))
        expected = np.exp(
            draws.log_expected(
                share[codes],
                items=len(codes),
                had=np.isin(codes, mine),
                distinct=np.full(len(codes), len(mine)),
            )
        )
        found = np.bincount(item[person == number], minlength=len(COUNT))[1:] / trials
        np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(expected / trials).max())


def test_the_unknown_item_is_never_drawn_and_the_seed_decides() -> None:
    share = popular_share(COUNT)
    runs = [
        draw_negatives(Draws(), PAST, OFFSETS, share, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert all(item.min() >= 1 for item, _ in runs)
    assert runs[0][0].tolist() == runs[1][0].tolist() != runs[2][0].tolist()
    # The second person has no past, so fewer negatives.
    sizes = np.bincount(runs[0][1])
    assert sizes[0] == sizes[2] == 40 > sizes[1]


def test_undoing_the_draws_gives_the_odds_of_the_catalogue() -> None:
    """Odds learned from rows, times the expected draws, are those of the items themselves."""
    draws, probability = Draws(number=30, own=0.5, popular=0.2), 0.2
    share = popular_share(COUNT)
    had, distinct = np.array([True, False]), np.array([2, 2])
    expected = np.exp(draws.log_expected(share[[2, 5]], items=5, had=had, distinct=distinct))
    rows_positive, rows_negative = probability, (1 - probability) * expected
    learned = np.log(rows_positive / rows_negative)
    undone = learned + np.log(expected)
    np.testing.assert_allclose(1 / (1 + np.exp(-undone)), probability)


def test_shares_of_draws_leave_a_part() -> None:
    with pytest.raises(ConfigError):
        Draws(own=0.5, popular=0.5)


def all_rows(drawn_task: Task) -> pl.DataFrame:
    return pl.concat(
        [drawn_task.rows(split).collect().with_columns(split=pl.lit(split)) for split in SPLITS]
    )


@pytest.fixture(scope="module")
def log() -> Log:
    return shop(again=True)


@pytest.fixture(scope="module")
def drawn_task(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Task:
    return build_drawn_task(log, tmp_path_factory.mktemp("drawn"), name="shop")


def test_what_was_taken_is_positive_and_the_rest_is_drawn(log: Log, drawn_task: Task) -> None:
    rows, events = all_rows(drawn_task), log.events.collect()
    taken = rows.filter(pl.col("label") == 1)
    assert taken.height == events.height
    pairs = taken.select("user_id", "item_id", "time").sort(pl.all())
    assert pairs.equals(
        events.select("user_id", "item_id", pl.col("time")).sort(pl.all()), null_equal=True
    )
    # Two items a visit, nine drawn for each, less those that are struck out.
    negatives = rows.height - taken.height
    assert 0.8 * 9 * taken.height < negatives < 9 * taken.height
    both = rows.group_by("request_id", "item_id").agg(pl.col("label").n_unique())
    assert both["label"].max() == 1
    assert drawn_task.history_kinds == drawn_task.popularity_kinds == ("purchase",)
    assert "Drawn negatives" in drawn_task.protocol


def test_popularity_is_of_earlier_days(log: Log, drawn_task: Task) -> None:
    events = log.events.collect()
    for row in all_rows(drawn_task).sample(50, seed=1).iter_rows(named=True):
        earlier = events.filter(
            pl.col("item_id") == row["item_id"], pl.col("time").dt.date() < row["time"].date()
        )
        assert row["popularity"] == earlier.height
        before = events.filter(pl.col("user_id") == row["user_id"], pl.col("time") < row["time"])
        assert row["visible"] == before.height
        assert row["frequency"] == before.filter(pl.col("item_id") == row["item_id"]).height


def test_the_offset_undoes_the_drawing(log: Log, drawn_task: Task, tmp_path: Path) -> None:
    """By the formula of the module, item by item, and by what is drawn on average."""
    rows = all_rows(drawn_task)
    source = build_next_item(log, name="shop").task
    count = dict(zip(source.items.ids, source.count[1:].tolist(), strict=True))
    weight = {item: number**0.75 for item, number in count.items()}
    total, items = sum(weight.values()), len(count)
    events = log.events.collect()
    for row in rows.sample(50, seed=2).iter_rows(named=True):
        mine = events.filter(pl.col("user_id") == row["user_id"], pl.col("time") < row["time"])
        had = mine["item_id"].unique().to_list()
        q = 0.4 * weight[row["item_id"]] / total + 0.2 / items
        q += 0.4 / len(had) if row["item_id"] in had else 0
        assert row[DRAW_OFFSET] == pytest.approx(-np.log(items * q), abs=1e-5)
    # Uniform draws need no correction.
    uniform = build_drawn_task(log, tmp_path, DrawnConfig(popular=0.0, own=0.0))
    assert all_rows(uniform)[DRAW_OFFSET].abs().max() < 1e-6  # type: ignore[operator]


def test_own_items_are_drawn_only_where_users_take_them_again(
    drawn_task: Task, tmp_path: Path
) -> None:
    alone = build_drawn_task(shop(), tmp_path)
    rows = all_rows(alone)
    assert "of the person's past (0%)" in Task.open(next(tmp_path.iterdir())).protocol
    assert (rows.filter(pl.col("label") == 1)["frequency"] == 0).all()
    # What is 0 of all that may be shown is nothing to learn from.
    learned = [{one.name for one in of.spec.features} for of in (alone, drawn_task)]
    assert ["frequency" in names for names in learned] == [False, True]


@pytest.mark.parametrize(
    "config",
    [
        DrawnConfig(negatives=4),
        DrawnConfig(popular=0.1),
        DrawnConfig(own=0.1),
        DrawnConfig(most_rows=5_000),
        DrawnConfig(min_count=10_000),
        DrawnConfig(seed=3),
        DrawnConfig(next_item=NextItemConfig(split="last")),
    ],
)
def test_every_setting_changes_the_task(
    config: DrawnConfig, log: Log, drawn_task: Task, tmp_path: Path
) -> None:
    other = build_drawn_task(log, tmp_path, config, name="shop")
    assert other.data_hash != drawn_task.data_hash
    assert (
        other.meta["splits"] != drawn_task.meta["splits"]
        or other.meta["spec"] != drawn_task.meta["spec"]
    )
    if config.most_rows == 5_000:
        assert all_rows(other).height <= 5_000


def test_a_task_is_built_once_and_in_parts(log: Log, drawn_task: Task, tmp_path: Path) -> None:
    source = build_next_item(log, name="shop")
    parts = drawn_drawn_task(source, tmp_path, visits_per_part=100)
    assert parts.data_hash == drawn_task.data_hash
    assert parts.meta["splits"]["train"]["users"] == drawn_task.meta["splits"]["train"]["users"]
    assert drawn_drawn_task(source, tmp_path).folder == parts.folder


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError):
        DrawnConfig(popular=1.2, own=0.0)


def test_a_log_of_purchases_gets_drawn_negatives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = shop(again=True)
    with caplog.at_level(logging.WARNING, logger="adwright"):
        task = build_ranking_task(log, tmp_path, name="shop")
    assert "drawn beside it" in caplog.text
    assert task.folder == build_drawn_task(log, tmp_path, name="shop").folder
    assert "Drawn negatives" in task.protocol


def test_what_is_said_of_the_task_counts(tmp_path: Path) -> None:
    log = shop(again=True)
    task = build_ranking_task(log, tmp_path, LogTaskConfig(column_kinds={"shelf": "none"}))
    assert "shelf" not in [feature.name for feature in task.spec.features]
    with pytest.raises(ValueInvalidError, match="click"):
        build_ranking_task(log, tmp_path, LogTaskConfig(responses=("click",)))


def test_a_log_of_impressions_has_its_own(tmp_path: Path) -> None:
    log = shop(again=True)
    shown = log.events.with_columns(
        kind=pl.lit("impression"), time=pl.col("time").dt.offset_by("-1m")
    )
    # Of two items shown one is taken.
    other = shown.with_columns(item_id=pl.lit(log.catalogue.items["item_id"][0]))
    events = pl.concat([log.events, shown, other], how="vertical_relaxed")
    both = replace(log, events=events)
    task = build_ranking_task(both, tmp_path)
    assert task.folder == build_task_of_log(both, tmp_path).folder
    assert "Drawn negatives" not in task.protocol


FACTS = ("popularity", "price", "discount")


@pytest.fixture(scope="module")
def bought() -> pl.DataFrame:
    return transactions()


@pytest.fixture(scope="module")
def journey(bought: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> CompleteJourney:
    return write_journey(tmp_path_factory.mktemp("journey") / "data", bought)


def known_before(bought: pl.DataFrame, product: int, week: int) -> tuple[float, ...] | None:
    """popularity, price, discount of a product when `week` begins, by a loop over purchases."""
    earlier = [
        row
        for row in bought.iter_rows(named=True)
        if row["product_id"] == product and row["week"] < week and row["quantity"] > 0
    ]
    if not earlier:
        return None
    last = [row for row in earlier if row["week"] == max(r["week"] for r in earlier)]
    off = sum(row["retail_disc"] + row["coupon_match_disc"] for row in last)
    shelf = sum(row["sales_value"] for row in last) + off
    pieces = sum(row["quantity"] for row in last)
    return len(earlier), shelf / pieces, off / max(shelf, 0.01)


@pytest.mark.parametrize("week", [1, 2, 17, 53])
def test_tags_equal_a_loop_over_earlier_weeks(
    journey: CompleteJourney, bought: pl.DataFrame, week: int
) -> None:
    tags = {row["product_id"]: row for row in price_tags(weekly_sales(journey), week).to_dicts()}
    for product in range(16):
        expected = known_before(bought, product, week)
        if expected is None:
            assert product not in tags
        else:
            found = [tags[product][fact] for fact in FACTS]
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_sales_are_sorted_and_one_row_a_product_and_week(journey: CompleteJourney) -> None:
    sales = weekly_sales(journey)
    keys = sales.select("week", "product_id").rows()
    assert keys == sorted(set(keys))
    assert sales.columns == ["product_id", "week", *FACTS]


def test_shelves_hold_what_is_promoted_there(
    journey: CompleteJourney, bought: pl.DataFrame
) -> None:
    asked = pl.DataFrame(
        {
            "week": [5, 5, 40, 53],
            "store_id": [300, 301, 300, 302],
            "product_type": ["tea", "milk", "rice", "nothing"],
        }
    )
    found = promoted_on(journey, asked)
    types = dict(journey.products().select("product_id", "product_type").collect().rows())
    expected = [
        (week, store, kind, row["product_id"], row["display_location"], row["mailer_location"])
        for week, store, kind in asked.sort(SHELF).rows()
        for row in sorted(journey.promotions().collect().to_dicts(), key=lambda r: r["product_id"])
        if (row["week"], row["store_id"], types[row["product_id"]]) == (week, store, kind)
    ]
    assert found.drop(FACTS).rows() == expected
    for row in found.to_dicts():
        tag = known_before(bought, row["product_id"], row["week"]) or (0, None, None)
        assert [row[fact] for fact in FACTS] == pytest.approx(list(tag), rel=1e-6, abs=1e-6)
