from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.authoring.instructions.sources import (
    ProductColumns,
    catalogue_products,
    journey_products,
)
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)

TABLE = pl.DataFrame(
    {
        "sku": ["a1", "b2", "c3"],
        "name": [" Red tea ", None, "Blue cup"],
        "text": ["Fine.", "x", None],
        "maker": ["Mill", "x", ""],
        "kind": ["Tea", "x", "Cup"],
        "cost": ["3.49", "x", "9"],
        "money": ["GBP", "EUR", ""],
        "size": ["80", "x", " "],
        "group": ["g", "x", ""],
        "words": ["tea bags", "x", ""],
    }
)
COLUMNS = ProductColumns(
    "sku", "name", "text", "maker", "kind", "cost", "money", ("size",), "group", "words"
)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "memory"])
def test_tables_of_all_kinds(tmp_path: Path, ending: str) -> None:
    path: Any = tmp_path / f"shop.{ending}"
    match ending:
        case "csv":
            TABLE.write_csv(path)
        case "parquet":
            TABLE.write_parquet(path)
        case "jsonl":
            TABLE.write_ndjson(path)
        case _:
            path = TABLE
    tea, cup = catalogue_products(path, COLUMNS, name="shop", locale="en-GB")
    product = tea.product
    assert (product.id, product.title, product.description) == ("a1", "Red tea", "Fine.")
    assert (product.brand, product.category, product.price, product.currency) == (
        "Mill",
        "Tea",
        "3.49",
        "GBP",
    )
    assert (product.attributes, product.locale) == ((("size", "80"),), "en-GB")
    assert (tea.cluster, tea.source, tea.query) == ("shop-g", "shop", "tea bags")
    assert (cup.cluster, cup.query, cup.product.attributes) == ("shop-c3", "", ())


def test_the_file_names_the_catalogue_and_columns_may_be_few(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("id,title\n1,Tea\n2,Cup\n")
    found = list(catalogue_products(path))
    assert [(one.source, one.product.id, one.cluster) for one in found] == [
        ("mine", "1", "mine-1"),
        ("mine", "2", "mine-2"),
    ]


def test_numbers_are_taken_as_they_are_written() -> None:
    table = pl.DataFrame({"id": [1.0, 2.0], "title": ["Tea", "Cup"], "price": [3.5, None]})
    one, other = catalogue_products(table, ProductColumns(price="price"))
    assert (one.product.id, one.product.price, other.product.price) == ("1", "3.5", "")


def test_many_rows_come_in_order_from_batches() -> None:
    table = pl.DataFrame({"id": range(25_000), "title": [f"t{n}" for n in range(25_000)]})
    found = [one.product.id for one in catalogue_products(table)]
    assert found == [str(number) for number in range(25_000)]


@pytest.mark.parametrize(
    ("changes", "kind", "what"),
    [
        ({"columns": ProductColumns(id="nr")}, SchemaError, "no column 'nr'"),
        (
            {"columns": ProductColumns("sku", "name", attributes=("hue",))},
            SchemaError,
            "no column 'hue'",
        ),
        (
            {"columns": ProductColumns("sku", "name", currency="cost")},
            ValueInvalidError,
            "three capital",
        ),
        ({"columns": ProductColumns("text", "name")}, ValueInvalidError, "needs an id"),
    ],
)
def test_what_is_no_product_is_refused_with_its_row(
    changes: dict[str, Any], kind: type[AdwrightError], what: str
) -> None:
    with pytest.raises(kind, match=what) as caught:
        list(catalogue_products(TABLE, **changes))
    if kind is ValueInvalidError:
        assert caught.value.row in (0, 2)  # type: ignore[attr-defined]


def test_one_bad_row_harms_no_other() -> None:
    table = pl.DataFrame(
        {
            "id": ["a", " ", "c", "d"],
            "title": ["Tea", "Cup", "Pot", ""],
            "money": ["GBP", "GBP", "pounds", "GBP"],
        }
    )
    skipped = Counter[str]()
    found = catalogue_products(table, ProductColumns(currency="money"), skipped=skipped)
    assert [one.product.id for one in found] == ["a"]
    assert skipped == {
        "a product needs an id": 1,
        "a currency is three capital letters": 1,
        "no title": 1,
    }
    with pytest.raises(ValueInvalidError, match="BCP 47"):
        list(catalogue_products(table, locale="?", skipped=skipped))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError):
        list(catalogue_products(tmp_path / "absent.csv"))
    with pytest.raises(ConfigError, match="an id and a title"):
        ProductColumns(title="")


def test_products_of_complete_journey() -> None:
    found = journey_products()
    first = [next(found) for _ in range(2000)]
    assert all(one.product.title and one.source == "complete-journey" for one in first)
    assert len({one.product.id for one in first}) == 2000
    ice = first[0].product
    assert (ice.title, ice.category) == ("Ice - Crushed/Cubed 22 Lb", "Frzn ice")
    assert ice.attributes == (("Size", "22 LB"), ("Department", "Grocery"))
    assert len({one.cluster for one in first}) < 2000
