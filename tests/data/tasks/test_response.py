from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import ConfigError
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks import response as shelves
from adwright.data.tasks.response import (
    RESPONSE_FEATURES,
    ResponseConfig,
    build_response_task,
    response_parts,
)
from adwright.data.tasks.split import SPLITS, Split
from adwright.data.tasks.task import Task
from tests.support.data.small_journey import transactions, write_journey

CONFIG = ResponseConfig()
KEY = ["user_id", "time", "request_id", "item_id"]
# Rows, positives and users of the hundredth of the households that `response_task` holds.
COUNTS = {"train": (143_652, 3_286, 27), "valid": (10_506, 206, 21), "test": (17_595, 400, 22)}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def bought() -> pl.DataFrame:
    return transactions()


@pytest.fixture(scope="module")
def journey(bought: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> CompleteJourney:
    return write_journey(tmp_path_factory.mktemp("journey") / "data", bought)


@pytest.fixture(scope="module")
def task(journey: CompleteJourney, tmp_path_factory: pytest.TempPathFactory) -> Task:
    return build_response_task(journey, tmp_path_factory.mktemp("cache"))


def rows_of(task: Task) -> dict[tuple[Any, ...], Row]:
    """All rows of a task by user, time, request and item, with their split."""
    found: dict[tuple[Any, ...], Row] = {}
    for split in SPLITS:
        for row in task.rows(split).collect().to_dicts():
            key = tuple(row.pop(name) for name in KEY)
            assert key not in found
            found[key] = {**row, "split": split}
    return found


def literal_rows(journey: CompleteJourney, bought: pl.DataFrame) -> dict[tuple[Any, ...], Row]:
    """The task as its documentation puts it, by loops."""
    log = bought.with_columns(
        pl.col("transaction_timestamp").dt.replace_time_zone("UTC").alias("time")
    ).to_dicts()
    types = dict(journey.products().select("product_id", "product_type").collect().rows())
    promoted = journey.promotions().collect().to_dicts()
    baskets: dict[int, list[Row]] = {}
    for row in log:
        baskets.setdefault(row["basket_id"], []).append(row)
    found = {}
    for basket, lines in baskets.items():
        first = lines[0]
        touched = {types.get(line["product_id"]) for line in lines} - {None}
        history = [
            row["product_id"]
            for row in log
            if row["household_id"] == first["household_id"] and row["time"] < first["time"]
        ]
        week = first["week"]
        for place in promoted:
            product = place["product_id"]
            shelf = (place["week"], place["store_id"])
            if shelf != (week, first["store_id"]) or types[product] not in touched:
                continue
            key = (str(first["household_id"]), first["time"], str(basket), str(product))
            found[key] = {
                "label": int(product in {line["product_id"] for line in lines}),
                "split": "train" if week <= 44 else "valid" if week <= 48 else "test",
                "store": str(first["store_id"]),
                "display": place["display_location"],
                "mailer": place["mailer_location"],
                "visible": len(history),
                "frequency": history.count(product),
                "known": sum(
                    row["product_id"] == product and row["week"] < week and row["quantity"] > 0
                    for row in log
                ),
            }
    return found


def test_the_task_equals_its_definition_by_loops(
    task: Task, journey: CompleteJourney, bought: pl.DataFrame
) -> None:
    found, expected = rows_of(task), literal_rows(journey, bought)
    assert found.keys() == expected.keys()
    assert {row["split"] for row in found.values()} == set(SPLITS)
    for key, row in found.items():
        literal = dict(expected[key])
        assert row["popularity"] == literal.pop("known")
        assert {name: row[name] for name in literal} == literal


def test_histories_are_the_purchases_in_order_of_time(task: Task, bought: pl.DataFrame) -> None:
    for split in SPLITS:
        events = pl.read_parquet(task.events_path(split))
        for (user,), mine in events.group_by("user_id", maintain_order=True):
            expected = bought.filter(pl.col("household_id") == int(str(user)))
            assert mine["time"].is_sorted()
            assert sorted(mine.select("item_id", "time").rows()) == sorted(
                expected.select(
                    pl.col("product_id").cast(pl.String),
                    pl.col("transaction_timestamp").dt.replace_time_zone("UTC"),
                ).rows()
            )


def features_until(task: Task, week: int, bought: pl.DataFrame) -> list[Row]:
    """The features (not the labels) of the rows of weeks 1 to `week`, in the task's order."""
    weeks = bought.select(pl.col("basket_id").cast(pl.String), "week").unique()
    rows = [task.rows(split).collect() for split in SPLITS]
    table = pl.concat(rows).join(weeks, left_on="request_id", right_on="basket_id")
    return table.filter(pl.col("week") <= week).drop("label").sort(KEY).to_dicts()


def altered(bought: pl.DataFrame, week: int) -> pl.DataFrame:
    """Other prices and discounts from `week` on."""
    late = pl.col("week") >= week

    def changed(column: str, value: pl.Expr) -> pl.Expr:
        return pl.when(late).then(value).otherwise(pl.col(column)).alias(column)

    return bought.with_columns(
        changed("sales_value", pl.col("sales_value") * 3 + 1),
        changed("retail_disc", pl.col("retail_disc") + 0.5),
        changed("coupon_match_disc", pl.col("coupon_match_disc") + 0.3),
        changed("coupon_disc", pl.lit(1.0)),
    )


@pytest.mark.parametrize("week", [30, 46, 53])
def test_prices_of_the_week_itself_and_later_change_no_feature(
    task: Task, bought: pl.DataFrame, tmp_path: Path, week: int
) -> None:
    other = build_response_task(
        write_journey(tmp_path / "data", altered(bought, week)), tmp_path / "cache"
    )
    assert features_until(other, week, bought) == features_until(task, week, bought)
    if week < 53:
        assert features_until(other, week + 1, bought) != features_until(task, week + 1, bought)


def test_the_leak_check_fails_where_prices_of_the_same_week_are_used(
    bought: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = shelves.price_tags
    monkeypatch.setattr(shelves, "price_tags", lambda sales, week: known(sales, week + 1))
    leaky, other = (
        build_response_task(write_journey(tmp_path / name / "data", table), tmp_path / name)
        for name, table in (("one", bought), ("two", altered(bought, 30)))
    )
    assert features_until(other, 30, bought) != features_until(leaky, 30, bought)


def test_no_discount_or_price_of_the_row_itself_is_a_column(task: Task) -> None:
    columns = set(task.rows("train").collect_schema())
    assert not columns & {"retail_disc", "coupon_disc", "coupon_match_disc", "sales_value"}
    assert {f.name for f in RESPONSE_FEATURES if f.of in ("user", "context")} <= {
        *columns,
        "history",
    }


def test_the_pieces_in_which_it_is_built_do_not_show(journey: CompleteJourney) -> None:
    whole = list(response_parts(journey, CONFIG))
    pieces = list(response_parts(journey, CONFIG, rows_per_part=500))
    assert len(whole) == 1
    assert len(pieces) > 3
    for i, name in enumerate(("rows", "events")):
        assert pl.concat([piece[i] for piece in pieces]).equals(whole[0][i]), name
    people = [set(piece.rows["user_id"]) for piece in pieces]
    assert sum(map(len, people)) == len(set.union(*people))


def test_a_task_is_built_once_a_setting(
    journey: CompleteJourney, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = task.folder.parent
    stamp = (task.folder / "task.json").stat().st_mtime_ns
    assert build_response_task(journey, cache, CONFIG) == task
    assert (task.folder / "task.json").stat().st_mtime_ns == stamp
    other = build_response_task(journey, cache, replace(CONFIG, train_until=40))
    assert other.folder != task.folder
    assert other.data_hash != task.data_hash


@pytest.mark.parametrize("setting", [field.name for field in fields(ResponseConfig)])
def test_each_setting_changes_the_task(
    journey: CompleteJourney, task: Task, setting: str, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"train_until": 30, "valid_until": 50, "households": 0.5, "seed": 1}
    changed = replace(CONFIG, **{setting: changes[setting]})
    other = build_response_task(journey, tmp_path, changed)
    if setting == "seed":
        # Of the order inside a basket only: the rows stay.
        assert rows_of(other) == rows_of(task)
        orders = [pl.read_parquet(t.events_path("train")).rows() for t in (task, other)]
        assert orders[0] != orders[1]
        assert sorted(orders[0]) == sorted(orders[1])
    else:
        assert rows_of(other) != rows_of(task)
    if setting == "households":
        people = [{key[0] for key in rows_of(t)} for t in (other, task)]
        assert people[0] < people[1]
        whole = rows_of(task)
        assert all(whole[key] == row for key, row in rows_of(other).items())
        assert "50% share of households" in other.protocol


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_until": 48}, "weeks of the split"),
        ({"valid_until": 53}, "below 53"),
        ({"train_until": 0}, "at least 1"),
        ({"households": 0.0}, "above 0 and at most 1"),
        ({"households": 1.5}, "above 0 and at most 1"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ResponseConfig(**changes)


@pytest.mark.parametrize("split", SPLITS)
def test_the_real_task_has_its_published_size(response_task: Task, split: Split) -> None:
    counts = response_task.meta["splits"][split]
    assert (counts["rows"], counts["positives"], counts["users"]) == COUNTS[split]


def test_real_histories_end_before_the_basket(
    response_task: Task, real_journey: CompleteJourney
) -> None:
    rows = pl.concat([response_task.rows(split).collect() for split in SPLITS])
    visits = rows.select("user_id", "request_id", "time", "visible").unique()
    assert visits.height == rows["request_id"].n_unique()
    log = (
        real_journey.transactions()
        .select(
            user_id=pl.col("household_id").cast(pl.String),
            basket=pl.col("basket_id").cast(pl.String),
            bought=pl.col("transaction_timestamp"),
        )
        .filter(pl.col("user_id").is_in(rows["user_id"].unique().implode()))
        .collect()
    )
    earlier = visits.join(log, on="user_id").filter(pl.col("bought") < pl.col("time"))
    assert not (earlier["basket"] == earlier["request_id"]).any()
    counts = dict(earlier.group_by("request_id").len().rows())
    assert all(row["visible"] == counts.get(row["request_id"], 0) for row in visits.to_dicts())


def test_real_responses_are_what_the_basket_holds(
    response_task: Task, real_journey: CompleteJourney
) -> None:
    rows = response_task.rows("valid").collect()
    held = set(
        real_journey.transactions()
        .select(pl.col("basket_id", "product_id").cast(pl.String))
        .filter(pl.col("basket_id").is_in(rows["request_id"].unique().implode()))
        .collect()
        .rows()
    )
    asked = rows.select("request_id", "item_id").rows()
    assert rows["label"].to_list() == [int(pair in held) for pair in asked]
