from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from adwright.audit.catalogue import open_catalogue, shop_of_items, usual_request
from adwright.core.errors import DataError, FileUnreadableError, SchemaError
from adwright.data.schema import Catalogue
from tests.support.audit.shops import released

ROWS = [
    {"Name": "Kettle", "Price": "$1", "Rating": 4.0, "Description": "It boils water in no time."},
    {"Name": "Pot", "Price": "$2", "Rating": 4.5, "Description": "For all the soups of the world."},
]


def test_released_lines_are_shown_as_they_stand(shared_data: Path) -> None:
    for name in ("coffee_machines", "books", "cameras", "election_articles"):
        source = (shared_data / "visibility" / f"{name}.jsonl").read_text("utf-8")
        shop = released(shared_data, name)
        assert len(shop) == 10
        shown = [json.loads(one.shown()) for one in shop.listings]
        assert shown == [json.loads(line) for line in source.splitlines()]
        keys = [list(one) for one in shown]
        assert keys == [list(json.loads(line)) for line in source.splitlines()]


def test_a_price_below_zero_is_told() -> None:
    cheap = [{**ROWS[0], "Price": "$-1", "Rating": -4.0}, ROWS[1]]
    said = open_catalogue(pl.DataFrame(cheap), request="Pots?").said
    for column in ("Price", "Rating"):
        assert f"{column}: 1 of 2 are below 0, and are shown as they are" in said


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_files_of_all_kinds(tmp_path: Path, ending: str) -> None:
    path, frame = tmp_path / f"kitchen_things.{ending}", pl.DataFrame(ROWS)
    match ending:
        case "jsonl":
            frame.write_ndjson(path)
        case "csv":
            frame.write_csv(path)
        case _:
            frame.write_parquet(path)
    opened = open_catalogue(path, own=True)
    shop = opened.catalogue
    assert (shop.name, shop.names, shop.own) == ("kitchen_things", ("Kettle", "Pot"), True)
    assert shop.request == usual_request("kitchen_things")
    assert "kitchen things" in shop.request
    assert shop.listings[1].attributes == {"Price": "$2", "Rating": 4.5}
    assert "guessed" in opened.said[0]
    assert any("by the file's name" in one for one in opened.said)


def test_one_bad_row_harms_no_other() -> None:
    rows = [*ROWS, {"Name": " "}, {"Name": None}, {"Name": "Pot ", "Price": "$3"}]
    opened = open_catalogue(pl.DataFrame(rows), request="A pot?")
    assert opened.catalogue.names == ("Kettle", "Pot")
    assert opened.catalogue.listings[1].attributes["Price"] == "$2"
    assert [one for one in opened.said if "left out" in one] == [
        "2 rows have no name and are left out",
        "1 rows have a name that an earlier row has, and are left out: 'Pot'",
    ]


def test_cells_of_any_kind_become_facts_or_texts() -> None:
    rows = [
        {"name": "a", "tags": ["x", "é"], "score": float("nan"), "made": {"in": 1}},
        {"name": "b", "tags": None, "score": 1.5, "made": None},
    ]
    first, second = open_catalogue(pl.DataFrame(rows), request="?").catalogue.listings
    assert first.texts == {"tags": '["x", "é"]', "made": '{"in": 1}'}
    assert second.texts == {"tags": "", "made": ""}
    assert (first.attributes["score"], second.attributes["score"]) == (None, 1.5)


def test_rows_are_chosen_by_a_cell_and_counted() -> None:
    table = pl.DataFrame({"name": list("abcde"), "kind": ["x", "y", "x", "x", "y"], "n": range(5)})
    assert open_catalogue(table, request="?", where={"kind": "x"}).catalogue.names == tuple("acd")
    assert open_catalogue(table, request="?", where={"kind": "x"}, most=2).catalogue.names == (
        "a",
        "c",
    )
    with pytest.raises(SchemaError, match="no column 'sort'"):
        open_catalogue(table, request="?", where={"sort": "x"})
    with pytest.raises(DataError, match="1 of 1 rows"):
        open_catalogue(table, request="?", where={"n": "3"})


def test_names_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("sku,title,price\n007,0100,1.5\n008,0200,2\n", "utf-8")
    shop = open_catalogue(path, merchant="sku", wordings=("Again?",)).catalogue
    assert shop.names == ("0100", "0200")
    assert [one.merchant for one in shop.listings] == ["007", "008"]
    assert shop.listings[1].attributes == {"price": 2.0}
    assert shop.wordings == ("Again?",)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no such file"):
        open_catalogue(tmp_path / "none.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"Name": "a"}\nnot json\n', "utf-8")
    with pytest.raises(FileUnreadableError, match="line 2"):
        open_catalogue(broken)


def test_items_of_a_log_and_the_texts_of_their_ads() -> None:
    items = pl.DataFrame({"item_id": ["1", "2"], "brand": ["x", "y"]})
    ads = pl.DataFrame({"creative_id": ["c", "d"], "item_id": ["2", "2"], "text": [None, "Buy."]})
    shop = shop_of_items(Catalogue.checked(items, ads), request="?", shop="mine").catalogue
    assert (shop.name, shop.names, shop.own) == ("mine", ("1", "2"), True)
    assert [one.texts for one in shop.listings] == [{"ad": ""}, {"ad": "Buy."}]
    assert shop.listings[0].attributes == {"brand": "x"}
    bare = shop_of_items(Catalogue.checked(items), request="?", name="brand").catalogue
    assert bare.names == ("x", "y")
    assert bare.listings[0].texts == {}
