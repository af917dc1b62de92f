"""Which column is which: as is said, else by obvious names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import ConfigError, SchemaError
from adwright.data.schema import KINDS
from adwright.data.sources.mapping import (
    LogMapping,
    NamedColumns,
    id_column,
    kinds_by_name,
    name_columns,
)


def named(names: str, mapping: LogMapping | None = None, **more: Any) -> NamedColumns:
    return name_columns(names.split(), mapping or LogMapping(), lambda _: True, **more)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("user_id item_id time", "user_id item_id time"),
        ("visitorid itemid timestamp event transactionid", "visitorid itemid timestamp event"),
        ("userId movieId rating timestamp", "userId movieId timestamp"),
        ("t_dat customer_id article_id price", "customer_id article_id t_dat"),
        ("reviewerID asin overall unixReviewTime", "reviewerID asin unixReviewTime"),
        ("USER_ID ITEM_ID TIME", "USER_ID ITEM_ID TIME"),
        ("InvoiceNo StockCode InvoiceDate CustomerID", "CustomerID StockCode InvoiceDate"),
        ("userId Id rating timestamp", "userId Id timestamp"),
    ],
)
def test_public_logs_need_no_mapping(names: str, wanted: str) -> None:
    found = named(names).columns
    user, item, time, *kind = wanted.split()
    assert (found["user_id"], found["item_id"], found["time"]) == (user, item, time)
    assert [found.get("kind")] == (kind or [None])


def test_what_is_taken_and_left_is_said() -> None:
    found = named("customer_id sku date timestamp colour price")
    assert found.said == (
        "timestamp is taken as time (and not date)",
        "customer_id is taken as user_id",
        "sku is taken as item_id",
        "price is taken as value",
    )
    assert found.left == ("date", "colour")
    assert not found.rated
    assert named("user item time stars").rated
    # One of its own name is taken without a word, whatever else is there.
    assert named("user_id item_id time timestamp").said == ()


def test_an_id_that_never_repeats_is_no_items() -> None:
    with pytest.raises(SchemaError, match="missing: item_id"):
        name_columns(["id", "user", "time"], LogMapping(), lambda _: False)


def test_what_a_person_says_wins() -> None:
    mapping = LogMapping(columns={"user_id": "Buyer", "item_id": "sku"}, context=("STORE",))
    found = named("user buyer item sku time store", mapping)
    assert (found.columns["user_id"], found.columns["item_id"]) == ("buyer", "sku")
    assert found.context == ("store",)
    assert found.left == ("user", "item")


@pytest.mark.parametrize(
    ("names", "mapping", "words"),
    [
        (
            "kunde item time",
            {},
            r"missing: user_id .*--columns user_id=THEIRS; the table has kunde",
        ),
        ("usrid item time", {}, "--columns user_id=usrid"),
        ("user item", {}, "missing: time"),
        (
            "user item time",
            {"columns": {"value": "pric"}},
            "no column 'pric', which is to be value",
        ),
        ("user item time", {"context": ("store",)}, "no column 'store'"),
    ],
)
def test_columns_that_are_not_there(names: str, mapping: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words) as caught:
        named(names, LogMapping(**mapping), file="f.csv")
    assert "f.csv" in str(caught.value)


def test_a_file_without_header_is_called_that() -> None:
    with pytest.raises(SchemaError, match=r"header is missing.*the first line is '1,2,3'"):
        named("1 2 3", file="f.csv", first_line="1,2,3")


def test_the_id_of_a_catalogue() -> None:
    assert id_column(["title", "item_id", "sku"], "item_id") == "item_id"
    assert id_column(["title", "SKU"], "item_id") == "SKU"
    assert id_column(["Id", "title"], "item_id") == "Id"
    assert id_column(["customer", "age"], "user_id") == "customer"
    assert id_column(["a", "item_id"], "item_id", "a") == "a"
    # What a mapping says of the log need not be in the catalogue.
    assert id_column(["sku"], "item_id", "stockcode") == "sku"
    with pytest.raises(SchemaError, match=r"missing: item_id .*items\.csv.*item_id=itm_id"):
        id_column(["itm_id", "x"], "item_id", file="items.csv")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": {"user": "x"}}, "no column 'user'.*the closest is user_id"),
        ({"kinds": {"order": "purchse"}}, "order cannot be 'purchse'.*closest is purchase"),
        ({"column_kinds": {"x": "colour"}}, "x cannot be 'colour'"),
        ({"kind": "sale"}, "kind cannot be 'sale'"),
        ({"time_format": "%Q"}, "no format of a time"),
        ({"time_zone": "Mars"}, "time zone 'Mars' is unknown"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LogMapping(**settings)


def test_a_mapping_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        'time_format = "%d/%m/%Y"\ncontext = ["store"]\nmin_rating = 4\n'
        '[columns]\nuser_id = "kunde"\n[kinds]\nBestellung = "purchase"\nRest = "none"\n'
        '[column_kinds]\nyear = "number"\n'
    )
    found = load_toml(tmp_path / "m.toml", LogMapping)
    assert found == LogMapping(
        columns={"user_id": "kunde"},
        kinds={"Bestellung": "purchase", "Rest": "none"},
        time_format="%d/%m/%Y",
        context=("store",),
        min_rating=4,
        column_kinds={"year": "number"},
    )
    assert from_jsonable(LogMapping, to_jsonable(found)) == found


def test_the_kinds_by_name_are_kinds() -> None:
    assert set(kinds_by_name().values()) == set(KINDS)
    assert kinds_by_name()["addtocart"] == "cart"
