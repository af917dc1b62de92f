"""Codes are categories, quantities are numbers, and what decided is said."""

from __future__ import annotations

import random

import polars as pl
import pytest

from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.data.column_kinds import (
    RULE,
    ColumnKind,
    FoundColumn,
    check_column_kinds,
    find_kinds,
    number_kind,
    with_kinds,
)

N = 200
RANDOM = random.Random(0)
COLUMNS: dict[str, tuple[list[object], ColumnKind, str]] = {
    "category": ([n % 40 * 7 for n in range(N)], "category", "its name says category"),
    "shop_id": (list(range(N)), "category", "its name says id"),
    "numberOfCategories": ([n % 5 for n in range(N)], "number", "its name says number"),
    "year": ([1990 + n % 20 for n in range(N)], "number", "its name says year"),
    "dense": ([n % 20 for n in range(N)], "category", "whole numbers that repeat"),
    "gaps": ([n % 20 * 50 for n in range(N)], "number", "values with gaps between them"),
    "rated": (
        *([1] * 60 + [2] * 50 + [3] * 40 + [4] * 30 + [5] * 10 + [12] * 8 + [30] * 2,),
        *("number", "values with gaps between them"),
    ),
    "cents": ([RANDOM.randint(1, 99) * 7 + n for n in range(N)], "number", "seldom repeat"),
    "fraction": ([n % 7 / 2 for n in range(N)], "number", "fractions"),
    "whole": ([float(n % 5) if n else None for n in range(N)], "category", "repeat"),
    "flag": ([n % 2 == 0 for n in range(N)], "category", "true or false"),
    "tags": ([["a"], ["b", "c"]] * 100, "list", "lists"),
    "genres": (["a|b" if n % 2 else "b|c|d" for n in range(N)], "list", "parts between |"),
    "title": ([f"The film {n}" for n in range(N)], "text", "words, most of them once"),
    "brand": (["own", "other brand"] * 100, "category", "text"),
    "digits": ([str(n % 9) for n in range(N)], "category", "whole numbers that repeat"),
    "zeros": ([f"0{n}" for n in range(N)], "category", "zeros in front"),
    "amount": ([str(n / 4) for n in range(N)], "number", "fractions"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_rule_of_each_kind_of_column(name: str) -> None:
    values, kind, why = COLUMNS[name]
    found = find_kinds(pl.DataFrame({"item_id": range(N), name: values}))
    assert list(found) == [name]
    assert (found[name].kind, found[name].odd) == (kind, "")
    assert why in found[name].why


def test_what_is_found_is_said_in_words() -> None:
    found = find_kinds(pl.DataFrame({"store": [1, 2] * 50, "price": [0.5, 1.5] * 50}))
    assert found["store"].in_words() == "category, 2 values (its name says store)"
    assert found["price"].in_words() == "number (fractions)"
    assert "code" in RULE


def test_one_text_does_not_make_categories_of_prices() -> None:
    prices = ["12,50 €", *(str(n / 2) for n in range(199))]
    table = pl.DataFrame({"price": prices, "sku": [f"{n}" if n % 3 else "A1" for n in range(200)]})
    found = find_kinds(table)
    assert "price: 1 cell is no number, the first in row 0: '12,50 €'" in found["price"].odd
    assert "--column-kinds price=category" in found["price"].odd
    # Where a third is no number, it is no column of numbers.
    assert (found["sku"].kind, found["sku"].odd) == ("category", "")
    made = with_kinds(table, found)
    assert made["price"].to_list() == [None, *(n / 2 for n in range(199))]
    many = find_kinds(table.with_columns(price=pl.Series(["x", "y", *prices[2:]])))
    assert "2 cells are no number" in many["price"].odd


def test_prices_below_nothing_are_told() -> None:
    table = pl.DataFrame({"price": [1.5, -2.5, None], "text_price": ["1.5", "-1", "-2"]})
    found = find_kinds(table.with_columns(change=pl.lit(-1.5) + pl.int_range(3)))
    assert found["price"].odd == "price: 1 cell is negative, the first in row 1: -2.5"
    assert found["text_price"].odd.startswith("text_price: 2 cells are negative")
    assert found["change"].odd == ""


def test_a_column_of_nothing_is_told() -> None:
    table = pl.DataFrame({"a": pl.Series([None, None], dtype=pl.String), "b": ["", " "]})
    found = find_kinds(table)
    assert [one.odd for one in found.values()] == [f"{n}: no row has a value" for n in "ab"]
    assert {one.kind for one in found.values()} == {"none"}
    one = find_kinds(pl.DataFrame({"a": [7, 7], "b": [["x"], ["x"]]}))
    assert [found.in_words() for found in one.values()] == ["none (one value for all)"] * 2


def test_tables_get_the_types_of_their_kinds() -> None:
    table = pl.DataFrame({name: values for name, (values, _, _) in COLUMNS.items()})
    made = with_kinds(table, find_kinds(table))
    texts = ("category", "dense", "whole", "flag", "title", "brand", "digits", "zeros")
    assert {made.schema[name] for name in texts} == {pl.String()}
    assert made["whole"][1] == "1"
    assert made["genres"][:2].to_list() == [["b", "c", "d"], ["a", "b"]]
    assert made.schema["amount"] == pl.Float64
    assert made.schema["year"] == pl.Int64
    # And from there nothing changes.
    assert with_kinds(made, find_kinds(made)).equals(made)


def test_what_a_person_says_wins() -> None:
    table = pl.DataFrame({"year": [1990, 1991] * 9, "size": ["1", "2"] * 9, "words": ["a b"] * 18})
    table = table.with_columns(tags=pl.lit(["x"]))
    said: dict[str, ColumnKind] = {"year": "category", "size": "number", "words": "list"}
    said["tags"] = "none"
    found = find_kinds(table, said)
    assert {name: one.kind for name, one in found.items()} == said
    assert {one.why for one in found.values()} == {"as you say"}
    made = with_kinds(table, found)
    assert made.row(0) == ("1990", 1, ["a", "b"], ["x"])


def test_what_cannot_be_is_refused_by_its_cell() -> None:
    table = pl.DataFrame({"price": ["1", "free", "x"], "tags": [["a"]] * 3})
    with pytest.raises(ValueInvalidError, match=r"2 cells .*f\.csv, row 1, .*'free'"):
        with_kinds(table, find_kinds(table, {"price": "number"}), file="f.csv")
    with pytest.raises(SchemaError, match=r"tags cannot be a number: it holds List"):
        find_kinds(table, {"tags": "number"})


def test_numbers_alone() -> None:
    assert number_kind(pl.Series("x", [1.5, 2.0])) == ("number", "fractions")
    assert number_kind(pl.Series("x", [], dtype=pl.Int64)) == ("number", "empty")
    assert number_kind(pl.Series("x", [0, 1] * 5))[0] == "category"
    assert number_kind(pl.Series("x", [0, 1] * 4 + [9]))[0] == "number"


def test_kinds_that_there_are_not() -> None:
    with pytest.raises(
        ConfigError, match=r"price cannot be 'money' \[settings\].*category, number"
    ):
        check_column_kinds({"year": "number", "price": "money"}, "settings")
    with pytest.raises(ConfigError, match="kind cannot be 'money'"):
        FoundColumn("money", 1, "")  # type: ignore[arg-type]
