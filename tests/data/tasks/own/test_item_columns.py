"""What columns are taken for, and the features made of them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from adwright.core.errors import SchemaError
from adwright.data.column_kinds import FoundColumn
from adwright.data.features import Feature
from adwright.data.tasks.own.item_columns import (
    choose_columns,
    item_features,
    user_features,
    with_made_columns,
)

ROWS = 40
COLUMNS: dict[str, list[Any]] = {
    "genre": [n % 3 for n in range(ROWS)],
    "pages": [100 + 7 * n for n in range(ROWS)],
    "price": [n / 3 for n in range(ROWS)],
    "brand": [f"b{n % 5}" for n in range(ROWS)],
    "title": [f"Stór hús {n}" for n in range(ROWS)],
    "url": [f"x{n}" for n in range(ROWS)],
    "tags": [[f"t{n % 4}", "all"] for n in range(ROWS)],
    "vector": [[0.5, 1.0] for _ in range(ROWS)],
    "new": [n % 2 == 0 for n in range(ROWS)],
    "shop": ["one"] * ROWS,
    "empty": [None] * ROWS,
}
ITEMS = pl.DataFrame({"item_id": [f"i{n}" for n in range(ROWS)], **COLUMNS})
KINDS = {
    "genre": "category",
    "pages": "number",
    "price": "number",
    "brand": "category",
    "title": "text",
    "url": "none",
    "tags": "list",
    "vector": "none",
    "new": "category",
    "shop": "none",
    "empty": "none",
}


def test_columns_are_told_by_the_rule_of_all_logs() -> None:
    found = choose_columns(ITEMS)
    assert {name: one.kind for name, one in found.items()} == KINDS
    assert list(found) == list(COLUMNS)
    assert found["genre"].in_words() == "category, 3 values (its name says genre)"
    assert found["url"].in_words() == "none (40 values, as good as an id)"


def test_what_was_found_is_not_looked_for_again() -> None:
    known = {"genre": FoundColumn("number", 3, "known"), "url": FoundColumn("category", 40, "text")}
    found = choose_columns(ITEMS, known=known)
    assert found["genre"] is known["genre"]
    assert found["url"].kind == "none"
    assert choose_columns(ITEMS, known=known, given={"genre": "category"})["genre"].kind == (
        "category"
    )


def test_a_kind_that_is_known_wins() -> None:
    found = choose_columns(ITEMS, given={"genre": "number", "url": "category", "tags": "none"})
    assert (found["genre"].kind, found["genre"].why) == ("number", "as you say")
    assert (found["url"].kind, found["tags"].kind, found["brand"].kind) == (
        *("category", "none"),
        "category",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour": "category"}, "not there"),
        ({"item_id": "category"}, "not there"),
        ({"tags": "category"}, "cannot be a category"),
    ],
)
def test_kinds_that_do_not_fit_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        choose_columns(ITEMS, given=given)


def test_the_features_of_a_catalogue() -> None:
    items, features = item_features(ITEMS, choose_columns(ITEMS), min_count=3)
    assert features == (
        Feature("item_id", "categorical", "item"),
        Feature("genre", "categorical", "item", min_count=3),
        Feature("pages", "bucketised", "item"),
        Feature("price", "bucketised", "item"),
        Feature("brand", "categorical", "item", min_count=3),
        Feature("title words", "multi", "item", min_count=3),
        Feature("tags", "multi", "item", min_count=3),
        Feature("new", "categorical", "item", min_count=3),
    )
    assert items["genre"].dtype == pl.String
    assert items["title words"][7].to_list() == ["stór", "hús"]
    assert items["title words"][12].to_list() == ["stór", "hús", "12"]


def test_a_name_that_rows_use_is_another_feature() -> None:
    table = ITEMS.select("item_id", pl.col("price").alias("popularity"))
    items, features = item_features(table, choose_columns(table))
    assert features[1] == Feature("item popularity", "bucketised", "item")
    assert items["item popularity"].equals(items["popularity"])


def test_words_take_a_name_that_is_free() -> None:
    table = ITEMS.select("item_id", "title", pl.lit("x").alias("title words"))
    items, features = item_features(table, choose_columns(table))
    assert features[1].name == "title words_"
    assert items["title words"].dtype == pl.String


def test_new_items_get_the_columns_that_are_made_of_others() -> None:
    table = ITEMS.with_columns(pl.col("price").alias("popularity"), pl.col("title").alias("time"))
    known, features = item_features(table, choose_columns(table))
    wanted = [feature.name for feature in features]
    assert {"item popularity", "title words", "item time words"} <= set(wanted)
    new = with_made_columns(table, wanted)
    assert new.select(wanted).equals(known.select(wanted).with_columns(pl.col("genre").cast(int)))
    assert with_made_columns(ITEMS.select("item_id"), wanted).columns == ["item_id"]


def test_the_features_of_users() -> None:
    users = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(16)],
            "age": [20.0 + n for n in range(16)],
            "town": [f"t{n % 2}" for n in range(16)],
            "note": [f"likes red hat {n}" for n in range(16)],
        }
    )
    columns = choose_columns(users, key="user_id")
    table, features = user_features(users, columns, taken=["town"])
    assert [f.name for f in features] == ["age", "user town"]
    assert table.columns == ["user_id", "age", "user town"]
    assert table["age"].n_unique() == 8
    assert table["age"].dtype == pl.String
    assert table.filter(pl.col("user_id") == "u0")["user town"][0] == "t0"
