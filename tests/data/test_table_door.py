"""One door for tables: all that read a stranger's table find the same columns by the same names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from adwright.audit.catalogue import open_catalogue
from adwright.authoring.writer.products import read_products
from adwright.core.errors import ConfigError, SchemaError
from adwright.creative.records.ads_table import AdColumns, read_ads
from adwright.creative.records.export_rows import name_export
from adwright.data.sources.log import open_log
from adwright.data.sources.mapped import LogMapping
from adwright.data.sources.tables import read_items
from adwright.data.table_door import (
    TableSpec,
    bare_name,
    find_column,
    listed,
    synonyms,
    table_specs,
)

SPEC = TableSpec(
    "a thing",
    {"id": ("id", "thingid"), "size": ("size", "width"), "colour": ("Color (EUR)",)},
    needed=("id",),
)


def of_log(path: Path, told: Mapping[str, str]) -> list[str]:
    mapping = LogMapping(columns={"item_id": told["id"]} if told else {})
    log = open_log(path, mapping=mapping, tell=False)
    return log.events.select("item_id").collect().to_series().to_list()


def of_items(path: Path, told: Mapping[str, str]) -> list[str]:
    return read_items(path, column=told.get("id", ""))["item_id"].to_list()


def of_ads(path: Path, told: Mapping[str, str]) -> list[str]:
    return list(read_ads(path, AdColumns(**told)).ids)  # type: ignore[arg-type]


def of_shop(path: Path, told: Mapping[str, str]) -> list[str]:
    return [one.id for one in read_products(path, columns=told).products]


def of_catalogue(path: Path, told: Mapping[str, str]) -> list[str]:
    table = open_catalogue(path, request="a pot", name=told.get("id", ""), own=True)
    return [one.name for one in table.catalogue.listings]


DOORS = [of_log, of_items, of_ads, of_shop, of_catalogue]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("told", [{}, {"id": "product_id"}, {"id": "PRODUCT id"}])
@pytest.mark.parametrize("heading", ["Product ID", "product_id", "productId", "PRODUCT-ID"])
def test_a_product_id_is_found_by_all_doors(
    tmp_path: Path,
    door: Callable[[Path, Mapping[str, str]], list[str]],
    heading: str,
    told: dict[str, str],
) -> None:
    table = tmp_path / "table.csv"
    named = "" if door is of_catalogue else ",Title"
    cells = "" if door is of_catalogue else ",{} pot"
    rows = "".join(f"p{n}{cells.format(n)},c{n},2024-01-0{n},{n}.50\n" for n in range(1, 4))
    table.write_text(f"{heading}{named},Customer,Date,Price\n{rows}")
    assert door(table, told) == ["p1", "p2", "p3"]


def test_what_is_told_wins_and_an_empty_name_is_none() -> None:
    names = ["Thing-ID", "Width", "id", "Color"]
    assert SPEC.name(names).columns == {"id": "id", "size": "Width", "colour": "Color"}
    assert SPEC.name(names).said == (
        "id is taken as id (and not Thing-ID)",
        "Width is taken as size",
        "Color is taken as colour",
    )
    told = SPEC.name(names, {"id": "WIDTH", "colour": ""})
    assert told == ({"id": "Width"}, ())
    twice = SPEC.name(names, {"id": "WIDTH"}, once=False).columns
    assert (twice["id"], twice["size"]) == ("Width", "Width")
    apart = SPEC.name(names, fits=lambda field, name: name != "id", taken=["Color"]).columns
    assert apart == {"id": "Thing-ID", "size": "Width"}


def test_a_name_of_ones_own_can_be_decisive() -> None:
    own = TableSpec("a thing", {"id": ("thingid", "id")}, own_names=True)
    assert own.guesses("id", ["thingid", "id"]) == ["id"]
    assert own.guesses("id", ["thingid", "ID"]) == ["thingid", "ID"]


def test_a_column_as_the_table_writes_it() -> None:
    names = ["Cost (EUR)", "cost", "Zürich 1"]
    assert find_column("cost", names) == "cost"
    assert find_column(" COST ", names) == "cost"
    assert find_column("zürich_1", names) == "Zürich 1"
    with pytest.raises(SchemaError, match=r"no column 'csot', which is to be a price.*'cost'") as e:
        find_column("csot", names, "a price", file="t.csv")
    assert (e.value.file, e.value.column) == ("t.csv", "csot")
    with pytest.raises(SchemaError, match=r"no column '-' \["):
        find_column("-", names)


def test_needed_columns_are_asked_for_by_the_name_that_is_likely() -> None:
    SPEC.require({"id": "x"}, ["x"])
    with pytest.raises(SchemaError, match=r"missing: id .*--columns id=thing_idd or else; .*has"):
        SPEC.require({"size": "width"}, ["width", "thing_idd"], also=" or else")
    with pytest.raises(SchemaError, match=r"missing: size, colour .*--columns size=THEIRS"):
        SPEC.require({"id": "x"}, ["x"], needed=["id", "size", "colour"])
    with pytest.raises(SchemaError, match=r"header is missing.*'1,2'.*id=THEIRS"):
        SPEC.require({}, ["1", "2"], first_line="1,2")
    SPEC.check_fields({"size": "x", "more": "y"}, also=["more"])
    with pytest.raises(ConfigError, match=r"a thing has no column 'colr'.*closest is colour"):
        SPEC.check_fields({"colr": "x"})


def test_names_are_shown_in_part() -> None:
    assert listed(["a" * 70, "b"]) == f"{'a' * 60}, b"
    assert listed([str(n) for n in range(22)]).endswith("19 and 2 more")


def test_the_files_of_usual_names_are_bare_and_of_one_field_each() -> None:
    for file in ("log", "ads", "exports", "catalogue"):
        for spec in table_specs(file).values():
            for field, usual in spec.synonyms.items():
                assert [name for name in usual if bare_name(name) != name] == [], field
                assert len(set(usual)) == len(usual), field
    assert set(table_specs("exports")) == {"meta", "google", "tiktok"}
    assert synonyms("exports")["causes"]["flight"]
    assert name_export(["Day", "Ad ID", "Impr.", "Cost", "Currency code"]).source == "google"
