"""A table of creatives becomes outcomes: repaired where that is said, else refused by its row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import DataError, SchemaError, ValueInvalidError
from adwright.creative.records.ads_table import AdColumns
from adwright.creative.response.outcomes import OutcomeColumns, number_tests, read_outcomes

ADS = AdColumns(id="id", title="headline", words=("body",))
COLUMNS = OutcomeColumns(ads=ADS, test="test", image_id="picture")
TABLE = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e"],
        "headline": ["Bread", "Fresh bread", "Tea", "Black tea", "Milk"],
        "body": ["Baked at six.", "Baked at six.", None, "", "White"],
        "shown": [100, 100, 200, 0, 50],
        "hits": [3, 4, 8, 0, 0],
        "test": ["t2", "t2", "t1", "t1", None],
        "week": [201401, 201401, 201402, 201402, 201403],
        "picture": ["p", "p", "q", "q", None],
    }
).rename({"shown": "impressions", "hits": "clicks"})


def _with(**columns: list) -> pl.DataFrame:
    return TABLE.with_columns(pl.Series(name, values) for name, values in columns.items())


def test_a_table_is_read_and_repairs_are_said() -> None:
    found = read_outcomes(TABLE, COLUMNS)
    assert found.ids == ("a", "b", "c", "e")
    assert found.records[1].title == "Fresh bread"
    assert found.impressions.tolist() == [100, 100, 200, 50]
    assert found.rate.tolist() == [0.03, 0.04, 0.04, 0.0]
    assert found.tests.tolist() == [0, 0, -1, -1]
    assert found.images == ("p", "p", "q", "")
    assert found.ledes == ("Baked at six.", "Baked at six.", "", "White")
    assert found.varied.tolist() == [True, True, False, False]
    assert found.texts[0] == "Bread\nBaked at six."
    assert "1 creatives that were never shown are left out" in found.notes
    assert "1 creatives have no test and are in no test" in found.notes
    assert "1 creatives are alone in their test and are in no test" in found.notes


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_each_kind_of_file_gives_the_same(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"ads.{ending}"
    match ending:
        case "csv":
            TABLE.write_csv(path)
        case "tsv":
            TABLE.write_csv(path, separator="\t")
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in TABLE.to_dicts()))
        case _:
            TABLE.write_parquet(path)
    assert read_outcomes(path, COLUMNS).data_hash == read_outcomes(TABLE, COLUMNS).data_hash


def test_a_semicolon_file_of_another_locale_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    path.write_text("title;impressions;clicks\nBrot;1.200;30\nTee;900;1\n")
    found = read_outcomes(path)
    assert found.impressions.tolist() == [1200, 900]
    assert any("no column of tests" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clicks": [3, 101, 8, 0, 0]}, "must not be above impressions.*row 1"),
        ({"clicks": [3, -1, 8, 0, 0]}, "negative.*row 1"),
        ({"impressions": [100.0, 100.5, 200.0, 0.0, 50.0]}, "whole number.*row 1"),
        ({"impressions": [100, None, 200, 0, 50]}, "must not be empty.*row 1"),
        ({"id": ["a", "a", "c", "d", "e"]}, "row 1"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, change: dict, said: str) -> None:
    path = tmp_path / "ads.parquet"
    _with(**change).write_parquet(path)
    with pytest.raises(ValueInvalidError, match=said) as error:
        read_outcomes(path, COLUMNS)
    assert error.value.file == str(path)


def test_missing_columns_are_named() -> None:
    with pytest.raises(SchemaError, match="column clicks"):
        read_outcomes(TABLE.drop("clicks"), COLUMNS)
    with pytest.raises(SchemaError, match="column nowhere"):
        read_outcomes(TABLE, replace(COLUMNS, test="nowhere"))


def test_nothing_shown_is_no_table() -> None:
    with pytest.raises(DataError, match="no creative was ever shown"):
        read_outcomes(_with(impressions=[0] * 5, clicks=[0] * 5), COLUMNS)


def test_a_label_named_as_text_or_input_is_refused() -> None:
    labelled = TABLE.with_columns(winner=pl.lit("no"), note=pl.lit("x"))
    with pytest.raises(SchemaError, match="'winner' says how an ad did"):
        read_outcomes(
            labelled, replace(COLUMNS, ads=AdColumns(title="headline", words=("winner",)))
        )


def test_a_column_is_either_the_ad_or_its_test() -> None:
    with pytest.raises(SchemaError, match="cannot be read as its outcome, test"):
        read_outcomes(TABLE, replace(COLUMNS, ads=AdColumns(title="headline", words=("test",))))


def test_rows_are_taken_in_any_order() -> None:
    found = read_outcomes(TABLE, COLUMNS)
    some = found.take(np.array([2, 0]))
    assert some.ids == ("c", "a")
    assert (some.images, some.ledes) == (("q", "p"), ("", "Baked at six."))
    assert some.data_hash != found.data_hash


def test_tests_are_numbered_by_name_whatever_the_order() -> None:
    assert number_tests(["b", "a", None, "a", "b", "c"]).tolist() == [1, 0, -1, 0, 1, -1]
    assert number_tests([]).tolist() == []
